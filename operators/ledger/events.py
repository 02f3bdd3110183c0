"""Convert `reference-data` records to ledger events, for both the portfolio's books and risk's own book.

Dividends, interest and borrow fees are computed here for both. Each caller supplies its own positions and cash.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any

from operators.ledger.cash import Accruals, AccrualSettings, Charge, Dividends, ShortPosition
from operators.ledger.corporate_actions import (
    CashDividend,
    Delisting,
    MergerCash,
    SpinOff,
    Split,
    StockDividend,
    SymbolChange,
    fractional_units,
)
from operators.ledger.split_ratio import split_price, split_quantity, split_units
from operators.money import ONE, ZERO, multiply, quantize, to_decimal
from schemas.records import (
    CASH_DIVIDEND,
    DELISTING,
    MERGER_CASH,
    RIGHTS,
    SPIN_OFF,
    SPLIT,
    STOCK_DIVIDEND,
    SYMBOL_CHANGE,
    CorporateAction,
)

VERSION = 2
LedgerEvent = Split | StockDividend | SymbolChange | Delisting | SpinOff | MergerCash


def share_ratio(action: CorporateAction) -> Decimal:
    """Return the new shares per old share; 1 if the number of shares does not change."""
    if action.ratio is None or action.kind not in (SPLIT, STOCK_DIVIDEND):
        return ONE
    return action.ratio if action.kind == SPLIT else ONE + action.ratio


def distribution_prices(action: CorporateAction, price: float) -> tuple[float, float]:
    """Return the prices of a share and of a distributed share after a SPIN_OFF or RIGHTS, from the price before.

    The value is divided like the cost basis, by `cost_share`, until both have traded.
    """
    assert action.ratio is not None and action.cost_share is not None, (
        f"{action.action_id}: expected a validated action"
    )
    value = to_decimal(price)
    moved = multiply(value, action.cost_share)
    return float(value - moved), float(split_price(moved, action.ratio))


def to_ledger_event(action: CorporateAction, ts_ns: int, quantity: Decimal) -> LedgerEvent | None:
    """Convert a corporate action to the ledger event for a position of `quantity` units at `ts_ns`.

    Return None if the position does not change (a cash dividend, no position). If the ratio would leave at most
    `ROUNDING_REMAINDER` units, the position is closed for the cash in lieu of that remainder.
    """
    action_id, symbol = action.action_id, action.symbol
    if not quantity or action.kind == CASH_DIVIDEND:
        return None
    if action.kind == SYMBOL_CHANGE:
        return SymbolChange(action_id, ts_ns, symbol, action.new_symbol)
    if action.kind == DELISTING:
        return Delisting(action_id, ts_ns, symbol, quantize(action.amount or ZERO))
    if action.kind in (SPIN_OFF, RIGHTS):
        assert action.ratio is not None and action.cost_share is not None, f"{action_id}: expected a validated action"
        return (
            SpinOff(
                action_id=action_id,
                ts_ns=ts_ns,
                symbol=symbol,
                new_symbol=action.new_symbol,
                ratio=action.ratio,
                cost_share=action.cost_share,
                cash_in_lieu=action.amount,
            )
            if split_units(quantity, action.ratio)
            else None
        )
    if action.kind == MERGER_CASH:
        assert action.ratio is not None, f"{action_id}: expected a validated corporate action"
        cash, share_value = action.cash_per_share or ZERO, action.amount or ZERO
        return MergerCash(
            action_id=action_id, ts_ns=ts_ns, symbol=symbol, cash=cash, share_value=share_value, ratio=action.ratio
        )
    ratio = share_ratio(action)
    if not split_units(quantity, ratio):
        return Delisting(action_id, ts_ns, symbol, multiply(action.amount or ZERO, ratio))
    if action.kind == SPLIT:
        return Split(action_id=action_id, ts_ns=ts_ns, symbol=symbol, ratio=ratio, cash_in_lieu=action.amount)
    assert action.ratio is not None, f"{action_id}: expected a validated corporate action"
    return StockDividend(action_id=action_id, ts_ns=ts_ns, symbol=symbol, rate=action.ratio, cash_in_lieu=action.amount)


def apply_to_quantities(
    quantities: Mapping[str, Decimal], split_symbols: dict[str, None], action: CorporateAction, ts_ns: int
) -> dict[str, Decimal]:
    """Return the positions by symbol after a corporate action, for callers that do not track lots.

    This function updates the set `split_symbols`. After a trade in a split symbol, a position of at most
    `ROUNDING_REMAINDER` units counts as 0.
    """
    after, symbol = dict(quantities), action.symbol
    event = to_ledger_event(action, ts_ns, quantities.get(symbol, ZERO))
    if isinstance(event, Delisting):
        after[symbol] = ZERO
    elif isinstance(event, SymbolChange):
        if split_symbols.pop(symbol, ()) is None:
            split_symbols[event.new_symbol] = None
        after[event.new_symbol] = after.get(event.new_symbol, ZERO) + after.pop(symbol)
    elif isinstance(event, SpinOff):
        split_symbols[event.new_symbol] = None
        after[event.new_symbol] = after.get(event.new_symbol, ZERO) + split_quantity(after[symbol], event.ratio)
        if event.cash_in_lieu is not None:
            after[event.new_symbol] -= fractional_units(after[event.new_symbol])
    elif event is not None and not isinstance(event, MergerCash):
        split_symbols[symbol] = None
        after[symbol] = split_quantity(after[symbol], event.ratio)
        if event.cash_in_lieu is not None:
            after[symbol] -= fractional_units(after[symbol])
    return after


class AccountIncome:
    """Dividends, interest and borrow fees of one account. All money in account currency.

    A dividend is income from its ex-date on, as its price drop is a loss from then on (accrual accounting, GIPS). Until
    its pay date it is `accrued`; the payment only moves it to cash.
    """

    def __init__(self, settings: AccrualSettings) -> None:
        self._accruals, self._dividends = Accruals(settings), Dividends()
        self._accrued: dict[str, Decimal] = {}  # action id -> dividend that is income but not paid yet

    @property
    def accrued(self) -> Decimal:
        """Dividends receivable minus dividends payable, from their ex-dates on."""
        return sum(self._accrued.values(), ZERO)

    @property
    def accrued_dividends(self) -> dict[str, Decimal]:
        """The same by the id of the corporate action."""
        return dict(self._accrued)

    def open_day(self, previous_day: int, day: int, cash: Decimal, shorts: Mapping[str, ShortPosition]) -> list[Charge]:
        """Start trading day `day` (yyyymmdd). `previous_day` is the trading day before it, 0 if there is none.

        `cash` and `shorts` are the closing balances of the previous day. Return the due charges, which the caller
        books.
        """
        due: list[Charge] = []
        if previous_day:
            due = self._accruals.close_day(_ordinal(previous_day), cash, shorts)
        return due + self._pop_paid(_ordinal(day))

    def record_ex_date(self, action: CorporateAction, quantity: Decimal, day: int, rate: Decimal = ONE) -> list[Charge]:
        """Record a cash dividend that goes ex on `day`. `rate` converts its currency to account currency.

        Return the charges that the caller books: the payment, or the accrual if the dividend is paid on a later day.
        """
        assert action.amount is not None, f"{action.action_id}: expected a validated corporate action"
        today = _ordinal(day) if day else 1
        pay_day = max(today, _ordinal(action.pay_date)) if action.pay_date else today
        amount = multiply(action.amount, rate)
        self._dividends.record_ex_date(
            CashDividend(
                action_id=action.action_id, ex_day=today, pay_day=pay_day, symbol=action.symbol, per_share=amount
            ),
            quantity,
        )
        paid = self._pop_paid(today)
        due = multiply(quantity, amount)
        if pay_day <= today or not due:
            return paid
        self._accrued[action.action_id] = due
        accrual = Charge(
            day=today, kind=CASH_DIVIDEND, symbol=action.symbol, amount=ZERO, cause_id=action.action_id, accrued=due
        )
        return [*paid, accrual]

    def _pop_paid(self, day: int) -> list[Charge]:
        """Return the dividends paid on or before `day`. Their accruals end."""
        return [
            charge._replace(accrued=-self._accrued.pop(charge.cause_id, ZERO))
            for charge in self._dividends.pop_due(day)
        ]

    def snapshot(self) -> Any:
        return (VERSION, self._accruals.snapshot(), self._dividends.snapshot(), dict(self._accrued))

    def restore(self, snapshot: Any) -> None:
        """Restore a snapshot. In version 1, pending dividends are not income before their payment."""
        version, accruals, dividends, *accrued = snapshot
        assert version in (1, VERSION), f"account income snapshot: version {version}, expected 1 or {VERSION}"
        self._accrued = dict(accrued[0]) if accrued else {}
        self._accruals.restore(accruals)
        self._dividends.restore(dividends)


def _ordinal(yyyymmdd: int) -> int:
    """Convert a bar's trading day to an ordinal. A day outside the month, which a feed may publish, rolls over.

    >>> _ordinal(20240132) == _ordinal(20240201)
    True
    """
    year, month, day = max(1, yyyymmdd // 10_000), min(12, max(1, yyyymmdd // 100 % 100)), yyyymmdd % 100
    return date(year, month, 1).toordinal() + day - 1
