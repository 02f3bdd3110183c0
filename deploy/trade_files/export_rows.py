"""Find the layout of an exported file, and translate its rows to the plain columns of `lots`."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from decimal import Decimal

from deploy.trade_files.layouts import CURRENCY_CONVERSIONS, LAYOUTS, FileLayout, Names
from deploy.trade_files.rows import Line, TradeFileRow
from operators.money import ZERO
from schemas.errors import BadInput
from schemas.records import BUY, SELL
from schemas.suggestions import did_you_mean

_HEADER_LINES = 40
"""Exports have a few lines of text before the header; an activity statement has some sections."""
_OPTION = re.compile(r"-[A-Z]+\d{6}[CP][\d.]+|\S+ \d\d/\d\d/\d{4} [\d.]+ [CP]")
"""Options at Fidelity (`-AAPL240119C150`) and Schwab (`NVDA 11/20/2026 140.00 C`)."""
_OPTION_SHARES = "100"


def find_layout(lines: Sequence[Line]) -> tuple[FileLayout, int] | None:
    """Return the layout of an export and the index of its header line; None for the plain columns."""
    for index, line in enumerate(lines):
        for layout in LAYOUTS:
            in_section = not layout.section or line.values[0].lower() == layout.section
            if (index < _HEADER_LINES or layout.section) and in_section and layout.matches(_header(line)):
                return layout, index
    return None


def export_rows(
    file: str, lines: Sequence[Line], layout: FileLayout, skip_actions: Collection[str], skipped: Counter[str]
) -> Iterator[TradeFileRow]:
    """Yield the trades of an export, with the plain columns. `lines` begin with the header.

    Rows without a quantity are not trades. `skipped` counts them by the text that names their kind. A row that moves
    units in another way than a trade raises BadInput, unless `skip_actions` lists its kind.
    """
    header, number, account = _header(lines[0]), 0, ""
    for line in lines[1:]:
        if layout.section and line.values[0].lower() != layout.section:
            continue
        if layout.matches(_header(line)):
            header = _header(line)
            continue
        if not any(line.values[: len(header)]):
            continue  # text after the last column
        number += 1
        fields = dict(zip(header, line.values, strict=False))
        row = TradeFileRow(file, number, line.number, fields, is_export=True)
        if any(line.values[len(header) :]):
            raise BadInput(f"{row.place}: row must have {len(header)} fields, found {len(line.values)}")
        if not _is_counted(row, layout):
            continue
        action = _first(row, layout.side)
        if _is_zero(_first(row, layout.quantity)) or action in skip_actions:
            skipped[action or "without a quantity"] += 1
        elif _first(row, layout.asset_class).lower() in CURRENCY_CONVERSIONS:
            skipped["currency conversion"] += 1
        else:
            account = _same_account(row, layout, account)
            yield _plain_row(file, row, line, layout)


def _same_account(row: TradeFileRow, layout: FileLayout, account: str) -> str:
    """Return the account of a trade. Raises BadInput if it is not that of the trades before."""
    found = _first(row, layout.account)
    if account and found != account:
        raise BadInput(
            f"{row.place}: trade of account {found!r} after trades of {account!r}; lots belong to one account, so "
            "export each account to a file of its own and run lots for each"
        )
    return found


def _header(line: Line) -> list[str]:
    return [name.lower() for name in line.values]


def _is_counted(row: TradeFileRow, layout: FileLayout) -> bool:
    if layout.only is None:
        return True
    column, allowed = layout.only
    value = row.optional(column).lower()
    if layout.ignored and value not in (*allowed, *layout.ignored):
        known = [name.upper() for name in layout.ignored]
        raise row.error(column, f"one of {', '.join(known)}{did_you_mean(value, known)}")
    return value in allowed


def _is_zero(text: str) -> bool:
    return not text.strip("-0.,")


def _first(row: TradeFileRow, names: Names) -> str:
    """The text of the first of the named columns that the row has; "" if it has none."""
    return next((text for name in names if (text := row.optional(name))), "")


def _plain_row(file: str, row: TradeFileRow, line: Line, layout: FileLayout) -> TradeFileRow:
    side, quantity = _side(row, layout), _first(row, layout.quantity)
    if side != BUY or not layout.side:
        quantity = quantity.removeprefix("-")
    symbol, asset_class = _first(row, layout.symbol), _first(row, layout.asset_class)
    is_option = _OPTION.fullmatch(symbol) is not None or "options" in asset_class.lower()
    fields = {
        "time": _first(row, layout.time),
        "symbol": symbol,
        "side": side,
        "quantity": quantity,
        "price": _first(row, layout.price),
        "value": _first(row, layout.value),
        "fee": format(_fee(row, layout), "f"),
        "order_id": _first(row, layout.order_id),
        "id": _first(row, layout.fill_id) or " ".join(row.optional(name) for name in layout.fill_key),
        "remaining": _first(row, layout.remaining),
        "multiplier": _first(row, layout.multiplier) or (_OPTION_SHARES if is_option else ""),
        "asset_class": layout.asset_kind or asset_class,
        "currency": _first(row, layout.currency),
    }
    return TradeFileRow(file, row.number, line.number, fields, is_export=True)


def _side(row: TradeFileRow, layout: FileLayout) -> str:
    """Return the side of a trade: that of the longest matching text of the layout."""
    if not layout.side:
        return SELL if _first(row, layout.quantity).startswith("-") else BUY
    action = _first(row, layout.side)
    text = " ".join(action.lower().split())
    matching = [known for known in layout.sides if text == known or (layout.is_sentence and text.startswith(known))]
    if not matching:
        name = next((name for name in layout.side if row.optional(name)), layout.side[0])
        known = ", ".join(layout.sides)
        raise row.error(
            name,
            f"a trade ({known}){did_you_mean(action, layout.sides)}; leave it out with --skip-action {action!r} if "
            "another row or --splits covers the units that it moves",
        )
    return layout.sides[max(matching, key=len)]


def _fee(row: TradeFileRow, layout: FileLayout) -> Decimal:
    fee = ZERO
    for names in layout.fees:
        name = next((name for name in names if row.optional(name)), None)
        if name is not None:
            fee += row.amount(name, minimum="any")
    return -fee if layout.fees_are_negative else fee
