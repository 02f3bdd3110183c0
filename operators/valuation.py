"""Market value of the positions, updated per symbol. The cost of a time slice depends only on the changed symbols."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from operators.ledger import Ledger
from operators.money import ONE, ZERO, multiply, to_decimal
from schemas.records import Valuation

SNAPSHOT_VERSION = 1


class Marks:
    """Last prices, and the value of the ledger's positions at these prices.

    The mark of a symbol is the close of its last bar, or the price of its first execution before the first bar. After a
    change of `prices` for symbols with a position, call `revalue`.
    """

    def __init__(self) -> None:
        self.prices: dict[str, float] = {}
        self.values: dict[str, Decimal] = {}  # signed; open positions only
        self.net = ZERO
        self.gross = ZERO

    def revalue(self, ledger: Ledger, symbols: Iterable[str]) -> None:
        """Update the values of `symbols` after a change of their prices or quantities."""
        values, prices = self.values, self.prices
        for symbol in symbols:
            position, old_value = ledger.position(symbol), values.get(symbol, ZERO)
            if position is None or not (quantity := position.book.quantity):
                values.pop(symbol, None)
                self.net -= old_value
                self.gross -= abs(old_value)
                continue
            new_value = multiply(quantity, to_decimal(prices[symbol]))
            if position.unit_value is not ONE:
                new_value = multiply(new_value, position.unit_value)
            values[symbol] = new_value
            change = new_value - old_value
            self.net += change
            self.gross += change if new_value >= ZERO <= old_value else abs(new_value) - abs(old_value)

    @property
    def short_value(self) -> Decimal:
        """The cost of buying back all short positions, as a positive number."""
        return (self.gross - self.net) / 2

    def to_valuation(self, ledger: Ledger, seq: int, ts_ns: int) -> Valuation:
        """Return the valuation of `ledger` at these marks.

        Dividends, from their ex-dates on, interest, and fees that no execution includes count as realized.
        """
        unrealized = self.net - ledger.cost
        realized = ledger.realized_pnl + ledger.income
        equity = ledger.cash + ledger.accrued + self.net
        capital = ledger.initial_cash + ledger.net_flows
        assert equity == capital + realized + unrealized - ledger.fees, f"out of balance: equity {equity}"
        return Valuation(
            seq=seq,
            ts_ns=ts_ns,
            equity=equity,
            cash=ledger.cash,
            gross_exposure=self.gross,
            net_exposure=self.net,
            unrealized_pnl=unrealized,
            realized_pnl=realized,
            fees=ledger.fees,
            open_positions=len(self.values),
            net_flows=ledger.net_flows,
            accrued_dividends=ledger.accrued,
        )

    def snapshot(self) -> tuple[Any, ...]:
        return (SNAPSHOT_VERSION, dict(self.prices), dict(self.values), self.net, self.gross)

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        version, prices, values, self.net, self.gross = snapshot
        assert version == SNAPSHOT_VERSION, f"marks snapshot: version {version}, expected {SNAPSHOT_VERSION}"
        self.prices, self.values = dict(prices), dict(values)
