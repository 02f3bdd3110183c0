"""Bars of exact volume or currency traded, built from trades."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

from operators.trading.resampling import scale_bar
from operators.trading.sessions import SessionBounds
from schemas.records import Bar

UNIT: Final = 10**9
"""Volumes are counted in units of 1e-9 and amounts of currency in 1e-18, so that sums are exact."""
BARS_MAX: Final = 10_000
"""Maximum number of bars that one trade closes. The last of them contains the rest of the trade."""


class ExactThresholdBars:
    """Bars that each contain exactly `threshold`. A trade that exceeds the rest of a bar is split between bars.

    `unit` is `v` for the volume and `d` for the currency traded (price times size). A trade above `threshold` closes
    several bars at its price; what remains of it begins the next bar. No volume is lost or counted twice.
    The bars that `update` receives must be trades (`bar_of_trade`). Bars continue over the end of a session.

    After a split, the volume of the open bar counts in new shares. If it then exceeds `threshold`, the bar closes with
    the next trade, without it.
    """

    __slots__ = ("_amount", "_bar", "_size", "_threshold", "seq", "unit")

    def __init__(self, unit: str, threshold: str) -> None:
        self.unit = unit
        self._threshold = int(Decimal(threshold) * (UNIT if unit == "v" else UNIT**2))
        self.seq = 0
        self._bar: Bar | None = None  # the bar that is not closed yet, without its volume
        self._size = 0  # its volume, in 1e-9
        self._amount = 0  # what counts towards the threshold

    def update(self, bar: Bar, bounds: SessionBounds, *, ends_week: bool = False) -> list[Bar]:
        size = round(bar.volume * UNIT)
        amount = size if self.unit == "v" else size * round(bar.close * UNIT)
        if amount <= 0:
            return []
        closed: list[Bar] = []
        if self._amount >= self._threshold:
            closed.append(self._close())
        amount_used = size_used = 0
        while self._amount + amount - amount_used >= self._threshold:
            needed = self._threshold - self._amount
            if len(closed) == BARS_MAX - 1:
                needed += (amount - amount_used - needed) // self._threshold * self._threshold
            amount_used += needed
            size_to = size * amount_used // amount
            self._add(bar, size_to - size_used)
            size_used = size_to
            closed.append(self._close())
        if amount_used < amount:
            self._add(bar, size - size_used)
            self._amount += amount - amount_used
        return closed

    def _add(self, trade: Bar, size: int) -> None:
        """Add a part of a trade to the open bar."""
        first, price = self._bar, trade.close
        if first is None:
            self._bar = trade
        else:
            self._bar = trade._replace(
                open_ns=first.open_ns, open=first.open, high=max(first.high, price), low=min(first.low, price)
            )
        self._size += size

    def _close(self) -> Bar:
        bar = self._bar
        assert bar is not None, "no bar to close"
        self.seq += 1
        closed = bar._replace(seq=self.seq, volume=self._size / UNIT)
        self._bar, self._size, self._amount = None, 0, 0
        return closed

    def rescale(self, factor: float) -> None:
        if (bar := self._bar) is None:
            return
        self._bar = scale_bar(bar, factor)
        self._size = round(self._size / factor)
        if self.unit == "v":
            self._amount = self._size

    def snapshot(self) -> Any:
        return (self.seq, None if self._bar is None else tuple(self._bar), self._size, self._amount)

    def restore(self, snapshot: Any) -> None:
        self.seq, bar, self._size, self._amount = snapshot
        self._bar = None if bar is None else Bar(*bar)
