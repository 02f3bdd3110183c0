"""`explain`: trace a decision back to the bars it was made from, or print why a symbol was not traded."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deploy.errors import DeployError
from deploy.home import home_from_environment
from deploy.open_tables import open_tables
from deploy.time_arguments import format_ns, parse_time_ns
from schemas.errors import BadInput, Unavailable
from schemas.suggestions import did_you_mean

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from configs.settings import Settings
    from operators.explain.cause_tree import CauseNode, Explanation, RecordPosition
    from operators.explain.configurations import DecidingConfiguration
    from operators.explain.no_trade import SymbolAsOf
    from schemas.records import Record
    from sinks.lineage import DatabaseRecordLookup

    Find = Callable[[Record], RecordPosition | None]

RecordId = Annotated[
    str | None,
    typer.Argument(
        help="Record id: ord-N, prop-N, exe-N, adj-N, cross-N, refusal-N, transfer-N, act-STRATEGY-N or cmd-…."
    ),
]
Symbol = Annotated[str | None, typer.Option(help="Explain why this symbol was not traded at the time of --at.")]
At = Annotated[
    str | None, typer.Option(help="Event time for --symbol; uses the last bar at or before it (default: now).")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

_PREFIXES = ("ord", "prop", "exe", "adj", "cross", "refusal", "transfer", "act", "cmd")
_PREFIX_ALIASES = {
    "order": "ord",
    "proposal": "prop",
    "execution": "exe",
    "fill": "exe",
    "command": "cmd",
    "adjustment": "adj",
}
_SYMBOLS_SHOWN_MAX = 20
_RECORD_ID = re.compile(rf"({'|'.join(_PREFIXES)})-\S+")
NO_PLACES = "Kafka is not reachable, so topic, partition, offset and the configuration in force are omitted"


def register(app: typer.Typer) -> None:
    app.command("explain", help="Explain why an order was sent or a symbol was not traded, back to the bars.")(
        explain_decision
    )


def explain_decision(record_id: RecordId = None, symbol: Symbol = None, at: At = None, as_json: AsJson = False) -> None:
    if (record_id is None) == (symbol is None):
        raise BadInput("explain needs either a record id such as ord-12, or --symbol SYMBOL with an optional --at TIME")
    if record_id is not None and at is not None:
        raise BadInput("--at requires --symbol")
    if record_id is not None:
        require_record_id(record_id)
    ts_ns = parse_time_ns("--at", at)
    with open_tables(home_from_environment()) as (settings, db):
        print(
            _explain_record(settings, db, record_id, as_json)
            if record_id
            else _explain_no_trade(settings, db, symbol, ts_ns, as_json)
        )


def require_record_id(record_id: str) -> None:
    """Raises BadInput, with a suggestion, if `record_id` does not have the form of a record id.

    >>> require_record_id("ord-12"), require_record_id("cmd-7f")
    (None, None)
    """
    if _RECORD_ID.fullmatch(record_id) is not None:
        return
    parts = re.fullmatch(r"(?s)(.*?)[^0-9a-z]*(\d*)", record_id.lower())
    assert parts is not None, "the pattern matches every text"
    prefix, number = parts.groups()
    nearest = _PREFIX_ALIASES.get(prefix) or next(iter(get_close_matches(prefix, _PREFIXES, n=1)), "")
    suggestion = f"; did you mean {nearest}-{number or 'N'}?" if nearest else ""
    raise BadInput(
        "a record id is ord-N, prop-N, exe-N, adj-N, cross-N, refusal-N, transfer-N, act-STRATEGY-N or cmd-…, "
        f"found {record_id!r}{suggestion}"
    )


@contextmanager
def _place_finder(settings: Settings) -> Iterator[Find | None]:
    """Yield a function that finds the log position of a record, or None if Kafka is not reachable."""
    from deploy.supervisor.probes import KafkaProbe
    from sinks.record_locator import RecordLocator

    kafka = settings.kafka
    if KafkaProbe(kafka.cluster)(os.getpid()) is not None:
        yield None
        return
    places = RecordLocator(kafka.cluster, kafka.symbol_partitions, prefix=kafka.topic_prefix, archive=kafka.archive)
    with closing(places):
        yield places.find


def _explain_record(settings: Settings, db: Connection, record_id: str, as_json: bool) -> str:
    from operators.explain.lineage import explain
    from sinks.lineage import DatabaseRecordLookup

    lookup = DatabaseRecordLookup(db)
    explanation = explain(lookup, record_id)
    if explanation is None:
        raise DeployError(f"no record {record_id} in the tables; it may not be written yet, or the number is wrong")
    explanation, in_force, note = _with_places(settings, explanation, lookup)
    archived = _archived_sentences(db, explanation)
    signers = _signers(db, explanation.root)
    if as_json:
        configurations = [configuration_json(one) for one in in_force]
        added = {"configurations": configurations, "signers": signers, "note": note, "archived": archived}
        return _json(explanation_json(explanation) | added)
    lines = [f"signed by {writer} with key {key_id}" for key_id, writer in signers.items()]
    return "\n".join(
        [*_lines(explanation), *configuration_lines(in_force), *lines, *archived, *([f"({note})"] if note else [])]
    )


def _archived_sentences(db: Connection, explanation: Explanation) -> list[str]:
    """Return how to load the rows that an explanation lacks because their months are archived, one sentence a table."""
    from operators.explain.cause_tree import walk
    from sinks.archived_partitions import archived_before, restore_sentence
    from sinks.record_tables import MONTHLY_TABLES
    from sinks.tables import TABLE_OF

    roots = (explanation.root, *explanation.consequences)
    missing = {node.kind for root in roots for node in walk(root) if node.record is None}
    tables = [TABLE_OF[kind] for kind in MONTHLY_TABLES.values() if kind.__name__ in missing]
    ends = {table.name: archived_before(db, table) for table in tables}
    return [restore_sentence(name, end_ns) for name, end_ns in ends.items() if end_ns is not None]


def _signers(db: Connection, node: CauseNode) -> dict[str, str]:
    """Return the writers of the keys that signed the commands of an explanation, by key id."""
    from sqlalchemy import select

    from operators.command_signatures import ROOT_WRITER
    from schemas.records import SIGNING_KEY, Command
    from sinks.tables import commands

    signer_by_command: dict[str, str] = {}
    for cause in node.causes:
        signer_by_command |= _signers(db, cause)
    if isinstance(node.record, Command) and node.record.key_id:
        key_id = node.record.key_id
        of_key = (commands.c.kind == SIGNING_KEY) & commands.c.command_id.startswith(f"signing-key-{key_id}-")
        arguments = db.execute(select(commands.c.arguments).where(of_key).limit(1)).scalar()
        signer_by_command[key_id] = ROOT_WRITER if arguments is None else str(arguments["writer"])
    return signer_by_command


def _with_places(
    settings: Settings, explanation: Explanation, lookup: DatabaseRecordLookup
) -> tuple[Explanation, list[DecidingConfiguration], str]:
    """Add the log positions, and return the configurations in force, which are found by the order of the log."""
    from configs.recorded_settings import is_valid
    from operators.explain.cause_tree import with_log_positions
    from operators.explain.configurations import configurations_of

    try:
        with _place_finder(settings) as find:
            if find is None:
                return explanation, [], NO_PLACES
            consequences = tuple(with_log_positions(node, find) for node in explanation.consequences)
            placed = explanation._replace(root=with_log_positions(explanation.root, find), consequences=consequences)
            return placed, configurations_of(explanation.root, lookup, find, is_valid), ""
    except Unavailable as error:
        return explanation, [], f"{NO_PLACES}: {error}"


def _explain_no_trade(settings: Settings, db: Connection, symbol: str | None, ts_ns: int | None, as_json: bool) -> str:
    from configs.strategies import configured_strategies
    from operators.explain.no_trade import explain_symbol_at
    from sinks.archived_partitions import archived_before, restore_sentence
    from sinks.lineage import DatabaseRecordLookup
    from sinks.tables import bars

    strategies = configured_strategies(settings)
    required_features = {strategy.name: strategy.features for strategy in strategies.views}
    lookup = DatabaseRecordLookup(db)
    explanation = explain_symbol_at(lookup, symbol or "", 2**63 - 1 if ts_ns is None else ts_ns, required_features)
    if not explanation.slice_ns:
        archived_ns = archived_before(db, bars)
        if archived_ns is not None and ts_ns is not None and ts_ns < archived_ns:
            raise DeployError(f"{explanation.reasons[0]}. {restore_sentence(bars.name, archived_ns)}")
        raise DeployError(f"{explanation.reasons[0]}{_nearest_symbol(symbol or '', lookup.symbols_with_bars())}")
    return _json(no_trade_json(explanation)) if as_json else "\n".join(_no_trade_lines(explanation))


def _nearest_symbol(symbol: str, known: Sequence[str]) -> str:
    """Return the end of an error about a symbol without bars: the symbol that was probably meant, else those with bars.

    >>> _nearest_symbol("AAPLE", ["AAPL", "MSFT"]), _nearest_symbol("ZZZZ", ["AAPL", "MSFT"])
    ('; did you mean AAPL?', '. Symbols with bars: AAPL, MSFT')
    >>> _nearest_symbol("MSFT", ["AAPL", "MSFT"]), _nearest_symbol("ZZZZ", [])
    ('; its bars are later', '; no symbol has bars yet')
    """
    if not known:
        return "; no symbol has bars yet"
    if symbol in known:
        return "; its bars are later"
    more = f" and {len(known) - _SYMBOLS_SHOWN_MAX} more" if len(known) > _SYMBOLS_SHOWN_MAX else ""
    return did_you_mean(symbol, known) or f". Symbols with bars: {', '.join(known[:_SYMBOLS_SHOWN_MAX])}{more}"


# -- as text -----------------------------------------------------------------------------------------------------------


def _lines(explanation: Explanation) -> list[str]:
    lines = [explanation.outcome]
    if explanation.consequences:
        lines += ["", "consequences"]
        for node in explanation.consequences:
            lines += _tree(node, "  ")
    return [*lines, "", "causes", *_tree(explanation.root, "  ")]


def _tree(node: CauseNode, indent: str) -> list[str]:
    if node.record is None:
        return [f"{indent}{node.kind} {node.record_id}: not in the tables"]
    place = "" if node.place is None else f"  [{_place(node.place, node.record.ts_ns)}]"
    lines = [f"{indent}{node.kind} {node.record_id} at {format_ns(node.record.ts_ns)}{place}"]
    lines += [f"{indent}    {line}" for line in _facts(node.record)]
    for cause in node.causes:
        lines += _tree(cause, indent + "  ")
    return lines


def _place(place: RecordPosition, ts_ns: int) -> str:
    """Return such as orders/0@12, with the time slice if its clock differs from the record's own time."""
    where = f"{place.topic}/{place.partition}@{place.offset}"
    if place.event_ns is None:
        return f"{where}, not in a time slice yet"
    return where if place.event_ns == ts_ns else f"{where}, in the time slice at {format_ns(place.event_ns)}"


