"""`explain`: walks an order, proposal, execution or refusal back to its bars, or says why nothing was traded."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deploy.errors import DeployError
from deploy.home import home_from_environment
from deploy.time_arguments import nanoseconds, written
from schemas.errors import BadInput, Unavailable

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from configs.settings import Settings
    from operators.explain.lineage import Explanation, Node, Place
    from operators.explain.no_trade import Moment
    from schemas.records import Record

    Find = Callable[[Record], Place | None]

Wanted = Annotated[str | None, typer.Argument(help="ord-N, prop-N, exe-N, refusal-N or the id of a command.")]
Symbol = Annotated[str | None, typer.Option(help="Why was nothing traded in this symbol? With --at.")]
At = Annotated[str | None, typer.Option(help="Event time; the last bar at or before it counts. Without: now.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the tree as JSON.")]

NO_PLACES = "Kafka does not answer, so topic, partition and offset are left out"


def register(app: typer.Typer) -> None:
    app.command("explain", help="Why an order, or why none: back to the bars.")(explain_decision)


def explain_decision(wanted: Wanted = None, symbol: Symbol = None, at: At = None, as_json: AsJson = False) -> None:
    if (wanted is None) == (symbol is None):
        raise BadInput("explain takes an id such as ord-12, or --symbol SYMBOL with --at TIME")
    if wanted is not None and at is not None:
        raise BadInput("--at belongs to --symbol")
    ts_ns = nanoseconds("--at", at)
    with _opened() as (settings, db):
        print(_of_id(settings, db, wanted, as_json) if wanted else _of_moment(settings, db, symbol, ts_ns, as_json))


@contextmanager
def _opened() -> Iterator[tuple[Settings, Connection]]:
    from sqlalchemy.exc import DBAPIError

    from configs.settings import load_settings
    from deploy.supervisor.running import use_running_services
    from deploy.supervisor.start_options import remembered
    from sinks.database import open_engine

    home = home_from_environment()
    if not os.environ.get("DATABASE_URL"):
        use_running_services(home)
    settings = load_settings(environment={**remembered(home).environment(), **os.environ})
    engine = open_engine(settings.database.postgres.url)
    try:
        with engine.connect().execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True) as db:
            yield settings, db
    except DBAPIError as error:
        raise DeployError(f"the tables cannot be read: {str(error.orig or error).strip().splitlines()[0]}") from error
    finally:
        engine.dispose()


@contextmanager
def _places(settings: Settings) -> Iterator[Find | None]:
    """Looks places up while Kafka answers; None where it does not."""
    from deploy.supervisor.probes import KafkaProbe
    from sinks.log_positions import Places

    kafka = settings.kafka
    if KafkaProbe(kafka.cluster)(os.getpid()) is not None:
        yield None
        return
    places = Places(kafka.cluster, kafka.symbol_partitions, prefix=kafka.topic_prefix)
    with closing(places):
        yield places.find


def _of_id(settings: Settings, db: Connection, wanted: str, as_json: bool) -> str:
    from operators.explain.lineage import explain
    from sinks.lineage import StoredBooks

    found = explain(StoredBooks(db), wanted)
    if found is None:
        raise DeployError(f"there is no order, proposal, execution, refusal or command {wanted} in the tables")
    found, note = _with_places(settings, found)
    if as_json:
        return _json(explanation_json(found) | {"note": note})
    return "\n".join([*_lines(found), *([f"({note})"] if note else [])])


def _with_places(settings: Settings, found: Explanation) -> tuple[Explanation, str]:
    from operators.explain.lineage import located

    try:
        with _places(settings) as find:
            if find is None:
                return found, NO_PLACES
            consequences = tuple(located(node, find) for node in found.consequences)
            return found._replace(root=located(found.root, find), consequences=consequences), ""
    except Unavailable as error:
        return found, f"{NO_PLACES}: {error}"


def _of_moment(settings: Settings, db: Connection, symbol: str | None, ts_ns: int | None, as_json: bool) -> str:
    from configs.strategies import load_strategies
    from operators.explain.no_trade import at_moment
    from sinks.lineage import StoredBooks

    strategies = load_strategies([entry.model_dump() for entry in settings.signals.strategies])
    needed = {strategy.name: strategy.features for strategy in strategies}
    moment = at_moment(StoredBooks(db), symbol or "", 2**63 - 1 if ts_ns is None else ts_ns, needed)
    if not moment.tick_ns:
        raise DeployError(moment.reasons[0])
    return _json(moment_json(moment)) if as_json else "\n".join(_moment_lines(moment))


# -- as text -----------------------------------------------------------------------------------------------------------


def _lines(found: Explanation) -> list[str]:
    lines = [found.outcome]
    if found.consequences:
        lines += ["", "what came of it"]
        for node in found.consequences:
            lines += _tree(node, "  ")
    return [*lines, "", "what it was made from", *_tree(found.root, "  ")]


def _tree(node: Node, indent: str) -> list[str]:
    if node.record is None:
        return [f"{indent}{node.kind} {node.name}: not in the tables"]
    place = "" if node.place is None else f"  [{_place(node.place, node.record.ts_ns)}]"
    lines = [f"{indent}{node.kind} {node.name} at {written(node.record.ts_ns)}{place}"]
    lines += [f"{indent}    {line}" for line in _facts(node.record)]
    for cause in node.causes:
        lines += _tree(cause, indent + "  ")
    return lines


def _place(place: Place, ts_ns: int) -> str:
    """Such as orders/0@12; with the tick where that is another time than the record's own."""
    where = f"{place.topic}/{place.partition}@{place.offset}"
    if place.event_ns is None:
        return f"{where}, in no tick yet"
    return where if place.event_ns == ts_ns else f"{where}, in the tick at {written(place.event_ns)}"


