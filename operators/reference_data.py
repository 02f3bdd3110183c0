"""Determine when corporate actions take effect, and track exchange rates, halts and ended names, for the stages.

A corporate action takes effect in the first time slice with a bar of its `ex_date` or later. It is applied before the
executions of that time slice, which refer to the new shares. Stages that read the same bars and the same log apply it
in the same time slice.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import Any, get_args

from operators.ended_symbols import EndedSymbols
from operators.exchange_halts import ExchangeHalts
from operators.money import ONE, is_not_negative, is_positive
from schemas.errors import InvalidField
from schemas.records import (
    CASH_DIVIDEND,
    CASH_MERGER,
    DELISTING,
    MERGER_CASH,
    RIGHTS,
    SPIN_OFF,
    SPLIT,
    STOCK_DIVIDEND,
    STOCK_MERGER,
    SYMBOL_CHANGE,
    Bar,
    CorporateAction,
    CorporateActionKind,
    ExchangeRate,
    Record,
    TradingStatus,
)

VERSION = 3
ACTION_KINDS: tuple[CorporateActionKind, ...] = tuple(
    kind for kind in get_args(CorporateActionKind) if kind != MERGER_CASH
)
"""The kinds that publishers may use."""
_RECORD_TYPES = frozenset({CorporateAction, ExchangeRate, TradingStatus})
IDS_MAX = 10_000
"""Number of recent ids remembered to discard duplicates. A publisher may retry."""
_CASH_PART, FIRST_PART, SECOND_PART = "/0", "/1", "/2"
"""Endings of the ids of the actions that a merger consists of."""
RATIO_MAX = Decimal(1_000_000)
RATIO_KINDS: tuple[CorporateActionKind, ...] = (SPLIT, STOCK_DIVIDEND, STOCK_MERGER, SPIN_OFF, RIGHTS)
NEW_SYMBOL_KINDS: tuple[CorporateActionKind, ...] = (SYMBOL_CHANGE, STOCK_MERGER, SPIN_OFF, RIGHTS)
COST_SHARE_KINDS: tuple[CorporateActionKind, ...] = (SPIN_OFF, RIGHTS)


class ReferenceData:
    """Pending corporate actions, current exchange rates, halts of the exchange and names that have ended.

    With `by_symbol`, for a stage of one shard, an action waits for a bar of its own symbol instead of any bar.
    """

    def __init__(self, *, by_symbol: bool = False, currency: str = "USD") -> None:
        """`currency` is the account currency. A dividend in another currency waits until its rate is known."""
        self._by_symbol = by_symbol
        self._currency = currency
        self.rates: dict[str, Decimal] = {}  # currency -> its last rate in account currency
        self._seen_ids: dict[str, None] = {}
        self._pending: list[CorporateAction] = []
        self.halts = ExchangeHalts()
        self.ended = EndedSymbols()
        self.status_changes: list[TradingStatus] = []
        """The halts and resumptions of the last time slice."""

    def pop_due(self, records: Sequence[Record]) -> list[CorporateAction | ExchangeRate]:
        """Return the rates and actions that take effect in this time slice.

        First the rates and the actions without a date, in log order, then the actions whose `ex_date` is reached, by
        date. Duplicate and invalid records (`validate_corporate_action`) are discarded, and rates to another currency
        than that of the account. Halts and resumptions take effect at once (`halts` and `status_changes`).
        """
        out: list[CorporateAction | ExchangeRate] = []
        self.status_changes = []
        if not self._pending and _RECORD_TYPES.isdisjoint(map(type, records)):
            if self.ended:
                self.ended.apply((), records)
            return out  # fast path for nearly every time slice
        for record in records:
            if type(record) is ExchangeRate and self._is_new(record.rate_id):
                if is_positive(record.rate) and record.quote == self._currency:
                    self.rates[record.base] = record.rate
                    out.append(record)
            elif type(record) is CorporateAction and self._is_new(record.action_id) and is_valid_action(record):
                if record.ex_date or not self._can_value(record):
                    self._pending.append(record)
                else:
                    out.append(record)
            elif type(record) is TradingStatus and self._is_new(record.status_id) and self.halts.apply(record):
                self.status_changes.append(record)
        if self._pending:
            effective = self._pop_effective(records)
            out += effective
            self._pending = [action for action in self._pending if action not in effective]
        due = [part for record in out for part in split_merger(record)]
        actions = [part for part in due if isinstance(part, CorporateAction)]
        for action in actions:
            if action.kind in (SYMBOL_CHANGE, DELISTING):
                self.halts.rename(action.symbol, action.new_symbol)
        self.ended.apply(actions, records)
        return due

    def _pop_effective(self, records: Sequence[Record]) -> list[CorporateAction]:
        trading_days = {record.symbol: record.trading_day for record in records if type(record) is Bar}
        latest_day = max(trading_days.values(), default=0)
        effective = [
            action
            for action in self._pending
            if action.ex_date <= (trading_days.get(action.symbol, 0) if self._by_symbol else latest_day)
            and self._can_value(action)
        ]
        return sorted(effective, key=lambda action: action.ex_date)

    def _can_value(self, action: CorporateAction) -> bool:
        return action.kind != CASH_DIVIDEND or action.currency in ("", self._currency) or action.currency in self.rates

    def rate_of(self, currency: str) -> Decimal:
        """The value of one unit of `currency` in account currency; 1 for the account currency and if unknown."""
        return self.rates.get(currency, ONE)

    def _is_new(self, record_id: str) -> bool:
        if record_id in self._seen_ids:
            return False
        self._seen_ids[record_id] = None
        if len(self._seen_ids) > IDS_MAX:
            del self._seen_ids[next(iter(self._seen_ids))]
        return True

    def snapshot(self) -> Any:
        pending = [tuple(action) for action in self._pending]
        ended = self.ended.snapshot()
        return (VERSION, list(self._seen_ids), pending, dict(self.rates), self.halts.snapshot(), ended)

    def restore(self, snapshot: Any) -> None:
        """Restore a snapshot. Version 1 has no halts, versions 1 and 2 no ended names."""
        version, seen_ids, pending, rates, *later = snapshot
        assert version in (1, 2, VERSION), f"reference data snapshot: version {version}, expected 1 to {VERSION}"
        self._seen_ids, self.rates = dict.fromkeys(seen_ids), dict(rates)
        self._pending = [CorporateAction(*values) for values in pending]
        if later:
            self.halts.restore(later[0])
        if len(later) > 1:
            self.ended.restore(later[1])


def split_merger(record: CorporateAction | ExchangeRate) -> list[CorporateAction | ExchangeRate]:
    """Return the simpler actions that a merger consists of; any other record alone.

    In a merger for stock, the shares are split by the ratio and take the acquirer's symbol. In a merger for cash, they
    are paid out. The books therefore treat mergers like these actions, whose ids end with `/1` and `/2`. In a merger
    for stock and cash, the cash is paid first, by an action whose id ends with `/0`.
    """
    if not isinstance(record, CorporateAction) or record.kind not in (CASH_MERGER, STOCK_MERGER):
        return [record]
    first = record._replace(action_id=record.action_id + FIRST_PART, new_symbol="")
    if record.kind == CASH_MERGER:
        return [first._replace(kind=DELISTING)]
    second = record._replace(action_id=record.action_id + SECOND_PART, kind=SYMBOL_CHANGE, ratio=None, amount=None)
    exchange: list[CorporateAction | ExchangeRate] = [
        first._replace(kind=SPLIT, cash_per_share=None),
        second._replace(cash_per_share=None),
    ]
    if not record.cash_per_share:
        return exchange
    return [first._replace(action_id=record.action_id + _CASH_PART, kind=MERGER_CASH), *exchange]


def whole_action_id(action_id: str) -> str:
    """Return the id of the corporate action to which a part of `split_merger` belongs; other ids are unchanged.

    >>> whole_action_id("merger-7/1"), whole_action_id("split-3")
    ('merger-7', 'split-3')
    """
    for suffix in (_CASH_PART, FIRST_PART, SECOND_PART):
        if action_id.endswith(suffix):
            return action_id.removesuffix(suffix)
    return action_id


def describe_action(action: CorporateAction) -> str:
    """Return what an effective action has done to the shares, as the reason of an order that ends with it.

    >>> merger = CorporateAction("m", 0, "CASH_MERGER", "TWTR", 0, 0, None, Decimal("54.2"), "USD", "", "test")
    >>> [describe_action(part) for part in split_merger(merger)]
    ['TWTR was paid out in a merger for cash (m)']
    """
    symbol, new_symbol, action_id = action.symbol, action.new_symbol, action.action_id
    if action.kind == DELISTING and action_id.endswith(FIRST_PART):
        return f"{symbol} was paid out in a merger for cash ({action_id.removesuffix(FIRST_PART)})"
    if action.kind == MERGER_CASH:
        return f"{symbol} was merged for stock and cash ({action_id.removesuffix(_CASH_PART)})"
    if action.kind == SPLIT and action_id.endswith(FIRST_PART):
        return f"{symbol} was merged into another company ({action_id.removesuffix(FIRST_PART)})"
    if action.kind == SYMBOL_CHANGE and action_id.endswith(SECOND_PART):
        return f"{symbol} was merged into {new_symbol} ({action_id.removesuffix(SECOND_PART)})"
    texts: dict[CorporateActionKind, str] = {
        SPLIT: f"{symbol} was split and no whole lot of the order is left",
        STOCK_DIVIDEND: f"{symbol} paid a stock dividend and no whole lot of the order is left",
        DELISTING: f"{symbol} was delisted",
        SYMBOL_CHANGE: f"{symbol} was renamed to {new_symbol}",
        SPIN_OFF: f"{symbol} distributed shares of {new_symbol}",
        RIGHTS: f"{symbol} distributed subscription rights ({new_symbol})",
    }
    return f"{texts.get(action.kind, action.kind)} ({action_id})"


def validate_corporate_action(action: CorporateAction) -> None:
    """Raise InvalidField for an invalid corporate action. Publishers call this before they publish.

    >>> validate_corporate_action(CorporateAction("a", 0, "SPLIT", "AAPL", 20200831, 0, None, None, "USD", "", "test"))
    Traceback (most recent call last):
    schemas.errors.InvalidField: a: field ratio must be > 0 and at most 1000000 for SPLIT, found None
    """
    name, kind = action.action_id, action.kind
    if kind not in ACTION_KINDS:
        raise InvalidField(f"{name}: field kind must be one of {', '.join(ACTION_KINDS)}, found {kind!r}")
    if not name or not action.symbol:
        raise InvalidField(f"fields action_id and symbol must not be empty, found {name!r} and {action.symbol!r}")
    for field in ("ex_date", "pay_date"):
        if getattr(action, field):
            parse_day(name, field, getattr(action, field))
    if kind in RATIO_KINDS and not (
        action.ratio is not None and is_positive(action.ratio) and action.ratio <= RATIO_MAX
    ):
        raise InvalidField(f"{name}: field ratio must be > 0 and at most {RATIO_MAX} for {kind}, found {action.ratio}")
    if kind in (CASH_DIVIDEND, CASH_MERGER) and action.amount is None:
        raise InvalidField(f"{name}: field amount must be a number for {kind}, found none")
    if kind in COST_SHARE_KINDS and not (
        action.cost_share is not None and is_not_negative(action.cost_share) and action.cost_share < 1
    ):
        expected = "a number from 0 to below 1"
        raise InvalidField(f"{name}: field cost_share must be {expected} for {kind}, found {action.cost_share}")
    if action.amount is not None and not is_not_negative(action.amount):
        raise InvalidField(f"{name}: field amount must be >= 0, found {action.amount}")
    if action.cash_per_share is not None:
        _validate_merger_cash(action)
    if kind == CASH_DIVIDEND and action.pay_date and action.pay_date < action.ex_date:
        raise InvalidField(
            f"{name}: field pay_date must not be before ex_date {action.ex_date}, found {action.pay_date}"
        )
    if kind in NEW_SYMBOL_KINDS and action.new_symbol in ("", action.symbol):
        raise InvalidField(f"{name}: field new_symbol must be another symbol, found {action.new_symbol!r}")


def _validate_merger_cash(action: CorporateAction) -> None:
    name = action.action_id
    cash = action.cash_per_share
    if action.kind != STOCK_MERGER or cash is None or not is_not_negative(cash):
        expected = f">= 0 for {STOCK_MERGER} and empty for other kinds"
        raise InvalidField(f"{name}: field cash_per_share must be {expected}, found {cash} for {action.kind}")
    if cash and not action.amount:
        raise InvalidField(
            f"{name}: field amount must be the value of one new share, because cash_per_share is set, "
            f"found {action.amount}"
        )


def parse_day(action_id: str, field: str, yyyymmdd: int) -> date:
    """Convert a day as yyyymmdd to a date. Raises InvalidField if there is no such day.

    >>> parse_day("a", "ex_date", 20240229).isoformat()
    '2024-02-29'
    """
    try:
        return date(yyyymmdd // 10_000, yyyymmdd // 100 % 100, yyyymmdd % 100)
    except ValueError:
        raise InvalidField(f"{action_id}: field {field} must be a day as yyyymmdd, found {yyyymmdd}") from None


def is_valid_action(action: CorporateAction) -> bool:
    """Whether `validate_corporate_action` accepts the action."""
    try:
        validate_corporate_action(action)
    except InvalidField:
        return False
    return True
