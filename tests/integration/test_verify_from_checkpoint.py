"""`verify` starts from a checkpoint: it finds what differs after it, and reads no more than the records after it."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from typing import Any

import psycopg2
import pytest

from configs.settings import Settings, load_settings
from deploy.checkpoints.create_checkpoint import read_heads
from deploy.commands.verify import check_all
from deploy.home import Home
from deploy.verification.verdict import Comparison, VerificationResult
from schemas.codec import decode
from schemas.records import Execution, LotMatch, Order, Record
from sinks import queries
from sinks.kafka import producer
from sinks.postgres import PostgresWriter
from sinks.record_tables import RECORD_TABLES
from tests.builders import command
from tests.integration.recorded_platform import cli, make_topics
from tests.replay.checkpoint_runs import WholeRun, home_of, platform_identity, seal_checkpoint, with_markers
from tests.unit.tape import FAST_STRATEGY, market, with_command

PARTITIONS = 4
MARKERS = (60, 104)
SLICES = with_markers(with_command(market(120), 110, command("cmd-1")), MARKERS)
TIMES = [time_slice.ts_ns for time_slice in SLICES]
MakeDatabase = Callable[..., str]
ENVIRONMENT = {"SIGNALS__STRATEGIES": json.dumps([FAST_STRATEGY]), "FEEDBACK__ATTRIBUTION_INTERVAL_S": "60"}


class Platform:
    """A stopped platform with two checkpoints, which were sealed while it ran."""

    def __init__(self, home: Home, environment: dict[str, str], checkpoint_ids: list[str], written: list[int]) -> None:
        self.home, self.environment, self.checkpoint_ids = home, environment, checkpoint_ids
        self.written = written
        """Wall clock before the records after each checkpoint were written."""

    @property
    def settings(self) -> Settings:
        return load_settings(environment=self.environment | {"PLATFORM_HOME": str(self.home.root)})

    def verify(self, **options: Any) -> VerificationResult:
        all_options = {"audit": False, "heads": None, "since_ns": None, "wait_s": 0.0} | options
        return check_all(self.settings, self.home, **all_options)

    def change(self, statement: str) -> None:
        with closing(psycopg2.connect(self.environment["DATABASE_URL"])) as db, db, db.cursor() as cursor:
            cursor.execute(statement)
            assert cursor.rowcount >= 1, statement

    def count_after(self, kind: type, slice_ns: int) -> int:
        """Return the number of records of a type after a time slice."""
        with closing(psycopg2.connect(self.environment["DATABASE_URL"])) as db, db.cursor() as cursor:
            query = f"SELECT count(*) FROM {RECORD_TABLES[kind].name} WHERE ts_ns > %s"  # noqa: S608  (our names)
            cursor.execute(query, (slice_ns,))
            return int(cursor.fetchall()[0][0])


@pytest.fixture(scope="module")
def recorded(kafka: str, make_database: MakeDatabase, tmp_path_factory: pytest.TempPathFactory) -> Platform:
    """Write the messages and rows up to each marker, seal its checkpoint, and go on."""
    environment = ENVIRONMENT | {
        "KAFKA_BOOTSTRAP_SERVERS": kafka,
        "KAFKA__TOPIC_PREFIX": make_topics(kafka),
        "DATABASE_URL": make_database(),
    }
    settings = load_settings(environment=environment)
    whole = WholeRun(settings, SLICES, PARTITIONS)
    identity = platform_identity(prefix=settings.kafka.topic_prefix, partitions=PARTITIONS)
    home = home_of(tmp_path_factory.mktemp("home"), identity)
    platform, sent = Platform(home, environment, [], []), dict.fromkeys(whole.logs.messages, 0)
    for slice_ns in (*(TIMES[marker] for marker in MARKERS), TIMES[-1]):
        written_ns = time.time_ns()
        write_until(settings, whole, sent, slice_ns)
        if slice_ns in whole.states:
            heads = read_heads(environment["DATABASE_URL"])
            checkpoint = whole.checkpoint(slice_ns)
            manifest = seal_checkpoint(home, settings, checkpoint, identity, created_ns=written_ns, audit_heads=heads)
            platform.checkpoint_ids.append(manifest.checkpoint_id)
            platform.written.append(written_ns)
    return platform


def write_until(settings: Settings, whole: WholeRun, sent: dict[Any, int], slice_ns: int) -> None:
    """Write the messages up to a time slice to Kafka and their records to PostgreSQL."""
    client, records = producer(settings.kafka.bootstrap_servers), list[Any]()
    for (topic, partition), messages in whole.logs.messages.items():
        for message in messages[sent[topic, partition] :]:
            record: Any = decode(message)
            if record.ts_ns > slice_ns:
                break
            client.produce(settings.kafka.topic_prefix + topic, message, partition=partition)
            sent[topic, partition] += 1
            records += [record] if type(record) in RECORD_TABLES else []
    assert client.flush(30) == 0
    with closing(PostgresWriter(settings.database.postgres.url, name="test")) as writer:
        writer.write(records)


@pytest.fixture
def platform(recorded: Platform, make_database: MakeDatabase) -> Platform:
    """The same platform with separate tables that a test may change."""
    url = make_database(recorded.environment["DATABASE_URL"])
    environment = recorded.environment | {"DATABASE_URL": url}
    return Platform(recorded.home, environment, recorded.checkpoint_ids, recorded.written)


@pytest.fixture
def read_counts(monkeypatch: pytest.MonkeyPatch) -> Counter[type]:
    """The number of records that are read from the tables, by type."""
    counts, original = Counter[type](), queries._record

    def count(kind: Any, row: tuple[Any, ...]) -> Record:
        counts[kind] += 1
        record: Record = original(kind, row)
        return record

    monkeypatch.setattr(queries, "_record", count)
    return counts


def by_name(verdict: VerificationResult) -> dict[str, Comparison]:
    return {check.name: check for check in verdict.checks}


def differences(verdict: VerificationResult) -> dict[str, str]:
    return {check.name: check.difference for check in verdict.checks if check.difference is not None}


def test_the_newest_checkpoint_before_the_span_is_the_start(recorded: Platform, read_counts: Counter[type]) -> None:
    whole = recorded.verify(from_start=True)
    assert differences(whole) == {} and whole.from_checkpoint == "" and len(whole.decision_hash) == 64
    assert read_counts[Execution] == 2 * recorded.count_after(Execution, 0)
    for since_ns, index in ((None, 1), (recorded.written[1], 0)):
        read_counts.clear()
        verdict = recorded.verify(since_ns=since_ns)
        assert differences(verdict) == {}
        assert (verdict.from_checkpoint, verdict.decision_hash) == (recorded.checkpoint_ids[index], "")
        checks = by_name(verdict)
        # The books and the audit chain each read the records after the checkpoint once, and no earlier ones.
        for kind in (Execution, LotMatch, Order):
            assert 0 < read_counts[kind] <= 2 * recorded.count_after(kind, TIMES[MARKERS[index]]), kind
        for name in ("executions", "lot_matches", "orders caused", "audit executions", "attribution", "second_ledger"):
            assert 0 < checks[name].records < by_name(whole)[name].records, name


CHANGES = (
    ("lot_matches", "UPDATE lot_matches SET pnl = pnl + 1 WHERE seq = (SELECT max(seq) FROM lot_matches)", "pnl is"),
    ("positions", "UPDATE positions SET quantity = quantity + 1 WHERE symbol = 'SPY'", "positions SPY: quantity is"),
    ("cash", "UPDATE valuations SET cash = cash + 1 WHERE seq = (SELECT max(seq) FROM valuations)", "cash is"),
    ("orders caused", "UPDATE orders SET cause_id = 'x' WHERE seq = (SELECT max(seq) FROM orders)", "no proposal"),
    ("audit orders", "", "changed: cause_id is x"),
    (
        "attribution",
        "UPDATE attribution SET fees = fees + 1 WHERE ts_ns = (SELECT max(ts_ns) FROM attribution)",
        "fees of the strategies sum to",
    ),
    ("table signals", "DELETE FROM signals WHERE ts_ns = (SELECT max(ts_ns) FROM signals)", "signals"),
)
"""The check that finds a change of the tables, and what it finds."""


def test_a_difference_after_the_checkpoint_is_found_by_its_check(platform: Platform) -> None:
    for _, statement, _ in CHANGES:
        if statement:
            platform.change(statement)
    verdict = platform.verify()
    assert verdict.from_checkpoint == platform.checkpoint_ids[1]
    found = differences(verdict)
    assert all(text in found.get(check, "") for check, _, text in CHANGES), found


def test_a_removed_execution_and_a_changed_lot_from_before_the_checkpoint_are_found(platform: Platform) -> None:
    marker_ns = TIMES[MARKERS[1]]
    platform.change("DELETE FROM executions WHERE seq = (SELECT max(seq) - 1 FROM executions)")
    platform.change(f"UPDATE lots SET price = price + 1 WHERE quantity <> 0 AND ts_ns <= {marker_ns}")  # noqa: S608
    last_sealed = f"SELECT max(seq) FROM executions WHERE ts_ns <= {marker_ns}"  # noqa: S608
    platform.change(
        f"UPDATE audit_chain SET head = '\\x00' WHERE topic = 'executions' AND seq = ({last_sealed})"  # noqa: S608
    )
    found = differences(platform.verify())
    assert "is missing, the next is" in found["executions"]
    assert "expected the sealed head" in found["audit executions"]
    assert "price is" in found["lots"] and "as in the checkpoint" in found["lots"]


def test_a_damaged_checkpoint_is_named_and_an_older_one_is_used(platform: Platform) -> None:
    part = platform.home.checkpoints / platform.checkpoint_ids[1] / "risk-books.state"
    intact = part.read_bytes()
    part.write_bytes(intact[:-1] + b"x")
    try:
        verdict = platform.verify()
        completed = cli(platform.home.root, "verify", "--wait", "0", **platform.environment)
    finally:
        part.write_bytes(intact)
    assert differences(verdict) == {} and verdict.from_checkpoint == platform.checkpoint_ids[0]
    note = by_name(verdict)["checkpoint"].note
    assert note.startswith(f"{platform.checkpoint_ids[1]} is damaged: risk-books.state")
    assert note.endswith("an older checkpoint is used, if there is one")
    assert completed.returncode == 0, completed.stderr
    assert note in completed.stdout and f"started at {platform.checkpoint_ids[0]}" in completed.stdout
    whole = cli(platform.home.root, "verify", "--wait", "0", "--from-start", "--json", **platform.environment)
    assert json.loads(whole.stdout)["from_checkpoint"] == "" and whole.returncode == 0
