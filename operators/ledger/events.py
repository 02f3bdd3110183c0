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
    Split,
    StockDividend,
    SymbolChange,
    fractional_part,
)
from operators.ledger.lots import DUST, split_quantity
from operators.money import ONE, ZERO, multiply, quantize
from schemas.records import CASH_DIVIDEND, DELISTING, SPLIT, SYMBOL_CHANGE, CorporateAction

VERSION = 1
LedgerEvent = Split | StockDividend | SymbolChange | Delisting


def share_ratio(action: CorporateAction) -> Decimal:
    """Return the new shares per old share; 1 if the number of shares does not change."""
    if action.ratio is None or action.kind in (CASH_DIVIDEND, DELISTING, SYMBOL_CHANGE):
        return ONE
    return action.ratio if action.kind == SPLIT else ONE + action.ratio


def to_ledger_event(action: CorporateAction, ts_ns: int, quantity: Decimal) -> LedgerEvent | None:
    """Convert a corporate action to the ledger event for a position of `quantity` units at `ts_ns`.

    Returns None if the position does not change (a cash dividend, no position). If the ratio would leave at most
    `DUST` units, the position is closed for the cash in lieu of that remainder.
    """
    action_id, symbol = action.action_id, action.symbol
    if not quantity or action.kind == CASH_DIVIDEND:
        return None
    if action.kind == SYMBOL_CHANGE:
        return SymbolChange(action_id, ts_ns, symbol, action.new_symbol)
    if action.kind == DELISTING:
        return Delisting(action_id, ts_ns, symbol, quantize(action.amount or ZERO))
    ratio = share_ratio(action)
    if abs(multiply(quantity, ratio)) <= DUST:
        return Delisting(action_id, ts_ns, symbol, multiply(action.amount or ZERO, ratio))
    if action.kind == SPLIT:
        return Split(action_id, ts_ns, symbol, ratio, action.amount)
    assert action.ratio is not None, f"{action_id}: expected a validated corporate action"
    return StockDividend(action_id, ts_ns, symbol, action.ratio, action.amount)


def apply_to_quantities(
    quantities: Mapping[str, Decimal], dust: dict[str, None], action: CorporateAction, ts_ns: int
) -> dict[str, Decimal]:
    """Return the positions by symbol after a corporate action, for callers that do not track lots.

    `dust` is the set of split symbols, which this function updates. After a trade in a split symbol, a position of at
    most `DUST` units counts as 0.
    """
    after, symbol = dict(quantities), action.symbol
    event = to_ledger_event(action, ts_ns, quantities.get(symbol, ZERO))
    if isinstance(event, Delisting):
        after[symbol] = ZERO
    elif isinstance(event, SymbolChange):
        if after[symbol] * after.get(event.new_symbol, ZERO) < 0:
            return after  # long under one symbol and short under the other: the result is undefined, change nothing
        if dust.pop(symbol, ()) is None:
            dust[event.new_symbol] = None
        after[event.new_symbol] = after.get(event.new_symbol, ZERO) + after.pop(symbol)
    elif event is not None:
        dust[symbol] = None
        after[symbol] = split_quantity(after[symbol], event.ratio)
        if event.cash_in_lieu is not None:
            after[symbol] -= fractional_part(after[symbol])
    return after


class AccountIncome:
    """Dividends, interest and borrow fees of one account. All money in account currency."""

    def __init__(self, settings: AccrualSettings) -> None:
        self._accruals, self._dividends = Accruals(settings), Dividends()

    def open_day(self, previous_day: int, day: int, cash: Decimal, shorts: Mapping[str, ShortPosition]) -> list[Charge]:
        """Start trading day `day` (yyyymmdd). `previous_day` is the trading day before it, 0 if there is none.

        `cash` and `shorts` are the closing balances of the previous day. Returns the due charges, which the caller
        books.
        """
        due: list[Charge] = []
        if previous_day:
            due = self._accruals.close_day(_ordinal(previous_day), cash, shorts)
        return due + self._dividends.take_due(_ordinal(day))

    def record_ex_date(self, action: CorporateAction, quantity: Decimal, day: int, rate: Decimal = ONE) -> list[Charge]:
        """Record a cash dividend that goes ex on `day`. `rate` converts its currency to account currency.

        Returns the charges that are due immediately.
        """
        assert action.amount is not None, f"{action.action_id}: expected a validated corporate action"
        today = _ordinal(day) if day else 1
        pay_day = max(today, _ordinal(action.pay_date)) if action.pay_date else today
        amount = multiply(action.amount, rate)
        self._dividends.record_ex_date(CashDividend(action.action_id, today, pay_day, action.symbol, amount), quantity)
        return self._dividends.take_due(today)

    def snapshot(self) -> Any:
        return (VERSION, self._accruals.snapshot(), self._dividends.snapshot())

    def restore(self, snapshot: Any) -> None:
        version, accruals, dividends = snapshot
        assert version == VERSION, f"account income snapshot: version {version}, expected {VERSION}"
        self._accruals.restore(accruals)
        self._dividends.restore(dividends)


def _ordinal(yyyymmdd: int) -> int:
    """Convert a bar's trading day to an ordinal. A day outside the month, which a feed may publish, rolls over.

    >>> _ordinal(20240132) == _ordinal(20240201)
    True
    """
    year, month, day = max(1, yyyymmdd // 10_000), min(12, max(1, yyyymmdd // 100 % 100)), yyyymmdd % 100
    return date(year, month, 1).toordinal() + day - 1
