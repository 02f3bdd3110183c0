"""Bars that close by trades, volume, currency traded or price instead of time, and Heikin-Ashi bars.

All read bars of the feed. A trade is a bar with one price (`bar_of_trade`), so that the same code builds them from
trades. Each has the interface of `BarResampler`.
"""

from __future__ import annotations

from typing import Any, Final, Protocol

from operators.trading.intervals import FROM_TRADES, HEIKIN_ASHI, Interval, is_from_trades, parse_interval
from operators.trading.resampling import BarResampler, scale_bar
from operators.trading.sessions import SessionBounds
from operators.trading.trade_bars import ExactThresholdBars
from schemas.records import Bar, SessionPhase, Trade

PRICE_DECIMALS: Final = 9
"""Decimals of a price in the records of the platform."""
BRICKS_MAX: Final = 10_000
"""Maximum number of Renko bricks that one bar closes."""


class BarBuilder(Protocol):
    """Build the bars of one symbol and interval from those of the feed. `seq` is the number of closed bars."""

    seq: int

    def update(self, bar: Bar, bounds: SessionBounds, *, ends_week: bool = False) -> list[Bar]:
        """Add a bar of a session with these `bounds`. Return the bars that it closes, oldest first."""
        ...

    def rescale(self, factor: float) -> None:
        """Convert the state after a split: multiply its prices by `factor`, divide its volumes by it."""
        ...

    def snapshot(self) -> Any: ...

    def restore(self, snapshot: Any) -> None: ...


def bar_builder(interval: Interval) -> BarBuilder:
    """Return a builder without bars for an interval of `parse_interval` or `from_trades`.

    For an interval of `from_trades`, the builder must receive trades (`bar_of_trade`).
    """
    if isinstance(interval, int):
        return BarResampler(interval)
    if is_from_trades(interval):
        return _trade_bar_builder(interval.removeprefix(FROM_TRADES))
    if interval.startswith(HEIKIN_ASHI):
        return HeikinAshiBars(bar_builder(parse_interval(interval.removeprefix(HEIKIN_ASHI))))
    if interval.startswith("renko_"):
        return RenkoBars(float(interval.removeprefix("renko_")))
    return ThresholdBars(interval[-1], float(interval[:-1]))


def _trade_bar_builder(interval: str) -> BarBuilder:
    if interval.startswith(HEIKIN_ASHI):
        return HeikinAshiBars(_trade_bar_builder(interval.removeprefix(HEIKIN_ASHI)))
    if interval[-1] in ("v", "d"):
        return ExactThresholdBars(interval[-1], interval[:-1])
    return bar_builder(interval)


def bar_of_trade(trade: Trade, session: SessionPhase, trading_day: int) -> Bar:
    """Return a trade as a bar with one price. Its `seq` and times are those of the trade."""
    price = trade.price
    return Bar(
        symbol=trade.symbol,
        seq=trade.seq,
        ts_ns=trade.ts_ns,
        open_ns=trade.ts_ns,
        open=price,
        high=price,
        low=price,
        close=price,
        volume=trade.size,
        session=session,
        trading_day=trading_day,
        traded=True,
    )


class ThresholdBars:
    """Bars that close with the first trade, or bar of the feed, at which an amount since their start is `threshold`.

    `unit` is `t` for the number of trades, `v` for the volume and `d` for the currency traded (close times volume). The
    excess over `threshold` is not carried to the next bar, and bars continue over the end of a session. Bars without a
    trade are skipped. Source: M. López de Prado, Advances in Financial Machine Learning (2018), 2.3.
    """

    __slots__ = ("_amount", "_bar", "seq", "threshold", "unit")

    def __init__(self, unit: str, threshold: float) -> None:
        self.unit, self.threshold = unit, threshold
        self.seq = 0
        self._bar: Bar | None = None  # the bar that is not closed yet
        self._amount = 0.0

    def update(self, bar: Bar, bounds: SessionBounds, *, ends_week: bool = False) -> list[Bar]:
        if not bar.traded:
            return []
        first = self._bar
        self._bar = longer = bar if first is None else _joined(first, bar)
        self._amount += 1.0 if self.unit == "t" else bar.volume if self.unit == "v" else bar.close * bar.volume
        if self._amount < self.threshold:
            return []
        self.seq += 1
        self._bar, self._amount = None, 0.0
        return [longer._replace(seq=self.seq)]

    def rescale(self, factor: float) -> None:
        if self._bar is not None:
            self._bar = scale_bar(self._bar, factor)
        if self.unit == "v":
            self._amount /= factor

    def snapshot(self) -> Any:
        return (self.seq, None if self._bar is None else tuple(self._bar), self._amount)

    def restore(self, snapshot: Any) -> None:
        self.seq, bar, self._amount = snapshot
        self._bar = None if bar is None else Bar(*bar)


