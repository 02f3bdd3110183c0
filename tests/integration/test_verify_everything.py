"""`verify` on topics and tables of one recorded session: right ones agree, and each wrong one is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from configs.settings import Settings
from dataflows.replay.recording import read_untimed
from dataflows.runtime import topology
from deploy.commands.verify import check_all
from deploy.verification.verdict import Check, Verdict
from operators.decision_hash import text
from operators.stage import Tick
from schemas.records import KILL_SWITCH, Attribution, Command, Execution, Order, OrderRefusal, Signal
from sinks.postgres import PostgresWriter
from tests.integration.recorded_platform import cli, kafka_settings, make_topics, write
from tests.unit.tape import decided, market, settings, with_command

HALT = Command("cmd-1", 1, KILL_SWITCH, "tester", "drill", {})
GIVEN = with_command(market(60), 50, HALT)
MADE = decided(GIVEN, settings())
TICKS = [Tick(given.ts_ns, [*given.records, *made.records]) for given, made in zip(GIVEN, MADE, strict=True)]
TOPICS = [topic for of in topology.SERVICES.values() for topic in of.outputs]


class Session:
    """One recorded session, in a Kafka and a database of its own."""

    def __init__(self, kafka: str, url: str, ticks: list[Tick] = TICKS, prefix: str = "") -> None:
        self.kafka, self.url, self.prefix = kafka, url, prefix or make_topics(kafka)
        if not prefix:
            write(kafka, self.prefix, ticks, TOPICS)
        with closing(PostgresWriter(url, name="test")) as writer:
            for tick in TICKS:
                writer.write(tick.records)

    @property
    def settings(self) -> Settings:
        tree = settings().model_dump()
        tree["database"]["postgres"]["url"] = self.url
        return settings(**tree | {"kafka": kafka_settings(settings(), self.kafka, self.prefix).model_dump()})

    def verify(self, **options: Any) -> Verdict:
        chosen = {"audit": False, "heads": None, "since_ns": None, "wait_s": 0.0} | options
        return check_all(self.settings, None, **chosen)

    def change(self, statement: str) -> None:
        with closing(psycopg2.connect(self.url)) as db, db, db.cursor() as cursor:
            cursor.execute(statement)
            assert cursor.rowcount >= 1


@pytest.fixture(scope="module")
def whole(kafka: str, make_database: Callable[[], str]) -> Session:
    return Session(kafka, make_database())


@pytest.fixture
def session(whole: Session, make_database: Callable[[], str]) -> Session:
    """The same topics, and tables of its own to change."""
    return Session(whole.kafka, make_database(), prefix=whole.prefix)


def by_name(verdict: Verdict) -> dict[str, Check]:
    return {check.name: check for check in verdict.checks}


def wrong(verdict: Verdict) -> dict[str, str]:
    return {check.name: check.difference for check in verdict.checks if check.difference is not None}


def test_a_right_session_agrees_and_every_check_counts(whole: Session) -> None:
    verdict = whole.verify()
    assert wrong(verdict) == {}
    checks = by_name(verdict)
    executions = sum(type(r) is Execution for tick in TICKS for r in tick.records)
    for name in ("executions", "topic executions", "table executions", "audit executions", "executions ordered"):
        assert checks[name].records == executions, name
    assert checks["topic market-bars"].records == checks["table bars"].records == 180
    assert checks["topic orders"].records == sum(checks[f"table {t}"].records for t in ("orders", "risk_fences"))
    assert checks["broker"].note == "no broker: simulated venue"
    assert checks["orders answered"].records > 5
    rows = sum(type(r) is Attribution for tick in TICKS for r in tick.records)
    assert checks["attribution"].records == checks["table attribution"].records == rows > 10
    assert checks["attribution"].note == ""


def test_repeats_in_topics_are_counted_and_are_no_finding(kafka: str, make_database: Callable[[], str]) -> None:
    session = Session(kafka, make_database())
    write(session.kafka, session.prefix, TICKS[20:40], TOPICS)
    verdict = session.verify()
    assert wrong(verdict) == {}
    repeats = sum(type(r) is Execution for tick in TICKS[20:40] for r in tick.records)
    assert by_name(verdict)["topic executions"].note == f"{repeats} repeats"


def test_a_gap_in_a_topic_is_named(kafka: str, make_database: Callable[[], str]) -> None:
    without = [
        Tick(ts, [r for r in rs if not (type(r) is Signal and r.symbol == "IBM" and r.seq == 2)]) for ts, rs in TICKS
    ]
    session = Session(kafka, make_database(), without)
    assert wrong(session.verify())["topic signals"] == "signals: seq 2 of IBM is missing, the next one is 3"


@pytest.mark.parametrize(
    ("statement", "check", "words"),
    [
        ("DELETE FROM bars WHERE symbol = 'IBM' AND seq = 7", "table bars", "; seq 7 of IBM is missing"),
        ("DELETE FROM bars WHERE symbol = 'IBM' AND seq = 60", "table bars", "; seq 60 of IBM is missing"),
        (
            "UPDATE features SET seq = 4 WHERE symbol = 'SPY' AND seq = 5",
            "table features",
            "seq 4 of SPY is there more",
        ),
        ("DELETE FROM order_proposals WHERE proposal_id = 'prop-2'", "orders caused", "orders ord-2: no proposal"),
        ("DELETE FROM orders WHERE order_id = 'ord-3'", "executions ordered", "no order ord-3"),
        ("DELETE FROM executions WHERE order_id = 'ord-2'", "orders answered", "orders ord-2: the venue has not said"),
        ("DELETE FROM commands", "fences caused", ": no command cmd-1"),
        ("DELETE FROM commands", "audit commands", "commands cmd-1: removed"),
        (
            "UPDATE executions SET leaves_quantity = 1 WHERE order_id = 'ord-2'; "
            "UPDATE bars SET trading_day = 20240103 WHERE seq > 40",
            "orders ended",
            "orders ord-2: DAY order still works",
        ),
    ],
)
def test_what_is_wrong_in_a_table_is_named(session: Session, statement: str, check: str, words: str) -> None:
    session.change(statement)
    found = wrong(session.verify())
    assert words in found.get(check, ""), found


def test_a_refusal_of_nothing_is_named(session: Session) -> None:
    refusal = OrderRefusal(900, TICKS[10].ts_ns, "prop-x", "A", "BUY", Decimal(1), "c", "", "", "")
    with closing(PostgresWriter(session.url, name="test", audited=False)) as writer:
        writer.write([refusal])
    found = wrong(session.verify())
    assert found["refusals caused"] == "order_refusals 900: no proposal and no command prop-x"
    assert found["audit order-refusals"].startswith("order_refusals 900: is in no row of the chain")


def test_heads_kept_in_a_file_hold_until_the_past_is_rewritten(session: Session, tmp_path: Path) -> None:
    file = tmp_path / "heads"
    assert wrong(session.verify(audit=True, heads=file)) == {}
    kept = [json.loads(line) for line in file.read_text().splitlines()]
    assert {one["topic"] for one in kept} >= {"orders", "executions", "commands"}
    assert wrong(session.verify(audit=True, heads=file)) == {}
    assert len(file.read_text().splitlines()) == len(kept), "heads that are known are not added again"
    session.change("DELETE FROM audit_chain WHERE topic = 'executions' AND position > 3")
    session.change("DELETE FROM executions WHERE seq > 3")
    last = next(one["position"] for one in kept if one["topic"] == "executions")
    found = wrong(session.verify(audit=True, heads=file))["audit executions"]
    assert f"audit_chain executions/{last}: removed: a head of position {last} was put aside" in found


def test_heads_published_to_their_topic_hold_the_past_too(kafka: str, make_database: Callable[[], str]) -> None:
    session = Session(kafka, make_database())
    assert wrong(session.verify(audit=True, publish=True)) == {}
    assert wrong(session.verify(audit=True, publish=True)) == {}
    assert len(list(read_untimed(session.settings.kafka, "audit-heads"))) == 4, "once a topic that has links"
    session.change("DELETE FROM audit_chain WHERE topic = 'commands'")
    session.change("DELETE FROM commands")
    found = wrong(session.verify(audit=True, publish=True))["audit commands"]
    assert found.startswith("audit_chain commands/1: removed: a head of position 1 was put aside")


def test_only_what_was_written_lately_is_read_where_that_is_asked(whole: Session) -> None:
    import time

    verdict = whole.verify(since_ns=time.time_ns() + 3_600_000_000_000)
    assert wrong(verdict) == {} and by_name(verdict)["topic market-bars"].records == 0
    verdict = whole.verify(since_ns=time.time_ns() - 3_600_000_000_000)
    assert wrong(verdict) == {} and by_name(verdict)["topic market-bars"].records == 180


def test_the_command_tells_all_of_it(session: Session, tmp_path: Path) -> None:
    told = {
        "KAFKA_BOOTSTRAP_SERVERS": session.kafka,
        "KAFKA__TOPIC_PREFIX": session.prefix,
        "DATABASE_URL": session.url,
    }
    done = cli(tmp_path, "verify", "--audit", **told)
    assert done.returncode == 0, done.stdout + done.stderr
    session.change("UPDATE orders SET quantity = quantity + 1 WHERE order_id = 'ord-2'")
    done = cli(tmp_path, "verify", "--audit", "--wait", "0", **told)
    assert done.returncode == 1
    order = next(r for tick in TICKS for r in tick.records if type(r) is Order and r.order_id == "ord-2")
    assert (
        f"orders ord-2: changed: quantity is {text(order.quantity + 1)}, in the log {text(order.quantity)}"
        in done.stdout
    )
    done = cli(tmp_path, "verify", "--json", "--wait", "0", **told)
    assert done.returncode == 1 and json.loads(done.stdout)["agrees"] is False
