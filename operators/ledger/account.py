"""The ledger: book executions into positions, lots and cash, and return the changes.

Every execution books one value, `quantity * price * unit value` rounded once to nine places, and one fee. Both are
allocated completely to open lots and matches; the last part takes the remainder. The following identities are therefore
exact after every event, and asserted:

    cash   = initial cash + net flows - sum of signed values - fees + income - accrued
    cash   = initial cash + net flows + realized P&L - cost of open lots - fees + income - accrued
    equity = cash + accrued + market value = initial cash + net flows + realized P&L + unrealized P&L - fees + income

Net flows are deposits minus withdrawals: capital, and neither profit nor loss. Accrued dividends are income that is not
paid yet: receivable by longs from the ex-date on, payable by shorts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from operators.ledger.cash import Charge
from operators.ledger.corporate_actions import (
    Delisting,
    LedgerAction,
    MergerCash,
    SpinOff,
    Split,
    StockDividend,
    SymbolChange,
    fractional_units,
    validate_ledger_action,
)
from operators.ledger.ledger_records import (
    BookingOrigin,
    cash_flow_record,
    lot_record,
    match_record,
    position_record,
)
from operators.ledger.lots import FIFO, ClosedLot, LotBook, LotMethod
from operators.ledger.open_lot import OpenLot
from operators.ledger.opposite_positions import close_opposite
from operators.ledger.position import LedgerPosition
from operators.ledger.split_ratio import ROUNDING_REMAINDER
from operators.ledger.unit_values import UnitValues
from operators.money import ONE, ZERO, multiply, quantize
from schemas.records import (
    BUY,
    EXTERNAL_FLOWS,
    LONG,
    SHORT,
    TRADE,
    CashFlow,
    CashFlowKind,
    CashTransfer,
    Execution,
    Lot,
    LotDirection,
    LotMatch,
    Position,
)

SNAPSHOT_VERSION = 4
LedgerRecord = Position | Lot | LotMatch


class Ledger:
    """The books of one account, long and short, in exact arithmetic.

    `multipliers` contains the value of one unit at a price of 1, for symbols where it is not 1 (futures). `currencies`
    contains the currency of symbols that do not trade in the account currency; these need `set_rate` before their first
    trade. `method` is one of `lots.METHODS`. Duplicate executions (by `seq`) and executions other than TRADE have no
    effect.
    """

    _retain_remainder = False  # whether a rounding remainder stays open

    def __init__(
        self,
        initial_cash: Decimal,
        *,
        multipliers: Mapping[str, Decimal] | None = None,
        currencies: Mapping[str, str] | None = None,
        method: LotMethod = FIFO,
    ) -> None:
        self.initial_cash = quantize(initial_cash)
        self.cash = self.initial_cash
        self.realized_pnl = ZERO
        self.fees = ZERO
        self.cost = ZERO  # of all open lots, signed
        self.income = ZERO  # dividends and interest received minus those paid, and fees that no execution includes
        self.accrued = ZERO  # part of the income that is not paid yet: dividends receivable minus payable
        self.net_flows = ZERO  # deposits minus withdrawals, with adjustments
        self._method = LotBook(method).method
        self._unit_values = UnitValues(multipliers, currencies)
        self._positions: dict[str, LedgerPosition] = {}
        self._seq = 0
        self._execution_seq = 0

    @property
    def seq(self) -> int:
        """The `seq` of the last record that was returned. Every change of a position increases it."""
        return self._seq

    @property
    def execution_seq(self) -> int:
        """The `seq` of the last execution, also of one without a trade."""
        return self._execution_seq

    def position(self, symbol: str) -> LedgerPosition | None:
        """The position of a symbol; None if it was never traded."""
        return self._positions.get(symbol)

    def quantity(self, symbol: str) -> Decimal:
        """The position in signed units, 0 for an unknown symbol."""
        position = self._positions.get(symbol)
        return ZERO if position is None else position.book.quantity

    def positions(self) -> Iterator[LedgerPosition]:
        """The positions of all symbols ever traded, in the order of their first trade."""
        return iter(self._positions.values())

    def trades_in(self, currency: str) -> bool:
        """Whether any symbol trades in `currency`, and `currency` is not the account currency."""
        return self._unit_values.trades_in(currency)

    def has_rate(self, symbol: str) -> bool:
        """Whether the symbol's currency is the account currency or has an exchange rate."""
        return self._unit_values.has_rate(symbol)

    def set_rate(self, currency: str, rate: Decimal) -> list[str]:
        """Set the value of one unit of `currency` in account currency. Return the symbols that must be revalued.

        Raises `InvalidField` if `rate` is not above 0.
        """
        self._unit_values.set_rate(currency, rate)
        changed = [one for one in self._positions.values() if self._unit_values.is_in(one.symbol, currency)]
        for position in changed:
            position.unit_value = self.unit_value(position.symbol)
        return [position.symbol for position in changed]

    def credit(self, amount: Decimal, accrued: Decimal = ZERO) -> None:
        """Book `amount` into cash: dividends and interest, negative for a payment. Income is `amount` plus `accrued`.

        `accrued` is positive for income that is due but not paid, and negative when earlier accrued income is paid.
        """
        amount, accrued = quantize(amount), quantize(accrued)
        self.cash += amount
        self.accrued += accrued
        self.income += amount + accrued
        self._assert_balanced()

    def book_transfer(self, ts_ns: int, transfer: CashTransfer) -> CashFlow:
        """Book a cash transfer, and return it as a CashFlow record."""
        charge = Charge(day=0, kind=transfer.kind, symbol="", amount=transfer.amount, cause_id=transfer.transfer_id)
        return self.book_charge(ts_ns, charge)

    def book_charge(self, ts_ns: int, charge: Charge) -> CashFlow:
        """Book a due charge or a transfer, and return it as a CashFlow record."""
        if charge.kind in EXTERNAL_FLOWS:
            amount = quantize(charge.amount)
            self.cash += amount
            self.net_flows += amount
            self._assert_balanced()
        else:
            self.credit(charge.amount, charge.accrued)
        self._seq += 1
        quantity = self.quantity(charge.symbol)
        return cash_flow_record(
            self._seq, ts_ns, charge.kind, charge.symbol, quantity, charge.cause_id, charge.amount, charge.accrued
        )

    def record_event(self, ts_ns: int, kind: CashFlowKind, symbol: str, cause_id: str) -> CashFlow:
        """Return a CashFlow record without an amount that marks a corporate action or exchange rate as effective."""
        self._seq += 1
        return cash_flow_record(self._seq, ts_ns, kind, symbol, self.quantity(symbol), cause_id)

    def apply(self, execution: Execution, lot_ids: Sequence[str] = (), strategy: str = "") -> list[LedgerRecord]:
        """Book one execution. Return LotMatch and Lot for each closed lot, the opened Lot, then the Position.

        With the method `specific`, the lots in `lot_ids` are closed first. `strategy` is that of the order, for the
        lot that the execution opens. Raises `InvalidField` if the symbol's currency has no exchange rate.
        """
        if execution.seq <= self._execution_seq:
            return []
        if execution.exec_type != TRADE:
            self._execution_seq = execution.seq
            return []
        quantity = quantize(execution.quantity)
        assert quantity > 0 and execution.price >= 0, f"{execution.execution_id}: {quantity} at {execution.price}"
        position = self._open_position(execution.symbol)
        self._execution_seq = execution.seq
        times = (execution.ts_ns, execution.filled_at_ns)
        origin = BookingOrigin(str(execution.seq), *times, execution.execution_id, strategy)
        signed_quantity = quantity if execution.side == BUY else -quantity
        return self._book_trade(
            position, signed_quantity, quantize(execution.price), quantize(execution.fee), origin, lot_ids
        )

    def apply_action(self, action: LedgerAction) -> list[LedgerRecord]:
        """Apply a corporate action. Return the changed lots, the realized gains and the Position."""
        validate_ledger_action(action)
        position = self._positions.get(action.symbol)
        if position is None or not position.quantity:
            return []
        origin = BookingOrigin(action.action_id, action.ts_ns, action.ts_ns, action.action_id)
        if isinstance(action, Delisting):
            return self._book_trade(position, -position.quantity, quantize(action.price), ZERO, origin)
        if isinstance(action, SpinOff):
            return self._spin_off(position, action, origin)
        if isinstance(action, MergerCash):
            return self._pay_merger_cash(position, action, origin)
        if not isinstance(action, SymbolChange):
            return self._split(position, action, origin)
        out = self._net_opposite(position, self._open_position(action.new_symbol), origin)
        renamed = self._rename(position, action.new_symbol)
        out += [self._lot(action.ts_ns, renamed.symbol, lot) for lot in renamed.book.open_lots()]
        # Readers replace a position by symbol, so the old symbol needs a record.
        former = LedgerPosition(action.symbol, position.unit_value, LotBook(self._method))
        return [*out, *(self._position(one, action.ts_ns, action.action_id) for one in (former, renamed))]

    def _net_opposite(self, old: LedgerPosition, new: LedgerPosition, origin: BookingOrigin) -> list[LedgerRecord]:
        """Close what is long in `old` and short in `new`, or the reverse. Return the matches and lots."""
        cost_before, out = old.cost + new.cost, list[LedgerRecord]()
        for number, one in enumerate(close_opposite(old, new), start=1):
            out.append(self._match(one.position, one.closed_lot, number, one.price, one.direction, origin))
            out.append(self._lot(origin.ts_ns, one.position.symbol, one.closed_lot.lot))
        self.cost += old.cost + new.cost - cost_before
        self._assert_balanced()
        return out

    def _split(
        self, position: LedgerPosition, action: Split | StockDividend, origin: BookingOrigin
    ) -> list[LedgerRecord]:
        """Split all lots and return them, with those that ended without units. Then sell the fraction, if any."""
        symbol, ts_ns, lots = position.symbol, action.ts_ns, list(position.book.lots)
        position.book.split(action.ratio)
        out: list[LedgerRecord] = [self._lot(ts_ns, symbol, lot) for lot in position.book.open_lots()]
        out += [self._lot(ts_ns, symbol, lot) for lot in lots if not lot.quantity]
        fraction = fractional_units(position.quantity)
        if action.cash_in_lieu is not None and fraction:
            return out + self._book_trade(position, -fraction, quantize(action.cash_in_lieu), ZERO, origin)
        return [*out, self._position(position, ts_ns, action.action_id)]

    def _spin_off(self, position: LedgerPosition, action: SpinOff, origin: BookingOrigin) -> list[LedgerRecord]:
        """Distribute shares: return the lots and the position of both symbols. Then sell the fraction, if any."""
        child, ts_ns, out = self._open_position(action.new_symbol), action.ts_ns, list[LedgerRecord]()
        lots = position.book.spin_off(action.ratio, action.cost_share)
        if child.quantity * position.quantity < 0:
            distributed = LedgerPosition(child.symbol, child.unit_value, LotBook(self._method))
            distributed.book.add_lots(lots)
            # The sale of a fraction has matches too, with the tag of the action.
            out = self._net_opposite(distributed, child, origin._replace(tag=f"{origin.tag}/net"))
            child.realized_pnl += distributed.realized_pnl
            lots = distributed.lots
        child.book.add_lots(lots)
        child.book.rounding_remainder = max(child.book.rounding_remainder, ROUNDING_REMAINDER)
        both = (position, child)
        out += [self._lot(ts_ns, one.symbol, lot) for one in both for lot in one.book.open_lots()]
        out.append(self._position(position, ts_ns, action.action_id))
        fraction = fractional_units(child.quantity)
        if action.cash_in_lieu is not None and fraction:
            return out + self._book_trade(child, -fraction, quantize(action.cash_in_lieu), ZERO, origin)
        return [*out, self._position(child, ts_ns, action.action_id)]

    def _pay_merger_cash(
        self, position: LedgerPosition, action: MergerCash, origin: BookingOrigin
    ) -> list[LedgerRecord]:
        """Book the cash of a merger: return the realized gains, the lots with their new basis, and the Position."""
        book, previous_cost = position.book, position.book.cost
        direction: LotDirection = LONG if position.quantity > 0 else SHORT
        cash, gains = book.pay_merger_cash(
            quantize(action.cash), quantize(action.share_value), action.ratio, position.unit_value
        )
        self.cash += cash
        self.cost += book.cost - previous_cost
        out: list[LedgerRecord] = [
            self._match(position, gain, number, action.cash, direction, origin)
            for number, gain in enumerate(gains, start=1)
        ]
        out += [self._lot(action.ts_ns, position.symbol, lot) for lot in book.open_lots()]
        self._assert_balanced()
        return [*out, self._position(position, action.ts_ns, action.action_id)]

    def _book_trade(
        self,
        position: LedgerPosition,
        quantity: Decimal,
        price: Decimal,
        fee: Decimal,
        origin: BookingOrigin,
        lot_ids: Sequence[str] = (),
        paid: Decimal | None = None,
    ) -> list[LedgerRecord]:
        """Book a trade at a price, or for the amount `paid`, which is signed like the quantity."""
        tag, ts_ns, filled_at_ns, execution_id, strategy = origin
        value = multiply(quantity, price) if paid is None else paid
        if paid is None and position.unit_value is not ONE:
            value = multiply(value, position.unit_value)
        self.cash -= value + fee
        self.fees += fee
        position.fees += fee
        book, out = position.book, list[LedgerRecord]()
        previous_cost = book.cost
        remaining = quantity
        if book.quantity and (book.quantity < 0) is (quantity > 0):
            matches, remaining, value, fee = book.close(
                quantity, value, fee, lot_ids, retain_remainder=self._retain_remainder
            )
            direction: LotDirection = LONG if quantity < 0 else SHORT
            for number, closed_lot in enumerate(matches, start=1):
                out.append(self._match(position, closed_lot, number, price, direction, origin))
                out.append(self._lot(ts_ns, position.symbol, closed_lot.lot))
        if remaining:
            lot = OpenLot(f"lot-{tag}", filled_at_ns, remaining, price, value, fee, execution_id, strategy=strategy)
            book.open(lot)
            out.append(self._lot(ts_ns, position.symbol, lot))
        self.cost += book.cost - previous_cost
        out.append(self._position(position, ts_ns, execution_id))
        self._assert_balanced()
        return out

    def _match(
        self,
        position: LedgerPosition,
        closed_lot: ClosedLot,
        number: int,
        price: Decimal,
        direction: LotDirection,
        origin: BookingOrigin,
    ) -> LotMatch:
        """Book the P&L of a closed lot. Return its record."""
        position.realized_pnl += closed_lot.pnl
        self.realized_pnl += closed_lot.pnl
        self._seq += 1
        return match_record(self._seq, position.symbol, closed_lot, number, price, direction, origin)

    def _open_position(self, symbol: str) -> LedgerPosition:
        position = self._positions.get(symbol)
        if position is None:
            position = self._positions[symbol] = LedgerPosition(symbol, self.unit_value(symbol), LotBook(self._method))
        return position

    def unit_value(self, symbol: str) -> Decimal:
        """The value of one unit in account currency at a price of 1.

        Raises `InvalidField` if the currency has no exchange rate.
        """
        return self._unit_values.of(symbol)

    def multiplier(self, symbol: str) -> Decimal:
        """The value of one unit at a price of 1, in the symbol's currency."""
        return self._unit_values.multiplier(symbol)

    def _rename(self, old: LedgerPosition, symbol: str) -> LedgerPosition:
        """Move a symbol's lots and totals to its new symbol."""
        renamed = self._open_position(symbol)
        renamed.book.absorb(old.book)
        renamed.realized_pnl += old.realized_pnl
        renamed.fees += old.fees
        del self._positions[old.symbol]
        return renamed

    def _position(self, position: LedgerPosition, ts_ns: int, cause_id: str) -> Position:
        self._seq += 1
        return position_record(self._seq, ts_ns, position, self.multiplier(position.symbol), cause_id)

    def _lot(self, ts_ns: int, symbol: str, lot: OpenLot) -> Lot:
        self._seq += 1
        return lot_record(self._seq, ts_ns, symbol, lot)

    def _assert_balanced(self) -> None:
        earned = self.realized_pnl - self.fees + self.income - self.accrued
        expected = self.initial_cash + self.net_flows + earned - self.cost
        assert self.cash == expected, f"ledger is out of balance: cash is {self.cash}, expected {expected}"

    def snapshot(self) -> tuple[Any, ...]:
        """Return the complete state as plain tuples. Later executions do not change it."""
        positions = [(h.symbol, h.realized_pnl, h.fees, h.book.as_tuple()) for h in self._positions.values()]
        money = (self.initial_cash, self.cash, self.realized_pnl, self.fees, self.cost)
        totals = (*money, self.income, self.net_flows, self.accrued)
        return (SNAPSHOT_VERSION, totals, self._seq, self._execution_seq, dict(self._unit_values.rates), positions)

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        """Restore the state of a snapshot. Multipliers and currencies are settings, not state.

        Version 1 contains no net flows, versions 1 and 2 no accrued dividends, versions 1 to 3 no strategies of lots.
        """
        version, totals, self._seq, self._execution_seq, rates, positions = snapshot
        expected = f"1 to {SNAPSHOT_VERSION}"
        assert version in (1, 2, 3, SNAPSHOT_VERSION), f"ledger snapshot: version {version}, expected {expected}"
        totals = (*totals, *[ZERO] * max(0, 3 - version))
        self.initial_cash, self.cash, self.realized_pnl, self.fees, self.cost, *other = totals
        self.income, self.net_flows, self.accrued = other
        self._unit_values.rates = dict(rates)
        self._positions = {}
        for symbol, realized_pnl, fees, book in positions:
            position = self._positions[symbol] = LedgerPosition(
                symbol, self.unit_value(symbol), LotBook.from_tuple(book)
            )
            position.realized_pnl, position.fees = realized_pnl, fees
