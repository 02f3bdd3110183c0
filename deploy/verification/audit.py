"""Tables against their audit chain, and the chain against the topics and against heads that were put aside earlier.

One pass over a topic's chain, the rows of its tables and, where Kafka can be asked, the records of its log, all in the
same order and streamed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from deploy.verification.verdict import Check
from operators.decision_hash import text
from schemas.records import TOPIC_OF, Command
from sinks.audit import AUDITED, GENESIS, SEGMENT_ROWS, Link, digest_of, key_of_row, links_of, next_head, stored
from sinks.statements import storable
from sinks.tables import TABLE_OF

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection  # noqa: N812  (a class, whatever its name says)

    from operators.stage import Tick

_NO_PLACE = 2**62
FINDINGS_MAX = 20
"""So many findings of a topic are told; that there are more is enough to know."""


class Head(NamedTuple):
    """The head of a topic's chain at a position, hexadecimal."""

    topic: str
    position: int
    head: str


class Finding(NamedTuple):
    """One row that is not what it was. `what` is "changed", "removed", "inserted" or a sentence's rest."""

    table: str
    key: str
    what: str

    def __str__(self) -> str:
        return f"{self.table} {self.key}: {self.what}"


class Audited(NamedTuple):
    """One topic's chain: how many links, its head, what was found, and whether the log itself was compared."""

    topic: str
    links: int
    head: Head
    findings: list[Finding]
    with_log: bool

    @property
    def check(self) -> Check:
        found = self.findings
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        note = "" if self.with_log else "compared with the chain alone: no log"
        return Check(f"audit {self.topic}", self.links, f"{found[0]}{more}" if found else None, note)


def audit(
    db: Connection,
    topic: str,
    heads: Iterable[Head] = (),
    log: Iterable[Tick] | None = None,
    later: Callable[[int], Iterable[Tick]] = lambda passed_ns: (),
) -> Audited:
    """Check one topic's rows in the transaction of `db`, which should be repeatable read. `heads` are earlier ones.

    `log` is the topic's ticks from its beginning: all that the database must hold, so of an earlier moment than `db`.
    `later` gives the ticks behind a time, of a later moment than `db`: all that it may hold. It is asked only where the
    database holds more than `log` does.
    """
    return _Audit(db, topic, heads).run(None if log is None else _Originals(topic, log, later))


class _Row(NamedTuple):
    """A stored record and where it belongs: its seq, or for a command the position of its link."""

    order: int
    record: Any


