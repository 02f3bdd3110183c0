"""The ledger: book executions into positions, lots and cash, and return the changes.

Every execution books one value, `quantity * price * unit value` rounded once to nine places, and one fee. Both are
allocated completely to open lots and matches; the last part takes the remainder. The following identities are therefore
exact after every event, and asserted:

    cash   = initial cash - sum of signed values - fees + income
    cash   = initial cash + realized P&L - cost of open lots - fees + income
    equity = cash + market value = initial cash + realized P&L + unrealized P&L - fees + income
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from operators.ledger.cash import Charge
from operators.ledger.corporate_actions import (
    Delisting,
    LedgerAction,
    SymbolChange,
    fractional_part,
    validate_ledger_action,
)
from operators.ledger.lots import FIFO, LotBook, OpenLot
from operators.money import ONE, ZERO, divide, is_positive, multiply, quantize
from schemas.errors import InvalidField
from schemas.records import BUY, TRADE, CashFlow, Execution, Lot, LotMatch, Position

SNAPSHOT_VERSION = 1
LedgerRecord = Position | Lot | LotMatch


class LedgerHolding:
    """One symbol in the ledger, read-only for callers. `quantity` and `cost` are negative for a short position.

    `unit_value` is the value of one unit in account currency at a price of 1: multiplier times exchange rate.
    """

    __slots__ = ("book", "fees", "realized_pnl", "symbol", "unit_value")

    def __init__(self, symbol: str, unit_value: Decimal, book: LotBook) -> None:
        self.symbol = symbol
        self.unit_value = unit_value
        self.book = book
        self.realized_pnl = ZERO
        self.fees = ZERO

    @property
    def quantity(self) -> Decimal:
        return self.book.quantity

    @property
    def cost(self) -> Decimal:
        return self.book.cost

    @property
    def lots(self) -> list[OpenLot]:
        """The open lots, oldest first."""
        return list(self.book.open_lots())


class Ledger:
    """The books of one account, long and short, in exact arithmetic.

    `multipliers` contains the value of one unit at a price of 1, for symbols where it is not 1 (futures). `currencies`
    contains the currency of symbols that do not trade in the account currency; these need `set_rate` before their first
    trade. `method` is one of `lots.METHODS`. Duplicate executions (by `seq`) and executions other than TRADE have no
    effect.
    """

    def __init__(
        self,
        initial_cash: Decimal,
        *,
        multipliers: Mapping[str, Decimal] | None = None,
        currencies: Mapping[str, str] | None = None,
        method: str = FIFO,
    ) -> None:
        self.initial_cash = quantize(initial_cash)
        self.cash = self.initial_cash
        self.realized_pnl = ZERO
        self.fees = ZERO
        self.cost = ZERO  # of all open lots, signed
        self.income = ZERO  # dividends and interest received minus those paid
        self._method = LotBook(method).method
        self._multipliers = dict(multipliers or {})
        self._currencies = dict(currencies or {})
        self._rates: dict[str, Decimal] = {}
        self._holdings: dict[str, LedgerHolding] = {}
        self._seq = 0
        self._execution_seq = 0

    def holding(self, symbol: str) -> LedgerHolding | None:
        """The holding of a symbol; None if it was never traded."""
        return self._holdings.get(symbol)

    def quantity(self, symbol: str) -> Decimal:
        """The position in signed units, 0 for an unknown symbol."""
        holding = self._holdings.get(symbol)
        return ZERO if holding is None else holding.book.quantity

    def holdings(self) -> Iterator[LedgerHolding]:
        """The holdings of all symbols ever traded, in the order of their first trade."""
        return iter(self._holdings.values())

    def trades_in(self, currency: str) -> bool:
        """Whether any symbol trades in `currency`, and `currency` is not the account currency."""
        return currency in self._currencies.values()

    def has_rate(self, symbol: str) -> bool:
        """Whether the symbol's currency is the account currency or has an exchange rate."""
        currency = self._currencies.get(symbol)
        return currency is None or currency in self._rates

    def set_rate(self, currency: str, rate: Decimal) -> list[str]:
        """Set the value of one unit of `currency` in account currency. Returns the symbols that must be revalued.

        Raises `InvalidField` if `rate` is not above 0.
        """
        if not is_positive(rate):
            raise InvalidField(f"rate of {currency} must be > 0, found {rate}")
        self._rates[currency] = quantize(rate)
        changed = [h for h in self._holdings.values() if self._currencies.get(h.symbol) == currency]
        for holding in changed:
            holding.unit_value = self.unit_value(holding.symbol)
        return [holding.symbol for holding in changed]

    def credit(self, amount: Decimal) -> None:
        """Book income into cash: dividends and interest, negative for a payment."""
        amount = quantize(amount)
        self.cash += amount
        self.income += amount
        self._assert_balanced()

    def book_charge(self, ts_ns: int, charge: Charge) -> CashFlow:
        """Book a due charge, and return it as a CashFlow record."""
        self.credit(charge.amount)
        self._seq += 1
        quantity = self.quantity(charge.symbol)
        cash_flow_id = f"cash-{self._seq}"
        return CashFlow(
            self._seq,
            ts_ns,
            cash_flow_id,
            charge.kind,
            charge.symbol,
            quantize(charge.amount),
            quantity,
            charge.cause_id,
        )

    def record_event(self, ts_ns: int, kind: str, symbol: str, cause_id: str) -> CashFlow:
        """Return a CashFlow record without an amount that marks a corporate action or exchange rate as effective."""
        self._seq += 1
        return CashFlow(self._seq, ts_ns, f"cash-{self._seq}", kind, symbol, ZERO, self.quantity(symbol), cause_id)

    def apply(self, execution: Execution, lot_ids: Sequence[str] = ()) -> list[LedgerRecord]:
        """Book one execution. Returns LotMatch and Lot for each closed lot, the opened Lot, then the Position.

        With the method `specific`, the lots in `lot_ids` are closed first. Raises `InvalidField` if the symbol's
        currency has no exchange rate.
        """
        if execution.seq <= self._execution_seq:
            return []
        if execution.exec_type != TRADE:
            self._execution_seq = execution.seq
            return []
        quantity = quantize(execution.quantity)
        assert quantity > 0 and execution.price >= 0, f"{execution.execution_id}: {quantity} at {execution.price}"
        holding = self._open_holding(execution.symbol)
        self._execution_seq = execution.seq
        origin = (str(execution.seq), execution.ts_ns, execution.filled_at_ns, execution.execution_id)
        signed_quantity = quantity if execution.side == BUY else -quantity
        return self._book_trade(
            holding, signed_quantity, quantize(execution.price), quantize(execution.fee), origin, lot_ids
        )

    def apply_action(self, action: LedgerAction) -> list[LedgerRecord]:
        """Apply a split, stock dividend, symbol change or delisting. Returns the changed lots and the Position."""
        validate_ledger_action(action)
        holding = self._holdings.get(action.symbol)
        if holding is None or not holding.quantity:
            return []
        origin = (action.action_id, action.ts_ns, action.ts_ns, action.action_id)
        if isinstance(action, Delisting):
            return self._book_trade(holding, -holding.quantity, quantize(action.price), ZERO, origin)
        if isinstance(action, SymbolChange):
            holding = self._rename(holding, action.new_symbol)
        else:
            holding.book.split(action.ratio)
            fraction = fractional_part(holding.quantity)
            if action.cash_in_lieu is not None and fraction:
                return self._book_trade(holding, -fraction, quantize(action.cash_in_lieu), ZERO, origin)
        out = [self._lot(action.ts_ns, holding.symbol, lot) for lot in holding.book.open_lots()]
        return [*out, self._position(holding, action.ts_ns, action.action_id)]

    def _book_trade(
        self,
        holding: LedgerHolding,
        quantity: Decimal,
        price: Decimal,
        fee: Decimal,
        origin: tuple[str, int, int, str],
        lot_ids: Sequence[str] = (),
    ) -> list[LedgerRecord]:
        tag, ts_ns, filled_at_ns, execution_id = origin
        value = multiply(quantity, price)
        if holding.unit_value is not ONE:
            value = multiply(value, holding.unit_value)
        self.cash -= value + fee
        self.fees += fee
        holding.fees += fee
        book, out = holding.book, list[LedgerRecord]()
        previous_cost = book.cost
        remaining = quantity
        if book.quantity and (book.quantity < 0) is (quantity > 0):
            matches, remaining, value, fee = book.close(quantity, value, fee, lot_ids)
            direction = "LONG" if quantity < 0 else "SHORT"
            for number, closed_lot in enumerate(matches, start=1):
                holding.realized_pnl += closed_lot.pnl
                self.realized_pnl += closed_lot.pnl
                lot = closed_lot.lot
                self._seq += 1
                out.append(
                    LotMatch(
                        self._seq,
                        ts_ns,
                        f"match-{tag}-{number}",
                        holding.symbol,
                        direction,
                        abs(closed_lot.quantity),
                        closed_lot.entry_price,
                        price,
                        closed_lot.pnl,
                        closed_lot.entry_fees + closed_lot.exit_fees,
                        lot.opened_ns,
                        filled_at_ns,
                        lot.lot_id,
                        lot.execution_id,
                        execution_id,
                    )
                )
                out.append(self._lot(ts_ns, holding.symbol, lot))
        if remaining:
            lot = OpenLot(f"lot-{tag}", filled_at_ns, remaining, price, value, fee, execution_id)
            book.open(lot)
            out.append(self._lot(ts_ns, holding.symbol, lot))
        self.cost += book.cost - previous_cost
        out.append(self._position(holding, ts_ns, execution_id))
        self._assert_balanced()
        return out

    def _open_holding(self, symbol: str) -> LedgerHolding:
        holding = self._holdings.get(symbol)
        if holding is None:
            holding = self._holdings[symbol] = LedgerHolding(symbol, self.unit_value(symbol), LotBook(self._method))
        return holding

    def unit_value(self, symbol: str) -> Decimal:
        """The value of one unit in account currency at a price of 1.

        Raises `InvalidField` if the currency has no exchange rate.
        """
        currency = self._currencies.get(symbol)
        if currency is None:
            return self._multipliers.get(symbol, ONE)
        rate = self._rates.get(currency)
        if rate is None:
            raise InvalidField(f"{symbol} trades in {currency}, which has no recorded exchange rate")
        return multiply(self._multipliers.get(symbol, ONE), rate)

    def _rename(self, old: LedgerHolding, symbol: str) -> LedgerHolding:
        """Move a symbol's lots and totals to its new symbol."""
        renamed = self._open_holding(symbol)
        if renamed.quantity * old.quantity < 0:
            raise InvalidField(f"{old.symbol} cannot be renamed to {symbol}: one position is long, the other short")
        renamed.book.absorb(old.book)
        renamed.realized_pnl += old.realized_pnl
        renamed.fees += old.fees
        del self._holdings[old.symbol]
        return renamed

    def _position(self, holding: LedgerHolding, ts_ns: int, cause_id: str) -> Position:
        self._seq += 1
        quantity, cost = holding.book.quantity, holding.book.cost
        if not quantity:
            assert not holding.book.lots and not cost, f"{holding.symbol}: flat position has a cost of {cost}"
            average = ZERO
        elif holding.unit_value is ONE:
            average = divide(cost, quantity)
        else:
            average = divide(cost, quantity * self._multipliers.get(holding.symbol, ONE))
        return Position(
            self._seq, ts_ns, holding.symbol, quantity, average, cost, holding.realized_pnl, holding.fees, cause_id
        )

    def _lot(self, ts_ns: int, symbol: str, lot: OpenLot) -> Lot:
        self._seq += 1
        return Lot(self._seq, ts_ns, lot.lot_id, symbol, lot.opened_ns, lot.quantity, lot.price, lot.execution_id)

    def _assert_balanced(self) -> None:
        expected = self.initial_cash + self.realized_pnl - self.cost - self.fees + self.income
        assert self.cash == expected, f"ledger is out of balance: cash is {self.cash}, expected {expected}"

    def snapshot(self) -> tuple[Any, ...]:
        """Return the complete state as plain tuples. Later executions do not change it."""
        holdings = [(h.symbol, h.realized_pnl, h.fees, h.book.as_tuple()) for h in self._holdings.values()]
        totals = (self.initial_cash, self.cash, self.realized_pnl, self.fees, self.cost, self.income)
        return (SNAPSHOT_VERSION, totals, self._seq, self._execution_seq, dict(self._rates), holdings)

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        """Restore the state of a snapshot. Multipliers and currencies are settings, not state."""
        version, totals, self._seq, self._execution_seq, rates, holdings = snapshot
        assert version == SNAPSHOT_VERSION, f"ledger snapshot: version {version}, expected {SNAPSHOT_VERSION}"
        self.initial_cash, self.cash, self.realized_pnl, self.fees, self.cost, self.income = totals
        self._rates = dict(rates)
        self._holdings = {}
        for symbol, realized_pnl, fees, book in holdings:
            holding = self._holdings[symbol] = LedgerHolding(symbol, self.unit_value(symbol), LotBook.from_tuple(book))
            holding.realized_pnl, holding.fees = realized_pnl, fees
