"""Stream Alpaca's trade updates in a separate thread; report connects, disconnects and updates to callbacks."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from alpaca.trading.stream import TradingStream

from sinks.background_thread import BackgroundThread

RECONNECT_S_MIN, RECONNECT_S_MAX = 0.25, 15.0
# The library logs a traceback for every attempt; `on_state` reports the same in one sentence.
logging.getLogger("alpaca.trading.stream").setLevel(logging.CRITICAL)


class TradeUpdatesStream(TradingStream):
    """Calls `on_state(True)` when updates are received, `on_state(False)` when they stop, and `on_update(data)`.

    All callbacks run in the thread of the stream. It reconnects automatically.
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
        options: dict[str, Any] = {} if url is None else {"url_override": url.replace("http", "ws", 1) + "/stream"}
        super().__init__(key, secret, paper=paper, raw_data=True, **options)
        self._reconnect_min_backoff, self._reconnect_max_backoff = RECONNECT_S_MIN, RECONNECT_S_MAX
        self._on_state, self._on_update = on_state, on_update
        self.subscribe_trade_updates(self._on_message)
        self._thread = BackgroundThread("broker-updates", self.run)

    async def _on_message(self, message: dict[str, Any]) -> None:
        self._on_update(message.get("data", {}))

    async def _start_ws(self) -> None:
        await super()._start_ws()  # type: ignore[no-untyped-call]  # alpaca-py has no annotations here
        self._on_state(True)

    async def close(self) -> None:
        self._on_state(False)
        await super().close()

    def start(self) -> None:
        self._thread.start()

    def shut_down(self) -> None:
        """Close the socket without waiting for pending updates."""
        self._thread.request_stop()
        loop: Any = self._loop
        if loop is not None and loop.is_running():
            asyncio.run_coroutine_threadsafe(self._close_socket(), loop)
        self._thread.join(3)

    async def _close_socket(self) -> None:
        await self.stop_ws()
        socket: Any = self._ws
        if socket is not None:
            await socket.close()  # wakes the reader, which otherwise blocks for seconds
