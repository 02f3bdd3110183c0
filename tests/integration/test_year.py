"""A year of short days: every night archives topics and tables, cuts them, and replays the day from a checkpoint.

The work of a night and of a start must be that of one day, however old the platform is, and topics and tables must not
grow, except those of orders. The test asserts numbers of messages, rows and time slices. With `-s`, it prints them at
the end of each month, with the processor time of this process: without that of Kafka and PostgreSQL, and independent of
other load. On the first day of each month, the configuration changes, and the state is converted to the layout
`services` and back.

    python cli.py test tests/integration/test_year.py --long -n 0 -s -k year
"""

from __future__ import annotations

import pickle
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

import psycopg2
import pytest

from configs.configuration_changes import with_overrides
from configs.settings import Settings, load_settings
from dataflows.replay.checkpoint_replay import compare_from_checkpoint, open_replay
from dataflows.replay.checkpoint_states import CheckpointParts, combined_state
from dataflows.replay.comparison import ReplayWindow, compare
from dataflows.replay.layout_stores import compact_state, service_states
from dataflows.replay.recording import open_recording
from dataflows.runtime import topology
from dataflows.runtime.compact_stages import CompactStages
from deploy.archive.day_files import WrittenDays, archive_days
from deploy.archive.message_deletion import RequiredMessages, delete_messages, plan_deletions
from deploy.archive.owner import archive_owner
from deploy.archive.table_partitions import archive_partitions
from deploy.backup.topic_messages import LogReader
from deploy.checkpoints.selection import later_checkpoints, newest_checkpoint, remove_expired
from deploy.disk_usage import folder_bytes, read_disk_usage
from deploy.verification.all_checks import empty_ledger
from deploy.verification.checkpoint_start import newest_start
from deploy.verification.ledger_tables import compare_ledger
from operators.stage import TimeSlice
from schemas.codec import decode
from schemas.log_names import LogName
from schemas.records import Bar, CheckpointMarker, Record
from sinks.archive.topic_archive import archive_day
from sinks.kafka import producer
from sinks.postgres import PostgresWriter
from sinks.record_tables import MONTHLY_TABLES, RECORD_TABLES
from tests.builders import bar, configuration
from tests.integration.recorded_platform import make_topics
from tests.replay.checkpoint_runs import home_of, platform_identity, seal_checkpoint
from tests.replay.compact_runs import MemoryTopics, compact_stages, feed_from, write_slices
from tests.replay.in_memory_platform import Logs
from tests.unit.tape import FAST_STRATEGY, MINUTE_NS, SYMBOLS, market, settings

DAY_NS = 86_400_000_000_000
FIRST_DAY = date(2024, 1, 2)
SLICES = 10
"""Time slices of a day."""
RETENTION_DAYS = 30
PARTITIONS = 1
"""A night makes some requests to Kafka for each partition, which take most of its time here."""
FEEDBACK = {"horizon_bars": 3, "attribution_interval_s": 60, "weights_interval_s": 300}


def trading_days(count: int, stride: int) -> list[date]:
    """Return weekdays, each at least `stride` days after the one before."""
    days, day = list[date](), FIRST_DAY
    while len(days) < count:
        if day.weekday() < 5 and (not days or day - days[-1] >= timedelta(days=stride)):
            days.append(day)
        day += timedelta(days=1)
    return days


def is_first_of_month(number: int, days: Sequence[date]) -> bool:
    return number > 0 and days[number].month != days[number - 1].month


def market_of(days: list[date], run_settings: Settings) -> Iterator[list[TimeSlice]]:
    """Yield the time slices of each day. A marker of a checkpoint is in the last one."""
    tape = market(SLICES * len(days))
    for number, day in enumerate(days):
        open_ns = int(datetime(day.year, day.month, day.day, 14, 30, tzinfo=UTC).timestamp()) * 10**9
        slices = []
        for minute, (_, records) in enumerate(tape[number * SLICES : (number + 1) * SLICES], start=1):
            ts_ns = open_ns + minute * MINUTE_NS
            bars: list[Record] = [
                bar(one.symbol, one.seq, ts_ns, one.close, open=one.open, day=int(f"{day:%Y%m%d}"))
                for one in records
                if type(one) is Bar
            ]
            if minute == 1 and is_first_of_month(number, days):
                limit = {"risk_manager.max_order_notional": str(20_000 + day.month)}
                bars.insert(0, configuration(number, with_overrides(run_settings, limit), ts_ns=ts_ns))
            if minute == SLICES:
                bars.insert(0, CheckpointMarker(f"checkpoint-{day}", ts_ns, "tester", "daily"))
            slices.append(TimeSlice(ts_ns, bars))
        yield slices


