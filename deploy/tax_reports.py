"""The outputs of `cli.py lots`: matches and open lots, Form 8949, realized gains, and a report of every lot."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

from deploy.trade_files import TradeTime
from operators.ledger import OpenLot, TaxMatch
from operators.ledger.form_8949 import LONG_TERM, Disposal, FormRow, Reported, disposals, form_rows, totals
from operators.ledger.realized_gains import RealizedGain, realized_gains
from operators.money import EIGHTEEN_PLACES, ZERO, plain
from schemas.records import LONG, SHORT


class TaxLotsResult(NamedTuple):
    """Matches and open lots of a file. `times` maps the id of a trade or corporate action to its time."""

    matches: list[TaxMatch]
    open_lots: list[tuple[str, Decimal, OpenLot]]
    times: Mapping[str, TradeTime]


class ReportOptions(NamedTuple):
    """`year` limits the disposals to those of one year; `reported` is what the broker reported to the IRS."""

    year: int | None = None
    reported: Reported | None = None


LOTS, FORM_8949, GAINS, LOT_REPORT = "lots", "8949", "gains", "lot-report"
FORMATS = (LOTS, FORM_8949, GAINS, LOT_REPORT)


@EIGHTEEN_PLACES.exact_sums
def as_text(result: TaxLotsResult, report: str, options: ReportOptions) -> str:
    """Return the report `lots` as tables, any other as CSV with a header line."""
    if report == LOTS:
        return _lots_text(result)
    columns, rows = _ROWS[report](result, options)
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


@EIGHTEEN_PLACES.exact_sums
def as_json(result: TaxLotsResult, report: str, options: ReportOptions) -> str:
    """Return a report as a JSON object; all amounts are texts."""
    if report == LOTS:
        content: dict[str, Any] = {
            "matches": [_match_fields(match, result.times) for match in result.matches],
            "open_lots": [_lot_fields(symbol, lot, result.times) for symbol, _, lot in result.open_lots],
            "totals": _totals(result.matches),
        }
    else:
        _, rows = _ROWS[report](result, options)
        content = {"rows": rows}
    if report == FORM_8949:
        sums = totals(form_rows(_disposals(result, options), options.reported))
        content["totals"] = {part: {name: str(amount) for name, amount in row.items()} for part, row in sums.items()}
    return json.dumps(content, indent=2) + "\n"


def _lots_text(result: TaxLotsResult) -> str:
    matches = [_match_fields(match, result.times) for match in result.matches]
    open_lots = [_lot_fields(symbol, lot, result.times) for symbol, _, lot in result.open_lots]
    tables = (("matches", matches), ("open lots", open_lots), ("totals", [_totals(result.matches)]))
    return "".join(f"{title}\n{_table(rows)}\n" for title, rows in tables)


def _match_fields(match: TaxMatch, times: Mapping[str, TradeTime]) -> dict[str, str]:
    return {
        "symbol": match.symbol,
        "entry_time": times[match.open_id].text,
        "exit_time": times[match.close_id].text,
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


def _basis(lot: OpenLot) -> Decimal:
    """The cost plus fees and the loss carried from a wash sale; for a short lot, the proceeds less both."""
    costs = lot.fees + lot.carried_loss
    return lot.cost + costs if lot.quantity > 0 else -lot.cost - costs


def _lot_fields(symbol: str, lot: OpenLot, times: Mapping[str, TradeTime]) -> dict[str, str]:
    return {
        "symbol": symbol,
        "time": times[lot.lot_id].text,
        "direction": LONG if lot.quantity > 0 else SHORT,
        "quantity": plain(abs(lot.quantity)),
        "price": plain(lot.price),
        "basis": plain(_basis(lot)),
        "holding_from": _shifted_back(times[lot.lot_id], lot.opened_ns - lot.term_start_ns),
    }


def _shifted_back(trade_time: TradeTime, offset_ns: int) -> str:
    """Return the time `offset_ns` before `trade_time`, in the same notation."""
    if not offset_ns:
        return trade_time.text
    stamp = trade_time.stamp - timedelta(microseconds=offset_ns // 1_000)
    if trade_time.is_date:
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


Rows = tuple[Sequence[str], list[dict[str, str]]]


def _disposals(result: TaxLotsResult, options: ReportOptions) -> list[Disposal]:
    return [sale for sale in disposals(result.matches) if options.year in (None, sale.sold.year)]


def _form_8949(result: TaxLotsResult, options: ReportOptions) -> Rows:
    rows = form_rows(_disposals(result, options), options.reported)
    fields = [row._asdict() | {"acquired": _form_date(row.acquired), "sold": _form_date(row.sold)} for row in rows]
    return FormRow._fields, [_as_texts(row) for row in fields]


def _form_date(day: date) -> str:
    return day.strftime("%m/%d/%Y")


def _gains(result: TaxLotsResult, options: ReportOptions) -> Rows:
    return RealizedGain._fields, [_as_texts(row._asdict()) for row in realized_gains(_disposals(result, options))]


_LOT_COLUMNS = (
    *("symbol", "status", "direction", "acquired", "holding_from", "sold", "days_held", "term"),
    *("quantity", "proceeds", "basis", "code", "disallowed_loss", "gain"),
)


def _lot_report(result: TaxLotsResult, options: ReportOptions) -> Rows:
    """One row for each part of a lot that a sale closed, and one for what is still open. Amounts are exact."""
    rows = [_closed_part(sale) for sale in _disposals(result, options)]
    rows += [_open_part(symbol, lot, result.times) for symbol, _, lot in result.open_lots]
    return _LOT_COLUMNS, sorted(rows, key=lambda row: (row["symbol"], row["acquired"], row["sold"] or "open"))


def _closed_part(sale: Disposal) -> dict[str, str]:
    return {
        "symbol": sale.symbol,
        "status": "closed",
        "direction": sale.direction,
        "acquired": sale.opened.isoformat(),
        "holding_from": sale.holding_from.isoformat(),
        "sold": sale.sold.isoformat(),
        "days_held": str((sale.sold - sale.holding_from).days),
        "term": "long" if sale.part == LONG_TERM else "short",
        "quantity": plain(sale.quantity),
        "proceeds": plain(sale.proceeds),
        "basis": plain(sale.basis),
        "code": "W" if sale.disallowed_loss else "",
        "disallowed_loss": plain(sale.disallowed_loss),
        "gain": plain(sale.gain),
    }


def _open_part(symbol: str, lot: OpenLot, times: Mapping[str, TradeTime]) -> dict[str, str]:
    held_from = times[lot.lot_id].day - timedelta(days=(lot.opened_ns - lot.term_start_ns) // (86_400 * 10**9))
    return dict.fromkeys(_LOT_COLUMNS, "") | {
        "symbol": symbol,
        "status": "open",
        "direction": LONG if lot.quantity > 0 else SHORT,
        "acquired": times[lot.lot_id].day.isoformat(),
        "holding_from": held_from.isoformat(),
        "quantity": plain(abs(lot.quantity)),
        "basis" if lot.quantity > 0 else "proceeds": plain(_basis(lot)),
    }


def _as_texts(row: Mapping[str, object]) -> dict[str, str]:
    return {name: str(value) for name, value in row.items()}


_ROWS: Mapping[str, Callable[[TaxLotsResult, ReportOptions], Rows]] = {
    FORM_8949: _form_8949,
    GAINS: _gains,
    LOT_REPORT: _lot_report,
}


def _table(rows: list[dict[str, str]]) -> str:
    if not rows:
        return "  none\n"
    widths = {name: max(len(name), *(len(row[name]) for row in rows)) for name in rows[0]}
    lines = [{name: name for name in widths}, *rows]
    return "".join("  " + "  ".join(line[name].rjust(width) for name, width in widths.items()) + "\n" for line in lines)
