"""Compare the positions and open lots of a checkpoint that later executions have not changed with their rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from operators.ledger.ledger_records import lot_record, position_record
from schemas.records import Lot, Position
from sinks.queries import open_lots, records_between

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection  # noqa: N812  (a class with a lower-case name)

    from operators.ledger import Ledger

_KEYS: dict[type, str] = {Position: "symbol", Lot: "lot_id"}
_NOT_IN_BOOKS = frozenset({"seq", "ts_ns", "execution_id"})
"""Fields of a row that the ledger's state does not contain."""


class UnchangedRows:
    """The rows that positions and open lots of `ledger` must have until a later record replaces them."""

    def __init__(self, ledger: Ledger) -> None:
        self._last_seq = ledger.seq
        self._expected: dict[type, dict[str, Any]] = {Position: {}, Lot: {}}
        for position in ledger.positions():
            self._expected[Position][position.symbol] = position_record(
                0, 0, position, ledger.multiplier(position.symbol), ""
            )
            for lot in position.lots:
                self._expected[Lot][lot.lot_id] = lot_record(0, 0, position.symbol, lot)
        self._changed: dict[type, set[str]] = {Position: set(), Lot: set()}

    def record_change(self, record: Any) -> None:
        """Record that `record` replaces an earlier row."""
        if type(record) in _KEYS:
            self._changed[type(record)].add(getattr(record, _KEYS[type(record)]))

    def first_difference(self, db: Connection, kind: type) -> str | None:
        """Return the first difference of the rows of a type, None if they agree."""
        key, expected, table = _KEYS[kind], self._expected[kind], "lots" if kind is Lot else "positions"
        stored: dict[str, Any] = {getattr(row, key): row for row in self._stored(db, kind)}
        for name in sorted((stored.keys() | expected.keys()) - self._changed[kind]):
            difference = _difference(stored.get(name), expected.get(name))
            if difference:
                return f"{table} {name}: {difference}"
        return None

    def _stored(self, db: Connection, kind: type) -> list[Any]:
        if kind is Lot:
            return [*open_lots(db, self._last_seq)]
        return [*records_between(db, Position, 0, self._last_seq, column="seq")]


def _difference(row: Any, books: Any) -> str:
    """Return how the row of a position or lot differs from the books, "" if it does not. A closed one has no units."""
    if row is None:
        return f"missing in PostgreSQL, expected {books} as in the checkpoint" if books.quantity else ""
    if books is None:
        return "in PostgreSQL, but not in the books of the checkpoint" if row.quantity else ""
    return _field_difference(books, row)


def _field_difference(books: Any, row: Any) -> str:
    for field in books._fields:
        expected, actual = getattr(books, field), getattr(row, field)
        if field not in _NOT_IN_BOOKS and expected != actual:
            return f"{field} is {actual} in PostgreSQL, expected {expected} as in the checkpoint"
    return ""