class Night(NamedTuple):
    """What one night has found and done. Times are processor time in seconds."""

    day: date
    started_messages: int
    """Messages that the services read at their start before this day."""
    archived: WrittenDays
    dropped_rows: int
    replayed_slices: int
    kafka_messages: int
    """In the topics of `kafka.retention`."""
    order_messages: int
    """In the other topics."""
    table_rows: int
    """In the tables of `database.postgres.retention`."""
    partitions: int
    checkpoints: int
    state_bytes: int
    start_s: float
    archive_s: float
    tables_s: float
    replay_s: float


class LongRun:
    """A platform whose services run in memory, with its topics in Kafka and its tables in PostgreSQL."""

    def __init__(self, kafka: str, database_url: str, folder: Path) -> None:
        prefix = make_topics(kafka)
        self.url = database_url
        base = load_settings(
            environment={
                "KAFKA_BOOTSTRAP_SERVERS": kafka,
                "KAFKA__TOPIC_PREFIX": prefix,
                "DATABASE_URL": database_url,
                "PLATFORM_HOME": str(folder),
                "KAFKA__SYMBOL_PARTITIONS": str(PARTITIONS),
            }
        )
        own = settings(signals={"strategies": [FAST_STRATEGY]}, feedback=FEEDBACK)
        self.settings: Settings = own.model_copy(update={"kafka": base.kafka, "database": base.database})
        self.partitions = self.settings.kafka.symbol_partitions
        self.identity = platform_identity(prefix=prefix, partitions=self.partitions)
        self.home = home_of(folder, self.identity)
        self.logs = Logs(self.partitions)
        self._sent: dict[LogName, int] = dict.fromkeys(self.logs.messages, 0)
        self._state: bytes | None = None

    # -- the day

    def start(self) -> tuple[CompactStages, int]:
        """Start the services from their last state. Return the number of messages that they read."""
        state = None if self._state is None else pickle.loads(self._state)  # noqa: S301  (written by this test)
        stages = compact_stages(self.settings, self.partitions, state)
        unread = sum(len(self.logs.messages[log]) - start for log, start in stages.next_offsets().items())
        feed_from(stages, self.logs)
        return stages, unread

    def change_layout(self) -> None:
        """Convert the state to those of the services, each with its own process, and back."""
        assert self._state is not None
        topics, state = MemoryTopics(self.logs), pickle.loads(self._state)  # noqa: S301  (written by this test)
        converted = compact_state(topics, service_states(topics, state), state[1])
        self._state = pickle.dumps(converted)

    @property
    def state_bytes(self) -> int:
        return len(self._state or b"")

    def play(self, slices: list[TimeSlice]) -> tuple[int, float]:
        """Play a day and seal its checkpoint. Return the messages and the time of the start."""
        self.logs.write("market_data", topology.FEED_SHARD, slices)
        began = time.process_time()
        stages, read = self.start()
        start_s = time.process_time() - began
        last_ns = slices[-1].ts_ns
        while stages.passed_ns < last_ns:
            write_slices(self.logs, stages.take_slices(SLICES))
        assert stages.marker is not None
        snapshot = stages.snapshot()
        self._state = pickle.dumps(snapshot)
        self._send()
        parts = CheckpointParts(snapshot, {})
        state = combined_state(MemoryTopics(self.logs), stages.marker.checkpoint_id, last_ns, parts, self.partitions)
        seal_checkpoint(self.home, self.settings, state, self.identity, created_ns=last_ns)
        self.positions = stages.next_offsets()
        return read, start_s

    def _send(self) -> None:
        """Write the new messages to Kafka and their records to PostgreSQL."""
        kafka, records = self.settings.kafka, list[Any]()
        client = producer(kafka.bootstrap_servers)
        for (topic, partition), messages in self.logs.messages.items():
            for message in messages[self._sent[topic, partition] :]:
                client.produce(kafka.topic_prefix + topic, message, partition=partition)
                record: Any = decode(message)
                records += [record] if type(record) in RECORD_TABLES else []
            self._sent[topic, partition] = len(messages)
        assert client.flush(30) == 0
        with closing(PostgresWriter(self.url, name="test")) as writer:
            writer.write(records)

    # -- the night

    def night(self, day: date, last_ns: int, before_ns: int, started: tuple[int, float]) -> Night:
        """Run the jobs of a night. `before_ns` is the last time slice of the day before."""
        now = datetime.fromtimestamp(last_ns / 1e9, UTC) + timedelta(hours=10)
        times = [time.process_time()]
        archived = self._archive_topics(now, last_ns)
        times.append(time.process_time())
        drops = self._archive_tables(now)
        times.append(time.process_time())
        replayed = self.replay_check(before_ns) if before_ns else SLICES
        times.append(time.process_time())
        remove_expired(self.home, self.settings.platform.checkpoints.retain, now)
        archive_s, tables_s, replay_s = (later - earlier for earlier, later in pairwise(times))
        retained, others = self._messages_in_kafka()
        rows, partitions = self._rows()
        return Night(
            day=day,
            started_messages=started[0],
            archived=archived,
            dropped_rows=sum(one.rows for one in drops),
            replayed_slices=replayed,
            kafka_messages=retained,
            order_messages=others,
            table_rows=rows,
            partitions=partitions,
            checkpoints=len(list(self.home.checkpoints.glob("checkpoint-*"))),
            state_bytes=self.state_bytes,
            start_s=started[1],
            archive_s=archive_s,
            tables_s=tables_s,
            replay_s=replay_s,
        )

    def _archive_topics(self, now: datetime, last_ns: int) -> WrittenDays:
        kafka = self.settings.kafka
        archive = kafka.archive
        assert archive is not None
        required = RequiredMessages(
            archive_day(last_ns), {log: (offset, "the state") for log, offset in self.positions.items()}
        )
        with closing(LogReader(kafka.cluster, kafka.topic_prefix)) as reader:
            written = archive_days(kafka, reader, archive, archive_owner(kafka), now=now, report=ignore)
            deletions = plan_deletions(kafka, reader, archive, required)
            delete_messages(kafka, archive, deletions, ignore)
        return written

    def _archive_tables(self, now: datetime) -> list[Any]:
        archive, retention = self.settings.kafka.table_archive, self.settings.database.postgres.retention
        assert archive is not None
        now_ns = int(now.timestamp()) * 10**9
        return archive_partitions(self.url, archive, retention, now_ns=now_ns, dry_run=False, report=ignore)

    def replay_check(self, after_ns: int) -> int:
        """Replay from the checkpoint of a time slice, as the nightly job does. Return the number of time slices."""
        skipped = list[str]()
        start = newest_checkpoint(self.home, self.settings, after_ns, skipped.append)
        assert start is not None and start.slice_ns == after_ns and not skipped, skipped
        with closing(open_replay(self.settings, start)) as replay:
            later = later_checkpoints(self.home, after_ns, "test")
            result = compare_from_checkpoint(replay, start, later, ReplayWindow())
        assert result.difference is None and len(result.checkpoints) == 1
        return result.ticks

    def _messages_in_kafka(self) -> tuple[int, int]:
        kafka, retained, others = self.settings.kafka, 0, 0
        with closing(LogReader(kafka.cluster, kafka.topic_prefix)) as reader:
            for topic, partition in self.logs.messages:
                content = reader.offsets(topic, partition)
                if topic in kafka.retention:
                    retained += content.end - content.start
                else:
                    others += content.end - content.start
        return retained, others

    def _rows(self) -> tuple[int, int]:
        rows = 0
        with closing(psycopg2.connect(self.url)) as db, db.cursor() as cursor:
            for table in self.settings.database.postgres.retention:
                cursor.execute(f"SELECT count(*) FROM {table}")  # noqa: S608  (our names)
                rows += cursor.fetchall()[0][0]
            cursor.execute("SELECT count(*) FROM pg_inherits WHERE inhparent = to_regclass('bars')")
            return rows, cursor.fetchall()[0][0]


