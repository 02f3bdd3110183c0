"""`verify` on the topics and tables of one recorded session: correct data passes, and each error is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from configs.settings import Settings
from dataflows.runtime import topology
from dataflows.sources.unclocked_topic import read_unclocked
from deploy.commands.verify import check_all
from deploy.home import Home
from deploy.supervisor.live_start import read_recorded_account, read_verify_problems
from deploy.verification.orders import check_orders, current_cut
from deploy.verification.sequences import check_tables, read_sequences
from deploy.verification.verdict import Comparison, VerificationResult
from operators.decision_hash import canonical_text
from operators.stage import TimeSlice
from schemas.records import HALTED, Attribution, Execution, Order, Position, Record, Signal
from sinks.postgres import PostgresWriter
from tests.builders import command, data_row, refusal, trading_session, trading_status
from tests.integration.recorded_platform import cli, kafka_settings, make_topics, write
from tests.unit.tape import market, platform_output, settings, with_command

HALT = command("cmd-1")
OUTSIDE: list[Record] = [
    trading_session(20240115),
    trading_status("GE", HALTED, 0),  # no symbol of the session, so that it changes no order
    data_row("data-1"),
    data_row("data-2", symbol="IBM"),
]
INPUT_SLICES = with_command(
    [
        time_slice._replace(records=[*(OUTSIDE if number == 5 else []), *time_slice.records])
        for number, time_slice in enumerate(market(60))
    ],
    50,
    HALT,
)
OUTPUT_SLICES = platform_output(INPUT_SLICES, settings())
SESSION_SLICES = [
    TimeSlice(input_slice.ts_ns, [*input_slice.records, *output_slice.records])
    for input_slice, output_slice in zip(INPUT_SLICES, OUTPUT_SLICES, strict=True)
]
MakeDatabase = Callable[..., str]
TOPICS = [topic for service in topology.SERVICES.values() for topic in service.outputs]


class Session:
    """One recorded session in its own Kafka topics and database."""

    def __init__(self, kafka: str, url: str, prefix: str) -> None:
        self.kafka, self.url, self.prefix = kafka, url, prefix

    @property
    def settings(self) -> Settings:
        tree = settings().model_dump()
        tree["database"]["postgres"]["url"] = self.url
        return settings(**tree | {"kafka": kafka_settings(settings(), self.kafka, self.prefix).model_dump()})

    def verify(self, **options: Any) -> VerificationResult:
        all_options = {"audit": False, "heads": None, "since_ns": None, "wait_s": 0.0} | options
        return check_all(self.settings, None, **all_options)

    def change(self, statement: str) -> None:
        with closing(psycopg2.connect(self.url)) as db, db, db.cursor() as cursor:
            cursor.execute(statement)
            assert cursor.rowcount >= 1


def make_session(kafka: str, url: str, time_slices: list[TimeSlice] = SESSION_SLICES) -> Session:
    """Record the session in new topics; `url` has its tables."""
    prefix = make_topics(kafka)
    write(kafka, prefix, time_slices, TOPICS)
    return Session(kafka, url, prefix)


@pytest.fixture(scope="module")
def recorded_tables(make_database: MakeDatabase) -> str:
    """The URL of a database with the tables of the session. Tests copy it."""
    url = make_database()
    with closing(PostgresWriter(url, name="test")) as writer:
        for time_slice in SESSION_SLICES:
            writer.write(time_slice.records)
    return url


@pytest.fixture(scope="module")
def shared_session(kafka: str, make_database: MakeDatabase, recorded_tables: str) -> Session:
    return make_session(kafka, make_database(recorded_tables))


@pytest.fixture
def session(shared_session: Session, make_database: MakeDatabase, recorded_tables: str) -> Session:
    """The same topics with separate tables that a test may change."""
    return Session(shared_session.kafka, make_database(recorded_tables), shared_session.prefix)


def by_name(verdict: VerificationResult) -> dict[str, Comparison]:
    return {check.name: check for check in verdict.checks}


def differences(verdict: VerificationResult) -> dict[str, str]:
    return {check.name: check.difference for check in verdict.checks if check.difference is not None}


def test_a_correct_session_agrees_and_every_check_counts(shared_session: Session) -> None:
    verdict = shared_session.verify()
    assert differences(verdict) == {}
    checks = by_name(verdict)
    executions = sum(type(r) is Execution for time_slice in SESSION_SLICES for r in time_slice.records)
    for name in ("executions", "topic executions", "table executions", "audit executions", "executions ordered"):
        assert checks[name].records == executions, name
    assert checks["topic market-bars"].records == checks["table bars"].records == 180
    assert checks["topic orders"].records == sum(checks[f"table {t}"].records for t in ("orders", "risk_fences"))
    assert checks["events caused"].records == 1, "the halt of the exchange"
    assert checks["broker"].note == "no broker: simulated venue"
    assert checks["orders answered"].records > 5
    rows = sum(type(r) is Attribution for time_slice in SESSION_SLICES for r in time_slice.records)
    assert checks["attribution"].records == checks["table attribution"].records == rows > 10
    assert checks["attribution"].note == ""


def reference_checks(session: Session) -> dict[str, Comparison]:
    """Return the checks of the tables of one topic; a whole `verify` reads all topics."""
    sequences = read_sequences(session.settings.kafka, "reference-data")
    return {check.name: check for check in check_tables(session.url, sequences)}


def test_a_missing_row_of_a_record_from_outside_is_named(session: Session) -> None:
    checks = reference_checks(session)
    names = ("trading_statuses", "trading_sessions", "data_rows")
    assert [checks[f"table {name}"].records for name in names] == [1, 1, 2]
    assert all(check.difference is None and check.note == "" for check in checks.values())
    session.change("DELETE FROM data_rows WHERE row_id = 'data-2'")
    difference = reference_checks(session)["table data_rows"].difference
    found = "data_rows: data-2 of topic reference-data is missing; `python cli.py rebuild data_rows --table` writes"
    assert difference is not None and difference.startswith(found)


def test_records_from_before_their_table_existed_are_counted_and_are_no_finding(session: Session) -> None:
    """An upgrade adds the tables while the topic already contains records."""
    session.change("DELETE FROM trading_sessions")
    session.change("DELETE FROM data_rows WHERE row_id = 'data-1'")
    checks = reference_checks(session)
    for name in ("trading_sessions", "data_rows"):
        check = checks[f"table {name}"]
        assert check.difference is None, name
        assert check.note.startswith("1 from before the table existed; `python cli.py rebuild"), name


def test_an_event_about_a_halt_has_the_halt_as_its_cause(session: Session) -> None:
    def difference() -> str | None:
        (check,) = (
            one for one in check_orders(session.url, current_cut(session.url), 0) if one.name == "events caused"
        )
        return check.difference

    assert difference() is None
    session.change("DELETE FROM trading_statuses")
    assert "no command and no halt of the exchange status-GE" in (difference() or "")


def test_repeats_in_topics_are_counted_and_are_no_finding(kafka: str, shared_session: Session) -> None:
    session = make_session(kafka, shared_session.url)
    write(session.kafka, session.prefix, SESSION_SLICES[20:40], TOPICS)
    verdict = session.verify()
    assert differences(verdict) == {}
    repeats = sum(type(r) is Execution for time_slice in SESSION_SLICES[20:40] for r in time_slice.records)
    assert by_name(verdict)["topic executions"].note == f"{repeats} repeated"


def test_a_gap_in_a_topic_is_named(kafka: str, shared_session: Session) -> None:
    slices_with_gap = [
        TimeSlice(ts, [r for r in rs if not (type(r) is Signal and r.symbol == "IBM" and r.seq == 2)])
        for ts, rs in SESSION_SLICES
    ]
    session = make_session(kafka, shared_session.url, slices_with_gap)
    assert differences(session.verify())["topic signals"] == "signals: seq 2 of IBM is missing, the next is 3"


def test_live_trading_reads_the_books_and_names_the_first_difference(session: Session, tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.create_folders()
    assert read_verify_problems(home, session.settings) == []
    positions = {
        record.symbol: record.quantity
        for time_slice in SESSION_SLICES
        for record in time_slice.records
        if type(record) is Position
    }
    books = read_recorded_account(session.url)
    assert books.positions == {symbol: quantity for symbol, quantity in positions.items() if quantity} != {}
    assert books.symbols_by_open_order == {}
    session.change("UPDATE valuations SET cash = cash + 1 WHERE seq = (SELECT max(seq) FROM valuations)")
    (problem,) = read_verify_problems(home, session.settings)
    assert problem.startswith("`verify` found differences in the books (cash: ")


WRONG_ROWS = [
    ("DELETE FROM bars WHERE symbol = 'IBM' AND seq = 7", {"table bars": "; seq 7 of IBM is missing"}),
    ("UPDATE features SET seq = 4 WHERE symbol = 'SPY' AND seq = 5", {"table features": "seq 4 of SPY occurs more"}),
    ("DELETE FROM order_proposals WHERE proposal_id = 'prop-2'", {"orders caused": "orders ord-2: no proposal"}),
    ("DELETE FROM orders WHERE order_id = 'ord-3'", {"executions ordered": "no order ord-3"}),
    ("DELETE FROM executions WHERE order_id = 'ord-2'", {"orders answered": "ord-2: the venue has not reported"}),
    ("DELETE FROM commands", {"fences caused": ": no command cmd-1", "audit commands": "commands cmd-1: removed"}),
]
WRONG_ENDS = [
    ("DELETE FROM bars WHERE symbol = 'IBM' AND seq = 60", {"table bars": "; seq 60 of IBM is missing"}),
    (
        "UPDATE executions SET leaves_quantity = 1 WHERE order_id = 'ord-2'; "
        "UPDATE bars SET trading_day = 20240103 WHERE seq > 40",
        {"orders ended": "orders ord-2: DAY order is still working"},
    ),
]


@pytest.mark.parametrize("changes", [WRONG_ROWS, WRONG_ENDS], ids=["rows", "last rows"])
def test_each_wrong_table_row_is_named_by_its_own_check(
    session: Session, changes: list[tuple[str, dict[str, str]]]
) -> None:
    for statement, _ in changes:
        session.change(statement)
    by_check = differences(session.verify())
    for _, expected in changes:
        for check, text in expected.items():
            assert text in by_check.get(check, ""), by_check


def test_a_refusal_without_a_cause_is_named(session: Session) -> None:
    without_cause = refusal(900, SESSION_SLICES[10].ts_ns, "A", cause_id="prop-x")
    with closing(PostgresWriter(session.url, name="test", audited=False)) as writer:
        writer.write([without_cause])
    by_check = differences(session.verify())
    assert by_check["refusals caused"] == "order_refusals 900: no proposal, command or action prop-x"
    assert by_check["audit order-refusals"].startswith("order_refusals 900: is not in the audit chain")


def test_heads_stored_in_a_file_reveal_a_rewritten_chain(session: Session, tmp_path: Path) -> None:
    file = tmp_path / "heads"
    assert differences(session.verify(audit=True, heads=file)) == {}
    stored_heads = [json.loads(line) for line in file.read_text().splitlines()]
    assert {head["topic"] for head in stored_heads} >= {"orders", "executions", "commands"}
    assert differences(session.verify(audit=True, heads=file)) == {}
    assert len(file.read_text().splitlines()) == len(stored_heads), "heads that are known are not added again"
    session.change("DELETE FROM audit_chain WHERE topic = 'executions' AND position > 3")
    session.change("DELETE FROM executions WHERE seq > 3")
    last_position = next(head["position"] for head in stored_heads if head["topic"] == "executions")
    difference = differences(session.verify(audit=True, heads=file))["audit executions"]
    assert f"audit_chain executions/{last_position}: removed: a stored head has position {last_position}" in difference


def test_heads_published_to_a_topic_reveal_a_rewritten_chain(
    kafka: str, make_database: MakeDatabase, recorded_tables: str
) -> None:
    session = make_session(kafka, make_database(recorded_tables))
    assert differences(session.verify(audit=True, publish=True)) == {}
    assert differences(session.verify(audit=True, publish=True)) == {}
    assert len(list(read_unclocked(session.settings.kafka, "audit-heads"))) == 5, "once a topic that has links"
    session.change("DELETE FROM audit_chain WHERE topic = 'commands'")
    session.change("DELETE FROM commands")
    difference = differences(session.verify(audit=True, publish=True))["audit commands"]
    assert difference.startswith("audit_chain commands/1: removed: a stored head has position 1")


def test_since_limits_the_check_to_recent_records(shared_session: Session) -> None:
    import time

    verdict = shared_session.verify(since_ns=time.time_ns() + 3_600_000_000_000)
    assert differences(verdict) == {} and by_name(verdict)["topic market-bars"].records == 0
    verdict = shared_session.verify(since_ns=time.time_ns() - 3_600_000_000_000)
    assert differences(verdict) == {} and by_name(verdict)["topic market-bars"].records == 180


def test_the_command_reports_agreement_and_differences(session: Session, tmp_path: Path) -> None:
    environment = {
        "KAFKA_BOOTSTRAP_SERVERS": session.kafka,
        "KAFKA__TOPIC_PREFIX": session.prefix,
        "DATABASE_URL": session.url,
    }
    completed = cli(tmp_path, "verify", "--audit", **environment)
    assert completed.returncode == 0, completed.stdout + completed.stderr
    session.change("UPDATE orders SET quantity = quantity + 1 WHERE order_id = 'ord-2'")
    completed = cli(tmp_path, "verify", "--audit", "--wait", "0", **environment)
    assert completed.returncode == 1
    order = next(
        r for time_slice in SESSION_SLICES for r in time_slice.records if type(r) is Order and r.order_id == "ord-2"
    )
    changed, recorded = canonical_text(order.terms.quantity + 1), canonical_text(order.terms.quantity)
    assert f"orders ord-2: changed: quantity is {changed}, in the topic {recorded}" in completed.stdout
    completed = cli(tmp_path, "verify", "--json", "--wait", "0", **environment)
    assert completed.returncode == 1 and json.loads(completed.stdout)["agrees"] is False