def _facts(record: Record) -> list[str]:
    """Return the fields as lines. Fields with several values have lines of their own."""
    from schemas.records.flat import to_flat_dict

    short, long = [], []
    for field, value in to_flat_dict(record).items():
        if field == "checks":
            long += [f"check {check.check}: found {check.found}, limit {check.limit}" for check in value]
        elif isinstance(value, dict):
            if value:
                long.append(f"{field}: " + ", ".join(f"{key} {item}" for key, item in value.items()))
        elif field in ("sizing", "message", "text", "reason", "headline", "summary", "prompt", "answer") and value:
            long += [f"{field}: {line}" for line in str(value).splitlines()]
        elif field == "source_sha256":
            long += [f"{field}: {one}" for one in value]
        elif field == "signature":
            short += ["signed"] if value else []
        elif value not in ("", None, []) and field not in ("ts_ns", "seq"):
            short.append(f"{field} {value}")
    return [", ".join(short), *long]


def configuration_lines(in_force: Sequence[DecidingConfiguration]) -> list[str]:
    """Return who set the settings under which the decisions were made, and why, with the user's files."""
    lines = ["", "configuration"] if in_force else []
    for one, since_ns, record_ids in in_force:
        release = f", release {one.release}" if one.release else ""
        lines += [
            f"  {one.configuration_id} by {one.actor}: {one.reason}",
            f"      in force from the time slice at {format_ns(since_ns)}, sha256 {one.sha256}{release}",
            *(f"      file {path} sha256 {sha256}" for path, sha256 in one.source_sha256.items()),
            f"      decided {', '.join(record_ids)}",
        ]
    return lines


