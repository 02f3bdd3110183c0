"""What the circuit breakers measure, folded from executions and bars. Nothing is kept that no breaker asks for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from operators.money import ZERO, divide, multiply, to_decimal
from operators.risk.book import RiskBook
from operators.risk.breakers import (
    DAILY_LOSS,
    DAY_FALL,
    DRAWDOWN,
    LAG,
    LOSS_STREAK,
    PORTFOLIO,
    REJECT_RATE,
    STALENESS,
    STRATEGY,
    SYMBOL,
    VOLATILITY_JUMP,
    Breaker,
)
from schemas.records import BUY, HEARTBEAT, NEW, REJECTED, TRADE, Bar, Command, Execution, Record

_EQUITY = (DAILY_LOSS, DAY_FALL, DRAWDOWN)
_SECOND_NS = 1_000_000_000


class Returns(NamedTuple):
    """Exponentially weighted variance of one symbol's bar returns: last close, variance, bars seen."""

    close: float
    variance: float
    bars: int


class Meters:
    """Measures of one portfolio."""

    def __init__(self, breakers: Sequence[Breaker], initial_capital: Decimal) -> None:
        self._wanted = {(one.measure, one.scope) for one in breakers}
        self._windows: dict[tuple[str, str], int] = {(one.measure, one.scope): one.window for one in breakers}
        self._equity_wanted = any(one.measure in _EQUITY for one in breakers)
        self._streak_scopes = [s for s in (PORTFOLIO, STRATEGY, SYMBOL) if (LOSS_STREAK, s) in self._wanted]
        self._reject_scopes = [s for s in (PORTFOLIO, STRATEGY, SYMBOL) if (REJECT_RATE, s) in self._wanted]
        self.bars_wanted = (VOLATILITY_JUMP, SYMBOL) in self._wanted
        self.anything = bool(self._wanted)
        self.peak = initial_capital
        self._costs: dict[str, tuple[Decimal, Decimal]] = {}  # symbol -> quantity, average price
        self._streaks: dict[tuple[str, str], int] = {}
        self._answers: dict[tuple[str, str], list[int]] = {}  # 1 for a rejected order, latest last
        self._returns: dict[str, Returns] = {}
        self._jumps: dict[str, Decimal] = {}
        self._lag: Decimal | None = None

    def fold_command(self, ts_ns: int, command: Command) -> None:
        """A heartbeat says what the wall clock showed when it was put behind the log's last clock."""
        if command.kind == HEARTBEAT:
            self._lag = max(ZERO, Decimal(command.ts_ns - ts_ns) / _SECOND_NS)

    def fold_execution(self, report: Execution, strategy: str) -> None:
        """`strategy` is the one that the order came from, "" where it is not known."""
        keys = {PORTFOLIO: "", STRATEGY: strategy, SYMBOL: report.symbol}
        if report.exec_type in (NEW, REJECTED):
            for scope in self._reject_scopes:
                answers = self._answers.setdefault((scope, keys[scope]), [])
                answers.append(int(report.exec_type == REJECTED))
                del answers[: -self._windows[REJECT_RATE, scope]]
        elif report.exec_type == TRADE and self._streak_scopes:
            lost = self._closed_at_loss(report)
            if lost is not None:
                for scope in self._streak_scopes:
                    at = (scope, keys[scope])
                    self._streaks[at] = self._streaks.get(at, 0) + 1 if lost else 0

    def _closed_at_loss(self, report: Execution) -> bool | None:
        """Whether a trade closed at a loss against the average price; None where it closed nothing."""
        quantity, average = self._costs.get(report.symbol, (ZERO, ZERO))
        signed = report.quantity if report.side == BUY else -report.quantity
        after = quantity + signed
        lost: bool | None = None
        if quantity * signed >= 0:
            average = divide(quantity * average + signed * report.price, after)
        else:
            lost = (report.price - average) * quantity < 0
            average = report.price if quantity * after < 0 else average
        if after:
            self._costs[report.symbol] = (after, average)
        else:
            self._costs.pop(report.symbol, None)
        return lost

    def fold_bars(self, records: Sequence[Record]) -> None:
        """Returns of the tick's bars; called only where `bars_wanted`."""
        self._jumps = {}
        window = self._windows[VOLATILITY_JUMP, SYMBOL]
        alpha = 2.0 / (window + 1.0)
        for record in records:
            if type(record) is not Bar or not record.traded:
                continue
            before = self._returns.get(record.symbol)
            if before is None:
                self._returns[record.symbol] = Returns(record.close, 0.0, 0)
                continue
            change = record.close / before.close - 1.0
            if before.bars >= window and before.variance > 0.0:
                self._jumps[record.symbol] = to_decimal(round(abs(change) / math.sqrt(before.variance), 6))
            variance = before.variance + alpha * (change * change - before.variance)
            self._returns[record.symbol] = Returns(record.close, variance, before.bars + 1)

    def measure(self, ts_ns: int, book: RiskBook) -> dict[tuple[str, str], dict[str, Decimal]]:
        """All that breakers ask for, as of the end of this tick's bars."""
        out: dict[tuple[str, str], dict[str, Decimal]] = {}
        if self._equity_wanted and book.unpriced() is None:
            equity = book.cash + book.net_value()
            self.peak = max(self.peak, equity)
            lost, wanted = book.day_equity - equity, self._wanted
            if (DAILY_LOSS, PORTFOLIO) in wanted:
                out[DAILY_LOSS, PORTFOLIO] = {"": max(ZERO, lost)}
            if (DAY_FALL, PORTFOLIO) in wanted and book.day_equity > 0:
                out[DAY_FALL, PORTFOLIO] = {"": max(ZERO, divide(lost, book.day_equity))}
            if (DRAWDOWN, PORTFOLIO) in wanted and self.peak > 0:
                out[DRAWDOWN, PORTFOLIO] = {"": divide(self.peak - equity, self.peak)}
        for scope in self._streak_scopes:
            out[LOSS_STREAK, scope] = {k: Decimal(n) for (s, k), n in self._streaks.items() if s == scope}
        for scope in self._reject_scopes:
            full = self._windows[REJECT_RATE, scope]
            out[REJECT_RATE, scope] = {
                k: divide(Decimal(sum(answers)), Decimal(full))
                for (s, k), answers in self._answers.items()
                if s == scope and len(answers) == full
            }
        if self.bars_wanted:
            out[VOLATILITY_JUMP, SYMBOL] = self._jumps
        if self._lag is not None:
            out[LAG, PORTFOLIO] = {"": self._lag}
        if (STALENESS, SYMBOL) in self._wanted:
            out[STALENESS, SYMBOL] = {
                symbol: Decimal(ts_ns - book.last[symbol].ts_ns) / _SECOND_NS
                for symbol, holding in book.holdings.items()
                if holding.quantity and symbol in book.last
            }
        return out

    def split(self, symbol: str, ratio: Decimal) -> None:
        """`ratio` new units for one old: neither a return of the market nor a loss."""
        if symbol in self._costs:
            quantity, average = self._costs[symbol]
            self._costs[symbol] = (multiply(quantity, ratio), divide(average, ratio))
        if symbol in self._returns:
            before = self._returns[symbol]
            self._returns[symbol] = before._replace(close=before.close / float(ratio))

    def snapshot(self) -> tuple[Any, ...]:
        return (
            self.peak,
            dict(self._costs),
            dict(self._streaks),
            {at: list(answers) for at, answers in self._answers.items()},
            {symbol: tuple(one) for symbol, one in self._returns.items()},
            dict(self._jumps),
            self._lag,
        )

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        self.peak, costs, streaks, answers, returns, jumps, self._lag = snapshot
        self._costs, self._streaks, self._jumps = dict(costs), dict(streaks), dict(jumps)
        self._answers = {at: list(one) for at, one in answers.items()}
        self._returns = {symbol: Returns(*one) for symbol, one in returns.items()}
