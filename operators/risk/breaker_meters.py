"""Compute the measures of the circuit breakers from executions, bars and heartbeats.

Only the measures that a configured breaker uses are computed and stored.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from operators.adjustments import is_adjustment
from operators.ledger.split_ratio import exact_ratio, split_price, split_quantity
from operators.money import ZERO, divide, sum_to_decimal, to_decimal
from operators.rebase import rebase
from operators.risk.book import RiskBook
from operators.risk.breakers import (
    DAILY_LOSS,
    DAY_FALL,
    DRAWDOWN,
    LAG,
    LOSS_STREAK,
    REJECT_RATE,
    STALENESS,
    VOLATILITY_JUMP,
    Breaker,
    Breakers,
)
from operators.risk.equity_bounds import EquityBounds
from schemas.records import (
    BUY,
    HEARTBEAT,
    NEW,
    PORTFOLIO,
    REJECTED,
    STRATEGY,
    SYMBOL,
    TRADE,
    Bar,
    BreakerScope,
    Command,
    Execution,
    Record,
)

_EQUITY_MEASURES = (DAILY_LOSS, DAY_FALL, DRAWDOWN)
_SECOND_NS = 1_000_000_000


class ReturnVariance(NamedTuple):
    """Exponentially weighted variance of one symbol's bar returns: last close, variance, bars seen."""

    close: float
    variance: float
    bars: int


