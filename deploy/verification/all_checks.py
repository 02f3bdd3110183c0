"""All checks of `verify`. Each is retried, because running services write one after another."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from configs.strategies import configured_strategies
from dataflows.replay.recording import end_offsets, read_topics
from dataflows.runtime import stages
from dataflows.sources.shared_consumer import ReplayEnd
from deploy.verification.attribution import check_weights
from deploy.verification.audit import AuditResult, ChainHead, audit_topic, seq_at
from deploy.verification.broker import SIMULATED, check_broker
from deploy.verification.checkpoint_start import CheckpointStart, newest_start
from deploy.verification.ledger_tables import compare_ledger, snapshot_connection
from deploy.verification.orders import check_orders, current_cut
from deploy.verification.recovery_snapshots import snapshot_ledgers
from deploy.verification.sequences import TopicSequences, check_tables, read_sequences, sequenced_topics
from deploy.verification.strategy_accounts import check_strategies
from deploy.verification.verdict import Comparison, VerificationResult
from operators.ledger import Ledger
from operators.portfolio import PortfolioStage
from schemas.records import Valuation, has_seq
from sinks.archived_partitions import archived_ends
from sinks.audit import AUDITED_TOPICS, ID_TYPES
from sinks.queries import last_record

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection  # noqa: N812  (a class with a lower-case name)

    from configs.settings import KafkaSection, Settings
    from deploy.home import Home
    from operators.stage import TimeSlice

RETRY_PAUSE_S = 0.5
SINK_DELAY_MAX_NS = 3_600_000_000_000
"""How far the tables may have been behind the topics when a checkpoint was sealed. Beyond it, the whole log is read."""


def retry_until_agrees(check: Callable[[], VerificationResult], wait_s: float) -> VerificationResult:
    """Return the first verdict without a difference, or the last one after `wait_s` seconds."""
    deadline = time.monotonic() + wait_s
    while True:
        verdict = check()
        if verdict.agrees or time.monotonic() + RETRY_PAUSE_S > deadline:
            return verdict
        time.sleep(RETRY_PAUSE_S)


def empty_ledger(settings: Settings) -> Ledger:
    """Return the portfolio's ledger before its first execution, with its instruments."""
    stage = stages.portfolio(settings)()
    assert isinstance(stage, PortfolioStage)
    return stage.ledger


def find_start(
    settings: Settings, home: Home, since_ns: int | None, skipped: Callable[[str], None]
) -> CheckpointStart | None:
    """Return the newest usable checkpoint at or before the last valuation, None without one.

    With `since_ns` (wall clock), it was created before this time. `skipped` receives a sentence for each newer one that
    cannot be used. Raises psycopg2.Error.
    """
    with closing(snapshot_connection(settings.database.postgres.url)) as db:
        valuation = last_record(db, Valuation)
    if valuation is None:
        return None
    return newest_start(home, settings, upto_ns=valuation.ts_ns, since_ns=since_ns, skipped=skipped)


def verify_ledger(
    settings: Settings, home: Home | None, wait_s: float, start: CheckpointStart | None = None
) -> VerificationResult:
    """Check executions against positions, lots, matches, cash and the recovery stores of `home`.

    Raises psycopg2.Error.
    """

    def compare_tables() -> VerificationResult:
        snapshots, missing = (
            snapshot_ledgers(home, settings) if home is not None else ([], "recovery stores not compared")
        )
        url, archive = settings.database.postgres.url, settings.kafka.table_archive
        books = empty_ledger(settings) if start is None else start.books()
        verdict = compare_ledger(url, books, snapshots, archive)
        notes = [Comparison("snapshots", 0, None, missing)] if missing else []
        return verdict._replace(checks=[*verdict.checks, *notes])

    return retry_until_agrees(compare_tables, wait_s)


def verify_weights(settings: Settings) -> Comparison:
    """Check the last weights of the strategies. Raises psycopg2.Error."""
    strategies = configured_strategies(settings)
    with closing(snapshot_connection(settings.database.postgres.url)) as db:
        return check_weights(db, [strategy.name for strategy in strategies.views])


def verify_strategies(settings: Settings, wait_s: float) -> list[Comparison]:
    """Check the sub-accounts of the trading strategies, and that they sum to the account. Raises psycopg2.Error."""
    url, portfolio = settings.database.postgres.url, settings.portfolio()
    listed, archive = settings.traded_instruments().listed, settings.kafka.table_archive

    def check() -> VerificationResult:
        capital, currency = portfolio.initial_capital, portfolio.currency
        return VerificationResult([check_strategies(url, capital, listed, currency, archive)], "")

    return retry_until_agrees(check, wait_s).checks


