"""`reference`: check and load splits, dividends, symbol changes, delistings and exchange rates."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.home import home_from_environment

if TYPE_CHECKING:
    from schemas.records import CorporateAction, ExchangeRate

File = Annotated[Path, typer.Argument(help="CSV or JSON lines file, as described in docs/howto/feed.md.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Check and load corporate actions and exchange rates.", no_args_is_help=True)
    group.command("check")(check)
    group.command("load")(load)
    app.add_typer(group, name="reference")


def check(file: File, as_json: Json = False) -> None:
    """Validate a file and print its records, without publishing them."""
    _show(_records(file), as_json)


def load(file: File, as_json: Json = False) -> None:
    """Publish the rows of a file to the topic reference-data: all of them, or none if one is invalid.

    A row that was loaded before has the same id and has no effect.
    """
    from configs.settings import load_settings
    from deploy.supervisor.service_addresses import use_running_services
    from sinks.commands import CommandLog

    records = _records(file)
    use_running_services(home_from_environment())
    kafka = load_settings().kafka
    log = CommandLog(kafka.cluster, prefix=kafka.topic_prefix)
    for record in records:
        log.send(record)
    _show(records, as_json)


def _records(file: Path) -> list["CorporateAction | ExchangeRate"]:
    """Read all rows. Raises BadInput with file, line, field, value and expectation for the first malformed row."""
    from configs.settings import load_settings
    from dataflows.sources.rows import RowRules
    from dataflows.sources.tape.rules import REFERENCE_DATA
    from dataflows.sources.tape.tape_file import TapeFile
    from operators.reference_data import validate_corporate_action
    from schemas.errors import BadInput, InvalidField
    from schemas.records import CorporateAction, ExchangeRate

    rules = RowRules(load_settings().market_data.files)
    records: list[CorporateAction | ExchangeRate] = []
    for row in TapeFile(file, REFERENCE_DATA, rules, lambda text: []).rows():
        if row.record is None:
            raise BadInput(f"file {file}, line {row.line}: {row.reason}")
        if isinstance(row.record, CorporateAction):
            try:
                validate_corporate_action(row.record)
            except InvalidField as error:
                raise BadInput(f"file {file}, line {row.line}: {error}") from error
        assert isinstance(row.record, CorporateAction | ExchangeRate), "rows of REFERENCE_DATA"
        records.append(row.record)
    return records


def _show(records: Sequence["CorporateAction | ExchangeRate"], as_json: bool) -> None:
    from schemas.records import ExchangeRate

    if as_json:
        print(json.dumps([{"type": type(record).__name__, **record._asdict()} for record in records], default=str))
        return
    for record in records:
        if isinstance(record, ExchangeRate):
            print(f"{record.rate_id}  1 {record.base} = {record.rate} {record.quote}")
        else:
            names = ("ratio", "amount", "new_symbol", "cost_share", "cash_per_share")
            terms = [f"{name} {value}" for name in names if (value := getattr(record, name))]
            print(
                f"{record.action_id}  {record.kind} {record.symbol} from {record.ex_date or 'now'}  {', '.join(terms)}"
            )
    print(f"{len(records)} records")