def ignore(line: str) -> None:
    """Take a line of progress."""


COLUMNS: tuple[tuple[str, Callable[[list[Night]], float]], ...] = (
    ("archived messages", lambda nights: max(night.archived.messages for night in nights)),
    ("replayed slices", lambda nights: nights[-1].replayed_slices),
    ("messages read at a start", lambda nights: nights[-1].started_messages),
    ("messages in Kafka", lambda nights: nights[-1].kafka_messages),
    ("those of orders", lambda nights: nights[-1].order_messages),
    ("rows", lambda nights: nights[-1].table_rows),
    ("partitions of bars", lambda nights: nights[-1].partitions),
    ("checkpoints", lambda nights: nights[-1].checkpoints),
    ("state kB", lambda nights: nights[-1].state_bytes / 1000),
    ("start ms", lambda nights: mean(night.start_s for night in nights) * 1000),
    ("archive topics ms", lambda nights: mean(night.archive_s for night in nights) * 1000),
    ("archive tables ms", lambda nights: mean(night.tables_s for night in nights) * 1000),
    ("replay check ms", lambda nights: mean(night.replay_s for night in nights) * 1000),
)


def print_month(run: LongRun, nights: list[Night]) -> None:
    """Print the figures of the month of the last night."""
    month = nights[-1].day.replace(day=1)
    of_month = [night for night in nights if night.day.replace(day=1) == month]
    figures = ", ".join(f"{title} {figure(of_month):,.0f}" for title, figure in COLUMNS)
    usage, archive = read_disk_usage(run.home, run.url), run.settings.kafka.archive_folder
    assert usage.tables is not None and archive is not None
    monthly = sum(usage.tables[table] for table in MONTHLY_TABLES)
    disk = {
        "tables by month": monthly,
        "other tables": sum(usage.tables.values()) - monthly,
        "archive": folder_bytes(archive),
        "checkpoints": usage.folders.get("checkpoints", 0),
    }
    memory_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    print(f"\n{month:%Y-%m}, {len(nights)} days: {figures}, memory of this test at most {memory_mb:,.0f} MB")
    print("    disk: " + ", ".join(f"{name} {size / 1e6:.1f} MB" for name, size in disk.items()), flush=True)


