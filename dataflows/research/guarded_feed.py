"""The feed of a backtest that keeps its errors out of the engine, which would print a trace of its own before them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dataflows.sources.feed_source import MarketFeed
from operators.stage import TimeSlice
from schemas.errors import PlatformError


class GuardedFeed:
    """Another feed that ends at its first error. `on_error` receives the error.

    `check_first` receives the first time slice, and may raise. The feed also ends when `is_ended` returns True.
    """

    def __init__(
        self,
        feed: MarketFeed,
        on_error: Callable[[PlatformError], None],
        check_first: Callable[[TimeSlice], None] | None = None,
        is_ended: Callable[[], bool] = lambda: False,
    ) -> None:
        self._feed, self._on_error, self._check_first, self._is_ended = feed, on_error, check_first, is_ended
        self._failed = False

    @property
    def interval_ns(self) -> int:
        return self._feed.interval_ns

    @property
    def finished(self) -> bool:
        return self._failed or self._is_ended() or self._feed.finished

    def take(self, count: int) -> list[TimeSlice]:
        try:
            time_slices = self._feed.take(count)
            if self._check_first is not None and time_slices:
                self._check_first(time_slices[0])
                self._check_first = None
        except PlatformError as error:
            self._failed = True
            self._on_error(error)
            return []
        return time_slices

    def due_ns(self) -> int | None:
        return self._feed.due_ns()

    def state(self) -> dict[str, Any]:
        return self._feed.state()

    def resume(self, state: dict[str, Any] | None) -> GuardedFeed:
        self._feed = self._feed.resume(state)
        return self
