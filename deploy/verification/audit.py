"""Check tables against their audit chain, and the chain against the topics and against heads stored elsewhere.

The check makes one streaming pass over a topic's chain, the rows of its tables and, if Kafka is reachable, the records
of its log, all in the same order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from deploy.verification.verdict import FINDINGS_MAX, Comparison
from operators.decision_hash import canonical_text
from schemas.records import TOPIC_OF
from schemas.records.flat import to_flat_dict
from sinks.audit import (
    AUDITED_TYPES,
    GENESIS,
    ID_TYPES,
    SEGMENT_ROWS,
    Link,
    digest_of,
    next_head,
    primary_key_text,
    read_links,
    stored_records,
)
from sinks.record_tables import RECORD_TABLES
from sinks.statements import storable
from sinks.tables import TABLE_OF

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection  # noqa: N812  (a class with a lower-case name)

    from operators.stage import TimeSlice

_NO_POSITION = 2**62


class ChainHead(NamedTuple):
    """The head of a topic's chain at a position, hexadecimal."""

    topic: str
    position: int
    head: str


class AuditFinding(NamedTuple):
    """One row that was tampered with. `problem` is "changed", "removed", "inserted" or a longer description."""

    table: str
    key: str
    problem: str

    def __str__(self) -> str:
        return f"{self.table} {self.key}: {self.problem}"


class AuditResult(NamedTuple):
    """Result for one topic's chain: number of links, head, findings, and whether the topic itself was compared."""

    topic: str
    links: int
    head: ChainHead
    findings: list[AuditFinding]
    log_compared: bool

    @property
    def check(self) -> Comparison:
        findings = [str(finding) for finding in self.findings]
        more = f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""
        note = "" if self.log_compared else "compared with the chain only, not with the topic"
        return Comparison(
            f"audit {self.topic}", self.links, f"{findings[0]}{more}" if findings else None, note, tuple(findings[1:])
        )


def audit_topic(
    db: Connection,
    topic: str,
    heads: Iterable[ChainHead] = (),
    log: Iterable[TimeSlice] | None = None,
    read_later: Callable[[int], Iterable[TimeSlice]] = lambda passed_ns: (),
    start: ChainHead | None = None,
) -> AuditResult:
    """Check one topic's rows in the transaction of `db`, which must be repeatable read, and against earlier `heads`.

    `log` yields the topic's time slices from the beginning, read before `db`: the database must hold all of them.
    `read_later` returns the time slices after a time, read after `db`: the database may hold them. It is called only if
    the database holds more than `log`.

    With `start`, a sealed head of a topic whose records have a `seq`, only the rows after it are checked, and the head
    itself. `log` then begins at any record up to the first one after it.
    """
    audit = _TopicAudit(db, topic, heads)
    first_seq = None if start is None else audit.start_at(start)
    return audit.run(None if log is None else _LogRecords(topic, log, read_later, first_seq), first_seq)


def seq_at(db: Connection, head: ChainHead) -> int | None:
    """Return the `seq` of the record at the position of a head, None if the chain has no such position."""
    link = next(read_links(db, head.topic, head.position), None)
    return None if link is None or link.position != head.position else link.seq


class _StoredRow(NamedTuple):
    """A stored record and its order: its seq, or for a command the position of its link."""

    order: int
    record: Any


