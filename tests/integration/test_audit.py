"""The audit chain: repeated records do not change it, and the audit names each change to a row or to the chain."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from contextlib import closing

import psycopg2
import pytest

from dataflows.runtime.live_endpoints import stored_elsewhere
from dataflows.sources.market.live_feed import FEED_SWITCHED
from deploy.verification.audit import AuditResult, ChainHead, audit_topic
from operators.stage import TimeSlice
from schemas.records import RELEASE, Command, Execution, Record, RiskFence
from sinks import audit as audit_chain
from sinks.audit import AUDITED_TOPICS, AUDITED_TYPES
from sinks.postgres import PostgresSink, PostgresWriter
from tests.builders import command
from tests.unit.tape import market, platform_output, settings, with_command

HALT = command("cmd-\t\\1", 7, arguments={"b": "1", "a": "2"}, actor="ann\0", reason="drill\nnow")
RELEASE_COMMAND = command("cmd-2", 5, RELEASE)
INPUT_SLICES = with_command(with_command(market(120), 40, HALT), 60, RELEASE_COMMAND)
SESSION_SLICES = [
    TimeSlice(input_slice.ts_ns, [*(r for r in input_slice.records if type(r) is Command), *output_slice.records])
    for input_slice, output_slice in zip(INPUT_SLICES, platform_output(INPUT_SLICES, settings()), strict=True)
]
AuditByTopic = dict[str, AuditResult]
AUDITED_RECORDS = [
    record for time_slice in SESSION_SLICES for record in time_slice.records if type(record) in AUDITED_TYPES
]


def _write(url: str, batches: list[list[Record]]) -> None:
    with closing(PostgresWriter(url, name="test")) as writer:
        for batch in batches:
            writer.write(batch)


def _chain(url: str) -> list[tuple[object, ...]]:
    with closing(psycopg2.connect(url)) as db, db.cursor() as cursor:
        cursor.execute(
            "SELECT topic, position, table_name, row_key, seq, fields, digest::text, head::text"
            " FROM audit_chain ORDER BY 1, 2"
        )
        return cursor.fetchall()


def _audit(
    url: str, *statements: str, relink: bool = False, log: bool = False, heads: Sequence[ChainHead] = ()
) -> AuditByTopic:
    """Run the audit after `statements` and roll the statements back afterwards.

    `relink` rebuilds the whole chain of the executions from the rows. A database administrator who knows the code can
    do the same.
    """
    with closing(psycopg2.connect(url)) as db, db.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
            assert cursor.rowcount >= 1, statement
        if relink:
            cursor.execute("DELETE FROM audit_chain WHERE topic = 'executions'")
            audit_chain.extend(cursor, {}, backfill=True)
        return {topic: audit_topic(db, topic, heads, SESSION_SLICES if log else None) for topic in AUDITED_TOPICS}


def _findings(audits: AuditByTopic) -> list[str]:
    return [str(finding) for audited in audits.values() for finding in audited.findings]


@pytest.fixture(scope="module")
def url(database_url: str) -> str:
    _write(database_url, [list(time_slice.records) for time_slice in SESSION_SLICES])
    return database_url


def test_every_audited_record_is_linked_and_the_audit_agrees(url: str) -> None:
    audits = _audit(url, log=True)
    assert _findings(audits) == []
    assert sum(audited.links for audited in audits.values()) == len(AUDITED_RECORDS)
    assert audits["orders"].links > 5 and audits["executions"].links > 10 and audits["commands"].links == 2


def test_the_log_may_be_shorter_or_longer_than_the_database_during_writes(url: str) -> None:
    """The audit reads a log that ends before the database on to the database's position, and no record further."""
    half = SESSION_SLICES[: len(SESSION_SLICES) // 2]

    def findings_until(until: int) -> list[str]:
        """Audit with half of the log. A second read returns the time slices after the database's position.

        `until` limits the number of time slices in the log.
        """
        with closing(psycopg2.connect(url)) as db:
            audits = [
                audit_topic(
                    db, topic, (), half, lambda passed_ns: [t for t in SESSION_SLICES[:until] if t.ts_ns > passed_ns]
                )
                for topic in AUDITED_TOPICS
            ]
        return _findings({audited.topic: audited for audited in audits})

    assert findings_until(len(SESSION_SLICES)) == []
    missing = findings_until(len(SESSION_SLICES) - 40)
    assert missing and all("inserted: it is in table and chain" in finding for finding in missing)


def test_a_log_ahead_of_the_database_is_compared_only_up_to_the_database(
    url: str, make_database: Callable[[], str]
) -> None:
    lagging_url = make_database()
    _write(lagging_url, [list(time_slice.records) for time_slice in SESSION_SLICES[:60]])
    with closing(psycopg2.connect(lagging_url)) as db:
        for topic in AUDITED_TOPICS:
            assert not audit_topic(db, topic, (), SESSION_SLICES[:60], lambda passed_ns: SESSION_SLICES[60:]).findings
            assert not audit_topic(db, topic, (), SESSION_SLICES[:50], lambda passed_ns: SESSION_SLICES[50:]).findings
        findings_by_topic = [
            audit_topic(db, topic, (), SESSION_SLICES, lambda passed_ns: []).findings
            for topic in ("orders", "executions")
        ]
    assert all(
        findings and all("removed together" in str(finding) for finding in findings) for findings in findings_by_topic
    )


def test_the_chain_is_the_same_in_any_batches_with_any_repeats(url: str, make_database: Callable[[], str]) -> None:
    rng, repeated_url = random.Random(3), make_database()
    start, batches = 0, []
    while start < len(SESSION_SLICES):
        end = start + rng.choice((1, 2, 9, 40))
        batch_start = max(0, start - rng.randint(0, 30))
        batches += [[r for time_slice in SESSION_SLICES[batch_start:end] for r in time_slice.records]]
        start = end
    _write(repeated_url, [*batches, [r for time_slice in SESSION_SLICES for r in time_slice.records]])
    assert _chain(repeated_url) == _chain(url)


def test_a_command_of_the_feed_is_linked_where_it_is_in_the_log(make_database: Callable[[], str]) -> None:
    """The feed often stores its records before `risk` stores the commands that precede them in the log."""
    database_url = make_database()
    switched = command("feed-1-second", 9, FEED_SWITCHED)
    log = [RELEASE_COMMAND, switched]
    for service, records in (("market_data", [switched]), ("risk", log), ("market_data", [switched])):
        sink = PostgresSink(database_url, name=service, excluded=stored_elsewhere(service))
        with closing(sink.build_part("postgres", "0000", None)) as part:
            part.write_batch([[TimeSlice(9, records)]])
    assert [row[3] for row in _chain(database_url)] == [record.command_id for record in log]


def test_rows_from_before_the_chain_are_linked_when_it_begins(url: str, make_database: Callable[[], str]) -> None:
    old_url = make_database()
    with closing(PostgresWriter(old_url, name="test", audited=False)) as writer:
        writer.write([r for time_slice in SESSION_SLICES[:70] for r in time_slice.records])
    assert _chain(old_url) == []
    _write(
        old_url,
        [
            [r for time_slice in SESSION_SLICES[65:90] for r in time_slice.records],
            [r for time_slice in SESSION_SLICES[90:] for r in time_slice.records],
        ],
    )
    links = [link for link in _chain(old_url) if link[0] != "commands"]
    assert links == [link for link in _chain(url) if link[0] != "commands"]
    assert _findings(_audit(old_url)) == []


def test_segments_are_sealed_when_they_are_full(
    make_database: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_chain, "SEGMENT_ROWS", 4)
    monkeypatch.setattr("deploy.verification.audit.SEGMENT_ROWS", 4)
    url = make_database()
    _write(url, [list(time_slice.records) for time_slice in SESSION_SLICES])
    links = _audit(url)["executions"].links
    with closing(psycopg2.connect(url)) as db, db.cursor() as cursor:
        cursor.execute("SELECT max(segment), max(last_position) FROM audit_segments WHERE topic = 'executions'")
        assert cursor.fetchone() == (links // 4, links // 4 * 4)
    assert _findings(_audit(url)) == []
    audits = _audit(url, "UPDATE audit_segments SET head = '\\x00' WHERE topic = 'executions' AND segment = 2")
    assert _findings(audits) == ["audit_segments executions/2: changed: does not match the head of its segment"]
    audits = _audit(url, "DELETE FROM audit_segments WHERE topic = 'executions' AND segment = 2")
    assert _findings(audits) == ["audit_segments executions/2: removed"]


COLUMNS = ", ".join(Execution._fields[3:])
INSERT = "INSERT INTO executions (seq, ts_ns, execution_id, {0}) SELECT 100000, ts_ns, 'exe-x', {0} FROM executions"
INSERT = INSERT.format(COLUMNS) + " WHERE seq = 5"
TAMPERING_CASES = [
    ("UPDATE executions SET price = price + 0.000000001 WHERE seq = 5", "executions exe-5: changed"),
    ("UPDATE executions SET quantity = 1 WHERE seq = 1", "executions exe-1: changed"),
    (
        "UPDATE executions SET text = 'x' WHERE seq = (SELECT max(seq) FROM executions)",
        "executions exe-{last}: changed",
    ),
    ("UPDATE executions SET seq = 100000 WHERE seq = 5", "executions exe-5: changed: seq"),
    ("UPDATE orders SET checks = '[]' WHERE seq = 1", "orders ord-1: changed"),
    ("UPDATE commands SET actor = 'bob' WHERE command_id = 'cmd-2'", "commands cmd-2: changed"),
    ("UPDATE risk_fences SET reason = 'none' WHERE epoch = 1", "risk_fences {fence}: changed"),
    ("DELETE FROM executions WHERE seq = 1", "executions exe-1: removed"),
    ("DELETE FROM executions WHERE seq = 5", "executions exe-5: removed"),
    ("DELETE FROM executions WHERE seq = (SELECT max(seq) FROM executions)", "executions exe-{last}: removed"),
    ("DELETE FROM commands WHERE command_id = 'cmd-2'", "commands cmd-2: removed"),
    (
        "INSERT INTO commands (command_id, ts_ns, kind, actor, reason, arguments, key_id, signature) "
        "VALUES ('cmd-3', 1, 'RELEASE', 'eve', '', '{}', '', '')",
        "commands cmd-3: is not in the audit chain: inserted, or its chain row removed",
    ),
    (
        INSERT,
        "executions exe-x: is not in the audit chain: inserted, or its chain row removed",
    ),
    (
        "UPDATE audit_chain SET digest = '\\x00' WHERE topic = 'executions' AND position = 5",
        "audit_chain executions/5: changed: digest does not follow from the previous row",
    ),
    (
        "UPDATE audit_chain SET head = '\\x00' WHERE topic = 'executions' AND position = 5",
        "audit_chain executions/5: changed: head does not follow from the previous row",
    ),
    ("DELETE FROM audit_chain WHERE topic = 'executions' AND position = 1", "audit_chain executions/1: removed"),
    (
        "DELETE FROM audit_chain WHERE topic = 'executions' AND position IN (5, 6)",
        "audit_chain executions/5 to 6: removed",
    ),
    (
        "DELETE FROM audit_chain WHERE topic = 'executions' AND seq = (SELECT max(seq) FROM executions)",
        "executions exe-{last}: is not in the audit chain: inserted, or its chain row removed",
    ),
]


@pytest.mark.parametrize("log", [False, True], ids=["chain", "chain and log"])
@pytest.mark.parametrize(("statement", "expected_text"), TAMPERING_CASES, ids=[text for _, text in TAMPERING_CASES])
def test_a_tampered_row_is_named(url: str, statement: str, expected_text: str, log: bool) -> None:
    last = max(r.seq for r in AUDITED_RECORDS if isinstance(r, Execution))
    fence = min(r.seq for r in AUDITED_RECORDS if isinstance(r, RiskFence))
    findings = _findings(_audit(url, statement, log=log))
    assert findings, "nothing was found"
    assert any(f.startswith(expected_text.format(last=last, fence=fence)) for f in findings), findings
    if not statement.startswith("DELETE FROM audit_chain"):
        assert len(findings) == 1, findings


def test_a_changed_field_is_named_with_its_value_in_the_log(url: str) -> None:
    (finding,) = _findings(_audit(url, "UPDATE executions SET fee = 77 WHERE seq = 5", log=True))
    assert finding.startswith("executions exe-5: changed: fee is 77, in the topic ")


@pytest.mark.parametrize(
    ("statement", "by_head", "by_log"),
    [
        (
            "UPDATE executions SET fee = 77 WHERE seq = 5",
            "audit_chain executions/{last}: head is",
            "executions exe-5: changed together with its chain row: fee is 77, in the topic ",
        ),
        (
            "DELETE FROM executions WHERE seq = (SELECT max(seq) FROM executions)",
            "audit_chain executions/{last}: removed: a stored head has position {last}, but the chain ends at {before}",
            "executions exe-{last}: removed together with its chain row: it is in the topic",
        ),
        (
            "DELETE FROM executions WHERE seq = 1",
            "audit_chain executions/{last}: removed: a stored head",
            "executions exe-1: removed together with its chain row: it is in the topic",
        ),
        (
            INSERT,
            "",
            "executions exe-x: inserted: it is in table and chain, but not in the topic",
        ),
    ],
)
def test_rows_rewritten_with_their_chain_are_detected_by_a_stored_head_and_by_the_log(
    url: str, statement: str, by_head: str, by_log: str
) -> None:
    stored_heads = [audited.head for audited in _audit(url).values()]
    last = next(head.position for head in stored_heads if head.topic == "executions")
    assert _findings(_audit(url, statement, relink=True)) == [], "the chain alone cannot tell"
    if by_head:
        (finding,) = _findings(_audit(url, statement, relink=True, heads=stored_heads))
        assert finding.startswith(by_head.format(last=last, before=last - 1)), finding
    log_findings = _findings(_audit(url, statement, relink=True, log=True))
    assert [f for f in log_findings if f.startswith(by_log.format(last=last))] == log_findings, log_findings
