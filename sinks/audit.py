"""The audit chain: hashes over every order, cancel, fence, refusal, execution, risk event, command and configuration.

Each record has one row in `audit_chain`, in the order of its topic's log. `digest` is SHA-256 over the record; `head`
is SHA-256 over the previous head and the digest. A changed, removed or inserted table row breaks a digest or a link.
Recomputing all later links changes every later head, of which copies exist elsewhere (`docs/guarantees.md` describes
what this proves and what it does not).

The rows depend only on the records and are written in the same transaction. A duplicate record is recognized by its
`seq` (a command or configuration by its id) and adds no row.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from heapq import merge
from io import BytesIO, StringIO
from itertools import islice
from typing import Any, NamedTuple

import fastavro
from psycopg2.extensions import connection as Connection  # noqa: N812  (a class, whatever its name says)
from psycopg2.extensions import cursor as Cursor  # noqa: N812

from schemas.codec import avro_row, schema_json
from schemas.records import (
    TOPIC_OF,
    Command,
    Configuration,
    Execution,
    Order,
    OrderCancel,
    OrderRefusal,
    RiskEvent,
    RiskFence,
)
from schemas.records.flat import field_names
from sinks.queries import stream_records
from sinks.record_tables import RECORD_TABLES

AUDITED_TYPES: tuple[type, ...] = (
    *(Order, OrderCancel, RiskFence, OrderRefusal, Execution, RiskEvent),
    *(Command, Configuration),
)
AUDITED_TYPE_SET = frozenset(AUDITED_TYPES)
ID_TYPES: dict[str, type[Command] | type[Configuration]] = {TOPIC_OF[kind]: kind for kind in (Command, Configuration)}
"""By topic, the audited records that have an id (their first field) instead of a `seq`."""
AUDITED_TOPICS = tuple(dict.fromkeys(TOPIC_OF[kind] for kind in AUDITED_TYPES))
SEGMENT_ROWS = 1000
"""Rows of a topic's chain per segment; the head of a full segment is sealed."""
GENESIS = bytes(32)
"""The head before the first row of a chain."""

_COLUMNS = ("topic", "position", "table_name", "row_key", "seq", "fields", "digest", "head")
_COPY = f"COPY audit_chain ({', '.join(_COLUMNS)}) FROM STDIN"
# A topic has one writer. If a process that was considered dead writes once more, it waits for this lock.
_TIP_QUERY = (
    "SELECT pg_advisory_xact_lock(72031140, hashtext(%(topic)s)) ; "
    "SELECT position, seq, head FROM audit_chain WHERE topic = %(topic)s ORDER BY position DESC LIMIT 1"
)
_COPY_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


class Link(NamedTuple):
    """One row of `audit_chain`."""

    topic: str
    position: int
    table_name: str
    row_key: str
    seq: int
    fields: int
    digest: bytes
    head: bytes


def primary_key_text(record: Any) -> str:
    """Return the primary key of a record's row as text.

    >>> primary_key_text(RiskFence(1, 60, 2, "HALTED", "test", "c1"))
    '1'
    """
    (name,) = RECORD_TABLES[type(record)].key
    return str(getattr(record, name))


@cache
def _record_hasher(record_type: type, fields: int) -> Callable[[Any], bytes]:
    schema = json.loads(schema_json(record_type))
    schema["fields"] = schema["fields"][:fields]
    parsed = fastavro.parse_schema(schema)
    map_names = [
        field["name"]
        for field in schema["fields"]
        if isinstance(field["type"], dict) and field["type"]["type"] == "map"
    ]
    prefix = f"{record_type.__name__} {fields} ".encode()
    write = fastavro.schemaless_writer

    def hash_one(record: Any) -> bytes:
        row = avro_row(record)  # the schema selects its fields
        for name in map_names:
            # A map has no order, and the database does not preserve one.
            row[name] = dict(sorted(row[name].items()))
        buffer = BytesIO()
        write(buffer, parsed, row)
        return hashlib.sha256(prefix + buffer.getvalue()).digest()

    return hash_one


def digest_of(record: Any, fields: int | None = None) -> bytes:
    """Return SHA-256 over a record's type, number of fields and Avro bytes, optionally over its first `fields` fields.

    The digest is equal for a record, for the record read back from its table, and for the record read from its topic.
    """
    kind: type = type(record)
    return _record_hasher(kind, len(field_names(kind)) if fields is None else fields)(record)


def next_head(head: bytes, digest: bytes) -> bytes:
    return hashlib.sha256(head + digest).digest()


def extend(cursor: Cursor, batches: Mapping[type, Iterable[Any]], *, backfill: bool = False) -> int:
    """Link the new records in the transaction of `cursor`. `batches` holds the records as written to the tables.

    `backfill` also links the rows of topics without a chain, which an older release wrote. Return the number of links.
    """
    # Backfill all topics: a topic without new records would otherwise stay without a chain.
    by_topic: dict[str, list[Any]] = {topic: [] for topic in AUDITED_TOPICS} if backfill else {}
    for kind in AUDITED_TYPES:
        if kind in batches:
            by_topic.setdefault(TOPIC_OF[kind], []).extend(batches[kind])
    link_count = 0
    for topic, records in by_topic.items():
        link_count += _extend_topic(cursor, topic, records)
    return link_count


