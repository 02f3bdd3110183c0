"""`verify`: rebuilds the books from the executions and compares them with what stands in Postgres."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TypeVar

import typer

from deploy.errors import DeployError
from deploy.home import home_from_environment

if TYPE_CHECKING:
    from decimal import Decimal

    from sqlalchemy import Connection

R = TypeVar("R", bound=tuple[Any, ...])
RETRY_PAUSE_S = 0.5


class Check(NamedTuple):
    """One comparison: how many records agree, and the first difference as a sentence, None when there is none."""

    name: str
    records: int
    difference: str | None


class Verdict(NamedTuple):
    """All comparisons of one committed moment of the database, and the hash of what was decided up to it."""

    checks: list[Check]
    decision_hash: str

    @property
    def agrees(self) -> bool:
        return all(check.difference is None for check in self.checks)


def register(app: typer.Typer) -> None:
    app.command("verify", help="Rebuild the books from the executions and compare them with Postgres.")(verify)


def verify(
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
    wait: Annotated[
        float, typer.Option(help="Seconds to try again while they differ: services that run write one after the other.")
    ] = 10.0,
) -> None:
    from sqlalchemy.exc import DBAPIError

    from configs.settings import load_settings
    from deploy.running import use_running_services
    from schemas.errors import BadInput

    if not os.environ.get("DATABASE_URL"):
        use_running_services(home_from_environment())
    try:
        settings = load_settings()
        verdict = settled_verdict(
            settings.database.postgres.url, settings.portfolio_manager.initial_capital, wait_s=wait
        )
    except BadInput as error:
        raise DeployError(str(error)) from error
    except DBAPIError as error:
        raise DeployError(f"the books cannot be read: {str(error.orig or error).strip().splitlines()[0]}") from error
    print(_as_json(verdict) if as_json else _as_text(verdict))
    raise typer.Exit(0 if verdict.agrees else 1)


def _as_json(verdict: Verdict) -> str:
    checks = [check._asdict() for check in verdict.checks]
    return json.dumps({"agrees": verdict.agrees, "checks": checks, "decision_hash": verdict.decision_hash}, indent=2)


def _as_text(verdict: Verdict) -> str:
    lines = [f"{check.name:12} {check.records:>9,}  {check.difference or 'agree'}" for check in verdict.checks]
    return "\n".join([*lines, f"decision hash {verdict.decision_hash}"])


def settled_verdict(database_url: str, initial_capital: Decimal, *, wait_s: float) -> Verdict:
    """The first verdict without a difference, or the last one after `wait_s`. Raises sqlalchemy's DBAPIError."""
    from sinks.database import open_engine

    engine = open_engine(database_url, statement_timeout_ms=600_000)
    deadline = time.monotonic() + wait_s
    try:
        while True:
            with engine.connect().execution_options(
                isolation_level="REPEATABLE READ", postgresql_readonly=True
            ) as connection:
                verdict = compare(connection, initial_capital)
            if verdict.agrees or time.monotonic() + RETRY_PAUSE_S > deadline:
                return verdict
            time.sleep(RETRY_PAUSE_S)
    finally:
        engine.dispose()


def compare(db: Connection, initial_capital: Decimal) -> Verdict:
    """Rebuild and compare, all in the transaction of `db`. Memory grows with the number of lots and matches."""
    from operators.decisions import Decisions
    from operators.ledger import Ledger
    from schemas.records import Execution, Lot, LotMatch, Order, Position, RiskFence, Valuation

    ledger = Ledger(initial_capital)
    decisions = Decisions()
    rebuilt: dict[type, dict[str, Any]] = {Position: {}, Lot: {}, LotMatch: {}}
    key_of = {Position: "symbol", Lot: "lot_id", LotMatch: "match_id"}
    executions, gap = 0, None
    for execution in _stored(db, Execution):
        executions += 1
        if execution.seq != executions and gap is None:
            gap = f"executions: seq {executions} is missing, the next one is {execution.seq}"
        decisions.add(execution)
        for record in ledger.apply(execution):
            kind = type(record)
            rebuilt[kind][getattr(record, key_of[kind])] = record
    checks = [Check("executions", executions, gap)]
    for kind, name in ((Position, "positions"), (Lot, "lots"), (LotMatch, "lot_matches")):
        stored = {getattr(record, key_of[kind]): record for record in _stored(db, kind)}
        for record in stored.values():
            decisions.add(record)
        checks.append(_same(name, rebuilt[kind], stored))
    for decided in chain(_stored(db, Order), _stored(db, RiskFence)):
        decisions.add(decided)
    valuation = _last(db, Valuation)
    if valuation is not None:
        decisions.add(valuation)
    checks.append(_money(ledger, valuation, executions))
    return Verdict(checks, decisions.hexdigest())


def _stored(db: Connection, record_type: type[R]) -> Iterator[R]:
    """All records of a type in order of seq, streamed."""
    from sqlalchemy import select

    from sinks.tables import TABLE_OF, record_of

    table = TABLE_OF[record_type]
    rows = db.execution_options(stream_results=True, yield_per=5000).execute(select(table).order_by(table.c.seq))
    return (record_of(record_type, row) for row in rows.mappings())


def _last(db: Connection, record_type: type[R]) -> R | None:
    from sqlalchemy import desc, select

    from sinks.tables import TABLE_OF, record_of

    table = TABLE_OF[record_type]
    row = db.execute(select(table).order_by(desc(table.c.seq)).limit(1)).mappings().first()
    return None if row is None else record_of(record_type, row)


def _same(name: str, rebuilt: dict[str, Any], stored: dict[str, Any]) -> Check:
    """Compare by key, in order of seq, so that the first difference is the earliest one."""
    agreeing = 0
    difference: str | None = None
    everything = {**stored, **rebuilt}
    for key in sorted(everything, key=lambda key: everything[key].seq):
        found = _difference(f"{name} {key}", rebuilt.get(key), stored.get(key))
        if found is None:
            agreeing += 1
        elif difference is None:
            difference = found
    return Check(name, agreeing, difference)


def _difference(where: str, rebuilt: Any, stored: Any) -> str | None:
    if stored is None:
        return f"{where}: missing in Postgres, the executions give {rebuilt}"
    if rebuilt is None:
        return f"{where}: in Postgres, but no execution gives it"
    for field in rebuilt._fields:
        expected, found = getattr(rebuilt, field), getattr(stored, field)
        if expected != found:
            return f"{where}: {field} is {found} in Postgres, the executions give {expected}"
    return None


def _money(ledger: Any, valuation: Any, executions: int) -> Check:
    """Cash, realized P&L and fees of the last valuation, and that its parts add up."""
    if valuation is None:
        return Check("cash", 0, f"there is no valuation after {executions} executions" if executions else None)
    expected = {"cash": ledger.cash, "realized_pnl": ledger.realized_pnl, "fees": ledger.fees}
    expected["equity"] = valuation.cash + valuation.net_exposure
    for field, value in expected.items():
        found = getattr(valuation, field)
        if found != value:
            where = f"valuation {valuation.seq}"
            return Check("cash", 0, f"{where}: {field} is {found} in Postgres, the executions give {value}")
    return Check("cash", 1, None)
