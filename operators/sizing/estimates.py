"""Estimates for the sizing methods: volatility and range of the symbols, and the strategies' trade statistics.

Only the estimates that the configured method uses are computed and stored.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

from operators.indicators.atr import Atr
from operators.ledger import LedgerRecord
from operators.ledger.split_ratio import exact_ratio
from operators.money import ZERO, multiply
from operators.sizing.methods import SizingInput
from operators.sizing.settings import SizingSettings
from operators.sizing.trade_record import TradeRecord
from operators.sizing.volatility import EwmaVolatility, decay_factor
from schemas.errors import BadInput
from schemas.records import Bar, LotMatch, Record

SNAPSHOT_VERSION = 1


class Estimates:
    """Streaming estimates for one account. Memory is O(1) per symbol and per strategy, time O(1) per bar.

    Raises BadInput if the method requires `bars_per_year` and the settings do not contain it.
    """

    def __init__(self, settings: SizingSettings) -> None:
        method, volatility = settings.method, settings.volatility
        self.uses_volatility = method in ("volatility_target", "risk_parity")
        self.uses_range = method == "atr_stop"
        self.uses_trades = method == "kelly"
        self.uses_comparison = method == "risk_parity"
        self.needs_bars = self.uses_volatility or self.uses_range
        if self.uses_volatility and volatility.bars_per_year is None:
            raise BadInput(f"sizing volatility bars_per_year must be set for {method}, found none")
        self._bars_min = volatility.bars_min
        self._decay = decay_factor(volatility.half_life_bars)
        self._annual_factor = math.sqrt(volatility.bars_per_year or 0.0)
        self._period = settings.atr_stop.period
        self._volatilities: dict[str, EwmaVolatility] = {}
        self._ranges: dict[str, Atr] = {}
        self._records: dict[str, TradeRecord] = {}
        # symbol -> net P&L and entry cost of the lots that its current order closed
        self._closed_by_order: dict[str, tuple[Decimal, Decimal]] = {}
        self._inverse_volatilities = 0.0

    # -- updates -------------------------------------------------------------------------------------------------------

    def update(self, records: Sequence[Record]) -> None:
        """Process the bars of a time slice. A bar without a trade counts as a return and a range of 0."""
        if self.uses_range:
            self._update_ranges(records)
            return
        decay, volatilities = self._decay, self._volatilities
        for record in records:
            if type(record) is Bar:
                estimate = volatilities.get(record.symbol)
                if estimate is None:
                    estimate = volatilities[record.symbol] = EwmaVolatility()
                estimate.update(record.close, decay)

    def _update_ranges(self, records: Sequence[Record]) -> None:
        values: dict[str, float] = {}
        for record in records:
            if type(record) is Bar:
                average_range = self._ranges.get(record.symbol)
                if average_range is None:
                    average_range = self._ranges[record.symbol] = Atr("atr", self._period)
                average_range.update(record, values)

    def split(self, symbol: str, ratio: Decimal) -> None:
        """Adjust the estimates for a split into `ratio` new units per old unit. A split is neither return nor range."""
        volatility, true_range = self._volatilities.get(symbol), self._ranges.get(symbol)
        if volatility is not None:
            volatility.close /= float(exact_ratio(ratio))
        if true_range is not None:
            true_range.rescale(1.0 / float(exact_ratio(ratio)))

    def go_ex(self, symbol: str, before: float, after: float) -> None:
        """Adjust the last closes for a payment that moves the price from `before` to `after`: it is not a return."""
        for estimate in (self._volatilities.get(symbol), self._ranges.get(symbol)):
            if estimate is not None:
                estimate.close *= after / before

    def record_closed_lots(self, symbol: str, changes: Iterable[LedgerRecord], multiplier: Decimal) -> None:
        """Record lots closed by a strategy's order. All lots that the order closes count as one trade."""
        for match in changes:
            if type(match) is LotMatch:
                pnl, cost = self._closed_by_order.get(symbol, (ZERO, ZERO))
                entry_cost = multiply(multiply(match.quantity, match.entry_price), multiplier)
                self._closed_by_order[symbol] = (pnl + match.pnl - match.fees, cost + entry_cost)

    def record_order_end(self, symbol: str, strategies: Iterable[str]) -> None:
        """End an order. The lots that it closed count as one trade of each strategy in `strategies`."""
        pnl, cost = self._closed_by_order.pop(symbol, (ZERO, ZERO))
        if cost > 0:
            trade_return = float(pnl) / float(cost)
            for strategy in strategies:
                self._records[strategy] = self._records.get(strategy, TradeRecord()).with_trade(trade_return)

    def set_active_symbols(self, active: Iterable[str]) -> None:
        """Set the symbols of the views that share the exposure, one entry per view, in any order."""
        volatilities = [volatility for volatility in map(self.volatility, active) if volatility]
        # fsum is exact, so the order of the symbols cannot change the sum.
        self._inverse_volatilities = math.fsum(1.0 / volatility for volatility in volatilities)

    # -- estimates -----------------------------------------------------------------------------------------------------

    def volatility(self, symbol: str) -> float | None:
        """Annual volatility; None during warm-up, 0.0 if the price has never moved."""
        estimate = self._volatilities.get(symbol)
        return None if estimate is None or estimate.returns < self._bars_min else estimate.per_bar * self._annual_factor

    def average_range(self, symbol: str) -> float | None:
        """Average true range as a share of the last close; None during warm-up."""
        true_range = self._ranges.get(symbol)
        return (
            None
            if true_range is None or true_range.ranges_seen < true_range.period
            else true_range.value / true_range.close
        )

    def trade_record(self, strategy: str) -> TradeRecord:
        return self._records.get(strategy, TradeRecord())

    def add_estimates(self, inputs: SizingInput, symbol: str, strategy: str) -> SizingInput:
        """Return `inputs` with the estimates that the method uses."""
        if self.uses_volatility:
            return inputs._replace(volatility=self.volatility(symbol), inverse_volatilities=self._inverse_volatilities)
        if self.uses_range:
            return inputs._replace(average_range=self.average_range(symbol))
        return inputs._replace(trade_record=self.trade_record(strategy)) if self.uses_trades else inputs

    # -- state ---------------------------------------------------------------------------------------------------------

    def snapshot(self) -> tuple[Any, ...]:
        return (
            SNAPSHOT_VERSION,
            {symbol: estimate.as_tuple() for symbol, estimate in self._volatilities.items()},
            {symbol: (estimate.period, *estimate.snapshot()) for symbol, estimate in self._ranges.items()},
            {strategy: tuple(record) for strategy, record in self._records.items()},
            dict(self._closed_by_order),
        )

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        """Restore the estimates that the current method uses. Estimates that the snapshot lacks start warming up."""
        version, volatilities, ranges, records, closing = snapshot
        assert version == SNAPSHOT_VERSION, f"sizing estimates snapshot: version {version}, expected {SNAPSHOT_VERSION}"
        self._volatilities, self._ranges, self._records, self._closed_by_order = {}, {}, {}, {}
        if self.uses_volatility:
            self._volatilities = {symbol: EwmaVolatility.from_tuple(row) for symbol, row in volatilities.items()}
        if self.uses_range:
            for symbol, (period, *state) in ranges.items():
                if period == self._period:
                    average_range = self._ranges[symbol] = Atr("atr", period)
                    average_range.restore(tuple(state))
        if self.uses_trades:
            self._records = {strategy: TradeRecord(*row) for strategy, row in records.items()}
            self._closed_by_order = dict(closing)
