"""`reference`: check and load corporate actions, exchange rates, halts and the user's own data, and list records."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.home import home_from_environment
from deploy.open_tables import open_tables
from deploy.text_outputs import print_page

if TYPE_CHECKING:
    from api.routers.reference_data import CorporateActionOut, DataRowOut
    from dataflows.sources.tape.rules import TapeFileKind
    from schemas.records import CorporateAction, ExchangeRate, Record, TradingSession, TradingStatus

    ReferenceRecord = CorporateAction | ExchangeRate | TradingSession | TradingStatus

File = Annotated[Path, typer.Argument(help="CSV or JSON lines file, as described in docs/howto/feed.md.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Symbol = Annotated[str | None, typer.Option(help="Only this symbol.")]
Limit = Annotated[int, typer.Option(min=1, max=500, help="Maximum number of rows.")]
_TERMS = ("ratio", "amount", "cost_share", "cash_per_share")
Before = Annotated[str | None, typer.Option(help="Show the next page: pass `next` of the JSON output.")]


def register(app: typer.Typer) -> None:
    group = typer.Typer(
        help="Check and load corporate actions, exchange rates, halts and your own data; list what is recorded.",
        no_args_is_help=True,
    )
    group.command("check")(check)
    group.command("load")(load)
    group.command("load-data")(load_data)
    group.command("actions")(actions)
    group.command("rates")(rates)
    group.command("halts")(halts)
    group.command("sessions")(sessions)
    group.command("data")(data)
    app.add_typer(group, name="reference")


def check(file: File, as_json: Json = False) -> None:
    """Validate a file and print its records, without publishing them."""
    _show(reference_records(file), as_json)


def load(file: File, as_json: Json = False) -> None:
    """Publish the rows of a file to the topic reference-data: all of them, or none if one is invalid.

    A row that was loaded before has the same id and has no effect.
    """
    records = reference_records(file)
    _publish(records)
    _show(records, as_json)


def load_data(file: File, as_json: Json = False) -> None:
    """Publish the rows of a file of your own data for trading strategies: all of them, or none if one is invalid.

    The file needs a column `available_at`; its name without the ending is the name of the data. Strategies see a row
    from `available_at` on. A row that was loaded before has the same id and has no effect.
    """
    from dataflows.sources.tape.rules import DATA
    from schemas.records import DataRow

    rows = [record for _, record in _numbered_rows(file, DATA) if isinstance(record, DataRow)]
    _publish(rows)
    if as_json:
        print(json.dumps([{"type": "DataRow", **row._asdict()} for row in rows]))
        return
    for row in rows:
        values = ", ".join(f"{name} {value:g}" for name, value in row.values.items())
        print(f"{row.row_id}  {row.name} {row.symbol}".rstrip() + f"  {values}")
    print(f"{len(rows)} records")


def _publish(records: Sequence["Record"]) -> None:
    from deploy.recovery.recorded_topics import platform_settings
    from deploy.supervisor.service_addresses import use_running_services
    from sinks.commands import CommandLog

    home = home_from_environment()
    use_running_services(home)
    kafka = platform_settings(home, {}).kafka
    log = CommandLog(kafka.cluster, prefix=kafka.topic_prefix)
    for record in records:
        log.send(record)


def reference_records(file: Path) -> list["ReferenceRecord"]:
    """Read all rows. Raises BadInput with file, line, field, value and expectation for the first malformed row."""
    from dataflows.sources.tape.rules import REFERENCE_DATA
    from operators.reference_data import validate_corporate_action
    from schemas.errors import BadInput, InvalidField
    from schemas.records import CorporateAction, ExchangeRate, TradingSession, TradingStatus

    records: list[ReferenceRecord] = []
    for line, record in _numbered_rows(file, REFERENCE_DATA):
        if isinstance(record, CorporateAction):
            try:
                validate_corporate_action(record)
            except InvalidField as error:
                raise BadInput(f"file {file}, line {line}: {error}") from error
        assert isinstance(record, CorporateAction | ExchangeRate | TradingSession | TradingStatus), (
            "rows of REFERENCE_DATA"
        )
        records.append(record)
    return records


def _numbered_rows(file: Path, kind: "TapeFileKind") -> list[tuple[int, "Record"]]:
    """Return the line and the record of each row. Raises BadInput for the first malformed row."""
    from dataflows.sources.rows import RowRules
    from dataflows.sources.tape.tape_file import TapeFile
    from deploy.recovery.recorded_topics import platform_settings
    from schemas.errors import BadInput

    rules = RowRules(platform_settings(home_from_environment(), {}).market_data.files)
    rows: list[tuple[int, Record]] = []
    for row in TapeFile(file, kind, rules, lambda text: []).rows():
        if row.record is None:
            raise BadInput(f"file {file}, line {row.line}: {row.reason}")
        rows.append((row.line, row.record))
    return rows


def _show(records: Sequence["ReferenceRecord"], as_json: bool) -> None:
    from dataflows.sources.row_times import iso
    from schemas.records import ExchangeRate, TradingSession, TradingStatus

    if as_json:
        print(json.dumps([{"type": type(record).__name__, **record._asdict()} for record in records], default=str))
        return
    for record in records:
        if isinstance(record, ExchangeRate):
            print(f"{record.rate_id}  1 {record.base} = {record.rate} {record.quote}")
        elif isinstance(record, TradingSession):
            print(f"{record.session_id}  from {iso(record.open_ns)} to {iso(record.close_ns)}")
        elif isinstance(record, TradingStatus):
            print(f"{record.status_id}  {record.kind} {record.symbol}  {record.code} {record.reason}".rstrip())
        else:
            names = ("ratio", "amount", "new_symbol", "cost_share", "cash_per_share")
            terms = [f"{name} {value}" for name in names if (value := getattr(record, name))]
            print(
                f"{record.action_id}  {record.kind} {record.symbol} from {record.ex_date or 'now'}  {', '.join(terms)}"
            )
    print(f"{len(records)} records")


def actions(
    symbol: Annotated[str | None, typer.Option(help="Only actions from or to this symbol.")] = None,
    kind: Annotated[str | None, typer.Option(help="Only this kind, such as SPLIT.")] = None,
    limit: Limit = 100,
    before: Before = None,
    as_json: Json = False,
) -> None:
    """List the recorded corporate actions, newest first."""
    from api.routers.reference_data import find_corporate_actions
    from operators.money import plain
    from operators.reference_data import ACTION_KINDS
    from schemas.errors import BadInput

    if kind is not None and kind not in ACTION_KINDS:
        raise BadInput(f"--kind must be one of {', '.join(ACTION_KINDS)}, found {kind!r}")
    with open_tables(home_from_environment()) as (_, db):
        page = find_corporate_actions(db, symbol=symbol, kind=kind, before=before, limit=limit)

    def describe(one: "CorporateActionOut") -> str:
        terms = [f"{name} {plain(value)}" for name in _TERMS if (value := getattr(one, name)) is not None]
        symbols = f"{one.symbol} to {one.new_symbol}" if one.new_symbol else one.symbol
        return f"{_time(one.timestamp)}  {one.kind} {symbols} from {one.ex_date or 'now'}  {', '.join(terms)}"

    print_page(page, map(describe, page.actions), "no corporate actions", as_json)


def rates(
    base: Annotated[str | None, typer.Option(help="Only rates of this currency, such as EUR.")] = None,
    quote: Annotated[str | None, typer.Option(help="Only rates in this currency, such as USD.")] = None,
    limit: Limit = 100,
    before: Before = None,
    as_json: Json = False,
) -> None:
    """List the recorded exchange rates, newest first."""
    from api.routers.reference_data import find_exchange_rates
    from operators.money import plain

    with open_tables(home_from_environment()) as (_, db):
        page = find_exchange_rates(db, base=base, quote=quote, before=before, limit=limit)
    lines = (f"{_time(one.timestamp)}  1 {one.base} = {plain(one.rate)} {one.quote}" for one in page.rates)
    print_page(page, lines, "no exchange rates", as_json)


def halts(
    symbol: Symbol = None,
    state: Annotated[str | None, typer.Option(help="HALTED or TRADING.")] = None,
    limit: Limit = 100,
    before: Before = None,
    as_json: Json = False,
) -> None:
    """List halts and resumptions of trading by the exchange, newest first."""
    from api.routers.reference_data import find_halts
    from schemas.errors import BadInput
    from schemas.records import HALTED, TRADING

    if state not in (None, HALTED, TRADING):
        raise BadInput(f"--state must be {HALTED} or {TRADING}, found {state!r}")
    with open_tables(home_from_environment()) as (_, db):
        page = find_halts(db, symbol=symbol, state=state, before=before, limit=limit)
    lines = (f"{_time(one.timestamp)}  {one.state:7}  {one.symbol}  {one.code} {one.reason}" for one in page.halts)
    print_page(page, lines, "no halts", as_json)


def sessions(
    calendar: Annotated[str | None, typer.Option(help="Only this calendar, such as XNYS.")] = None,
    limit: Limit = 100,
    before: Before = None,
    as_json: Json = False,
) -> None:
    """List the recorded trading hours, latest day first."""
    from api.routers.reference_data import find_sessions

    with open_tables(home_from_environment()) as (_, db):
        page = find_sessions(db, calendar=calendar, before=before, limit=limit)
    lines = (
        f"{one.calendar}  {one.day}  {_time(one.open_time)} to {_time(one.close_time)} UTC"
        + ("  early close" if one.early_close else "")
        for one in page.sessions
    )
    print_page(page, lines, "no trading hours are recorded", as_json)


def data(
    name: Annotated[str | None, typer.Option(help="Only rows of this data, such as vix.")] = None,
    symbol: Symbol = None,
    limit: Limit = 100,
    before: Before = None,
    as_json: Json = False,
) -> None:
    """List the rows of your own data, newest first."""
    from api.routers.reference_data import find_data_rows

    with open_tables(home_from_environment()) as (_, db):
        page = find_data_rows(db, name=name, symbol=symbol, before=before, limit=limit)

    def describe(one: "DataRowOut") -> str:
        values = ", ".join(f"{column} {'-' if value is None else f'{value:g}'}" for column, value in one.values.items())
        return f"{_time(one.timestamp)}  {f'{one.name} {one.symbol}'.rstrip()}  {values}"

    print_page(page, map(describe, page.rows), "no rows", as_json)


def _time(timestamp: str) -> str:
    return timestamp.replace("T", " ").removesuffix("Z")
