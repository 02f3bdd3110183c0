"""`dead-letters`: list and show rejected records, replay one into its topic, release a suspended service."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from configs.recorded_endpoints import ADMIN
from deploy.errors import DeployError
from deploy.home import home_from_environment
from deploy.name_arguments import unknown_name
from deploy.service_names import resolve_service
from deploy.time_arguments import format_ns
from schemas.errors import BadInput, InvalidField, Undecodable
from schemas.suggestions import did_you_mean

if TYPE_CHECKING:
    from configs.settings import KafkaSection, Settings
    from schemas.records import DeadLetter

Where = Annotated[str, typer.Argument(help="Position of the record, as `list` prints it: TOPIC/PARTITION@OFFSET.")]
Late = Annotated[
    bool,
    typer.Option(
        "--late",
        help="Select late records (market data that arrived after the clock record of its time) instead of dead "
        "letters.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_CLOCK_SEARCH_MESSAGES = 20_000  # number of last messages to search for the last clock


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="List, show and replay rejected records.", no_args_is_help=True)
    group.command("list", help="List dead letters, newest first.")(list_letters)
    group.command("show", help="Print one dead letter with its raw bytes.")(show)
    group.command("release", help="Resume a service that is suspended because it rejected too many records.")(release)
    group.command("replay", help="Publish the raw bytes of a dead letter to its topic again.")(replay)
    app.add_typer(group, name="dead-letters")


def list_letters(
    topic: Annotated[str | None, typer.Option(help="List only records of this topic.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of records.")] = 50,
    late: Late = False,
    as_json: AsJson = False,
) -> None:
    with _load_letters(late=late) as (settings, letters):
        _require_topic(topic, settings.kafka, letters)
        selected = [copies for copies in letters.values() if topic in (None, copies[0].topic)][:limit]
    if as_json:
        print(json.dumps([_tree(copies) for copies in selected], indent=2))
        return
    if not selected:
        print("no late records" if late else "no dead letters")
        return
    table = Table(box=None)
    for title in ("place", "time", "rejected by", "reason"):
        table.add_column(title, no_wrap=title != "reason")
    for copies in selected:
        readers = ", ".join(letter.stage for letter in copies)
        table.add_row(_place_of(copies[0]), format_ns(copies[0].ts_ns), readers, copies[0].reason)
    Console(width=160, highlight=False, markup=False).print(table)


def release(service: Annotated[str, typer.Argument(help="Suspended service (`halted` in `status`).")]) -> None:
    from dataflows.runtime import suspension_files
    from dataflows.runtime.topology import COMPACT
    from deploy.supervisor.control import start_one
    from deploy.supervisor.process_spec import DATAFLOW_NAMES
    from deploy.supervisor.state import running_state

    home = home_from_environment()
    suspended = [path.stem for path in sorted((home.run / "halted").glob("*.json"))]
    service = resolve_service(service, dict.fromkeys([*DATAFLOW_NAMES, COMPACT, *suspended]))
    suspension = suspension_files.read_suspension(home.run, service)
    if suspension is None:
        raise DeployError(f"{service} is not suspended; `python cli.py status` shows the state of each service")
    if running_state(home) is None:
        suspension_files.release_suspension(home.run, service)
    else:
        start_one(home, service)
    print(f"released {service}, suspended since {format_ns(suspension.at_ns)}: {suspension.reason}")


def show(where: Where, late: Late = False, as_json: AsJson = False) -> None:
    with _load_letters(late=late) as (settings, letters):
        copies = _letters_at(letters, where)
        raw = _original_bytes(settings.kafka, copies[0])
    tree = _tree(copies) | {"raw": raw.hex(" "), "decoded": _decoded(raw)}
    print(json.dumps(tree, indent=2) if as_json else "\n".join(f"{name:10} {value}" for name, value in tree.items()))


def replay(where: Where, yes: Annotated[bool, typer.Option("--yes", help="Skip the confirmation.")] = False) -> None:
    with _load_letters() as (settings, letters):
        letter = _letters_at(letters, where)[0]
        raw = _original_bytes(settings.kafka, letter)
        refusal = replay_refusal(settings.kafka, letter, raw)
        if refusal:
            raise DeployError(f"cannot replay {where}: {refusal}")
        if not yes:
            print(_decoded(raw))
            typer.confirm(f"Append this record to {letter.topic}? It takes effect immediately.", abort=True)
        from deploy.recovery.recorded_topics import platform_settings

        kafka = platform_settings(home_from_environment(), {}, principal=ADMIN).kafka  # the record is another service's
        print(f"appended to {letter.topic}/{letter.partition}@{_produce(kafka, letter, raw)}")


def replay_refusal(kafka: KafkaSection, letter: DeadLetter, raw: bytes) -> str:
    """Return why these bytes cannot be replayed into their topic, or "" if they can."""
    from dataflows.replay.recording import INPUT_TOPICS
    from operators.command_signatures import REASON_PREFIX
    from operators.market_data_checks import check_bar
    from schemas.codec import decode
    from schemas.records import TOPIC_OF, Bar, Clock

    if letter.topic.startswith("file:"):
        return "it is a row of a file; correct the file and load it again"
    if letter.topic.startswith("feed:"):
        return "it is a message of a market data provider, and its time has passed"
    if letter.reason.startswith(REASON_PREFIX):
        return "it has no valid signature and would be rejected again; repeat the command with the API or command line"
    if letter.topic not in INPUT_TOPICS:
        owner = kafka.topics[letter.topic].owner if letter.topic in kafka.topics else "no service"
        return (
            f"only {owner} publishes to topic {letter.topic}; recreate its records with `python cli.py rebuild {owner}`"
        )
    try:
        record = decode(raw)
    except Undecodable as error:
        return f"the record is still undecodable: {error}"
    if type(record) is Clock or TOPIC_OF[type(record)] != letter.topic:
        return f"it is a {type(record).__name__}, which topic {letter.topic} does not accept"
    if isinstance(record, Bar):
        try:
            check_bar(record)
        except InvalidField as error:
            return f"the bar is still invalid: {error}"
        clock_ns = _last_clock_ns(kafka, letter)
        if record.ts_ns <= clock_ns:
            return f"the bar is late: its time is {format_ns(record.ts_ns)}, the topic clock {format_ns(clock_ns)}"
    return ""


# -- Postgres ----------------------------------------------------------------------------------------------------------


@contextmanager
def _load_letters(*, late: bool = False) -> Iterator[tuple[Settings, dict[str, list[DeadLetter]]]]:
    """Yield the settings, and the dead letters by log position, newest first. Several stages can reject a record."""
    from sqlalchemy import desc, select
    from sqlalchemy.exc import DBAPIError

    from deploy.recovery.recorded_topics import platform_settings
    from deploy.supervisor.service_addresses import use_running_services
    from schemas.records import DeadLetter, LateRecord
    from sinks.database import open_engine
    from sinks.record_tables import record_of
    from sinks.tables import TABLE_OF

    kind: Any = LateRecord if late else DeadLetter
    table = TABLE_OF[kind]

    home = home_from_environment()
    if not all(os.environ.get(name) for name in ("DATABASE_URL", "KAFKA_BOOTSTRAP_SERVERS")):
        use_running_services(home)
    settings = platform_settings(home, {})
    engine = open_engine(settings.database.postgres.url)
    letters: dict[str, list[DeadLetter]] = {}
    try:
        with engine.connect() as db:
            order = (desc(table.c.ts_ns), table.c.topic, desc(table.c.offset))
            for row in db.execute(select(table).order_by(*order)).mappings():
                letter = record_of(kind, row)
                letters.setdefault(_place_of(letter), []).append(letter)
    except DBAPIError as error:
        raise DeployError(
            f"cannot read the dead letters from PostgreSQL: {str(error.orig or error).strip().splitlines()[0]}"
        ) from error
    finally:
        engine.dispose()
    yield settings, letters


def _require_topic(topic: str | None, kafka: KafkaSection, letters: dict[str, list[DeadLetter]]) -> None:
    """Raises BadInput if no record can have this topic. Rows of files and messages of feeds count as topics."""
    known = {*kafka.topics, *(copies[0].topic for copies in letters.values())}
    if topic is not None and topic not in known and not topic.startswith(("file:", "feed:")):
        raise BadInput(unknown_name("topic", topic, sorted(known)))


def _letters_at(letters: dict[str, list[DeadLetter]], where: str) -> list[DeadLetter]:
    if re.fullmatch(r".+/\d+@\d+", where) is None:
        raise BadInput(
            f"WHERE must have the form TOPIC/PARTITION@OFFSET, found {where!r}{did_you_mean(where, letters)}"
        )
    if where not in letters:
        raise DeployError(
            f"no dead letter at {where}{did_you_mean(where, letters) or ';'} "
            "list the dead letters with `python cli.py dead-letters list`"
        )
    return letters[where]


def _place_of(letter: DeadLetter) -> str:
    return f"{letter.topic}/{letter.partition}@{letter.offset}"


def _tree(copies: list[DeadLetter]) -> dict[str, Any]:
    first = copies[0]
    return {
        "place": _place_of(first),
        "at": format_ns(first.ts_ns),
        "read_by": [letter.stage for letter in copies],
        "reason": first.reason,
        "schema_id": first.schema_id,
    }


def _decoded(raw: bytes) -> str:
    from schemas.codec import decode

    try:
        return str(decode(raw))
    except Undecodable as error:
        return f"undecodable: {error}"


# -- Kafka -------------------------------------------------------------------------------------------------------------


def _original_bytes(kafka: KafkaSection, letter: DeadLetter) -> bytes:
    """Return the bytes from the topic, or those stored in the letter if the topic no longer holds them."""
    from deploy.recovery.recorded_topics import require_kafka

    if letter.topic.startswith(("file:", "feed:")):
        return letter.raw
    require_kafka(kafka.cluster)
    messages = _messages(kafka, letter, letter.offset, letter.offset + 1)
    return next((value for value in messages if value is not None), letter.raw)


def _last_clock_ns(kafka: KafkaSection, letter: DeadLetter) -> int:
    """Return the last clock of the letter's log, -1 if there is none."""
    from schemas.codec import decode
    from schemas.records import Clock

    last_ns = -1
    for value in _messages(kafka, letter, -_CLOCK_SEARCH_MESSAGES, None):
        try:
            record = decode(value)
        except Undecodable:
            continue
        if type(record) is Clock:
            last_ns = max(last_ns, record.ts_ns)
    return last_ns


