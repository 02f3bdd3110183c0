"""The audit chain: the same however often records come, and whatever is done to a row or to the chain is named."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from contextlib import closing

import psycopg2
import pytest

from deploy.verification.audit import Audited, Head, audit
from operators.stage import Tick
from schemas.records import KILL_SWITCH, RELEASE, Command, Execution, Record
from sinks import audit as audit_chain
from sinks.audit import AUDITED, AUDITED_TOPICS
from sinks.postgres import PostgresWriter
from tests.unit.tape import decided, market, settings, with_command

HALT = Command("cmd-\t\\1", 7, KILL_SWITCH, "ann\0", "drill\nnow", {"b": "1", "a": "2"})
GO = Command("cmd-2", 5, RELEASE, "ann", "over", {})
GIVEN = with_command(with_command(market(120), 40, HALT), 60, GO)
TICKS = [
    Tick(given.ts_ns, [*(r for r in given.records if type(r) is Command), *made.records])
    for given, made in zip(GIVEN, decided(GIVEN, settings()), strict=True)
]
Found = dict[str, Audited]
AUDITED_RECORDS = [record for tick in TICKS for record in tick.records if type(record) in AUDITED]


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


def _audit(url: str, *statements: str, relink: bool = False, log: bool = False, heads: Sequence[Head] = ()) -> Found:
    """What the audit finds after `statements`, which are rolled back behind it. `relink` is what a database
    administrator can do who knows the code: make the whole chain of the executions anew from the rows.
    """
    with closing(psycopg2.connect(url)) as db, db.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
            assert cursor.rowcount >= 1, statement
        if relink:
            cursor.execute("DELETE FROM audit_chain WHERE topic = 'executions'")
            audit_chain.extend(cursor, {}, begin=True)
        return {topic: audit(db, topic, heads, TICKS if log else None) for topic in AUDITED_TOPICS}


def _findings(found: Found) -> list[str]:
    return [str(finding) for audited in found.values() for finding in audited.findings]


@pytest.fixture(scope="module")
def url(database_url: str) -> str:
    _write(database_url, [list(tick.records) for tick in TICKS])
    return database_url


def test_every_audited_record_is_linked_and_all_agrees(url: str) -> None:
    found = _audit(url, log=True)
    assert _findings(found) == []
    assert sum(audited.links for audited in found.values()) == len(AUDITED_RECORDS)
    assert found["orders"].links > 5 and found["executions"].links > 10 and found["commands"].links == 2


def test_while_services_write_the_log_may_be_shorter_or_longer_than_the_database(url: str) -> None:
    """A log that was ended before the database's moment is read on behind it, and not one record more is asked for."""
    half = TICKS[: len(TICKS) // 2]

    def found(until: int) -> list[str]:
        """With what stood in the log at first, and what it holds behind the database's moment, up to a tick."""
        with closing(psycopg2.connect(url)) as db:
            audits = [
                audit(db, topic, (), half, lambda passed_ns: [t for t in TICKS[:until] if t.ts_ns > passed_ns])
                for topic in AUDITED_TOPICS
            ]
        return _findings({audited.topic: audited for audited in audits})

    assert found(len(TICKS)) == []
    missing = found(len(TICKS) - 40)
    assert missing and all("not in the log: inserted" in finding for finding in missing)


def test_a_log_that_is_ahead_of_the_database_is_asked_only_for_what_was_due(
    url: str, make_database: Callable[[], str]
) -> None:
    behind = make_database()
    _write(behind, [list(tick.records) for tick in TICKS[:60]])
    with closing(psycopg2.connect(behind)) as db:
        for topic in AUDITED_TOPICS:
            assert not audit(db, topic, (), TICKS[:60], lambda passed_ns: TICKS[60:]).findings
            assert not audit(db, topic, (), TICKS[:50], lambda passed_ns: TICKS[50:]).findings
        gone = [audit(db, topic, (), TICKS, lambda passed_ns: []).findings for topic in ("orders", "executions")]
    assert all(found and all("removed together" in str(finding) for finding in found) for found in gone)


def test_the_chain_is_the_same_in_any_batches_with_any_repeats(url: str, make_database: Callable[[], str]) -> None:
    rng, again = random.Random(3), make_database()
    start, batches = 0, []
    while start < len(TICKS):
        end = start + rng.choice((1, 2, 9, 40))
        since = max(0, start - rng.randint(0, 30))
        batches += [[r for tick in TICKS[since:end] for r in tick.records]]
        start = end
    _write(again, [*batches, [r for tick in TICKS for r in tick.records]])
    assert _chain(again) == _chain(url)


def test_rows_from_before_the_chain_are_linked_when_it_begins(url: str, make_database: Callable[[], str]) -> None:
    old = make_database()
    with closing(PostgresWriter(old, name="test", audited=False)) as writer:
        writer.write([r for tick in TICKS[:70] for r in tick.records])
    assert _chain(old) == []
    _write(old, [[r for tick in TICKS[65:90] for r in tick.records], [r for tick in TICKS[90:] for r in tick.records]])
    links = [link for link in _chain(old) if link[0] != "commands"]
    assert links == [link for link in _chain(url) if link[0] != "commands"]
    assert _findings(_audit(old)) == []


def test_segments_are_sealed_when_they_are_full(
    make_database: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_chain, "SEGMENT_ROWS", 4)
    monkeypatch.setattr("deploy.verification.audit.SEGMENT_ROWS", 4)
    url = make_database()
    _write(url, [list(tick.records) for tick in TICKS])
    links = _audit(url)["executions"].links
    with closing(psycopg2.connect(url)) as db, db.cursor() as cursor:
        cursor.execute("SELECT max(segment), max(last_position) FROM audit_segments WHERE topic = 'executions'")
        assert cursor.fetchone() == (links // 4, links // 4 * 4)
    assert _findings(_audit(url)) == []
    found = _audit(url, "UPDATE audit_segments SET head = '\\x00' WHERE topic = 'executions' AND segment = 2")
    assert _findings(found) == ["audit_segments executions/2: changed: does not fit its segment's head"]
    found = _audit(url, "DELETE FROM audit_segments WHERE topic = 'executions' AND segment = 2")
    assert _findings(found) == ["audit_segments executions/2: removed"]


COLUMNS = ", ".join(Execution._fields[3:])
INSERT = "INSERT INTO executions (seq, ts_ns, execution_id, {0}) SELECT 100000, ts_ns, 'exe-x', {0} FROM executions"
INSERT = INSERT.format(COLUMNS) + " WHERE seq = 5"
TAMPERED = [
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
        "INSERT INTO commands VALUES ('cmd-3', 1, 'RELEASE', 'eve', '', '{}')",
        "commands cmd-3: is in no row of the chain: inserted, or its row of the chain removed",
    ),
    (
        INSERT,
        "executions exe-x: is in no row of the chain: inserted, or its row of the chain removed",
    ),
    (
        "UPDATE audit_chain SET digest = '\\x00' WHERE topic = 'executions' AND position = 5",
        "audit_chain executions/5: changed: digest does not follow from the row before",
    ),
    (
        "UPDATE audit_chain SET head = '\\x00' WHERE topic = 'executions' AND position = 5",
        "audit_chain executions/5: changed: head does not follow from the row before",
    ),
    ("DELETE FROM audit_chain WHERE topic = 'executions' AND position = 1", "audit_chain executions/1: removed"),
    (
        "DELETE FROM audit_chain WHERE topic = 'executions' AND position IN (5, 6)",
        "audit_chain executions/5 to 6: removed",
    ),
    (
        "DELETE FROM audit_chain WHERE topic = 'executions' AND seq = (SELECT max(seq) FROM executions)",
        "executions exe-{last}: is in no row of the chain: inserted, or its row of the chain removed",
    ),
]


@pytest.mark.parametrize("log", [False, True], ids=["chain", "chain and log"])
@pytest.mark.parametrize(("statement", "words"), TAMPERED, ids=[words for _, words in TAMPERED])
def test_a_row_that_was_touched_is_named(url: str, statement: str, words: str, log: bool) -> None:
    last = max(r.seq for r in AUDITED_RECORDS if type(r).__name__ == "Execution")  # type: ignore[union-attr]
    fence = min(r.seq for r in AUDITED_RECORDS if type(r).__name__ == "RiskFence")  # type: ignore[union-attr]
    found = _findings(_audit(url, statement, log=log))
    assert found, "nothing was found"
    assert any(f.startswith(words.format(last=last, fence=fence)) for f in found), found
    if not statement.startswith("DELETE FROM audit_chain"):
        assert len(found) == 1, found


def test_a_changed_field_is_named_with_what_the_log_says(url: str) -> None:
    (found,) = _findings(_audit(url, "UPDATE executions SET fee = 77 WHERE seq = 5", log=True))
    assert found.startswith("executions exe-5: changed: fee is 77, in the log ")


@pytest.mark.parametrize(
    ("statement", "by_head", "by_log"),
    [
        (
            "UPDATE executions SET fee = 77 WHERE seq = 5",
            "audit_chain executions/{last}: head is",
            "executions exe-5: changed together with its chain: fee is 77, in the log ",
        ),
        (
            "DELETE FROM executions WHERE seq = (SELECT max(seq) FROM executions)",
            "audit_chain executions/{last}: removed: a head of position {last} was put aside, "
            "the chain ends at {before}",
            "executions exe-{last}: removed together with its row of the chain: it is in the log",
        ),
        (
            "DELETE FROM executions WHERE seq = 1",
            "audit_chain executions/{last}: removed: a head",
            "executions exe-1: removed together with its row of the chain: it is in the log",
        ),
        (
            INSERT,
            "",
            "executions exe-x: is in table and chain, but not in the log: inserted",
        ),
    ],
)
def test_rows_and_chain_rewritten_together_are_found_by_a_head_put_aside_and_by_the_log(
    url: str, statement: str, by_head: str, by_log: str
) -> None:
    aside = [audited.head for audited in _audit(url).values()]
    last = next(head.position for head in aside if head.topic == "executions")
    assert _findings(_audit(url, statement, relink=True)) == [], "the chain alone cannot tell"
    if by_head:
        (found,) = _findings(_audit(url, statement, relink=True, heads=aside))
        assert found.startswith(by_head.format(last=last, before=last - 1)), found
    found_by_log = _findings(_audit(url, statement, relink=True, log=True))
    assert [f for f in found_by_log if f.startswith(by_log.format(last=last))] == found_by_log, found_by_log