@pytest.mark.parametrize(
    ("days", "stride"),
    [
        pytest.param(6, 14, id="six days in ten weeks"),
        pytest.param(250, 1, id="year", marks=[pytest.mark.long, pytest.mark.timeout(7200)]),
    ],
)
def test_the_work_of_a_night_and_the_stored_data_do_not_grow_with_the_age_of_the_platform(
    kafka: str, make_database: Callable[[], str], tmp_path: Path, days: int, stride: int
) -> None:
    run, nights, before_ns = LongRun(kafka, make_database(), tmp_path), list[Night](), 0
    dates = trading_days(days, stride)
    for number, slices in enumerate(market_of(dates, run.settings)):
        if is_first_of_month(number, dates):
            run.change_layout()
        started = run.play(slices)
        nights.append(run.night(dates[number], slices[-1].ts_ns, before_ns, started))
        before_ns = slices[-1].ts_ns
        if number + 1 == days or is_first_of_month(number + 1, dates):
            print_month(run, nights)

    # Each night archives the day before: its last clock is the first of a later day.
    messages = max(night.archived.messages for night in nights[:3])
    bars = SLICES * len(SYMBOLS)
    retained_days = RETENTION_DAYS // stride + 2
    for number, night in enumerate(nights[1:], start=1):
        # A change of the configuration is one message more.
        assert night.started_messages <= nights[0].started_messages + is_first_of_month(number, dates)
        assert night.replayed_slices == SLICES
        assert night.archived.messages <= 1.5 * messages
    settled = [night for night in nights if (night.day - FIRST_DAY).days > 2 * RETENTION_DAYS + 2]
    assert settled and sum(night.dropped_rows for night in nights) > 0
    messages_of_day = max(night.kafka_messages for night in nights[:1])
    for night in settled:
        assert night.kafka_messages <= 1.5 * messages_of_day * retained_days
        assert night.table_rows <= 4 * bars * (2 * RETENTION_DAYS // stride + 2)
        assert night.partitions <= 6
        assert night.checkpoints <= retained_days + 12
    # A platform of this age starts, verifies and replays over archive and topics.
    began = time.process_time()
    verdict = compare_ledger(run.url, empty_ledger(run.settings), (), run.settings.kafka.table_archive)
    print(f"verify of all books: {time.process_time() - began:.1f} s")
    assert [check for check in verdict.checks if check.difference] == []
    began = time.process_time()
    start = newest_start(run.home, run.settings, upto_ns=before_ns - 1, since_ns=None, skipped=ignore)
    assert start is not None
    of_day = compare_ledger(run.url, start.books(), (), run.settings.kafka.table_archive)
    print(f"verify of the books of the last day, from a checkpoint: {time.process_time() - began:.1f} s")
    assert [check for check in of_day.checks if check.difference] == []
    assert of_day.checks[0].records < 3 * verdict.checks[0].records / days
    began = time.process_time()
    with closing(open_recording(run.settings.kafka, "replay-check")) as recording:
        whole = compare(run.settings, recording)
    print(f"replay of archive and topics: {time.process_time() - began:.1f} s")
    assert (whole.difference, whole.ticks) == (None, SLICES * days)
