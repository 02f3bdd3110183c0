"""Market value of the holdings, kept up symbol by symbol: a tick costs what changed in it, not what is held."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from operators.ledger import Ledger
from operators.money import ONE, ZERO, multiply, to_decimal
from schemas.records import Valuation

SNAPSHOT_VERSION = 1


class Marks:
    """Last prices, and the value that the ledger's holdings have at them.

    The mark of a symbol is its last bar's close; before its first bar it is the price of its first execution. `prices`
    may be written directly for symbols that the ledger does not hold; `revalue` has to follow for those that it does.
    """

    def __init__(self) -> None:
        self.prices: dict[str, float] = {}
        self.values: dict[str, Decimal] = {}  # signed; only what is held
        self.net = ZERO
        self.gross = ZERO

    def revalue(self, ledger: Ledger, symbol: str) -> None:
        """Take in a new price or a new quantity of `symbol`."""
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
        """What buying back all shorts would cost, as a positive number."""
        return (self.gross - self.net) / 2

    def to_valuation(self, ledger: Ledger, seq: int, ts_ns: int) -> Valuation:
        """The valuation of `ledger` at these marks. Dividends and interest count as realized."""
        unrealized = self.net - ledger.cost
        realized = ledger.realized_pnl + ledger.income
        equity = ledger.cash + self.net
        assert equity == ledger.initial_cash + realized + unrealized - ledger.fees, f"equity {equity}"
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
        assert version == SNAPSHOT_VERSION, f"marks snapshot of version {version}"
        self.prices, self.values = dict(prices), dict(values)
