"""Strategies of a user whose handlers do not return. The tests load them by their path."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from operators.strategies import TargetView, TradingStrategy


class Endless(TradingStrategy):
    """Trades until bar `at`, where its handler does not return: it spins, calculates, waits, or catches every
    exception.

    Each call that does not return adds a line to the file `calls`, so that a test can count them.
    """

    def __init__(self, *, how: str = "spin", at: int = 10, calls: str = "", name: str = "endless") -> None:
        self.how, self.at, self.calls, self.name = how, at, calls, name

    def on_slice(self, ctx: Any) -> None:
        count = ctx.state["slices"] = ctx.state.get("slices", 0) + 1
        first = min(ctx.universe)
        ctx.target_quantity(first, count % 3)
        if count == self.at:
            self._run_forever()

    def _run_forever(self) -> None:
        if self.calls:
            with Path(self.calls).open("a") as file:
                file.write(f"{self.name}\n")
        while self.how == "spin":
            pass
        while self.how == "calculate":  # in C code, which never releases the GIL
            sum(range(10**15))
        while self.how == "wait":
            time.sleep(3600)
        while self.how == "catch":
            try:
                while True:
                    pass
            except BaseException:  # noqa: BLE001, S110  (what the tests are about)
                pass


class EndlessView:
    """A view strategy that spins on bar `at` of `symbol`."""

    features: tuple[str, ...] = ()

    def __init__(self, *, symbol: str = "B", at: int = 10, name: str = "endless_view") -> None:
        self.symbol, self.at, self.name = symbol, at, name

    def decide(self, row: Any, state: Any) -> tuple[Any, TargetView | None]:
        count = (state or 0) + 1
        while row.symbol == self.symbol and count == self.at:
            pass
        return count, TargetView(count % 2, 1.0, 0.5, {})
