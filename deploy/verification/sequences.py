"""Gaps and repeats in `seq`, per key, in every topic and table, by the rule that the services themselves read by.

A repeat in a topic is what a restart leaves behind, and counted; a gap is a lost record. Of every table of facts each
record that its topic shows must be there, once.
"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any, NamedTuple

from dataflows.replay.recording import read_topics
from dataflows.runtime import topology
from deploy.verification.ledger_tables import moment
from deploy.verification.verdict import Check
from schemas.records import TOPIC_OF, key_of
from sinks.tables import LATEST, TABLE_OF

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection  # noqa: N812  (a class, whatever its name says)

    from configs.settings import Kafka
    from operators.alignment import Counts


class Span(NamedTuple):
    """What a topic shows of one record type and key: so many records between two `seq`."""

    first: int
    last: int
    records: int


class Seen(NamedTuple):
    """One topic, read to where it ended: records, repeats, late ones, the first gap, and spans of its table's facts."""

    topic: str
    records: int
    repeats: int
    late: int
    gap: str | None
    spans: dict[type, dict[str, Span]]

    @property
    def check(self) -> Check:
        notes = [f"{self.repeats} repeats"] if self.repeats else []
        notes += [f"{self.late} late"] if self.late else []
        return Check(f"topic {self.topic}", self.records, self.gap, ", ".join(notes))


def sequenced_topics() -> list[str]:
    """Topics whose records count."""
    return [topic for of in topology.SERVICES.values() for topic in of.outputs if topic != "commands"]


def read_sequences(kafka: Kafka, topic: str, since_ns: int | None = None) -> Seen:
    """Read one topic, or only what was written to it since a moment of the wall clock. Raises Unavailable."""
    last: dict[str, int] = {}
    spans: dict[type, dict[str, Span]] = {}
    counts: list[Counts] = []
    gap: str | None = None
    records = 0
    with closing(read_topics(kafka, "verify", [topic], since_ns=since_ns, counted=counts.append)) as ticks:
        for tick in ticks:
            for record in tick.records:
                key = key_of(record)
                if key is None:
                    continue
                records += 1
                before, seq = last.get(key), record.seq  # type: ignore[union-attr]
                if before is not None and seq != before + 1 and gap is None:
                    of = f" of {key}" if key else ""
                    gap = f"{topic}: seq {before + 1}{of} is missing, the next one is {seq}"
                if before is None and since_ns is None and seq != 1 and gap is None:
                    gap = f"{topic}: seq 1{f' of {key}' if key else ''} is missing, the first one is {seq}"
                last[key] = seq
                kind = type(record)
                if kind not in LATEST:
                    of_kind = spans.setdefault(kind, {})
                    span = of_kind.get(key)
                    of_kind[key] = Span(seq, seq, 1) if span is None else Span(span.first, seq, span.records + 1)
    (counted,) = counts
    return Seen(topic, records, counted.duplicates, counted.late, gap, spans)


def check_tables(database_url: str, seen: Seen) -> list[Check]:
    """One check a table of the topic. Raises psycopg2.Error."""
    with closing(moment(database_url)) as db:
        return [_check_table(db, kind, spans) for kind, spans in seen.spans.items()]


def _check_table(db: Connection, kind: type, spans: dict[str, Span]) -> Check:
    table = TABLE_OF[kind].name
    key = "t.symbol" if "" not in spans else "''"
    # Bounds of each key beside it: a table is read once, whatever the number of symbols.
    joined = (
        f"FROM {table} t JOIN unnest(%s::text[], %s::bigint[], %s::bigint[]) AS w(key, first, last) "
        f"ON w.key = {key} AND t.seq BETWEEN w.first AND w.last"
    )
    bounds = (list(spans), [span.first for span in spans.values()], [span.last for span in spans.values()])
    with db.cursor() as cursor:
        cursor.execute(f"SELECT {key}, count(*), count(DISTINCT t.seq) {joined} GROUP BY 1", bounds)
        found = {key: (rows, numbers) for key, rows, numbers in cursor.fetchall()}
        stored = {key: rows for key, (rows, _) in found.items()}
        wrong = next((key for key, span in spans.items() if found.get(key, (0, 0)) != (span.records,) * 2), None)
        difference = None
        if wrong is not None:
            difference = _named(cursor, kind, wrong, spans[wrong], stored.get(wrong, 0))
    return Check(f"table {table}", sum(stored.values()), difference)


def _named(cursor: Any, kind: type, key: str, span: Span, found: int) -> str:
    """The first `seq` that a table has twice or not at all."""
    table = TABLE_OF[kind].name
    of = f" of {key}" if key else ""
    where = "seq BETWEEN %s AND %s" + (" AND symbol = %s" if key else "")
    given = (span.first, span.last, *([key] if key else []))
    query = f"SELECT seq FROM {table} WHERE {where} GROUP BY seq HAVING count(*) > 1 ORDER BY seq LIMIT 1"  # noqa: S608
    cursor.execute(query, given)
    row = cursor.fetchone()
    if row is not None:
        return f"{table}: seq {row[0]}{of} is there more than once"
    text = (
        f"{table}: {span.records} records{of} are in topic {TOPIC_OF[kind]} up to seq {span.last}, in the table {found}"
    )
    if span.records != span.last - span.first + 1:
        return text  # other types share the count: which one is missing the audit tells
    query = (
        f"SELECT g FROM generate_series(%s::bigint, %s::bigint) g WHERE NOT EXISTS (SELECT FROM {table} "  # noqa: S608
        f"WHERE seq = g {'AND symbol = %s' if key else ''}) ORDER BY g LIMIT 1"
    )
    cursor.execute(query, given)
    row = cursor.fetchone()
    return text if row is None else f"{text}; seq {row[0]}{of} is missing"