def verify_broker(settings: Settings, wait_s: float) -> list[Comparison]:
    """Check the positions of the ledger against those of the broker. Raises psycopg2.Error."""
    if settings.execution.broker == "simulated":
        return [SIMULATED]
    url, foreign = settings.database.postgres.url, settings.execution.alpaca.foreign_positions
    return retry_until_agrees(lambda: VerificationResult([check_broker(url, foreign)], ""), wait_s).checks


def verify_orders(settings: Settings, wait_s: float, start: CheckpointStart | None = None) -> list[Comparison]:
    """Check orders, refusals and reports up to one clock, or only those after a checkpoint. Raises psycopg2.Error."""
    url, venue = settings.database.postgres.url, settings.execution.venue
    cut = current_cut(url)
    if start is not None:
        cut = cut._replace(after=start.slice_ns, open_order_ids=tuple(start.open_order_ids()))
    return retry_until_agrees(lambda: VerificationResult(check_orders(url, cut, venue.latency_ns), ""), wait_s).checks


def _compare_tables(database_url: str, sequences: TopicSequences) -> VerificationResult:
    return VerificationResult(check_tables(database_url, sequences), "")


def verify_sequences(settings: Settings, kafka: KafkaSection, since_ns: int | None, wait_s: float) -> list[Comparison]:
    """Check the sequence numbers of every topic and of its tables. Raises psycopg2.Error and Unavailable."""
    url, checks = settings.database.postgres.url, list[Comparison]()
    with closing(snapshot_connection(url)) as db, db.cursor() as cursor:
        archived = archived_ends(cursor)
    for topic in sequenced_topics():
        sequences = read_sequences(kafka, topic, since_ns, archived)
        checks.append(sequences.check)
        compare = partial(_compare_tables, url, sequences)
        checks += retry_until_agrees(compare, wait_s).checks
    return checks


def verify_audit(
    settings: Settings,
    kafka: KafkaSection | None,
    heads: Sequence[ChainHead],
    wait_s: float,
    start: CheckpointStart | None = None,
) -> list[AuditResult]:
    """Check the audit chain of every audited topic, from its head in a checkpoint on. Raises psycopg2.Error and
    Unavailable.

    The chains of records without a `seq`, which are those of persons, are checked from their beginning.
    """
    url = settings.database.postgres.url
    return [
        _audit_with_retries(url, kafka, topic, heads, wait_s, None if start is None else _audit_start(topic, start))
        for topic in AUDITED_TOPICS
    ]


class _AuditStart(NamedTuple):
    """The head after which a chain is checked, and a time (wall clock) before the records after it were written."""

    head: ChainHead
    written_ns: int


def _audit_start(topic: str, start: CheckpointStart) -> _AuditStart | None:
    head = start.heads.get(topic)
    if head is None or topic in ID_TYPES:
        return None
    return _AuditStart(head, start.written_ns - SINK_DELAY_MAX_NS)


def _audit_with_retries(
    url: str,
    kafka: KafkaSection | None,
    topic: str,
    heads: Sequence[ChainHead],
    wait_s: float,
    start: _AuditStart | None,
) -> AuditResult:
    # All tries use the same end offsets: records up to them must reach the database.
    until = None if kafka is None else ReplayEnd(offsets=end_offsets(kafka, [topic]))
    deadline, head = time.monotonic() + wait_s, None if start is None else start.head
    while True:
        with closing(snapshot_connection(url)) as db:
            if kafka is None:
                result = audit_topic(db, topic, heads, start=head)
            else:
                since_ns = None if start is None else _log_start_ns(kafka, db, start)
                read = partial(read_topics, kafka, "audit", [topic], since_ns=since_ns)
                with closing(read(until=until)) as log:
                    result = audit_topic(db, topic, heads, log, partial(_later_slices, read, kafka, topic), head)
        if not result.findings or time.monotonic() + RETRY_PAUSE_S > deadline:
            return result
        time.sleep(RETRY_PAUSE_S)


def _log_start_ns(kafka: KafkaSection, db: Connection, start: _AuditStart) -> int | None:
    """Return a time from which on the log holds all records after the head, None for the beginning of the log."""
    last_seq = seq_at(db, start.head)
    if last_seq is None:
        return None
    with closing(read_topics(kafka, "audit", [start.head.topic], since_ns=start.written_ns)) as log:
        first = next((record.seq for time_slice in log for record in time_slice.records if has_seq(record)), None)
    return start.written_ns if first is None or first <= last_seq + 1 else None


def _later_slices(
    read: Callable[..., Generator[TimeSlice]], kafka: KafkaSection, topic: str, passed_ns: int
) -> Iterator[TimeSlice]:
    """Yield the time slices after `passed_ns` that the log holds now, which is later than the database snapshot."""
    with closing(read(until=ReplayEnd(offsets=end_offsets(kafka, [topic])))) as log:
        yield from (time_slice for time_slice in log if time_slice.ts_ns > passed_ns)
