"""The sockets: trade updates as JSON in binary frames, market data and news in msgpack."""

from __future__ import annotations

import json
from typing import Any

import msgpack
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from deploy.alpaca_server.broker import Broker, Listener

STOCKS = ("/v2/iex", "/v2/sip", "/v2/test", "/v1beta3/crypto/us")


def routes(broker: Broker) -> list[WebSocketRoute]:
    """Every socket of the API."""

    async def trading(socket: WebSocket) -> None:
        await _trading(broker, socket)

    async def market(socket: WebSocket) -> None:
        await _data(broker, socket, broker.watchers)

    async def news(socket: WebSocket) -> None:
        await _data(broker, socket, broker.readers)

    return [
        WebSocketRoute("/stream", trading),
        *(WebSocketRoute(path, market) for path in STOCKS),
        WebSocketRoute("/v1beta1/news", news),
    ]


async def _bytes(socket: WebSocket) -> bytes:
    """One message, text or binary. Raises WebSocketDisconnect."""
    message = await socket.receive()
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1000))
    return message.get("bytes") or (message.get("text") or "").encode()


async def _trading(broker: Broker, socket: WebSocket) -> None:
    await socket.accept()
    listener = Listener(socket, binary_json=True)
    try:
        if broker.refusing:
            return
        while True:
            asked = json.loads(await _bytes(socket))
            data = asked.get("data", {})
            if asked.get("action") == "authenticate":
                given = (data.get("key_id"), data.get("secret_key"))
                ok = given == (broker.key, broker.secret)
                status = "authorized" if ok else "unauthorized"
                await listener.send({"stream": "authorization", "data": {"status": status, "action": "authenticate"}})
                if not ok:
                    return
            elif asked.get("action") == "listen":
                # One trade-updates socket per key: a new one takes the place of the old.
                for old in broker.traders:
                    await old.socket.close(1008)
                broker.traders[:] = [listener]
                await listener.send({"stream": "listening", "data": {"streams": data.get("streams", [])}})
    except WebSocketDisconnect:
        return
    finally:
        if listener in broker.traders:
            broker.traders.remove(listener)


async def _data(broker: Broker, socket: WebSocket, listeners: list[Listener]) -> None:
    await socket.accept()
    listener = Listener(socket, binary_json=False)
    try:
        if broker.refusing:
            return
        await listener.send([{"T": "success", "msg": "connected"}])
        while True:
            asked: dict[str, Any] = msgpack.unpackb(await _bytes(socket))
            action = asked.get("action")
            if action == "auth":
                if (asked.get("key"), asked.get("secret")) != (broker.key, broker.secret):
                    await listener.send([{"T": "error", "code": 402, "msg": "auth failed"}])
                    return
                await listener.send([{"T": "success", "msg": "authenticated"}])
                listeners.append(listener)
            elif action in ("subscribe", "unsubscribe") and listener in listeners:
                for channel, symbols in asked.items():
                    if channel != "action":
                        wanted = listener.wants.setdefault(channel, set())
                        (wanted.update if action == "subscribe" else wanted.difference_update)(symbols)
                now = {channel: sorted(symbols) for channel, symbols in listener.wants.items()}
                await listener.send([{"T": "subscription", **now}])
            else:
                await listener.send([{"T": "error", "code": 400, "msg": "invalid syntax"}])
    except WebSocketDisconnect:
        return
    finally:
        if listener in listeners:
            listeners.remove(listener)
