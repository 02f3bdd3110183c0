"""`lots`: compute tax lots, matches and totals from a file of trades, without any service."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

import typer

from deploy.name_arguments import require_choice
from deploy.tax_reports import (
    FORM_8949,
    FORMATS,
    GAINS,
    LOT_REPORT,
    LOTS,
    ReportOptions,
    TaxLotsResult,
    as_json,
    as_text,
)
from deploy.text_outputs import STANDARD_OUTPUT, write_output
from deploy.trade_files import ActionRow, FillFile, FillRow, read_actions, read_fills
from operators.ledger import TaxBook
from operators.ledger.form_8949 import Reported
from operators.ledger.lots import AVERAGE, FIFO, HIFO, LIFO, LotMethod
from operators.ledger.wash_sales import WINDOW_DAYS
from schemas.errors import BadInput, InvalidField
from schemas.suggestions import did_you_mean

_METHODS: tuple[LotMethod, ...] = (FIFO, LIFO, HIFO, AVERAGE)
_DOLLARS = ("", "USD")


Fills = Annotated[
    list[Path],
    typer.Option(
        help="CSV file with time,symbol,side,quantity,price,fee and optionally order_id,multiplier,asset_class,id; "
        "or the executions of this platform, or an export of Interactive Brokers, Schwab, Fidelity, Robinhood, "
        "Alpaca or Coinbase (docs/howto/taxes.md). Repeat for several files of one account."
    ),
]
Method = Annotated[str, typer.Option(help="Matching method: fifo, lifo, hifo or average.")]
Splits = Annotated[
    Path | None,
    typer.Option(
        help="CSV file with time,symbol,ratio and optionally cash_in_lieu,new_symbol. Ratio 2 or 2:1 means two new "
        "shares for one old, 1:6 one new for six old."
    ),
]
WashSaleRule = Annotated[bool, typer.Option("--wash-sales", help="Disallow wash-sale losses (IRS Pub. 550).")]
NoSecurities = Annotated[
    str,
    typer.Option(
        help="Comma-separated symbols to which wash sales do not apply. Pairs such as BTC-USD and ETH/USD are "
        "recognized, and so is the column asset_class."
    ),
]
SkippedActions = Annotated[
    list[str] | None,
    typer.Option(help="Ignore the rows of a broker's export with this action. Repeat for several."),
]
JsonOut = Annotated[str | None, typer.Option("--json", help="Write JSON to this file; - for standard output.")]
Format = Annotated[
    str,
    typer.Option(
        "--format",
        help="Output format: lots; 8949 for the rows of the tax form; gains for realized gains by year, symbol and "
        "term; lot-report for one row per part of a lot.",
    ),
]
Year = Annotated[int | None, typer.Option(help="Report only the sales of this year. Not for --format lots.")]
ReportedItems = Annotated[
    str | None,
    typer.Option(
        help="What the broker reported on Form 1099-B or 1099-DA: basis, proceeds or none. Sets the box of "
        "Form 8949. Default: basis for securities, none for all other assets."
    ),
]
Zone = Annotated[str, typer.Option(help="Time zone in which times with a UTC offset are converted to trade dates.")]


def register(app: typer.Typer) -> None:
    app.command("lots", help="Compute tax lots, realized gains and wash sales from a file of trades.")(lots)


def lots(
    fills: Fills,
    method: Method = "fifo",
    splits: Splits = None,
    wash_sales: WashSaleRule = False,
    no_securities: NoSecurities = "",
    skip_action: SkippedActions = None,
    json_out: JsonOut = None,
    form: Format = "lots",
    year: Year = None,
    reported: ReportedItems = None,
    zone: Zone = "America/New_York",
) -> None:
    """Match every sale with the lots it closes, and print the open lots."""
    try:
        book = TaxBook(require_choice("--method", method, _METHODS), wash_sales=wash_sales)
        options = _report_options(form, year, reported)
        tz = _zone(zone)
        exempt = list(dict.fromkeys(symbol.strip() for symbol in no_securities.split(",") if symbol.strip()))
        fill_file = read_fills(fills, tz, no_securities=exempt, skip_actions=skip_action or ())
        if form == FORM_8949 and fill_file.currency not in _DOLLARS:
            raise BadInput(f"{_names(fills)}: Form 8949 needs amounts in USD, found {fill_file.currency}")
        result = _compute(fill_file, _read_actions(fills, splits, fill_file, tz), book)
        text = as_json(result, form, options) if json_out is not None else as_text(result, form, options)
        if not fill_file.fills:
            print(f"note: there is no trade in {_names(fills)}", file=sys.stderr)
        _report_skipped(fill_file.skipped)
        if wash_sales:
            _report_open_window(result)
        write_output("--json", json_out or STANDARD_OUTPUT, text)
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(2) from None


def _report_options(form: str, year: int | None, reported: str | None) -> ReportOptions:
    """Check the options of the output. Raises BadInput if `form` does not use one of them."""
    require_choice("--format", form, FORMATS)
    if form == LOTS and year is not None:
        raise BadInput(f"--year needs --format {FORM_8949}, {GAINS} or {LOT_REPORT}")
    if form != FORM_8949 and reported is not None:
        raise BadInput(f"--reported needs --format {FORM_8949}")
    return ReportOptions(year, None if reported is None else require_choice("--reported", reported, Reported))


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise BadInput(
            f"--zone must be a time zone such as America/New_York, found {name!r}"
            f"{did_you_mean(name, available_timezones())}"
        ) from None


def _names(paths: Sequence[Path]) -> str:
    return ", ".join(path.name for path in paths)


def _read_actions(fills: Sequence[Path], splits: Path | None, fill_file: FillFile, zone: ZoneInfo) -> list[ActionRow]:
    if splits is None:
        return []
    first_trade = fill_file.fills[0].trade_time if fill_file.fills else None
    actions = read_actions(splits, zone, zoned=first_trade is not None and first_trade.has_zone)
    first_action = actions[0].trade_time if actions else None
    if first_trade and first_action and first_trade.has_zone is not first_action.has_zone:
        times_text = f"{first_trade.text!r} and {first_action.text!r}"
        raise BadInput(
            f"{_names(fills)} and {splits}: field time must have a zone in both files or in neither, found {times_text}"
        )
    return actions


def _compute(fill_file: FillFile, actions: list[ActionRow], book: TaxBook) -> TaxLotsResult:
    # A corporate action takes effect before the trades of the same time.
    steps: list[ActionRow | FillRow] = sorted([*actions, *fill_file.fills], key=lambda step: step.trade_time.sort_key)
    try:
        matches = book.apply_events([step.event for step in steps])
    except InvalidField as error:
        raise BadInput(str(error)) from None
    times = {step.event_id: step.trade_time for step in steps}
    return TaxLotsResult(matches, book.open_lots(), times)


def _report_skipped(skipped: Counter[str]) -> None:
    """Name the rows that are not trades, so that the user can check that none of them moves units."""
    if skipped:
        kinds = ", ".join(f"{kind} ({count})" for kind, count in sorted(skipped.items()))
        print(f"note: ignored {skipped.total()} rows that are not trades: {kinds}", file=sys.stderr)


def _report_open_window(result: TaxLotsResult) -> None:
    """Name the losses that purchases after the end of the file can still disallow."""
    last_day = max((trade_time.day for trade_time in result.times.values()), default=None)
    if last_day is None:
        return
    window_start = last_day - timedelta(days=WINDOW_DAYS - 1)
    symbols = {
        match.symbol
        for match in result.matches
        if match.can_still_be_disallowed and result.times[match.close_id].day >= window_start
    }
    if symbols:
        print(
            f"note: losses of {', '.join(sorted(symbols))} can still become wash sales: the file ends on {last_day}, "
            f"less than {WINDOW_DAYS} days after the sale",
            file=sys.stderr,
        )
