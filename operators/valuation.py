"""Market value of the positions, updated per symbol. The cost of a time slice depends only on the changed symbols."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from operators.ledger import Ledger
from operators.money import ONE, ZERO, multiply, to_decimal
from schemas.records import Valuation

SNAPSHOT_VERSION = 1


class Marks:
    """Last prices, and the value of the ledger's positions at these prices.

    The mark of a symbol is the close of its last bar, or the price of its first execution before the first bar. After a
    change of `prices` for a symbol with a position, call `revalue`.
    """

    def __init__(self) -> None:
        self.prices: dict[str, float] = {}
        self.values: dict[str, Decimal] = {}  # signed; open positions only
        self.net = ZERO
        self.gross = ZERO

    def revalue(self, ledger: Ledger, symbol: str) -> None:
        """Update the value of `symbol` after a change of its price or quantity."""
        old_value = self.values.pop(symbol, ZERO)
        holding = ledger.holding(symbol)
        new_value = ZERO
        if holding is not None and (quantity := holding.quantity):
            new_value = multiply(quantity, to_decimal(self.prices[symbol]))
            if holding.unit_value is not ONE:
                new_value = multiply(new_value, holding.unit_value)
            self.values[symbol] = new_value
        self.net += new_value - old_value
        self.gross += abs(new_value) - abs(old_value)

    @property
    def short_value(self) -> Decimal:
        """The cost of buying back all short positions, as a positive number."""
        return (self.gross - self.net) / 2

    def to_valuation(self, ledger: Ledger, seq: int, ts_ns: int) -> Valuation:
        """Return the valuation of `ledger` at these marks. Dividends and interest count as realized."""
        unrealized = self.net - ledger.cost
        realized = ledger.realized_pnl + ledger.income
        equity = ledger.cash + self.net
        assert equity == ledger.initial_cash + realized + unrealized - ledger.fees, f"out of balance: equity {equity}"
        return Valuation(
            seq,
            ts_ns,
            equity,
            ledger.cash,
            self.gross,
            self.net,
            unrealized,
            realized,
            ledger.fees,
            len(self.values),
        )

    def snapshot(self) -> tuple[Any, ...]:
        return (SNAPSHOT_VERSION, dict(self.prices), dict(self.values), self.net, self.gross)

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        version, prices, values, self.net, self.gross = snapshot
        assert version == SNAPSHOT_VERSION, f"marks snapshot: version {version}, expected {SNAPSHOT_VERSION}"
        self.prices, self.values = dict(prices), dict(values)
