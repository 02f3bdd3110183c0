"""`reference halts`, `sessions` and `data`: list the records of a platform, running or not."""

from __future__ import annotations

from typing import Annotated

import typer

from deploy.home import home_from_environment
from deploy.open_tables import open_tables

Symbol = Annotated[str | None, typer.Option(help="Only this symbol.")]
Limit = Annotated[int, typer.Option(min=1, max=500, help="Maximum number of rows.")]
Before = Annotated[str | None, typer.Option(help="Continue a list: `next` of its JSON.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def register(group: typer.Typer) -> None:
    group.command("halts", help="List halts and resumptions of trading by the exchange, newest first.")(halts)
    group.command("sessions", help="List the recorded trading hours, latest day first.")(sessions)
    group.command("data", help="List the rows of your own data, newest first.")(data)


def halts(
    symbol: Symbol = None,
    state: Annotated[str | None, typer.Option(help="HALTED or TRADING.")] = None,
    limit: Limit = 100,
    before: Before = None,
    as_json: Json = False,
) -> None:
    from api.routers.reference_data import find_halts
    from schemas.errors import BadInput
    from schemas.records import HALTED, TRADING

    if state not in (None, HALTED, TRADING):
        raise BadInput(f"--state must be {HALTED} or {TRADING}, found {state!r}")
    with open_tables(home_from_environment()) as (_, db):
        page = find_halts(db, symbol=symbol, state=state, before=before, limit=limit)
    if as_json:
        print(page.model_dump_json(indent=2))
        return
    for one in page.halts:
        print(f"{_time(one.timestamp)}  {one.state:7}  {one.symbol}  {one.code} {one.reason}".rstrip())
    if not page.halts:
        print("no halts")


def sessions(
    calendar: Annotated[str | None, typer.Option(help="Only this calendar, such as XNYS.")] = None,
    limit: Limit = 100,
    before: Before = None,
    as_json: Json = False,
) -> None:
    from api.routers.reference_data import find_sessions

    with open_tables(home_from_environment()) as (_, db):
        page = find_sessions(db, calendar=calendar, before=before, limit=limit)
    if as_json:
        print(page.model_dump_json(indent=2))
        return
    for one in page.sessions:
        note = "  early close" if one.early_close else ""
        print(f"{one.calendar}  {one.day}  {_time(one.open_time)} to {_time(one.close_time)} UTC{note}")
    if not page.sessions:
        print("no trading hours are recorded")


def data(
    name: Annotated[str | None, typer.Option(help="Only rows of this data, such as vix.")] = None,
    symbol: Symbol = None,
    limit: Limit = 100,
    before: Before = None,
    as_json: Json = False,
) -> None:
    from api.routers.reference_data import find_data_rows

    with open_tables(home_from_environment()) as (_, db):
        page = find_data_rows(db, name=name, symbol=symbol, before=before, limit=limit)
    if as_json:
        print(page.model_dump_json(indent=2))
        return
    for one in page.rows:
        values = ", ".join(f"{column} {'-' if value is None else f'{value:g}'}" for column, value in one.values.items())
        label = f"{one.name} {one.symbol}".rstrip()
        print(f"{_time(one.timestamp)}  {label}  {values}")
    if not page.rows:
        print("no rows")


def _time(timestamp: str) -> str:
    return timestamp.replace("T", " ").removesuffix("Z")