def _messages(kafka: KafkaSection, letter: DeadLetter, start: int, stop: int | None) -> list[bytes | None]:
    """Return the values at offsets [start, stop) of the letter's log. A negative start counts from the end."""
    from confluent_kafka import Consumer, KafkaException, TopicPartition

    from sinks.cluster import client_config
    from sinks.log_offsets import log_range

    name = kafka.topic_prefix + letter.topic
    consumer = Consumer(client_config(kafka.cluster, {"group.id": "dead-letters", "enable.auto.commit": False}))
    try:
        low, high = log_range(consumer, name, letter.partition, timeout_s=10)
        first = max(low, high + start if start < 0 else start)
        last = high if stop is None else min(stop, high)
        values: list[bytes | None] = []
        if first < last:
            consumer.assign([TopicPartition(name, letter.partition, first)])
        while len(values) < last - first:
            messages = consumer.consume(min(1000, last - first - len(values)), timeout=10)
            if not messages:
                raise DeployError(f"topic {name} partition {letter.partition}: no response from Kafka within 10 s")
            values += [message.value() for message in messages]
        return values
    except KafkaException as error:
        raise DeployError(f"topic {name}: {error.args[0].str()}") from error
    finally:
        consumer.close()


def _produce(kafka: KafkaSection, letter: DeadLetter, raw: bytes) -> int:
    from sinks.kafka import producer

    offsets: list[int] = []
    errors: list[str] = []

    def on_delivery(error: Any, message: Any) -> None:
        if error is None:
            offsets.append(message.offset())
        else:
            errors.append(error.str())

    client = producer(kafka.cluster)
    client.produce(kafka.topic_prefix + letter.topic, raw, partition=letter.partition, on_delivery=on_delivery)
    client.flush(30)
    if not offsets:
        raise DeployError(
            f"topic {letter.topic} rejected the record: {errors[0] if errors else 'no response within 30 s'}"
        )
    return offsets[0]
