"""`lots`: compute tax lots, matches and totals from a CSV file of trades, without any service."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterable
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

import typer

from deploy.name_arguments import require_choice
from deploy.trade_files import FillRow, SplitRow, TradeTime, read_fills, read_splits
from operators.ledger import OpenLot, TaxBook, TaxMatch
from operators.ledger.form_8949 import FormRow, form_rows
from operators.ledger.form_8949 import totals as form_totals
from operators.money import ZERO, plain
from schemas.errors import BadInput, InvalidField
from schemas.suggestions import did_you_mean

_METHODS = ("fifo", "lifo", "hifo", "average")
_FORMATS = ("lots", "8949")


def register(app: typer.Typer) -> None:
    app.command("lots", help="Compute tax lots, realized gains and wash sales from a CSV file of trades.")(lots)


def lots(
    fills: Annotated[
        Path, typer.Option(help="CSV file with time,symbol,side,quantity,price,fee and optionally order_id,multiplier.")
    ],
    method: Annotated[str, typer.Option(help="Matching method: fifo, lifo, hifo or average.")] = "fifo",
    splits: Annotated[
        Path | None, typer.Option(help="CSV file with time,symbol,ratio; ratio 2 means two new shares for one old.")
    ] = None,
    wash_sales: Annotated[bool, typer.Option("--wash-sales", help="Disallow wash-sale losses (IRS Pub. 550).")] = False,
    json_out: Annotated[
        str | None, typer.Option("--json", help="Write JSON to this file; - for standard output.")
    ] = None,
    form: Annotated[
        str, typer.Option("--format", help="Output format: lots, or 8949 for the rows of the tax form.")
    ] = "lots",
    zone: Annotated[
        str, typer.Option(help="Time zone in which times with a UTC offset are converted to trade dates.")
    ] = "America/New_York",
) -> None:
    """Match every sale with the lots it closes, and print the open lots."""
    try:
        require_choice("--method", method, _METHODS)
        require_choice("--format", form, _FORMATS)
        result = _compute(fills, splits, method, wash_sales, _zone(zone))
        text = _as_json(result, form) if json_out is not None else _as_text(result, form)
        _write(text, json_out)
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(2) from None


class TaxLotsResult(NamedTuple):
    """Matches and open lots of a file. `trade_times` maps a trade id to the time of the trade."""

    matches: list[TaxMatch]
    open_lots: list[tuple[str, Decimal, OpenLot]]
    trade_times: dict[str, TradeTime]


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise BadInput(
            f"--zone must be a time zone such as America/New_York, found {name!r}"
            f"{did_you_mean(name, available_timezones())}"
        ) from None


def _compute(fills: Path, splits: Path | None, method: str, wash_sales: bool, zone: ZoneInfo) -> TaxLotsResult:
    trades = read_fills(fills, zone)
    split_rows = read_splits(splits, zone) if splits is not None else []
    if (
        trades
        and split_rows
        and (trades[0].trade_time.stamp.tzinfo is None) is not (split_rows[0].trade_time.stamp.tzinfo is None)
    ):
        times_text = f"{trades[0].trade_time.text!r} and {split_rows[0].trade_time.text!r}"
        raise BadInput(
            f"{fills.name} and {splits}: field time must have a zone in both files or in neither, found {times_text}"
        )
    book = TaxBook(method, wash_sales=wash_sales)
    matches: list[TaxMatch] = []
    # A split takes effect before the trades of the same time.
    steps: list[SplitRow | FillRow] = sorted([*split_rows, *trades], key=lambda step: step.trade_time.sort_key)
    for step in steps:
        try:
            matches += book.apply_trade(step.trade) if isinstance(step, FillRow) else book.apply_action(step.split)
        except InvalidField as error:
            file = fills if isinstance(step, FillRow) else splits
            raise BadInput(f"{file}: {error}") from None
    return TaxLotsResult(matches, list(book.open_lots()), {fill.trade.trade_id: fill.trade_time for fill in trades})


def _as_json(result: TaxLotsResult, form: str) -> str:
    if form == "8949":
        rows = form_rows(result.matches)
        sums = {part: {k: str(v) for k, v in row.items()} for part, row in form_totals(rows).items()}
        return json.dumps({"rows": [_form_fields(row) for row in rows], "totals": sums}, indent=2) + "\n"
    matches = [_match_fields(match, result.trade_times) for match in result.matches]
    open_lots = [_lot_fields(symbol, lot, result.trade_times) for symbol, _, lot in result.open_lots]
    return json.dumps({"matches": matches, "open_lots": open_lots, "totals": _totals(result.matches)}, indent=2) + "\n"


def _match_fields(match: TaxMatch, trade_times: dict[str, TradeTime]) -> dict[str, str]:
    return {
        "symbol": match.symbol,
        "entry_time": trade_times[match.open_id].text,
        "exit_time": trade_times[match.close_id].text,
        "direction": match.direction,
        "quantity": plain(match.quantity),
        "entry_price": plain(match.closed_lot.entry_price),
        "exit_price": plain(match.exit_price),
        "pnl": plain(match.pnl),
        "fees": plain(match.fees),
        "disallowed_loss": plain(match.disallowed_loss),
        "carried_loss": plain(match.closed_lot.carried_loss),
        "gain": plain(match.gain),
    }


def _lot_fields(symbol: str, lot: OpenLot, trade_times: dict[str, TradeTime]) -> dict[str, str]:
    """`basis` is the cost plus fees and the loss carried from a wash sale; for a short lot, the proceeds less both."""
    costs = lot.fees + lot.carried_loss
    return {
        "symbol": symbol,
        "time": trade_times[lot.lot_id].text,
        "direction": "LONG" if lot.quantity > 0 else "SHORT",
        "quantity": plain(abs(lot.quantity)),
        "price": plain(lot.price),
        "basis": plain(lot.cost + costs if lot.quantity > 0 else -lot.cost - costs),
        "holding_from": _shifted_back(trade_times[lot.lot_id], lot.opened_ns - lot.holding_from_ns),
    }


def _shifted_back(trade_time: TradeTime, offset_ns: int) -> str:
    """Return the time `offset_ns` before `trade_time`, in the same notation."""
    if not offset_ns:
        return trade_time.text
    stamp = trade_time.stamp - timedelta(microseconds=offset_ns // 1_000)
    if len(trade_time.text) <= len("2024-01-31"):
        return stamp.date().isoformat()
    text = stamp.isoformat(sep=trade_time.text[10])
    return text.replace("+00:00", "Z") if trade_time.text.endswith("Z") else text


def _totals(matches: Iterable[TaxMatch]) -> dict[str, str]:
    sums = dict.fromkeys(("pnl", "fees", "disallowed_loss", "carried_loss", "gain"), ZERO)
    for match in matches:
        sums["pnl"] += match.pnl
        sums["fees"] += match.fees
        sums["disallowed_loss"] += match.disallowed_loss
        sums["carried_loss"] += match.closed_lot.carried_loss
        sums["gain"] += match.gain
    return {name: plain(amount) for name, amount in sums.items()}


def _form_fields(row: FormRow) -> dict[str, str]:
    return {
        name: value.strftime("%m/%d/%Y") if hasattr(value, "strftime") else str(value) for name, value in _pairs(row)
    }


def _pairs(row: FormRow) -> Iterable[tuple[str, Any]]:
    return zip(row._fields, row, strict=True)


def _as_text(result: TaxLotsResult, form: str) -> str:
    out = io.StringIO()
    if form == "8949":
        writer = csv.DictWriter(out, FormRow._fields, lineterminator="\n")
        writer.writeheader()
        writer.writerows(_form_fields(row) for row in form_rows(result.matches))
        return out.getvalue()
    matches = [_match_fields(match, result.trade_times) for match in result.matches]
    open_lots = [_lot_fields(symbol, lot, result.trade_times) for symbol, _, lot in result.open_lots]
    for title, rows in (("matches", matches), ("open lots", open_lots), ("totals", [_totals(result.matches)])):
        out.write(f"{title}\n{_table(rows)}\n")
    return out.getvalue()


def _table(rows: list[dict[str, str]]) -> str:
    if not rows:
        return "  none\n"
    widths = {name: max(len(name), *(len(row[name]) for row in rows)) for name in rows[0]}
    lines = [{name: name for name in widths}, *rows]
    return "".join("  " + "  ".join(line[name].rjust(width) for name, width in widths.items()) + "\n" for line in lines)


def _write(text: str, target: str | None) -> None:
    if target is None or target == "-":
        sys.stdout.write(text)
        return
    try:
        Path(target).write_text(text, encoding="utf-8")
    except OSError as error:
        raise BadInput(f"cannot write --json {target}: {error.strerror}") from None