class BreakerMeters:
    """The measures of one portfolio's circuit breakers."""

    def __init__(self, breakers: Sequence[Breaker], initial_capital: Decimal) -> None:
        self._measures = {(breaker.measure, breaker.scope) for breaker in breakers}
        self._windows: dict[tuple[str, str], int] = {
            (breaker.measure, breaker.scope): breaker.window for breaker in breakers
        }
        self._needs_equity = any(breaker.measure in _EQUITY_MEASURES for breaker in breakers)
        self._bounds = EquityBounds(breakers)
        self._streak_scopes: list[BreakerScope] = [
            scope for scope in (PORTFOLIO, STRATEGY, SYMBOL) if (LOSS_STREAK, scope) in self._measures
        ]
        self._reject_scopes: list[BreakerScope] = [
            scope for scope in (PORTFOLIO, STRATEGY, SYMBOL) if (REJECT_RATE, scope) in self._measures
        ]
        self.needs_bars = (VOLATILITY_JUMP, SYMBOL) in self._measures
        self.is_enabled = bool(self._measures)
        self.peak_equity = initial_capital
        self._costs: dict[str, tuple[Decimal, Decimal]] = {}  # symbol -> quantity, average price
        self._streaks: dict[tuple[str, str], int] = {}
        self._order_outcomes: dict[tuple[str, str], list[int]] = {}  # 1 for a rejected order, latest last
        self._return_variances: dict[str, ReturnVariance] = {}
        self._jumps: dict[str, Decimal] = {}
        self._lag: Decimal | None = None

    def fold_command(self, ts_ns: int, command: Command) -> None:
        """Update the lag from a heartbeat. `ts_ns` is event time; the heartbeat's own `ts_ns` is wall-clock time."""
        if command.kind == HEARTBEAT:
            self._lag = max(ZERO, Decimal(command.ts_ns - ts_ns) / _SECOND_NS)

    def fold_execution(self, report: Execution, strategy: str) -> None:
        """Update the loss streaks and reject rates. `strategy` is the order's strategy, "" if unknown.

        An adjustment changes the average price only: it is neither an order nor a decision of a strategy.
        """
        if not (self._reject_scopes or self._streak_scopes):
            return
        is_order = not is_adjustment(report.order_id)
        keys = {PORTFOLIO: "", STRATEGY: strategy, SYMBOL: report.symbol}
        if report.exec_type in (NEW, REJECTED) and is_order:
            for scope in self._reject_scopes:
                outcomes = self._order_outcomes.setdefault((scope, keys[scope]), [])
                outcomes.append(int(report.exec_type == REJECTED))
                del outcomes[: -self._windows[REJECT_RATE, scope]]
        elif report.exec_type == TRADE and self._streak_scopes:
            at_loss = self._closed_at_loss(report)
            if at_loss is not None and is_order:
                for scope in self._streak_scopes:
                    key = (scope, keys[scope])
                    self._streaks[key] = self._streaks.get(key, 0) + 1 if at_loss else 0

    def _closed_at_loss(self, report: Execution) -> bool | None:
        """Whether a trade closed at a loss against the average price; None if it closed nothing."""
        quantity, average = self._costs.get(report.symbol, (ZERO, ZERO))
        signed_quantity = report.quantity if report.side == BUY else -report.quantity
        after = quantity + signed_quantity
        at_loss: bool | None = None
        if quantity * signed_quantity >= 0:
            average = divide(quantity * average + signed_quantity * report.price, after)
        else:
            at_loss = (report.price - average) * quantity < 0
            average = report.price if quantity * after < 0 else average
        if after:
            self._costs[report.symbol] = (after, average)
        else:
            self._costs.pop(report.symbol, None)
        return at_loss

    def fold_bars(self, records: Sequence[Record]) -> None:
        """Update the return variances with the bars of a time slice. Call only if `needs_bars`."""
        self._jumps = {}
        window = self._windows[VOLATILITY_JUMP, SYMBOL]
        alpha = 2.0 / (window + 1.0)
        for record in records:
            if type(record) is not Bar or not record.traded:
                continue
            previous = self._return_variances.get(record.symbol)
            if previous is None:
                self._return_variances[record.symbol] = ReturnVariance(record.close, 0.0, 0)
                continue
            bar_return = record.close / previous.close - 1.0
            if previous.bars >= window and previous.variance > 0.0:
                self._jumps[record.symbol] = to_decimal(round(abs(bar_return) / math.sqrt(previous.variance), 6))
            variance = previous.variance + alpha * (bar_return * bar_return - previous.variance)
            self._return_variances[record.symbol] = ReturnVariance(record.close, variance, previous.bars + 1)

    def measure(self, ts_ns: int, book: RiskBook, breakers: Breakers) -> dict[tuple[str, str], dict[str, Decimal]]:
        """Return all measures that the breakers use, as of the end of this time slice's bars.

        While no breaker is tripped and the equity is far from all limits, the measures of the equity are absent.
        """
        out: dict[tuple[str, str], dict[str, Decimal]] = {}
        if self._needs_equity and book.unpriced_symbol() is None:
            net = book.net_value()
            if breakers.is_tripped or not self._bounds.contain(book, net, self.peak_equity):
                out = self._measure_equity(book, sum_to_decimal(round(net, 2)))
        for scope in self._streak_scopes:
            out[LOSS_STREAK, scope] = {k: Decimal(n) for (s, k), n in self._streaks.items() if s == scope}
        for scope in self._reject_scopes:
            window = self._windows[REJECT_RATE, scope]
            out[REJECT_RATE, scope] = {
                k: divide(Decimal(sum(outcomes)), Decimal(window))
                for (s, k), outcomes in self._order_outcomes.items()
                if s == scope and len(outcomes) == window
            }
        if self.needs_bars:
            out[VOLATILITY_JUMP, SYMBOL] = self._jumps
        if self._lag is not None:
            out[LAG, PORTFOLIO] = {"": self._lag}
        if (STALENESS, SYMBOL) in self._measures:
            out[STALENESS, SYMBOL] = {
                symbol: Decimal(ts_ns - book.last_bars[symbol].ts_ns) / _SECOND_NS
                for symbol, position in book.positions.items()
                if position.quantity and symbol in book.last_bars
            }
        return out

    def _measure_equity(self, book: RiskBook, net: Decimal) -> dict[tuple[str, str], dict[str, Decimal]]:
        """Return the measures of the equity. `net` is the net value of all positions."""
        out: dict[tuple[str, str], dict[str, Decimal]] = {}
        equity = book.cash + book.accrued + net
        self.peak_equity = max(self.peak_equity, equity)
        day_loss, measures = book.day_start_equity - equity, self._measures
        if (DAILY_LOSS, PORTFOLIO) in measures:
            out[DAILY_LOSS, PORTFOLIO] = {"": max(ZERO, day_loss)}
        if (DAY_FALL, PORTFOLIO) in measures and (base := book.day_start_base) > 0:
            out[DAY_FALL, PORTFOLIO] = {"": max(ZERO, divide(base - equity, base))}
        if (DRAWDOWN, PORTFOLIO) in measures and self.peak_equity > 0:
            out[DRAWDOWN, PORTFOLIO] = {"": divide(self.peak_equity - equity, self.peak_equity)}
        return out

    def rebase_peak(self, before: Decimal, after: Decimal) -> None:
        """Scale the peak by a flow that changes equity from `before` to `after`: a flow is neither profit nor loss."""
        self.peak_equity = rebase(max(self.peak_equity, before), before, after)

    def split(self, symbol: str, ratio: Decimal) -> None:
        """Adjust costs and closes for a split into `ratio` new units per old unit. A split is not a return."""
        if symbol in self._costs:
            quantity, average = self._costs[symbol]
            self._costs[symbol] = (split_quantity(quantity, ratio), split_price(average, ratio))
        if symbol in self._return_variances:
            previous = self._return_variances[symbol]
            self._return_variances[symbol] = previous._replace(close=previous.close / float(exact_ratio(ratio)))

    def go_ex(self, symbol: str, before: float, after: float) -> None:
        """Adjust the last close for a payment that moves the price from `before` to `after`: it is not a return."""
        if symbol in self._return_variances:
            previous = self._return_variances[symbol]
            self._return_variances[symbol] = previous._replace(close=previous.close * (after / before))

    def snapshot(self) -> tuple[Any, ...]:
        return (
            self.peak_equity,
            dict(self._costs),
            dict(self._streaks),
            {key: list(outcomes) for key, outcomes in self._order_outcomes.items()},
            {symbol: tuple(variance) for symbol, variance in self._return_variances.items()},
            dict(self._jumps),
            self._lag,
        )

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        self.peak_equity, costs, streaks, order_outcomes, return_variances, jumps, self._lag = snapshot
        self._costs, self._streaks, self._jumps = dict(costs), dict(streaks), dict(jumps)
        self._order_outcomes = {key: list(values) for key, values in order_outcomes.items()}
        self._return_variances = {symbol: ReturnVariance(*values) for symbol, values in return_variances.items()}
