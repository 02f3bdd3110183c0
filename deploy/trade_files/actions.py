"""Read corporate actions: splits, cash in lieu of fractions, changed symbols, and the cash of mergers."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo

from deploy.trade_files.rows import TradeFileRow, plain_rows, read_lines, require_consistent_zones
from deploy.trade_files.times import TradeTime
from operators.ledger import LedgerAction, MergerCash, Split, SymbolChange
from operators.money import EIGHTEEN_PLACES

_NAMES: dict[type, str] = {MergerCash: "cash payment", Split: "split", SymbolChange: "changed symbol"}
"""The actions of one row, in the order in which they take effect."""
SPLIT_COLUMNS = ("time", "symbol", "ratio")


class ActionRow(NamedTuple):
    trade_time: TradeTime
    action: LedgerAction

    @property
    def event(self) -> LedgerAction:
        return self.action

    @property
    def event_id(self) -> str:
        return self.action.action_id


def read_actions(path: Path, zone: ZoneInfo, *, zoned: bool) -> list[ActionRow]:
    """Return the corporate actions of a file ordered by time. A symbol may have at most one split and one rename a day.

    A row with a `ratio` is a split; `cash_in_lieu` is the price per new unit at which the fraction is sold. A row with
    a `new_symbol` is a changed symbol; with both, the split comes first. A row with `cash_per_unit` is a merger for
    stock and cash: the cash is paid before the split, and `cash_in_lieu` is the value of a new unit. `zoned`: the
    trades have times with a zone; a date then begins at midnight in `zone`.
    """
    actions: list[ActionRow] = []
    seen: dict[tuple[type, str, date], str] = {}
    first: TradeTime | None = None
    for row in plain_rows(path.name, read_lines(path), SPLIT_COLUMNS):
        trade_time = row.trade_time("time", zone)
        if zoned and trade_time.is_date:
            trade_time = trade_time.in_zone(zone)
        require_consistent_zones(row, trade_time, first)
        first = first or trade_time
        for action in _actions(row, trade_time):
            key = (type(action), action.symbol, trade_time.stamp.date())
            if key in seen:
                name = _NAMES[type(action)]
                raise row.error("time", f"a day without another {name} of {action.symbol} (overlaps {seen[key]})")
            seen[key] = row.name
            actions.append(ActionRow(trade_time, action))
    return sorted(actions, key=_key)


def _actions(row: TradeFileRow, trade_time: TradeTime) -> list[LedgerAction]:
    symbol, new_symbol, cash = row.text("symbol"), row.optional("new_symbol"), row.optional("cash_in_lieu")
    action_id, ts_ns = row.place, trade_time.wall_ns
    actions: list[LedgerAction] = []
    merger_cash = row.optional("cash_per_unit")
    if merger_cash and not (row.optional("ratio") and new_symbol and cash):
        raise row.error("cash_per_unit", "empty without a ratio, a new_symbol and cash_in_lieu (a merger)")
    if row.optional("ratio") or not new_symbol:
        ratio, cash_in_lieu = _ratio(row), row.amount("cash_in_lieu", minimum="0") if cash else None
        if merger_cash and cash_in_lieu is not None:
            per_unit = row.amount("cash_per_unit", minimum="above 0")
            actions.append(
                MergerCash(
                    action_id=action_id,
                    ts_ns=ts_ns,
                    symbol=symbol,
                    cash=per_unit,
                    share_value=cash_in_lieu,
                    ratio=ratio,
                )
            )
        actions.append(Split(action_id, ts_ns, symbol, ratio, cash_in_lieu))
    elif cash:
        raise row.error("cash_in_lieu", "empty without a ratio")
    if new_symbol == symbol:
        raise row.error("new_symbol", f"another symbol than {symbol}")
    if new_symbol:
        actions.append(SymbolChange(action_id, ts_ns, symbol, new_symbol))
    return actions


def _ratio(row: TradeFileRow) -> Decimal:
    """Parse a ratio of new to old units: `1:6`, `3:2`, `2` or `0.1`. `split_ratio` finds the exact fraction again."""
    new, colon, old = row.optional("ratio").partition(":")
    if not colon:
        return row.amount("ratio", minimum="above 0")
    new_units, old_units = (row.parse_amount("ratio", part.strip(), minimum="above 0") for part in (new, old))
    return EIGHTEEN_PLACES.divide(new_units, old_units)


def _key(row: ActionRow) -> tuple[object, ...]:
    return row.trade_time.sort_key, row.action.symbol, list(_NAMES).index(type(row.action))
