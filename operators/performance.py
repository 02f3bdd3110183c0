"""Performance of a run: equity, drawdown, Sharpe ratio and counts. Memory is bounded."""

from __future__ import annotations

import math
from collections import deque
from decimal import Decimal
from typing import Any

from operators.decision_hash import DecisionHash
from operators.money import plain
from operators.stage import TimeSlice
from schemas.records import TRADE, Bar, DeadLetter, Execution, Order, OrderRefusal, Signal, Valuation

VERSION = 1
TRADING_DAYS_A_YEAR = 252
CURVE_POINTS_MAX = 2000
FILLS_SHOWN = 200


class Welford:
    """Mean and variance of a stream. Source: B. P. Welford (1962), Technometrics 4(3)."""

    __slots__ = ("count", "mean", "square_sum")

    def __init__(self, count: int = 0, mean: float = 0.0, square_sum: float = 0.0) -> None:
        self.count, self.mean, self.square_sum = count, mean, square_sum

    def add(self, x: float) -> None:
        self.count += 1
        delta = x - self.mean
        self.mean += delta / self.count
        self.square_sum += delta * (x - self.mean)

    def stdev(self) -> float | None:
        """Sample standard deviation; None before the second value."""
        return math.sqrt(self.square_sum / (self.count - 1)) if self.count > 1 else None


class Performance:
    """Compute statistics from a run's time slices: bars, signals and all outputs of the trading loop.

    The Sharpe ratio is mean over standard deviation of daily returns, times the square root of 252, with a risk-free
    rate of 0. It is None with fewer than two trading days or without variation. Drawdown is the largest fall from a
    peak of equity, as a fraction of the peak. Source: W. F. Sharpe (1994), Journal of Portfolio Management 21(1).
    """

    def __init__(self, initial_equity: Decimal) -> None:
        self.initial_equity = initial_equity
        self.decisions = DecisionHash()
        self.counts = dict.fromkeys(("bars", "signals", "orders", "fills", "refusals", "dead_letters"), 0)
        self.last_valuation: Valuation | None = None
        self.curve: list[tuple[int, float]] = []  # (ts_ns, equity), sampled evenly
        self.fills: deque[Execution] = deque(maxlen=FILLS_SHOWN)
        self.max_drawdown = 0.0
        self._peak = self._equity = self._day_start = float(initial_equity)
        self._day = 0
        self._daily_returns = Welford()
        self._sample_interval, self._skipped = 1, 0

    def on_slice(self, time_slice: TimeSlice) -> None:
        counts, add = self.counts, self.decisions.add
        for record in time_slice.records:
            kind = type(record)
            if kind is Bar:
                counts["bars"] += 1
                if record.trading_day != self._day:  # type: ignore[union-attr]
                    self._start_day(record.trading_day)  # type: ignore[union-attr]
                continue
            if kind is Valuation:
                self._fold_valuation(record)  # type: ignore[arg-type]
            elif kind is Execution:
                if record.exec_type == TRADE:  # type: ignore[union-attr]
                    counts["fills"] += 1
                    self.fills.append(record)  # type: ignore[arg-type]
            elif kind is Order:
                counts["orders"] += 1
            elif kind is OrderRefusal:
                counts["refusals"] += 1
            elif kind is Signal:
                counts["signals"] += 1
                continue
            elif kind is DeadLetter:
                counts["dead_letters"] += 1
                continue
            add(record)

    def _start_day(self, day: int) -> None:
        """Start a new trading day, and add the return of the previous one."""
        if self._day:
            self._daily_returns.add(self._equity / self._day_start - 1)
        self._day, self._day_start = day, self._equity

    def _fold_valuation(self, valuation: Valuation) -> None:
        self.last_valuation = valuation
        self._equity = equity = float(valuation.equity)
        if equity > self._peak:
            self._peak = equity
        elif self._peak > 0:
            self.max_drawdown = max(self.max_drawdown, 1 - equity / self._peak)
        self._skipped += 1
        if self._skipped >= self._sample_interval:
            self._skipped = 0
            self.curve.append((valuation.ts_ns, equity))
            if len(self.curve) >= CURVE_POINTS_MAX:
                self.curve = self.curve[::2]
                self._sample_interval *= 2

    def sharpe(self) -> float | None:
        daily_returns = Welford(self._daily_returns.count, self._daily_returns.mean, self._daily_returns.square_sum)
        if self._day:
            daily_returns.add(self._equity / self._day_start - 1)
        deviation = daily_returns.stdev()
        return daily_returns.mean / deviation * math.sqrt(TRADING_DAYS_A_YEAR) if deviation else None

    def summary(self) -> dict[str, Any]:
        """Return counts and ratios as numbers, and money as text (exact)."""
        zero = Decimal(0)
        valuation = self.last_valuation or Valuation(
            0, 0, self.initial_equity, self.initial_equity, zero, zero, zero, zero, zero, 0
        )
        return {
            **self.counts,
            "initial_equity": plain(self.initial_equity),
            "final_equity": plain(valuation.equity),
            "cash": plain(valuation.cash),
            "realized_pnl": plain(valuation.realized_pnl),
            "unrealized_pnl": plain(valuation.unrealized_pnl),
            "fees": plain(valuation.fees),
            "max_drawdown": round(self.max_drawdown, 9),
            "sharpe": None if (sharpe := self.sharpe()) is None else round(sharpe, 6),
            "decision_hash": self.decisions.hexdigest(),
        }

    def snapshot(self) -> Any:
        last_valuation = None if self.last_valuation is None else tuple(self.last_valuation)
        daily_returns = (self._daily_returns.count, self._daily_returns.mean, self._daily_returns.square_sum)
        progress = (
            self.max_drawdown,
            self._peak,
            self._equity,
            self._day_start,
            self._day,
            self._sample_interval,
            self._skipped,
        )
        fills = [tuple(fill) for fill in self.fills]
        return (
            VERSION,
            dict(self.counts),
            last_valuation,
            list(self.curve),
            fills,
            daily_returns,
            progress,
            self.decisions.snapshot(),
        )

    def restore(self, snapshot: Any) -> None:
        version, counts, last_valuation, curve, fills, daily_returns, progress, decisions = snapshot
        assert version == VERSION, f"performance snapshot: version {version}, expected {VERSION}"
        self.counts, self.curve = dict(counts), list(curve)
        self.last_valuation = None if last_valuation is None else Valuation._make(last_valuation)
        self.fills = deque((Execution._make(fill) for fill in fills), maxlen=FILLS_SHOWN)
        self._daily_returns = Welford(*daily_returns)
        (
            self.max_drawdown,
            self._peak,
            self._equity,
            self._day_start,
            self._day,
            self._sample_interval,
            self._skipped,
        ) = progress
        self.decisions.restore(decisions)
