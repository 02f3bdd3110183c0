"""What the methods have to know besides the view: volatility and range of the symbols, the strategies' trades.

Only what the chosen method asks for is kept; with the others nothing is looked at and nothing is stored.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

from operators.indicators.atr import Atr
from operators.ledger import LedgerRecord
from operators.money import ZERO, multiply
from operators.sizing.methods import View
from operators.sizing.settings import SizingSettings
from operators.sizing.trade_record import TradeRecord
from operators.sizing.volatility import EwmaVolatility, decay_of
from schemas.errors import BadInput
from schemas.records import Bar, LotMatch, Record

SNAPSHOT_VERSION = 1


class Estimates:
    """Streaming estimates for one account: O(1) a bar and symbol, O(1) a strategy.

    Raises BadInput where the method needs the bars a year and the settings do not say.
    """

    def __init__(self, settings: SizingSettings) -> None:
        method, volatility = settings.method, settings.volatility
        self.by_volatility = method in ("volatility_target", "risk_parity")
        self.by_range = method == "atr_stop"
        self.by_trades = method == "kelly"
        self.by_comparison = method == "risk_parity"
        self.reads_bars = self.by_volatility or self.by_range
        if self.by_volatility and volatility.bars_per_year is None:
            raise BadInput(f"sizing volatility bars_per_year must be set for {method}, found none")
        self._bars_min = volatility.bars_min
        self._decay = decay_of(volatility.half_life_bars)
        self._annual = math.sqrt(volatility.bars_per_year or 0.0)
        self._period = settings.atr_stop.period
        self._volatilities: dict[str, EwmaVolatility] = {}
        self._ranges: dict[str, Atr] = {}
        self._records: dict[str, TradeRecord] = {}
        self._closing: dict[str, tuple[Decimal, Decimal]] = {}  # symbol -> net P&L and cost of what its order closed
        self._inverse_volatilities = 0.0

    # -- what happened -------------------------------------------------------------------------------------------------

    def see(self, records: Sequence[Record]) -> None:
        """Take the bars of a tick in. A bar without a trade counts, as a return and a range of 0."""
        if self.by_range:
            self._see_ranges(records)
            return
        decay, volatilities = self._decay, self._volatilities
        for record in records:
            if type(record) is Bar:
                one = volatilities.get(record.symbol)
                if one is None:
                    one = volatilities[record.symbol] = EwmaVolatility()
                one.update(record.close, decay)

    def _see_ranges(self, records: Sequence[Record]) -> None:
        values: dict[str, float] = {}
        for record in records:
            if type(record) is Bar:
                one = self._ranges.get(record.symbol)
                if one is None:
                    one = self._ranges[record.symbol] = Atr("atr", self._period)
                one.update(record, values)

    def split(self, symbol: str, ratio: Decimal) -> None:
        """A share is worth 1 / `ratio` of what it was: no return, and no range, of the market's."""
        volatility, true_range = self._volatilities.get(symbol), self._ranges.get(symbol)
        if volatility is not None:
            volatility.close /= float(ratio)
        if true_range is not None:
            true_range.rescale(1.0 / float(ratio))

    def closed(self, symbol: str, changes: Iterable[LedgerRecord], multiplier: Decimal) -> None:
        """A strategy's order closed lots. What it closes over all its fills counts as one trade."""
        for match in changes:
            if type(match) is LotMatch:
                pnl, cost = self._closing.get(symbol, (ZERO, ZERO))
                paid = multiply(multiply(match.quantity, match.entry_price), multiplier)
                self._closing[symbol] = (pnl + match.pnl - match.fees, cost + paid)

    def over(self, symbol: str, strategies: Iterable[str]) -> None:
        """The order is over: what it closed is a trade of each strategy whose view it acted on."""
        pnl, cost = self._closing.pop(symbol, (ZERO, ZERO))
        if cost > 0:
            returned = float(pnl) / float(cost)
            for strategy in strategies:
                self._records[strategy] = self._records.get(strategy, TradeRecord()).after(returned)

    def compare(self, active: Iterable[str]) -> None:
        """`active` are the symbols of the views that shall share the exposure, one entry a view, in any order."""
        known = [volatility for volatility in map(self.volatility, active) if volatility]
        # fsum is exact, so the order of the symbols cannot change the sum.
        self._inverse_volatilities = math.fsum(1.0 / volatility for volatility in known)

    # -- what is known -------------------------------------------------------------------------------------------------

    def volatility(self, symbol: str) -> float | None:
        """Annual; None during warm-up, 0.0 for a price that never moved."""
        one = self._volatilities.get(symbol)
        return None if one is None or one.returns < self._bars_min else one.per_bar * self._annual

    def average_range(self, symbol: str) -> float | None:
        """Average true range as a share of the last close; None during warm-up."""
        one = self._ranges.get(symbol)
        return None if one is None or one.seen < one.period else one.value / one.close

    def record(self, strategy: str) -> TradeRecord:
        return self._records.get(strategy, TradeRecord())

    def add_to(self, view: View, symbol: str, strategy: str) -> View:
        """`view` with what its method asks for."""
        if self.by_volatility:
            return view._replace(volatility=self.volatility(symbol), inverse_volatilities=self._inverse_volatilities)
        if self.by_range:
            return view._replace(average_range=self.average_range(symbol))
        return view._replace(record=self.record(strategy)) if self.by_trades else view

    # -- state ---------------------------------------------------------------------------------------------------------

    def snapshot(self) -> tuple[Any, ...]:
        return (
            SNAPSHOT_VERSION,
            {symbol: one.as_tuple() for symbol, one in self._volatilities.items()},
            {symbol: (one.period, *one.snapshot()) for symbol, one in self._ranges.items()},
            {strategy: tuple(record) for strategy, record in self._records.items()},
            dict(self._closing),
        )

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        """What the method does not ask for any more is dropped; what it newly asks for starts afresh."""
        version, volatilities, ranges, records, closing = snapshot
        assert version == SNAPSHOT_VERSION, f"sizing snapshot of version {version}"
        self._volatilities, self._ranges, self._records, self._closing = {}, {}, {}, {}
        if self.by_volatility:
            self._volatilities = {symbol: EwmaVolatility.of(row) for symbol, row in volatilities.items()}
        if self.by_range:
            for symbol, (period, *state) in ranges.items():
                if period == self._period:
                    one = self._ranges[symbol] = Atr("atr", period)
                    one.restore(tuple(state))
        if self.by_trades:
            self._records = {strategy: TradeRecord(*row) for strategy, row in records.items()}
            self._closing = dict(closing)
