"""From the records of `reference-data` to what the ledger does, the same for the portfolio's books and risk's own.

Money that comes without a trade is worked out here for both: each feeds its own holdings and cash, and a difference
between the two would show.
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
    """New shares for one old; 1 where the number of shares stays."""
    if action.ratio is None or action.kind in (CASH_DIVIDEND, DELISTING, SYMBOL_CHANGE):
        return ONE
    return action.ratio if action.kind == SPLIT else ONE + action.ratio


def to_ledger_event(action: CorporateAction, ts_ns: int, quantity: Decimal) -> LedgerEvent | None:
    """What happens to a holding of `held` units at `ts_ns`; None where nothing does (a cash dividend, an empty book).

    A ratio that would leave less than a grain closes the holding at what the grain is worth.
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
    assert action.ratio is not None, f"{action_id} was checked"
    return StockDividend(action_id, ts_ns, symbol, action.ratio, action.amount)


def apply_to_quantities(
    quantities: Mapping[str, Decimal], dust: dict[str, None], action: CorporateAction, ts_ns: int
) -> dict[str, Decimal]:
    """Plain holdings by symbol after a corporate action, for whoever keeps no lots. `dust` are the symbols that were
    split, of which as little as `DUST` counts as nothing once they are traded.
    """
    after, symbol = dict(quantities), action.symbol
    event = to_ledger_event(action, ts_ns, quantities.get(symbol, ZERO))
    if isinstance(event, Delisting):
        after[symbol] = ZERO
    elif isinstance(event, SymbolChange):
        if after[symbol] * after.get(event.new_symbol, ZERO) < 0:
            return after  # held long under one name and short under the other: nobody can say what becomes of it
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
    """Dividends, interest and borrow fees of one account, day by day. All money in account currency."""

    def __init__(self, settings: AccrualSettings) -> None:
        self._accruals, self._dividends = Accruals(settings), Dividends()

    def open_day(self, previous_day: int, day: int, cash: Decimal, shorts: Mapping[str, ShortPosition]) -> list[Charge]:
        """Trading day `day` (yyyymmdd) begins after `previous_day` (0: the first). `cash` and `shorts` are of the evening
        before. Returns what is due, for the account to book.
        """
        due: list[Charge] = []
        if previous_day:
            due = self._accruals.close_day(_ordinal(previous_day), cash, shorts)
        return due + self._dividends.take_due(_ordinal(day))

    def record_ex_date(self, action: CorporateAction, quantity: Decimal, day: int, rate: Decimal = ONE) -> list[Charge]:
        """A cash dividend takes effect on `day`; `rate` is its currency's. Returns it where it is paid at once."""
        assert action.amount is not None, f"{action.action_id} was checked"
        today = _ordinal(day) if day else 1
        pay_day = max(today, _ordinal(action.pay_date)) if action.pay_date else today
        amount = multiply(action.amount, rate)
        self._dividends.record_ex_date(CashDividend(action.action_id, today, pay_day, action.symbol, amount), quantity)
        return self._dividends.take_due(today)

    def snapshot(self) -> Any:
        return (VERSION, self._accruals.snapshot(), self._dividends.snapshot())

    def restore(self, snapshot: Any) -> None:
        version, accruals, dividends = snapshot
        assert version == VERSION, f"income state of version {version}, expected {VERSION}"
        self._accruals.restore(accruals)
        self._dividends.restore(dividends)


def _ordinal(yyyymmdd: int) -> int:
    """Of a bar's trading day. A feed may write one that no calendar has; the books go on with the day it comes to.

    >>> _ordinal(20240132) == _ordinal(20240201)
    True
    """
    year, month, day = max(1, yyyymmdd // 10_000), min(12, max(1, yyyymmdd // 100 % 100)), yyyymmdd % 100
    return date(year, month, 1).toordinal() + day - 1