class _TopicAudit:
    def __init__(self, db: Connection, topic: str, heads: Iterable[ChainHead]) -> None:
        self._db, self._topic = db, topic
        self._expected: dict[int, list[str]] = {}
        for head in heads:
            if head.topic == topic and head.position and head.head not in self._expected.setdefault(head.position, []):
                self._expected[head.position].append(head.head)
        self._findings: list[AuditFinding] = []
        self._tip = (0, GENESIS)
        # Computed head of the tip: if only a stored head was changed, the next link matches this one.
        self._computed_head = GENESIS
        self._unlinked: set[tuple[type, str]] = set()
        self._next_original: Any = None  # next record of the log, a required or a later one
        self._segments = _segments(db, topic)

    def start_at(self, head: ChainHead) -> int | None:
        """Start after a sealed head. Return the `seq` of its record; None if the chain does not reach it."""
        assert self._topic not in ID_TYPES, self._topic
        link = next(read_links(self._db, self._topic, head.position), None)
        if link is None or link.position != head.position:
            return None  # all rows are checked, which names what was removed
        if link.head.hex() != head.head:
            problem = f"head is {link.head.hex()[:12]}…, expected the sealed head {head.head[:12]}…"
            self._add_finding("audit_chain", f"{self._topic}/{head.position}", problem)
        self._tip = (head.position, link.head)
        self._computed_head = link.head
        self._expected = {position: found for position, found in self._expected.items() if position > head.position}
        first_segment = head.position // SEGMENT_ROWS
        self._segments = {number: one for number, one in self._segments.items() if number > first_segment}
        return link.seq

    def run(self, log: _LogRecords | None, after_seq: int | None = None) -> AuditResult:
        links = read_links(self._db, self._topic, self._tip[0] + 1)
        rows = _rows(self._db, self._topic, after_seq)
        link, row = next(links, None), next(rows, None)
        count = 0
        while link is not None or row is not None:
            order = None if link is None else (link.position if self._topic in ID_TYPES else link.seq)
            if row is not None and (order is None or row.order < order):
                self._unlinked.add((type(row.record), primary_key_text(row.record)))
                self._add_record_finding(row.record, "is not in the audit chain: inserted, or its chain row removed")
                row = next(rows, None)
                continue
            assert link is not None and order is not None
            original = None if log is None else self._original_of(link, log)
            is_match = row is not None and row.order == order and _belongs_to(row.record, link)
            self._compare(link, row.record if is_match and row is not None else None, original, log is not None)
            count += 1
            link = next(links, None)
            if is_match:
                row = next(rows, None)
        self._check_end(log)
        return AuditResult(
            topic=self._topic,
            links=count,
            head=self.head,
            findings=_merge_moved(self._findings),
            log_compared=log is not None,
        )

    def _original_of(self, link: Link, log: _LogRecords) -> Any:
        """Return the log's record at a link's place. Reports the records before it that have no link."""
        if self._topic in ID_TYPES:
            for _ in range(link.position - self._tip[0] - 1):
                self._report_missing(log.next_record())
            return log.next_record()
        while True:
            record = self._next_original if self._next_original is not None else log.next_record()
            self._next_original = None
            if record is None or record.seq == link.seq:
                return record
            if record.seq > link.seq:
                self._next_original = record
                return None
            self._report_missing(record)

    def _report_missing(self, original: Any) -> None:
        if original is not None and (type(original), primary_key_text(original)) not in self._unlinked:
            self._add_record_finding(original, "removed together with its chain row: it is in the topic")

    @property
    def head(self) -> ChainHead:
        return ChainHead(self._topic, self._tip[0], self._tip[1].hex())

    # -- one link

    def _compare(self, link: Link, record: Any, original: Any, with_log: bool) -> None:
        before, digest = self._tip[1], None if record is None else digest_of(record, link.fields)
        self._check_link(link, before, digest)
        if record is None:
            self._add_finding(link.table_name, link.row_key, "removed")
        elif digest != link.digest:
            if next_head(before, digest or b"") != link.head:
                self._add_record_finding(record, "changed", original)
        elif original is not None and digest_of(original, link.fields) != link.digest:
            problem = (
                "changed together with its chain row"
                if _belongs_to(original, link)
                else "has another position in the topic"
            )
            self._add_record_finding(record, problem, original if _belongs_to(original, link) else None)
        elif with_log and original is None:
            self._add_record_finding(record, "inserted: it is in table and chain, but not in the topic")

    def _check_link(self, link: Link, before: bytes, digest: bytes | None) -> None:
        position, last = link.position, self._tip[0]
        key = f"{self._topic}/{position}"
        if position != last + 1:
            missing = f"{last + 1}" if position == last + 2 else f"{last + 1} to {position - 1}"
            self._add_finding("audit_chain", f"{self._topic}/{missing}", "removed")
        elif next_head(before, link.digest) != link.head and next_head(self._computed_head, link.digest) != link.head:
            # The record shows which of digest and head was changed.
            detail = "digest" if digest is not None and next_head(before, digest) == link.head else "head"
            if digest is None or digest == link.digest or detail == "digest":
                self._add_finding("audit_chain", key, f"changed: {detail} does not follow from the previous row")
        for expected in self._expected.pop(position, ()):
            if expected != link.head.hex():
                self._add_finding(
                    "audit_chain", key, f"head is {link.head.hex()[:12]}…, expected the stored head {expected[:12]}…"
                )
        if position % SEGMENT_ROWS == 0:
            stored_segment = self._segments.pop(position // SEGMENT_ROWS, None)
            if stored_segment != (position, link.head):
                detail = "removed" if stored_segment is None else "changed: does not match the head of its segment"
                self._add_finding("audit_segments", f"{self._topic}/{position // SEGMENT_ROWS}", detail)
        self._tip, self._computed_head = (position, link.head), next_head(before, link.digest)

    def _check_end(self, log: _LogRecords | None) -> None:
        for position in sorted(self._expected):
            problem = f"removed: a stored head has position {position}, but the chain ends at {self._tip[0]}"
            self._add_finding("audit_chain", f"{self._topic}/{position}", problem)
        for segment in self._segments:
            self._add_finding("audit_segments", f"{self._topic}/{segment}", "inserted: the chain is shorter")
        if log is not None:
            if not log.is_past_required:
                self._report_missing(self._next_original)
            for original in log.required:
                self._report_missing(original)

    # -- findings

    def _add_record_finding(self, record: Any, problem: str, original: Any = None) -> None:
        self._add_finding(
            TABLE_OF[type(record)].name, primary_key_text(record), problem + _field_differences(record, original)
        )

    def _add_finding(self, table: str, key: str, problem: str) -> None:
        if len(self._findings) < FINDINGS_MAX:
            self._findings.append(AuditFinding(table, key, problem))


def _field_differences(record: Any, original: Any) -> str:
    """Describe the fields that differ from the log's record; "" if there is none to compare."""
    if original is None or type(record) is not type(original):
        return ""
    original_fields = to_flat_dict(original)
    descriptions = [
        f"{name} is {canonical_text(value)}, in the topic {canonical_text(original_fields[name])}"
        for name, value in to_flat_dict(record).items()
        if value != original_fields[name]
    ]
    return f": {'; '.join(descriptions)}" if descriptions else ""


def _belongs_to(record: Any, link: Link) -> bool:
    return TABLE_OF[type(record)].name == link.table_name and primary_key_text(record) == link.row_key


def _merge_moved(findings: Sequence[AuditFinding]) -> list[AuditFinding]:
    """Merge the findings "inserted" and "removed" of one row into one: its `seq` was changed."""
    removed = {(f.table, f.key) for f in findings if f.problem == "removed"}
    moved = {(f.table, f.key) for f in findings if f.problem.startswith("is not in the audit chain")} & removed
    merged = [
        AuditFinding(f.table, f.key, "changed: seq")
        for f in findings
        if (f.table, f.key) in moved and f.problem == "removed"
    ]
    return merged + [f for f in findings if (f.table, f.key) not in moved]


# -- reading -----------------------------------------------------------------------------------------------------------


def _rows(db: Connection, topic: str, after_seq: int | None) -> Iterator[_StoredRow]:
    """Yield the stored records in the order of the chain. Records with an id and without a link come last.

    With `after_seq`, yield only those with a higher `seq`.
    """
    kind = ID_TYPES.get(topic)
    if kind is None:
        for record in stored_records(db, topic, after_seq):
            yield _StoredRow(record.seq, record)
        return
    table, (key,), _ = RECORD_TABLES[kind]
    names = ", ".join(f"r.{name}" for name in kind._fields)
    with db.cursor("records_with_an_id") as cursor:
        cursor.execute(
            f"SELECT coalesce(c.position, {_NO_POSITION}), {names} FROM {table} r LEFT JOIN audit_chain c "  # noqa: S608
            f"ON c.table_name = '{table}' AND c.row_key = r.{key} ORDER BY c.position NULLS LAST, r.{key}"
        )
        for position, *row in cursor:
            yield _StoredRow(position, kind._make(row))


def _segments(db: Connection, topic: str) -> dict[int, tuple[int, bytes]]:
    with db.cursor() as cursor:
        cursor.execute("SELECT segment, last_position, head FROM audit_segments WHERE topic = %s", (topic,))
        return {segment: (position, bytes(head)) for segment, position, head in cursor.fetchall()}


class _LogRecords:
    """The audited records of a log in the order of the chain: by `seq`; those with an id, by their first occurrence."""

    def __init__(
        self,
        topic: str,
        required: Iterable[TimeSlice],
        read_later: Callable[[int], Iterable[TimeSlice]],
        after_seq: int | None = None,
    ) -> None:
        """With `after_seq`, leave out the records up to it."""
        self._after_seq = -1 if after_seq is None else after_seq
        self._kinds = frozenset(kind for kind in AUDITED_TYPES if TOPIC_OF[kind] == topic)
        self._id_type = ID_TYPES.get(topic)
        self._seen_ids: set[str] = set()
        self._passed_ns = -1
        self._read_later = read_later
        self._later_records: Iterator[Any] | None = None
        self.required = self._in_order(required)
        """Records that the database must hold."""

    @property
    def is_past_required(self) -> bool:
        """Whether all required records were consumed and the last one was a later record."""
        return self._later_records is not None

    def next_record(self) -> Any:
        """Return the next required or later record, None at the end."""
        record = next(self.required, None)
        if record is None:
            if self._later_records is None:
                self._later_records = self._in_order(self._read_later(self._passed_ns))
            record = next(self._later_records, None)
        return record

    def _in_order(self, time_slices: Iterable[TimeSlice]) -> Iterator[Any]:
        for time_slice in time_slices:
            self._passed_ns = time_slice.ts_ns
            records: list[Any] = [record for record in time_slice.records if type(record) in self._kinds]
            if self._id_type is None:
                later = [record for record in records if record.seq > self._after_seq]
                yield from sorted(later, key=lambda record: record.seq)
                continue
            for record in records:
                if record[0] not in self._seen_ids:  # by its id as published
                    self._seen_ids.add(record[0])
                    yield self._id_type._make(map(storable, record))