class _Audit:
    def __init__(self, db: Connection, topic: str, heads: Iterable[Head]) -> None:
        self._db, self._topic = db, topic
        self._expected: dict[int, list[str]] = {}
        for head in heads:
            if head.topic == topic and head.position and head.head not in self._expected.setdefault(head.position, []):
                self._expected[head.position].append(head.head)
        self._findings: list[Finding] = []
        self._tip = (0, GENESIS)
        self._should_be = GENESIS  # the tip's head as it follows: where only a head was changed, the next fits this
        self._unlinked: set[tuple[type, str]] = set()
        self._waiting: Any = None  # the log's next record, of those that must be in the database or of the later ones
        self._segments = _segments(db, topic)

    def run(self, log: _Originals | None) -> Audited:
        links = links_of(self._db, self._topic)
        rows = _rows(self._db, self._topic)
        link, row = next(links, None), next(rows, None)
        count = 0
        while link is not None or row is not None:
            at = None if link is None else (link.position if self._topic == TOPIC_OF[Command] else link.seq)
            if row is not None and (at is None or row.order < at):
                self._unlinked.add((type(row.record), key_of_row(row.record)))
                self._found(row.record, "is in no row of the chain: inserted, or its row of the chain removed")
                row = next(rows, None)
                continue
            assert link is not None and at is not None
            original = None if log is None else self._original(link, log)
            same = row is not None and row.order == at and _is_of(row.record, link)
            self._compare(link, row.record if same and row is not None else None, original, log is not None)
            count += 1
            link = next(links, None)
            if same:
                row = next(rows, None)
        self._ends(log)
        return Audited(self._topic, count, self.head, _paired(self._findings), log is not None)

    def _original(self, link: Link, log: _Originals) -> Any:
        """The log's record at a link's place; those before it that no link holds are told."""
        if self._topic == TOPIC_OF[Command]:
            for _ in range(link.position - self._tip[0] - 1):
                self._gone(log.next())
            return log.next()
        while True:
            record = self._waiting if self._waiting is not None else log.next()
            self._waiting = None
            if record is None or record.seq == link.seq:
                return record
            if record.seq > link.seq:
                self._waiting = record
                return None
            self._gone(record)

    def _gone(self, original: Any) -> None:
        if original is not None and (type(original), key_of_row(original)) not in self._unlinked:
            self._found(original, "removed together with its row of the chain: it is in the log")

    @property
    def head(self) -> Head:
        return Head(self._topic, self._tip[0], self._tip[1].hex())

    # -- one link

    def _compare(self, link: Link, record: Any, original: Any, with_log: bool) -> None:
        before, digest = self._tip[1], None if record is None else digest_of(record, link.fields)
        self._check_link(link, before, digest)
        if record is None:
            self._add(link.table_name, link.row_key, "removed")
        elif digest != link.digest:
            if next_head(before, digest or b"") != link.head:
                self._found(record, "changed", original)
        elif original is not None and digest_of(original, link.fields) != link.digest:
            what = "changed together with its chain" if _is_of(original, link) else "does not stand here in the log"
            self._found(record, what, original if _is_of(original, link) else None)
        elif with_log and original is None:
            self._found(record, "is in table and chain, but not in the log: inserted")

    def _check_link(self, link: Link, before: bytes, digest: bytes | None) -> None:
        position, last = link.position, self._tip[0]
        name = f"{self._topic}/{position}"
        if position != last + 1:
            missing = f"{last + 1}" if position == last + 2 else f"{last + 1} to {position - 1}"
            self._add("audit_chain", f"{self._topic}/{missing}", "removed")
        elif next_head(before, link.digest) != link.head and next_head(self._should_be, link.digest) != link.head:
            # The record itself tells which of the two was changed.
            what = "digest" if digest is not None and next_head(before, digest) == link.head else "head"
            if digest is None or digest == link.digest or what == "digest":
                self._add("audit_chain", name, f"changed: {what} does not follow from the row before")
        for expected in self._expected.pop(position, ()):
            if expected != link.head.hex():
                self._add("audit_chain", name, f"head is {link.head.hex()[:12]}…, put aside was {expected[:12]}…")
        if position % SEGMENT_ROWS == 0:
            sealed = self._segments.pop(position // SEGMENT_ROWS, None)
            if sealed != (position, link.head):
                what = "removed" if sealed is None else "changed: does not fit its segment's head"
                self._add("audit_segments", f"{self._topic}/{position // SEGMENT_ROWS}", what)
        self._tip, self._should_be = (position, link.head), next_head(before, link.digest)

    def _ends(self, log: _Originals | None) -> None:
        for position in sorted(self._expected):
            what = f"removed: a head of position {position} was put aside, the chain ends at {self._tip[0]}"
            self._add("audit_chain", f"{self._topic}/{position}", what)
        for segment in self._segments:
            self._add("audit_segments", f"{self._topic}/{segment}", "inserted: the chain is not that long")
        if log is not None:
            if not log.is_later:
                self._gone(self._waiting)
            for original in log.due:
                self._gone(original)

    # -- what was found

    def _found(self, record: Any, what: str, original: Any = None) -> None:
        self._add(TABLE_OF[type(record)].name, key_of_row(record), what + _fields(record, original))

    def _add(self, table: str, key: str, what: str) -> None:
        if len(self._findings) < FINDINGS_MAX:
            self._findings.append(Finding(table, key, what))


def _fields(record: Any, original: Any) -> str:
    """Which fields differ from the log's record."""
    if original is None or type(record) is not type(original):
        return ""
    differing = [name for name in record._fields if getattr(record, name) != getattr(original, name)]
    told = [
        f"{name} is {text(getattr(record, name))}, in the log {text(getattr(original, name))}" for name in differing
    ]
    return f": {'; '.join(told)}" if told else ""


def _is_of(record: Any, link: Link) -> bool:
    return TABLE_OF[type(record)].name == link.table_name and key_of_row(record) == link.row_key


def _paired(findings: Sequence[Finding]) -> list[Finding]:
    """A row whose `seq` was changed shows as inserted at one place and removed at another: it is one change."""
    removed = {(f.table, f.key) for f in findings if f.what == "removed"}
    moved = {(f.table, f.key) for f in findings if f.what.startswith("is in no row")} & removed
    out = [
        Finding(f.table, f.key, "changed: seq") for f in findings if (f.table, f.key) in moved and f.what == "removed"
    ]
    return out + [f for f in findings if (f.table, f.key) not in moved]


# -- reading -----------------------------------------------------------------------------------------------------------


def _rows(db: Connection, topic: str) -> Iterator[_Row]:
    """The stored records in the order of the chain; commands without a link, which have no place in it, last."""
    if topic != TOPIC_OF[Command]:
        for record in stored(db, topic):
            yield _Row(record.seq, record)
        return
    names = ", ".join(f"r.{name}" for name in Command._fields)
    with db.cursor("commands") as cursor:
        cursor.execute(
            f"SELECT coalesce(c.position, {_NO_PLACE}), {names} FROM commands r LEFT JOIN audit_chain c "  # noqa: S608
            "ON c.table_name = 'commands' AND c.row_key = r.command_id ORDER BY c.position NULLS LAST, r.command_id"
        )
        for position, *row in cursor:
            yield _Row(position, Command._make(row))


def _segments(db: Connection, topic: str) -> dict[int, tuple[int, bytes]]:
    with db.cursor() as cursor:
        cursor.execute("SELECT segment, last_position, head FROM audit_segments WHERE topic = %s", (topic,))
        return {segment: (position, bytes(head)) for segment, position, head in cursor.fetchall()}


class _Originals:
    """The audited records of a log as the chain takes them: by seq, a command at its first place."""

    def __init__(self, topic: str, due: Iterable[Tick], later: Callable[[int], Iterable[Tick]]) -> None:
        self._kinds = frozenset(kind for kind in AUDITED if TOPIC_OF[kind] == topic)
        self._known: set[str] = set()
        self._passed_ns = -1
        self._read_later = later
        self._later: Iterator[Any] | None = None
        self.due = self._in_order(due)
        """Those that the database must hold."""

    @property
    def is_later(self) -> bool:
        """Whether all that are due were taken and the last one was none of them."""
        return self._later is not None

    def next(self) -> Any:
        """The next one, due or later; None at the end."""
        record = next(self.due, None)
        if record is None:
            if self._later is None:
                self._later = self._in_order(self._read_later(self._passed_ns))
            record = next(self._later, None)
        return record

    def _in_order(self, ticks: Iterable[Tick]) -> Iterator[Any]:
        for tick in ticks:
            self._passed_ns = tick.ts_ns
            records: list[Any] = [record for record in tick.records if type(record) in self._kinds]
            if Command not in self._kinds:
                yield from sorted(records, key=lambda record: record.seq)
                continue
            for record in records:
                if record.command_id not in self._known:  # by its id as it was sent
                    self._known.add(record.command_id)
                    yield Command._make(map(storable, record))
