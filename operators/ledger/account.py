"""The ledger: one owner of positions, lots and cash. Executions in, what they changed out.

Every execution books one value, `quantity * price * multiplier` rounded once to nine places, and one fee. Each cent of
both goes either into an open lot or into a match, the last part taking the remainder, so that these hold exactly after
every event (and are asserted):

    cash   = initial cash - sum of signed values - fees
    cash   = initial cash + realized P&L - cost of what is open - fees
    equity = cash + market value = initial cash + realized P&L + unrealized P&L - fees
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from operators.ledger.lots import OpenLot
from operators.money import ONE, ZERO, divide, multiply, portion, quantize
from schemas.records import BUY, TRADE, Execution, Lot, LotMatch, Position

SNAPSHOT_VERSION = 1
LedgerRecord = Position | Lot | LotMatch


class Holding:
    """One symbol's side of the ledger, for reading. `quantity` and `cost` are negative when short."""

    __slots__ = ("cost", "fees", "lots", "multiplier", "quantity", "realized_pnl", "symbol")

    def __init__(self, symbol: str, multiplier: Decimal) -> None:
        self.symbol = symbol
        self.multiplier = multiplier
        self.quantity = ZERO
        self.cost = ZERO
        self.realized_pnl = ZERO
        self.fees = ZERO
        self.lots: deque[OpenLot] = deque()  # next to be closed first