class RenkoBars:
    """Bricks of `size` in the unit of the price, between multiples of it. Only closes form bricks.

    The first close is rounded to the nearest multiple. A brick closes when the close reaches the next multiple in the
    direction of the last brick, or the second one against it; a large move closes several bricks at once. The first of
    them has the volume since the last brick, the others 0. After a split, the bricks start again at the middle of the
    last one; after a move of more than `BRICKS_MAX` bricks, at the present price.
    """

    __slots__ = ("_bottom", "_first", "_top", "_volume", "seq", "size")

    def __init__(self, size: float) -> None:
        self.size = size
        self.seq = 0
        # Edges of the last brick as multiples of the size; equal before the first brick.
        self._bottom: int | None = None
        self._top = 0
        self._volume = 0.0
        self._first = 0  # start of the time since the last brick, 0 if there was no trade since

    def update(self, bar: Bar, bounds: SessionBounds, *, ends_week: bool = False) -> list[Bar]:
        if not bar.traded:
            return []
        nearest = round(bar.close / self.size)
        if self._bottom is None or abs(nearest - self._bottom) > BRICKS_MAX:
            self._bottom = self._top = nearest
        self._volume += bar.volume
        self._first = self._first or bar.open_ns
        bricks: list[Bar] = []
        while bar.close >= self._price(self._top + 1):
            self._bottom, self._top = self._top, self._top + 1
            bricks.append(self._brick(bar, self._bottom, self._top))
        while bar.close <= self._price(self._bottom - 1):
            self._bottom, self._top = self._bottom - 1, self._bottom
            bricks.append(self._brick(bar, self._top, self._bottom))
        return bricks

    def _price(self, multiple: int) -> float:
        return round(multiple * self.size, PRICE_DECIMALS)

    def _brick(self, bar: Bar, start: int, end: int) -> Bar:
        self.seq += 1
        opened, closed = self._price(start), self._price(end)
        brick = bar._replace(
            seq=self.seq,
            open_ns=self._first or bar.ts_ns,
            open=opened,
            high=max(opened, closed),
            low=min(opened, closed),
            close=closed,
            volume=self._volume,
        )
        self._volume, self._first = 0.0, 0
        return brick

    def rescale(self, factor: float) -> None:
        if self._bottom is not None:
            middle = (self._bottom + self._top) / 2.0
            self._bottom = self._top = round(middle * factor)
        self._volume /= factor

    def snapshot(self) -> Any:
        return (self.seq, self._bottom, self._top, self._volume, self._first)

    def restore(self, snapshot: Any) -> None:
        self.seq, self._bottom, self._top, self._volume, self._first = snapshot


class HeikinAshiBars:
    """Heikin-Ashi bars of the bars of another builder.

    The close is the mean of the four prices, the open the middle of the body before (at first that of the bar), and the
    high and low include both. Times, volumes and numbers are those of the bars. Source: D. Valcu, Using the Heikin-Ashi
    Technique, Stocks & Commodities 22:2 (2004).
    """

    __slots__ = ("_middle", "bars", "seq")

    def __init__(self, bars: BarBuilder) -> None:
        self.bars = bars
        self.seq = 0
        self._middle: float | None = None  # of the body of the last bar

    def update(self, bar: Bar, bounds: SessionBounds, *, ends_week: bool = False) -> list[Bar]:
        closed = [self._transformed(one) for one in self.bars.update(bar, bounds, ends_week=ends_week)]
        self.seq = self.bars.seq
        return closed

    def _transformed(self, bar: Bar) -> Bar:
        start = (bar.open + bar.close) / 2.0 if self._middle is None else self._middle
        close = (bar.open + bar.high + bar.low + bar.close) / 4.0
        self._middle = (start + close) / 2.0
        return bar._replace(open=start, high=max(bar.high, start, close), low=min(bar.low, start, close), close=close)

    def rescale(self, factor: float) -> None:
        self.bars.rescale(factor)
        if self._middle is not None:
            self._middle *= factor

    def snapshot(self) -> Any:
        return (self.bars.snapshot(), self._middle)

    def restore(self, snapshot: Any) -> None:
        bars, self._middle = snapshot
        self.bars.restore(bars)
        self.seq = self.bars.seq


def _joined(first: Bar, second: Bar) -> Bar:
    """Add a traded bar to an open one."""
    return first._replace(
        ts_ns=second.ts_ns,
        high=max(first.high, second.high),
        low=min(first.low, second.low),
        close=second.close,
        volume=first.volume + second.volume,
        session=second.session,
        trading_day=second.trading_day,
    )
