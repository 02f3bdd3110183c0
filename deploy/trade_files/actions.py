"""Read corporate actions: splits, cash in lieu of fractions, and changed symbols."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo

from deploy.trade_files.rows import TradeFileRow, plain_rows, read_lines, require_consistent_zones
from deploy.trade_files.times import TradeTime
from operators.ledger import LedgerAction, Split, SymbolChange
from operators.money import EIGHTEEN_PLACES

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
    a `new_symbol` is a changed symbol; with both, the split comes first. `zoned`: the trades have times with a zone;
    a date then begins at midnight in `zone`.
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
                name = "split" if isinstance(action, Split) else "changed symbol"
                raise row.error("time", f"a day without another {name} of {action.symbol} (overlaps {seen[key]})")
            seen[key] = row.name
            actions.append(ActionRow(trade_time, action))
    return sorted(actions, key=_key)


def _actions(row: TradeFileRow, trade_time: TradeTime) -> list[LedgerAction]:
    symbol, new_symbol, cash = row.text("symbol"), row.optional("new_symbol"), row.optional("cash_in_lieu")
    action_id, ts_ns = row.place, trade_time.wall_ns
    actions: list[LedgerAction] = []
    if row.optional("ratio") or not new_symbol:
        cash_in_lieu = row.amount("cash_in_lieu", minimum="0") if cash else None
        actions.append(Split(action_id, ts_ns, symbol, _ratio(row), cash_in_lieu))
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
    return row.trade_time.sort_key, row.action.symbol, isinstance(row.action, SymbolChange)
