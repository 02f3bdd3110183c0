"""All checks of `verify`, each tried again while the services that run write one after the other."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

from configs.strategies import load_strategies
from dataflows.replay.recording import ends_of, read_topics
from dataflows.runtime import stages
from dataflows.sources.kafka import Until
from deploy.verification.attribution import check_weights
from deploy.verification.audit import Audited, Head, audit
from deploy.verification.broker import SIMULATED, check_broker
from deploy.verification.ledger_tables import compare_books, moment
from deploy.verification.orders import check_orders, cut_now
from deploy.verification.sequences import check_tables, read_sequences, sequenced_topics
from deploy.verification.snapshots import kept_books
from deploy.verification.verdict import Check, Verdict
from operators.ledger import Ledger
from operators.portfolio import PortfolioStage
from sinks.audit import AUDITED_TOPICS

if TYPE_CHECKING:
    from configs.settings import Kafka, Settings
    from deploy.home import Home
    from operators.stage import Tick

RETRY_PAUSE_S = 0.5


def settled(check: Callable[[], Verdict], wait_s: float) -> Verdict:
    """The first verdict without a difference, or the last one after `wait_s`."""
    deadline = time.monotonic() + wait_s
    while True:
        verdict = check()
        if verdict.agrees or time.monotonic() + RETRY_PAUSE_S > deadline:
            return verdict
        time.sleep(RETRY_PAUSE_S)


def empty_ledger(settings: Settings) -> Ledger:
    """The portfolio's ledger before its first execution, with its instruments."""
    stage = stages.portfolio(settings)()
    assert isinstance(stage, PortfolioStage)
    return stage.ledger


def verify_books(settings: Settings, home: Home | None, wait_s: float) -> Verdict:
    """Executions against positions, lots, matches, cash and the recovery stores of `home`. Raises psycopg2.Error."""

    def once() -> Verdict:
        kept, without = kept_books(home, settings) if home is not None else ([], "no recovery stores are asked")
        verdict = compare_books(settings.database.postgres.url, empty_ledger(settings), kept)
        notes = [Check("snapshots", 0, None, without)] if without else []
        return verdict._replace(checks=[*verdict.checks, *notes])

    return settled(once, wait_s)


def verify_weights(settings: Settings) -> Check:
    """The strategies' last weights. Raises psycopg2.Error."""
    strategies = load_strategies([entry.model_dump() for entry in settings.signals.strategies])
    with closing(moment(settings.database.postgres.url)) as db:
        return check_weights(db, [strategy.name for strategy in strategies])


def verify_broker(settings: Settings, wait_s: float) -> list[Check]:
    """The ledger's positions against the broker's books. Raises psycopg2.Error."""
    if settings.execution.broker == "simulated":
        return [SIMULATED]
    url, foreign = settings.database.postgres.url, settings.execution.alpaca.foreign_positions
    return settled(lambda: Verdict([check_broker(url, foreign)], ""), wait_s).checks


def verify_orders(settings: Settings, wait_s: float) -> list[Check]:
    """Nothing hangs in the air, up to one clock. Raises psycopg2.Error."""
    url, venue = settings.database.postgres.url, settings.execution.venue
    cut = cut_now(url)
    return settled(lambda: Verdict(check_orders(url, cut, venue.latency_ns), ""), wait_s).checks


def verify_sequences(settings: Settings, kafka: Kafka, since_ns: int | None, wait_s: float) -> list[Check]:
    """Every topic, and its tables. Raises psycopg2.Error and Unavailable."""
    url, checks = settings.database.postgres.url, list[Check]()
    for topic in sequenced_topics():
        seen = read_sequences(kafka, topic, since_ns)
        checks.append(seen.check)
        checks += settled(lambda seen=seen: Verdict(check_tables(url, seen), ""), wait_s).checks  # type: ignore[misc]
    return checks


def verify_audit(settings: Settings, kafka: Kafka | None, heads: Sequence[Head], wait_s: float) -> list[Audited]:
    """Every audited topic's chain. Raises psycopg2.Error and Unavailable."""
    url = settings.database.postgres.url
    return [_audited(url, kafka, topic, heads, wait_s) for topic in AUDITED_TOPICS]


def _audited(url: str, kafka: Kafka | None, topic: str, heads: Sequence[Head], wait_s: float) -> Audited:
    # One end for all tries: what stood in the log by then must come into the database.
    until = None if kafka is None else Until(offsets=ends_of(kafka, [topic]))
    deadline = time.monotonic() + wait_s
    while True:
        if kafka is None:
            with closing(moment(url)) as db:
                found = audit(db, topic, heads)
        else:
            with closing(moment(url)) as db, closing(read_topics(kafka, "audit", [topic], until=until)) as log:
                found = audit(db, topic, heads, log, partial(_behind, kafka, topic))
        if not found.findings or time.monotonic() + RETRY_PAUSE_S > deadline:
            return found
        time.sleep(RETRY_PAUSE_S)


def _behind(kafka: Kafka, topic: str, passed_ns: int) -> Iterator[Tick]:
    """What the log holds by now behind a time: the moment of the database lies before this one."""
    with closing(read_topics(kafka, "audit", [topic], until=Until(offsets=ends_of(kafka, [topic])))) as log:
        yield from (tick for tick in log if tick.ts_ns > passed_ns)