def _extend_topic(cursor: Cursor, topic: str, records: list[Any]) -> int:
    cursor.execute(_TIP_QUERY, {"topic": topic})
    tip = cursor.fetchone()
    if tip is None:
        position, last_seq, head = _backfill_chain(cursor, topic, records)
    else:
        position, last_seq, head = tip[0], tip[1], bytes(tip[2])
    new_records = _unlinked(cursor, topic, records, last_seq)
    _append(cursor, list(chain_links(topic, new_records, position, head)))
    return len(new_records)


def chain_links(topic: str, records: Iterable[Any], position: int = 0, head: bytes = GENESIS) -> Iterator[Link]:
    """Yield links of a topic's distinct records in log order, after `position` and `head`."""
    for record in records:
        position += 1
        digest = digest_of(record)
        head = next_head(head, digest)
        kind = type(record)
        seq = 0 if topic in ID_TYPES else record.seq
        yield Link(
            topic=topic,
            position=position,
            table_name=RECORD_TABLES[kind].name,
            row_key=primary_key_text(record),
            seq=seq,
            fields=len(field_names(kind)),
            digest=digest,
            head=head,
        )


def _append(cursor: Cursor, links: list[Link]) -> None:
    if not links:
        return
    cursor.copy_expert(_COPY, StringIO("".join(map(_copy_line, links))))
    for link in links:
        if link.position % SEGMENT_ROWS == 0:
            segment = (link.topic, link.position // SEGMENT_ROWS, link.position, link.head)
            cursor.execute("INSERT INTO audit_segments VALUES (%s, %s, %s, %s)", segment)


def _backfill_chain(cursor: Cursor, topic: str, records: list[Any]) -> tuple[int, int, bytes]:
    """Link the existing rows of a topic without a chain, which an older release wrote.

    Return the tip: position, seq and head. Records with an id of the current batch follow in log order, so they are
    excluded.
    """
    position, seq, head = 0, 0, GENESIS
    new_ids = {record[0] for record in records} if topic in ID_TYPES else set()
    links = chain_links(
        topic,
        (record for record in stored_records(cursor.connection, topic) if record[0] not in new_ids),
    )
    while batch := list(islice(links, SEGMENT_ROWS)):
        _append(cursor, batch)
        position, seq, head = batch[-1].position, batch[-1].seq, batch[-1].head
    return position, seq, head


def stored_records(connection: Connection, topic: str, after_seq: int | None = None) -> Iterator[Any]:
    """Yield the rows of a topic's tables as records in order of `seq`, streamed; those with an id in order of time.

    With `after_seq`, yield only those with a higher `seq`.
    """
    streams: list[Iterator[Any]] = [
        stream_records(connection, kind, after_seq) for kind in AUDITED_TYPES if TOPIC_OF[kind] == topic
    ]
    yield from streams[0] if len(streams) == 1 else merge(*streams, key=lambda record: record.seq)


def read_links(connection: Connection, topic: str, from_position: int = 1) -> Iterator[Link]:
    """Yield the chain of a topic from a position on in order, streamed."""
    with connection.cursor(f"audit_chain_{from_position}") as cursor:
        cursor.itersize = SEGMENT_ROWS
        where = "topic = %s AND position >= %s"
        query = f"SELECT {', '.join(_COLUMNS)} FROM audit_chain WHERE {where} ORDER BY position"  # noqa: S608
        cursor.execute(query, (topic, from_position))
        for row in cursor:
            yield Link._make((*row[:-2], bytes(row[-2]), bytes(row[-1])))


def _unlinked(cursor: Cursor, topic: str, records: list[Any], last_seq: int) -> list[Any]:
    """Return the records that the chain does not hold yet, without duplicates, in log order."""
    unique: dict[Any, Any] = {}
    if topic not in ID_TYPES:
        for record in sorted(records, key=lambda record: record.seq):
            if record.seq > last_seq:
                unique.setdefault(record.seq, record)
        return list(unique.values())
    for record in records:
        unique.setdefault(record[0], record)
    if not unique:
        return []
    table = RECORD_TABLES[ID_TYPES[topic]].name
    cursor.execute("SELECT row_key FROM audit_chain WHERE table_name = %s AND row_key = ANY(%s)", (table, list(unique)))
    linked_keys = {key for (key,) in cursor.fetchall()}
    return [record for record_id, record in unique.items() if record_id not in linked_keys]


def _copy_line(link: Link) -> str:
    """Format one row in COPY's text format."""
    topic, position, table, key, seq, fields, digest, head = link
    return (
        "\t".join(
            (topic, str(position), table, key.translate(_COPY_ESCAPES), str(seq), str(fields), f"\\\\x{digest.hex()}")
        )
        + f"\t\\\\x{head.hex()}\n"
    )