class Ledger:
    """FIFO books of one account, long and short, exact.

    `multipliers` gives the value of one unit at a price of 1 for symbols where it is not 1 (futures). An execution
    whose `seq` was seen before changes nothing; only `exec_type` TRADE moves anything.
    """

    def __init__(self, initial_cash: Decimal, *, multipliers: Mapping[str, Decimal] | None = None) -> None:
        self.initial_cash = quantize(initial_cash)
        self.cash = self.initial_cash
        self.realized_pnl = ZERO
        self.fees = ZERO
        self.cost = ZERO  # of all that is open, signed
        self._multipliers = dict(multipliers or {})
        self._holdings: dict[str, Holding] = {}
        self._seq = 0
        self._execution_seq = 0

    def holding(self, symbol: str) -> Holding | None:
        """None for a symbol that was never traded."""
        return self._holdings.get(symbol)

    def quantity(self, symbol: str) -> Decimal:
        """Signed units held, 0 for a symbol that is not."""
        holding = self._holdings.get(symbol)
        return ZERO if holding is None else holding.quantity

    def holdings(self) -> Iterator[Holding]:
        """All symbols ever traded, in the order of their first trade."""
        return iter(self._holdings.values())

    def apply(self, execution: Execution) -> list[LedgerRecord]:
        """Book one execution. Returns LotMatch and Lot for each lot closed, the Lot opened, then the Position."""
        if execution.seq <= self._execution_seq:
            return []
        self._execution_seq = execution.seq
        if execution.exec_type != TRADE:
            return []
        symbol = execution.symbol
        holding = self._holdings.get(symbol)
        if holding is None:
            holding = self._holdings[symbol] = Holding(symbol, self._multipliers.get(symbol, ONE))
        quantity = quantize(execution.quantity)
        price = quantize(execution.price)
        fee = quantize(execution.fee)
        assert quantity > 0 and price >= 0, f"{execution.execution_id}: {quantity} {symbol} at {price}"
        if execution.side != BUY:
            quantity = -quantity
        value = multiply(quantity, price)
        if holding.multiplier is not ONE:
            value = multiply(value, holding.multiplier)
        self.cash -= value + fee
        self.fees += fee
        holding.fees += fee

        out: list[LedgerRecord] = []
        rest, rest_value, rest_fee = quantity, value, fee
        if holding.quantity and (holding.quantity < 0) is (quantity > 0):
            rest, rest_value, rest_fee = self._close(holding, execution, quantity, price, value, fee, out)
        if rest:
            self._open(holding, execution, rest, price, rest_value, rest_fee, out)
        out.append(self._position(holding, execution))
        assert self.cash == self.initial_cash + self.realized_pnl - self.cost - self.fees, execution
        return out

    def _close(
        self,
        holding: Holding,
        execution: Execution,
        quantity: Decimal,
        price: Decimal,
        value: Decimal,
        fee: Decimal,
        out: list[LedgerRecord],
    ) -> tuple[Decimal, Decimal, Decimal]:
        """Match a trade against the lots of the other side. Returns what is left of its quantity, value and fee."""
        rest, rest_value, rest_fee = quantity, value, fee
        lots = holding.lots
        closing = execution.seq
        matches = 0
        direction = "LONG" if quantity < 0 else "SHORT"
        while rest and lots:
            lot = lots[0]
            held = lot.quantity
            part = held if abs(held) <= abs(rest) else -rest
            taken = lot.take(part)
            rest += part
            # `value` and `quantity` have the other side's sign, so this share of the value is signed like the lot.
            if rest:
                exit_value = portion(value, part, quantity)
                exit_fee = portion(fee, -part, quantity) if fee else fee
            else:
                exit_value, exit_fee = -rest_value, rest_fee
            rest_value += exit_value
            rest_fee -= exit_fee
            pnl = exit_value - taken.cost
            holding.quantity -= part
            holding.cost -= taken.cost
            holding.realized_pnl += pnl
            self.cost -= taken.cost
            self.realized_pnl += pnl
            matches += 1
            self._seq += 2
            out.append(
                LotMatch(
                    self._seq - 1,
                    execution.ts_ns,
                    f"match-{closing}-{matches}",
                    holding.symbol,
                    direction,
                    abs(part),
                    lot.price,
                    price,
                    pnl,
                    taken.fees + exit_fee,
                    lot.opened_ns,
                    execution.filled_at_ns,
                    lot.lot_id,
                    lot.execution_id,
                    execution.execution_id,
                )
            )
            out.append(self._lot(self._seq, execution.ts_ns, holding.symbol, lot))
            if not lot.quantity:
                lots.popleft()
        return rest, rest_value, rest_fee

    def _open(
        self,
        holding: Holding,
        execution: Execution,
        quantity: Decimal,
        price: Decimal,
        value: Decimal,
        fee: Decimal,
        out: list[LedgerRecord],
    ) -> None:
        """Add a lot: `value` is its cost, `fee` its opening fee."""
        lot_id = f"lot-{execution.seq}"
        lot = OpenLot(lot_id, execution.filled_at_ns, quantity, price, value, fee, execution.execution_id)
        holding.lots.append(lot)
        holding.quantity += quantity
        holding.cost += value
        self.cost += value
        self._seq += 1
        out.append(self._lot(self._seq, execution.ts_ns, holding.symbol, lot))

    def _position(self, holding: Holding, execution: Execution) -> Position:
        self._seq += 1
        quantity = holding.quantity
        if not quantity:
            assert not holding.lots and not holding.cost, f"{holding.symbol} is flat but holds {holding.cost}"
            average = ZERO
        elif holding.multiplier is ONE:
            average = divide(holding.cost, quantity)
        else:
            average = divide(holding.cost, quantity * holding.multiplier)
        return Position(
            self._seq,
            execution.ts_ns,
            holding.symbol,
            quantity,
            average,
            holding.cost,
            holding.realized_pnl,
            holding.fees,
            execution.execution_id,
        )

    @staticmethod
    def _lot(seq: int, ts_ns: int, symbol: str, lot: OpenLot) -> Lot:
        return Lot(seq, ts_ns, lot.lot_id, symbol, lot.opened_ns, lot.quantity, lot.price, lot.execution_id)

    def snapshot(self) -> tuple[Any, ...]:
        """The whole state as plain tuples; later executions do not change it."""
        holdings = [
            (h.symbol, h.quantity, h.cost, h.realized_pnl, h.fees, [lot.as_tuple() for lot in h.lots])
            for h in self._holdings.values()
        ]
        totals = (self.initial_cash, self.cash, self.realized_pnl, self.fees, self.cost)
        return (SNAPSHOT_VERSION, totals, self._seq, self._execution_seq, holdings)

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        """Become the ledger that `snapshot` was taken of. Multipliers are settings, not state."""
        version, totals, self._seq, self._execution_seq, holdings = snapshot
        assert version == SNAPSHOT_VERSION, f"ledger snapshot of version {version}"
        self.initial_cash, self.cash, self.realized_pnl, self.fees, self.cost = totals
        self._holdings = {}
        for symbol, quantity, cost, realized_pnl, fees, lots in holdings:
            holding = Holding(symbol, self._multipliers.get(symbol, ONE))
            holding.quantity, holding.cost, holding.realized_pnl, holding.fees = quantity, cost, realized_pnl, fees
            holding.lots.extend(OpenLot(*lot) for lot in lots)
            self._holdings[symbol] = holding
