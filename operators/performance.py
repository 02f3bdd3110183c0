"""How a run did: equity, drawdown, Sharpe ratio, counts. Folds ticks in; memory does not grow with their number."""

from __future__ import annotations

import math
from collections import deque
from decimal import Decimal
from typing import Any

from operators.decision_hash import Decisions
from operators.money import plain
from operators.stage import Tick
from schemas.records import TRADE, Bar, DeadLetter, Execution, Order, OrderRefusal, Signal, Valuation

VERSION = 1
TRADING_DAYS_A_YEAR = 252
CURVE_POINTS_MAX = 2000
FILLS_SHOWN = 200


class Welford:
    """Mean and variance of a stream. Source: B. P. Welford (1962), Technometrics 4(3)."""

    __slots__ = ("mean", "n", "squares")

    def __init__(self, n: int = 0, mean: float = 0.0, squares: float = 0.0) -> None:
        self.n, self.mean, self.squares = n, mean, squares

    def add(self, x: float) -> None:
        self.n += 1
        delta = x - self.mean
        self.mean += delta / self.n
        self.squares += delta * (x - self.mean)

    def stdev(self) -> float | None:
        """Of the sample; None before the second value."""
        return math.sqrt(self.squares / (self.n - 1)) if self.n > 1 else None


class Performance:
    """Folds a run's ticks: bars, signals, and everything the trading loop gave.

    The Sharpe ratio is mean over standard deviation of daily returns, times the root of 252, risk-free rate 0; None
    with fewer than two trading days or no variation. Drawdown is the largest fall from a peak of equity, as a fraction.
    Source: W. F. Sharpe (1994), Journal of Portfolio Management 21(1).
    """

    def __init__(self, initial_equity: Decimal) -> None:
        self.initial_equity = initial_equity
        self.decisions = Decisions()
        self.counts = dict.fromkeys(("bars", "signals", "orders", "fills", "refusals", "dead_letters"), 0)
        self.last: Valuation | None = None
        self.curve: list[tuple[int, float]] = []  # (ts_ns, equity), thinned out evenly
        self.fills: deque[Execution] = deque(maxlen=FILLS_SHOWN)
        self.max_drawdown = 0.0
        self._peak = self._equity = self._day_start = float(initial_equity)
        self._day = 0
        self._daily = Welford()
        self._every, self._skipped = 1, 0

    def on_tick(self, tick: Tick) -> None:
        counts, add = self.counts, self.decisions.add
        for record in tick.records:
            kind = type(record)
            if kind is Bar:
                counts["bars"] += 1
                if record.trading_day != self._day:  # type: ignore[union-attr]
                    self._turn(record.trading_day)  # type: ignore[union-attr]
                continue
            if kind is Valuation:
                self._value(record)  # type: ignore[arg-type]
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

    def _turn(self, day: int) -> None:
        """A new trading day begins: book the return of the one before."""
        if self._day:
            self._daily.add(self._equity / self._day_start - 1)
        self._day, self._day_start = day, self._equity

    def _value(self, valuation: Valuation) -> None:
        self.last = valuation
        self._equity = equity = float(valuation.equity)
        if equity > self._peak:
            self._peak = equity
        elif self._peak > 0:
            self.max_drawdown = max(self.max_drawdown, 1 - equity / self._peak)
        self._skipped += 1
        if self._skipped >= self._every:
            self._skipped = 0
            self.curve.append((valuation.ts_ns, equity))
            if len(self.curve) >= CURVE_POINTS_MAX:
                self.curve = self.curve[::2]
                self._every *= 2

    def sharpe(self) -> float | None:
        days = Welford(self._daily.n, self._daily.mean, self._daily.squares)
        if self._day:
            days.add(self._equity / self._day_start - 1)
        deviation = days.stdev()
        return days.mean / deviation * math.sqrt(TRADING_DAYS_A_YEAR) if deviation else None

    def summary(self) -> dict[str, Any]:
        """Counts as numbers, money as text (exact), ratios as numbers."""
        zero = Decimal(0)
        last = self.last or Valuation(0, 0, self.initial_equity, self.initial_equity, zero, zero, zero, zero, zero, 0)
        return {
            **self.counts,
            "initial_equity": plain(self.initial_equity),
            "final_equity": plain(last.equity),
            "cash": plain(last.cash),
            "realized_pnl": plain(last.realized_pnl),
            "unrealized_pnl": plain(last.unrealized_pnl),
            "fees": plain(last.fees),
            "max_drawdown": round(self.max_drawdown, 9),
            "sharpe": None if (sharpe := self.sharpe()) is None else round(sharpe, 6),
            "decision_hash": self.decisions.hexdigest(),
        }

    def snapshot(self) -> Any:
        last = None if self.last is None else tuple(self.last)
        daily = (self._daily.n, self._daily.mean, self._daily.squares)
        run = (self.max_drawdown, self._peak, self._equity, self._day_start, self._day, self._every, self._skipped)
        fills = [tuple(fill) for fill in self.fills]
        return (VERSION, dict(self.counts), last, list(self.curve), fills, daily, run, self.decisions.snapshot())

    def restore(self, snapshot: Any) -> None:
        version, counts, last, curve, fills, daily, run, decisions = snapshot
        assert version == VERSION, f"performance state of version {version}, expected {VERSION}"
        self.counts, self.curve = dict(counts), list(curve)
        self.last = None if last is None else Valuation._make(last)
        self.fills = deque((Execution._make(fill) for fill in fills), maxlen=FILLS_SHOWN)
        self._daily = Welford(*daily)
        self.max_drawdown, self._peak, self._equity, self._day_start, self._day, self._every, self._skipped = run
        self.decisions.restore(decisions)
