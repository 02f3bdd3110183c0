"""A second ledger, as simple as possible, that shares no code with `operators/ledger`.

`verify` books the same executions and corporate actions into both, and compares their totals: a mistake in the ledger's
own code would otherwise agree with itself. This ledger computes with fractions, first in first out, and rounds nothing
but share quantities, so its money may differ by the rounding of each booking.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from fractions import Fraction

from schemas.records import (
    BUY,
    CASH_DIVIDEND,
    DELISTING,
    EXCHANGE_RATE,
    EXTERNAL_FLOWS,
    MERGER_CASH,
    RIGHTS,
    SPIN_OFF,
    SPLIT,
    SYMBOL_CHANGE,
    TRADE,
    CashFlow,
    CorporateAction,
    Execution,
)

SMALLEST_POSITION = Fraction(1, 10**6)
"""What a split leaves below this is too small to trade, and counts as nothing."""
PLACES = 10**9


class NaiveLot:
    """Units bought (positive) or sold short (negative) in one trade, and what they cost in account currency."""

    def __init__(self, units: Fraction, cost: Fraction, opened_ns: int) -> None:
        self.units, self.cost, self.opened_ns = units, cost, opened_ns


class NaiveLedger:
    """The books of one account.

    `unit_value(symbol)` is the value in account currency of one unit at a price of 1, `rate(currency, ts_ns)` that of
    one unit of a currency. Interest and fees are booked by their recorded amounts. With `is_part`, these are the books
    of a part of the account: what is too small to trade stays, so that the parts sum to the account.
    """

    def __init__(
        self,
        cash: Decimal,
        unit_value: Callable[[str], Decimal],
        rate: Callable[[str, int], Decimal],
        *,
        is_part: bool = False,
    ) -> None:
        self._is_part = is_part
        self._unit_value, self._rate = unit_value, rate
        self.cash = Fraction(cash)
        self.fees = self.realized = self.income = Fraction(0)
        self.lots: dict[str, list[NaiveLot]] = {}
        self.unpaid: dict[str, Fraction] = {}  # action id -> dividend after its ex-date and before its payment
        self.was_split: set[str] = set()
        self.bookings = 0

    def quantity(self, symbol: str) -> Fraction:
        return sum((lot.units for lot in self.lots.get(symbol, [])), Fraction(0))

    def cost(self, symbol: str) -> Fraction:
        return sum((lot.cost for lot in self.lots.get(symbol, [])), Fraction(0))

    def tolerance(self) -> Fraction:
        """The largest difference from books that round each booking: a few units of the ninth place each."""
        return Fraction(5 * (self.bookings + 1), PLACES)

    def book_execution(self, execution: Execution) -> None:
        if execution.exec_type == TRADE:
            units = Fraction(execution.quantity) * (1 if execution.side == BUY else -1)
            self.cash -= Fraction(execution.fee)
            self.fees += Fraction(execution.fee)
            self.book_trade(execution.symbol, units, Fraction(execution.price), execution.filled_at_ns)

    def book_cash_flow(self, flow: CashFlow, action: CorporateAction | None) -> None:
        """Book a cash flow. `action` is the corporate action that it names as its cause, or None."""
        self.bookings += 1
        if action is None:
            if flow.kind != EXCHANGE_RATE:
                self.cash += Fraction(flow.amount)
                self.income += 0 if flow.kind in EXTERNAL_FLOWS else Fraction(flow.amount + flow.accrued)
        elif action.kind == CASH_DIVIDEND:
            self._book_dividend(flow, action)
        elif action.kind == SYMBOL_CHANGE:
            self._net_opposite(action.symbol, action.new_symbol)
            lots = [*self.lots.pop(action.new_symbol, []), *self.lots.pop(action.symbol, [])]
            self.lots[action.new_symbol] = sorted(lots, key=lambda lot: lot.opened_ns)
            if action.symbol in self.was_split:
                self.was_split.add(action.new_symbol)
        elif action.kind == DELISTING:
            self.book_trade(action.symbol, -self.quantity(action.symbol), Fraction(action.amount or 0))
        elif action.kind in (SPIN_OFF, RIGHTS):
            self._distribute(action)
        elif action.kind == MERGER_CASH:
            self._pay_merger_cash(action)
        elif flow.quantity:  # without a position, the record shows only when the split took effect
            self._split(action)

    def _net_opposite(self, symbol: str, new_symbol: str) -> None:
        """Close units that are long in one symbol and short in the other. At any one price, the P&L is the same."""
        units, other = self.quantity(symbol), self.quantity(new_symbol)
        if units * other < 0:
            closed = units if abs(units) <= abs(other) else -other
            self.bookings += 2
            self._close_lots(symbol, -closed, Fraction(0))
            self._close_lots(new_symbol, closed, Fraction(0))

    def _book_dividend(self, flow: CashFlow, action: CorporateAction) -> None:
        name = action.action_id
        if flow.kind == CASH_DIVIDEND or (name not in self.unpaid and action.pay_date <= action.ex_date):
            amount = Fraction(action.amount or 0) * Fraction(self._rate(action.currency, flow.ts_ns))
            self.unpaid[name] = self.quantity(action.symbol) * amount
            self.income += self.unpaid[name]
        if flow.kind != CASH_DIVIDEND:
            paid = self.unpaid.pop(name, None)
            if paid is None:  # before release 0.3.0, a dividend was income when it was paid
                paid = Fraction(flow.amount)
                self.income += paid
            self.cash += paid

    def _split(self, action: CorporateAction) -> None:
        symbol, ratio, before = action.symbol, new_for_old(action), self.quantity(action.symbol)
        after = rounded_units(before * ratio)
        if abs(after) <= SMALLEST_POSITION:
            # The books round the price of one old share to nine places. An unrounded price of many shares would differ.
            self.book_trade(symbol, -before, rounded_units(Fraction(action.amount or 0) * ratio))
            return
        for lot in self.lots[symbol]:
            lot.units = lot.units * after / before
        self.was_split.add(symbol)
        fraction = after - int(after)
        if action.amount is not None and fraction:
            self.book_trade(symbol, -fraction, Fraction(action.amount))

    def _distribute(self, action: CorporateAction) -> None:
        """Give `ratio` new shares for each share, with their part of what each lot cost."""
        ratio, moved = _recorded_fraction(Fraction(action.ratio or 0)), Fraction(action.cost_share or 0)
        held = self.quantity(action.symbol)
        units = rounded_units(held * ratio)
        if abs(units) <= SMALLEST_POSITION:
            return
        distributed = self.lots[action.action_id] = []  # as the lots of a symbol of its own
        for lot in self.lots[action.symbol]:
            distributed.append(NaiveLot(units * lot.units / held, lot.cost * moved, lot.opened_ns))
            lot.cost -= lot.cost * moved
        self._net_opposite(action.action_id, action.new_symbol)
        lots = [*self.lots.get(action.new_symbol, []), *self.lots.pop(action.action_id)]
        self.lots[action.new_symbol] = sorted(lots, key=lambda lot: lot.opened_ns)
        self.was_split.add(action.new_symbol)
        total = self.quantity(action.new_symbol)
        if action.amount is not None and total != int(total):
            self.book_trade(action.new_symbol, int(total) - total, Fraction(action.amount))

    def _pay_merger_cash(self, action: CorporateAction) -> None:
        """Pay the cash of a merger. Of it, what a lot is worth above its cost is P&L; the rest reduces the cost."""
        unit = Fraction(self._unit_value(action.symbol))
        cash = Fraction(action.cash_per_share or 0) * unit
        value = Fraction(action.amount or 0) * _recorded_fraction(Fraction(action.ratio or 0)) * unit
        for lot in self.lots.get(action.symbol, []):
            self.bookings += 1
            units, side = abs(lot.units), 1 if lot.units > 0 else -1
            gain = min(max(units * (cash + value) - abs(lot.cost), Fraction(0)), units * cash)
            self.cash += side * units * cash
            self.realized += side * gain
            lot.cost -= side * (units * cash - gain)

    def book_trade(self, symbol: str, units: Fraction, price: Fraction, ts_ns: int = 0) -> None:
        """Close lots of the other side, first in first out, and open one with the rest."""
        self.bookings += 1
        value = price * Fraction(self._unit_value(symbol))
        self.cash -= units * value
        rest = self._close_lots(symbol, units, value)
        lots = self.lots[symbol]
        if symbol in self.was_split and rest != units and not self._is_part:
            rest = self._drop_remainder(lots, rest, value)
        if rest:
            lots.append(NaiveLot(rest, rest * value, ts_ns))

    def _close_lots(self, symbol: str, units: Fraction, value: Fraction) -> Fraction:
        """Close lots of the other side at a value per unit, first in first out. Return the rest of the units."""
        lots, rest = self.lots.setdefault(symbol, []), units
        while rest and lots and lots[0].units * rest < 0:
            lot = lots[0]
            closed = lot.units if abs(lot.units) <= abs(rest) else -rest
            cost = lot.cost * closed / lot.units
            self.realized += closed * value - cost
            lot.units, lot.cost, rest = lot.units - closed, lot.cost - cost, rest + closed
            if not lot.units:
                lots.pop(0)
        return rest

    def _drop_remainder(self, lots: list[NaiveLot], rest: Fraction, value: Fraction) -> Fraction:
        """Realize what is too small to trade, of the position or of the trade. Return the rest of the trade."""
        if abs(sum((lot.units for lot in lots), Fraction(0))) <= SMALLEST_POSITION:
            self.realized -= sum((lot.cost for lot in lots), Fraction(0))
            lots.clear()
        if abs(rest) <= SMALLEST_POSITION:
            self.realized -= rest * value
            return Fraction(0)
        return rest


def new_for_old(action: CorporateAction) -> Fraction:
    """The new shares per old share."""
    return _recorded_fraction(Fraction(action.ratio or 0) + (0 if action.kind == SPLIT else 1))


def rounded_units(units: Fraction) -> Fraction:
    """Units to nine places; next to a whole number, that number."""
    whole = Fraction(round(units))
    return whole if whole and abs(units - whole) <= SMALLEST_POSITION else Fraction(round(units * PLACES), PLACES)


def _recorded_fraction(ratio: Fraction) -> Fraction:
    """The fraction that a recorded ratio of nine decimals stands for: 0.333333333 is 1-for-3."""
    simple = ratio.limit_denominator(10_000)
    return simple if simple and abs(simple - ratio) * 2 * PLACES <= 1 else ratio


def first_difference(
    naive: NaiveLedger, positions: Mapping[str, tuple[Decimal, Decimal]], totals: Mapping[str, Decimal]
) -> str | None:
    """Return the first difference as a sentence, or None.

    `positions` are quantity and cost basis by symbol, `totals` are cash, accrued_dividends, realized_pnl and fees.
    """
    tolerance = naive.tolerance()
    expected = {
        "cash": naive.cash,
        "accrued_dividends": sum(naive.unpaid.values(), Fraction(0)),
        "realized_pnl": naive.realized + naive.income,
        "fees": naive.fees,
    }
    for name, value in totals.items():
        if abs(expected[name] - Fraction(value)) > tolerance:
            return f"{name} is {value}, expected {float(expected[name]):.9f} from the executions and corporate actions"
    for symbol in sorted({*naive.lots, *positions}):
        quantity, cost = positions.get(symbol, (Decimal(0), Decimal(0)))
        found = {"quantity": (quantity, naive.quantity(symbol)), "cost_basis": (cost, naive.cost(symbol))}
        for name, (stored, rebuilt) in found.items():
            if abs(rebuilt - Fraction(stored)) > tolerance:
                return f"{name} of {symbol} is {stored}, expected {float(rebuilt):.9f} from the executions"
    return None
