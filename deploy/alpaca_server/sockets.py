"""The web sockets: trade updates as JSON in binary frames, market data and news as msgpack."""

from __future__ import annotations

import json
from typing import Any

import msgpack
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from deploy.alpaca_server.broker import LocalBroker, SocketClient

MARKET_DATA_PATHS = ("/v2/iex", "/v2/sip", "/v2/test", "/v1beta3/crypto/us")


def routes(broker: LocalBroker) -> list[WebSocketRoute]:
    """Return the routes of all sockets."""

    async def trading(socket: WebSocket) -> None:
        await _serve_trading(broker, socket)

    async def market(socket: WebSocket) -> None:
        await _serve_data(broker, socket, broker.market_clients)

    async def news(socket: WebSocket) -> None:
        await _serve_data(broker, socket, broker.news_clients)

    return [
        WebSocketRoute("/stream", trading),
        *(WebSocketRoute(path, market) for path in MARKET_DATA_PATHS),
        WebSocketRoute("/v1beta1/news", news),
    ]


async def _receive_bytes(socket: WebSocket) -> bytes:
    """Receive one message, text or binary. Raises WebSocketDisconnect."""
    message = await socket.receive()
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1000))
    return message.get("bytes") or (message.get("text") or "").encode()


async def _serve_trading(broker: LocalBroker, socket: WebSocket) -> None:
    await socket.accept()
    client = SocketClient(socket, binary_json=True)
    try:
        if broker.rejects_connections:
            return
        while True:
            message = json.loads(await _receive_bytes(socket))
            data = message.get("data", {})
            if message.get("action") == "authenticate":
                credentials = (data.get("key_id"), data.get("secret_key"))
                is_authorized = credentials == (broker.key, broker.secret)
                status = "authorized" if is_authorized else "unauthorized"
                await client.send({"stream": "authorization", "data": {"status": status, "action": "authenticate"}})
                if not is_authorized:
                    return
            elif message.get("action") == "listen":
                # One trade-updates socket per key: a new one replaces the old one.
                for old in broker.trade_clients:
                    await old.socket.close(1008)
                broker.trade_clients[:] = [client]
                await client.send({"stream": "listening", "data": {"streams": data.get("streams", [])}})
    except WebSocketDisconnect:
        return
    finally:
        if client in broker.trade_clients:
            broker.trade_clients.remove(client)


async def _serve_data(broker: LocalBroker, socket: WebSocket, clients: list[SocketClient]) -> None:
    await socket.accept()
    client = SocketClient(socket, binary_json=False)
    try:
        if broker.rejects_connections:
            return
        await client.send([{"T": "success", "msg": "connected"}])
        while True:
            message: dict[str, Any] = msgpack.unpackb(await _receive_bytes(socket))
            action = message.get("action")
            if action == "auth":
                if (message.get("key"), message.get("secret")) != (broker.key, broker.secret):
                    await client.send([{"T": "error", "code": 402, "msg": "auth failed"}])
                    return
                await client.send([{"T": "success", "msg": "authenticated"}])
                clients.append(client)
            elif action in ("subscribe", "unsubscribe") and client in clients:
                for channel, symbols in message.items():
                    if channel != "action":
                        subscribed = client.subscriptions.setdefault(channel, set())
                        (subscribed.update if action == "subscribe" else subscribed.difference_update)(symbols)
                subscriptions = {channel: sorted(symbols) for channel, symbols in client.subscriptions.items()}
                await client.send([{"T": "subscription", **subscriptions}])
            else:
                await client.send([{"T": "error", "code": 400, "msg": "invalid syntax"}])
    except WebSocketDisconnect:
        return
    finally:
        if client in clients:
            clients.remove(client)