def _no_trade_lines(explanation: SymbolAsOf) -> list[str]:
    lines = [
        f"{explanation.symbol} at {format_ns(explanation.slice_ns)}",
        *(f"  {reason}" for reason in explanation.reasons),
    ]
    if explanation.row is not None:
        lines += ["", "features that the strategies received", *_tree(explanation.row, "  ")]
    if explanation.decision is not None:
        lines += ["", *_lines(explanation.decision)]
    return lines


# -- as JSON -----------------------------------------------------------------------------------------------------------


def explanation_json(explanation: Explanation) -> dict[str, Any]:
    from operators.explain.cause_tree import as_tree

    return {
        "outcome": explanation.outcome,
        "root": as_tree(explanation.root),
        "consequences": [as_tree(node) for node in explanation.consequences],
    }


def configuration_json(in_force: DecidingConfiguration) -> dict[str, Any]:
    """Return a configuration without its settings, which `config show` prints."""
    one, since_ns, record_ids = in_force
    names = ("configuration_id", "number", "sha256", "release", "actor", "reason", "overrides", "source_sha256")
    return {**{name: getattr(one, name) for name in names}, "since_ns": since_ns, "records": list(record_ids)}


def no_trade_json(explanation: SymbolAsOf) -> dict[str, Any]:
    from operators.explain.cause_tree import as_tree

    return {
        "symbol": explanation.symbol,
        "tick_ns": explanation.slice_ns,
        "reasons": list(explanation.reasons),
        "row": None if explanation.row is None else as_tree(explanation.row),
        "views": [view._asdict() for view in explanation.views],
        "decision": None if explanation.decision is None else explanation_json(explanation.decision),
    }


def _json(tree: dict[str, Any]) -> str:
    return json.dumps(tree, indent=2, default=str)
