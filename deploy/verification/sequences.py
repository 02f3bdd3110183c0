"""Check `seq` per key in every topic and table for gaps and repeats, with the same rules as the readers of the topics.

A repeated record in a topic is the result of a restart and is only counted. A gap is a lost record. A table of facts
must hold each record of its topic exactly once. Records from outside have no `seq`: their tables must hold their ids.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from typing import TYPE_CHECKING, Any, NamedTuple

from dataflows.replay.recording import read_topics
from dataflows.runtime import topology
from deploy.verification.external_records import COMPARED_TYPES, check_external_table
from deploy.verification.ledger_tables import snapshot_connection
from deploy.verification.verdict import Comparison
from schemas.records import TOPIC_OF, has_seq, sequence_key
from sinks.record_tables import LATEST, MONTHLY_TABLES
from sinks.statements import storable
from sinks.tables import TABLE_OF

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection  # noqa: N812  (a class with a lower-case name)

    from configs.settings import KafkaSection
    from operators.alignment import AlignmentCounts


class SeqSpan(NamedTuple):
    """Records of one type and key in a topic: the first and last `seq`, and the number of records."""

    first: int
    last: int
    records: int


class TopicSequences(NamedTuple):
    """One topic up to its end: counts of records, repeated and late records, the first gap, the spans of its facts that
    are still in the database, and the ids of its records from outside, in their order.
    """

    topic: str
    records: int
    repeats: int
    late: int
    gap: str | None
    spans: dict[type, dict[str, SeqSpan]]
    external_ids: dict[type, dict[str, None]]

    @property
    def check(self) -> Comparison:
        notes = [f"{self.repeats} repeated"] if self.repeats else []
        notes += [f"{self.late} late"] if self.late else []
        return Comparison(f"topic {self.topic}", self.records, self.gap, ", ".join(notes))


def sequenced_topics() -> list[str]:
    """Return the topics whose records have a `seq`."""
    return [topic for service in topology.SERVICES.values() for topic in service.outputs if topic != "commands"]


def read_sequences(
    kafka: KafkaSection, topic: str, since_ns: int | None = None, archived: Mapping[str, int] | None = None
) -> TopicSequences:
    """Read one topic, or only its records written since `since_ns` (wall clock). Raises Unavailable.

    `archived`: the time (ns) before which the rows of a table are archived, by table.
    """
    archived_ns = {MONTHLY_TABLES[table]: end_ns for table, end_ns in (archived or {}).items()}
    last: dict[str, int] = {}
    spans: dict[type, dict[str, SeqSpan]] = {}
    external_ids: dict[type, dict[str, None]] = {}
    counters: list[AlignmentCounts] = []
    gap: str | None = None
    records = 0
    with closing(read_topics(kafka, "verify", [topic], since_ns=since_ns, on_counts=counters.append)) as time_slices:
        for time_slice in time_slices:
            for record in time_slice.records:
                if not has_seq(record):
                    if type(record) in COMPARED_TYPES:
                        external_ids.setdefault(type(record), {})[storable(record[0])] = None
                    continue
                records += 1
                key, seq = sequence_key(record), record.seq
                previous = last.get(key)
                if previous is not None and seq != previous + 1 and gap is None:
                    of_key = f" of {key}" if key else ""
                    gap = f"{topic}: seq {previous + 1}{of_key} is missing, the next is {seq}"
                if previous is None and since_ns is None and seq != 1 and gap is None:
                    gap = f"{topic}: seq 1{f' of {key}' if key else ''} is missing, the first is {seq}"
                last[key] = seq
                kind = type(record)
                if kind not in LATEST and record.ts_ns >= archived_ns.get(kind, record.ts_ns):
                    spans_of_kind = spans.setdefault(kind, {})
                    span = spans_of_kind.get(key)
                    spans_of_kind[key] = (
                        SeqSpan(seq, seq, 1) if span is None else SeqSpan(span.first, seq, span.records + 1)
                    )
    (counted,) = counters
    return TopicSequences(
        topic=topic,
        records=records,
        repeats=counted.duplicates,
        late=counted.late,
        gap=gap,
        spans=spans,
        external_ids=external_ids,
    )


def check_tables(database_url: str, sequences: TopicSequences) -> list[Comparison]:
    """Return one comparison per table of the topic; some record types have none. Raises psycopg2.Error."""
    with closing(snapshot_connection(database_url)) as db:
        checks = [_check_table(db, kind, spans) for kind, spans in sequences.spans.items() if kind in TABLE_OF]
        return checks + [check_external_table(db, kind, ids) for kind, ids in sequences.external_ids.items()]


def _check_table(db: Connection, kind: type, spans: dict[str, SeqSpan]) -> Comparison:
    table = TABLE_OF[kind].name
    key = "t.symbol" if "" not in spans else "''"
    # The query joins each key with its bounds, so the table is read once for all symbols.
    from_sql = (
        f"FROM {table} t JOIN unnest(%s::text[], %s::bigint[], %s::bigint[]) AS w(key, first, last) "
        f"ON w.key = {key} AND t.seq BETWEEN w.first AND w.last"
    )
    bounds = (list(spans), [span.first for span in spans.values()], [span.last for span in spans.values()])
    with db.cursor() as cursor:
        cursor.execute(f"SELECT {key}, count(*), count(DISTINCT t.seq) {from_sql} GROUP BY 1", bounds)
        counts_by_key = {key: (rows, numbers) for key, rows, numbers in cursor.fetchall()}
        rows_by_key = {key: rows for key, (rows, _) in counts_by_key.items()}
        mismatch = next(
            (key for key, span in spans.items() if counts_by_key.get(key, (0, 0)) != (span.records,) * 2), None
        )
        difference = None
        if mismatch is not None:
            difference = _describe_mismatch(cursor, kind, mismatch, spans[mismatch], rows_by_key.get(mismatch, 0))
    return Comparison(f"table {table}", sum(rows_by_key.values()), difference)


def _describe_mismatch(cursor: Any, kind: type, key: str, span: SeqSpan, row_count: int) -> str:
    """Describe the first `seq` that the table has more than once or not at all."""
    table = TABLE_OF[kind].name
    of_key = f" of {key}" if key else ""
    where = "seq BETWEEN %s AND %s" + (" AND symbol = %s" if key else "")
    parameters = (span.first, span.last, *([key] if key else []))
    query = f"SELECT seq FROM {table} WHERE {where} GROUP BY seq HAVING count(*) > 1 ORDER BY seq LIMIT 1"  # noqa: S608
    cursor.execute(query, parameters)
    row = cursor.fetchone()
    if row is not None:
        return f"{table}: seq {row[0]}{of_key} occurs more than once"
    topic = TOPIC_OF[kind]
    text = f"{table}: {row_count} records{of_key} up to seq {span.last}, expected {span.records} as in topic {topic}"
    if span.records != span.last - span.first + 1:
        return text  # record types share this `seq`; the audit check names the missing record
    query = (
        f"SELECT g FROM generate_series(%s::bigint, %s::bigint) g WHERE NOT EXISTS (SELECT FROM {table} "  # noqa: S608
        f"WHERE seq = g {'AND symbol = %s' if key else ''}) ORDER BY g LIMIT 1"
    )
    cursor.execute(query, parameters)
    row = cursor.fetchone()
    return text if row is None else f"{text}; seq {row[0]}{of_key} is missing"