def _facts(record: Record) -> list[str]:
    """The fields, one a line where a field holds several things."""
    short, long = [], []
    for field, value in record._asdict().items():
        if field == "checks":
            long += [f"check {check.check}: found {check.found}, limit {check.limit}" for check in value]
        elif isinstance(value, dict):
            long.append(f"{field}: " + ", ".join(f"{key} {item}" for key, item in value.items()))
        elif field in ("sizing", "message", "text", "reason", "headline", "summary", "prompt", "answer") and value:
            long += [f"{field}: {line}" for line in str(value).splitlines()]
        elif value not in ("", None, []) and field not in ("ts_ns", "seq"):
            short.append(f"{field} {value}")
    return [", ".join(short), *long]


def _moment_lines(moment: Moment) -> list[str]:
    lines = [f"{moment.symbol} at {written(moment.tick_ns)}", *(f"  {reason}" for reason in moment.reasons)]
    if moment.row is not None:
        lines += ["", "what the strategies saw", *_tree(moment.row, "  ")]
    if moment.decision is not None:
        lines += ["", *_lines(moment.decision)]
    return lines


# -- as JSON -----------------------------------------------------------------------------------------------------------


def explanation_json(found: Explanation) -> dict[str, Any]:
    from operators.explain.lineage import as_tree

    return {
        "outcome": found.outcome,
        "root": as_tree(found.root),
        "consequences": [as_tree(node) for node in found.consequences],
    }


def moment_json(moment: Moment) -> dict[str, Any]:
    from operators.explain.lineage import as_tree

    return {
        "symbol": moment.symbol,
        "tick_ns": moment.tick_ns,
        "reasons": list(moment.reasons),
        "row": None if moment.row is None else as_tree(moment.row),
        "views": [view._asdict() for view in moment.views],
        "decision": None if moment.decision is None else explanation_json(moment.decision),
    }


def _json(tree: dict[str, Any]) -> str:
    return json.dumps(tree, indent=2, default=str)
