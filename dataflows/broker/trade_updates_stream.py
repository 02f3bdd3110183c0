"""The trade-updates socket in a thread of its own: tells when it is authorised, when it is cut, and what it heard."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import Any

from alpaca.trading.stream import TradingStream

RECONNECT_S_MIN, RECONNECT_S_MAX = 0.25, 15.0
# It logs a traceback for every attempt; whoever listens here is told in a sentence.
logging.getLogger("alpaca.trading.stream").setLevel(logging.CRITICAL)


class TradeUpdatesStream(TradingStream):
    """`on_state(True)` once updates are listened to, `on_state(False)` when they no longer are; `on_update(data)`.

    All are called in the thread of the stream. It connects again by itself.
    """

    def __init__(
        self,
        key: str,
        secret: str,
        *,
        paper: bool,
        url: str | None,
        on_state: Callable[[bool], None],
        on_update: Callable[[dict[str, Any]], None],
    ) -> None:
        stream_url = None if url is None else url.replace("http", "ws", 1) + "/stream"
        super().__init__(key, secret, paper=paper, raw_data=True, url_override=stream_url)  # type: ignore[arg-type]
        self._reconnect_min_backoff, self._reconnect_max_backoff = RECONNECT_S_MIN, RECONNECT_S_MAX
        self._on_state, self._on_update = on_state, on_update
        self.subscribe_trade_updates(self._on_message)
        self._thread = threading.Thread(target=self.run, daemon=True, name="broker-updates")

    async def _on_message(self, message: dict[str, Any]) -> None:
        self._on_update(message.get("data", {}))

    async def _start_ws(self) -> None:
        await super()._start_ws()  # type: ignore[no-untyped-call]
        self._on_state(True)

    async def close(self) -> None:
        self._on_state(False)
        await super().close()

    def start(self) -> None:
        self._thread.start()

    def shut_down(self) -> None:
        """Let go of the socket; what it still delivers is not awaited."""
        loop: Any = self._loop
        if loop is not None and loop.is_running():
            asyncio.run_coroutine_threadsafe(self._close_socket(), loop)
        self._thread.join(3)

    async def _close_socket(self) -> None:
        await self.stop_ws()
        socket: Any = self._ws
        if socket is not None:
            await socket.close()  # wakes the reader, which would wait for seconds
