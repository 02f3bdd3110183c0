"""SQL and bytes that write one record type, generated from its table once at import.

A few rows are written with VALUES. Many rows are copied in binary into a temporary stage table and merged from there.
The stage table holds text, jsonb and numeric columns as text (cast on merging), so a row is some length-prefixed
texts and one packed struct. That is faster to build in Python than COPY's text format or binary NUMERICs.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from decimal import Decimal
from operator import itemgetter
from struct import Struct
from typing import Any

from psycopg2 import Binary
from psycopg2.extras import Json

from schemas.records import EXTERNAL_RECORDS, UNCLOCKED_RECORDS
from schemas.records.flat import RECORDS_WITH_TERMS, field_names, to_flat
from sinks.record_tables import FROM_FEEDS, LATEST, RECORD_TABLES, REVISED, Field, RecordTable, fields_of

COPY_HEADER = b"PGCOPY\n\xff\r\n\0" + b"\0\0\0\0" + b"\0\0\0\0"
COPY_END = b"\xff\xff"
_NULL = b"\xff\xff\xff\xff"
_LENGTH = Struct(">i").pack
# Types of non-null columns with a fixed binary size: struct code, size in bytes, type of the stage column.
_PACKED: dict[type, tuple[str, int, str]] = {
    int: ("q", 8, "bigint"),
    float: ("d", 8, "double precision"),
    bool: ("?", 1, "boolean"),
}
# Records with texts from outside, which are not validated.
_UNCHECKED_TYPES = EXTERNAL_RECORDS | UNCLOCKED_RECORDS
_CASTS: dict[type, str] = {Decimal: "::numeric", dict: "::jsonb", list: "::jsonb", int: "::bigint", float: "::float8"}


def storable(value: Any) -> Any:
    """Replace what Postgres cannot hold: NUL becomes U+FFFD, half of a surrogate pair becomes "?", and a number in a
    dict that JSON does not have (NaN, infinity) becomes None.

    >>> storable({"reason": "a\\0b", "close": math.nan})
    {'reason': 'a\ufffdb', 'close': None}
    """
    if isinstance(value, str):
        return value.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {storable(key): _finite(storable(item)) for key, item in value.items()}
    return value


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _json(value: Any) -> str:
    """Serialize a dict, or a list of texts or of named tuples, as JSON. Raises ValueError on NaN."""
    if isinstance(value, list):
        value = [item._asdict() if hasattr(item, "_asdict") else item for item in value]
    return json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":"))


def _as_bytes(kind: type) -> Callable[[Any], bytes]:
    if kind is bytes:
        return bytes
    if kind in (dict, list):
        return lambda value: _json(value).encode()
    return str.encode if kind is str else lambda value: str(value).encode()


def _texts_to_bytes(columns: Sequence[tuple[int, Field]]) -> Callable[[Any], bytes]:
    """Return a function that turns a record into the length-prefixed values of these columns."""
    makers = [(index, _as_bytes(field.kind)) for index, field in columns]

    def encode(record: Any) -> bytes:
        parts = []
        for index, make in makers:
            value = record[index]
            if value is None:
                parts.append(_NULL)
            else:
                data = make(value)
                parts.append(_LENGTH(len(data)))
                parts.append(data)
        return b"".join(parts)

    return encode


class WriteStatements:
    """The statements that write one record type. `stage_ddl` and attributes ending in `_sql` are single statements.

    `replace_sql`, or `replace_values_sql` with the primary keys, runs before the rows are written. It is empty if the
    type does not need it.
    """

    def __init__(self, record_type: type) -> None:
        table = RECORD_TABLES[record_type]
        fields = fields_of(record_type)
        names = [f'"{field.name}"' for field in fields]
        packed = [(i, f) for i, f in enumerate(fields) if f.kind in _PACKED and not f.nullable]
        texts = [(i, f) for i, f in enumerate(fields) if f.kind not in _PACKED or f.nullable]
        stage = f'"stage_{table.name}"'
        key = [f'"{name}"' for name in table.primary_key]
        conflict = _conflict(record_type, table.name, key, names)
        into = f'INSERT INTO "{table.name}" ({", ".join(names)})'
        column_types = [f'"{f.name}" {"bytea" if f.kind is bytes else "text"}' for _, f in texts]
        column_types += [f'"{f.name}" {_PACKED[f.kind][2]}' for _, f in packed]
        casts = {f.name: _CASTS.get(f.kind, "") for _, f in texts}

        self.record_type = record_type
        self.stage_ddl = f"CREATE TEMPORARY TABLE {stage} ({', '.join(column_types)}) ON COMMIT DELETE ROWS"
        self.copy_sql = f"COPY {stage} FROM STDIN (FORMAT binary)"
        selected = ", ".join(f'"{f.name}"{casts.get(f.name, "")}' for f in fields)
        self.merge_sql = f"{into} SELECT {selected} FROM {stage} {conflict}"  # noqa: S608  (names are our own fields')
        self.values_sql = f"{into} VALUES %s {conflict}"
        flat_names = field_names(record_type)
        replaces = record_type in FROM_FEEDS and table.primary_key != table.key
        staged_keys = f"SELECT {', '.join(key)} FROM {stage}"  # noqa: S608  (names are our own fields')
        self.replace_sql = _deletion(table, key, staged_keys) if replaces else ""
        self.replace_values_sql = _deletion(table, key, "VALUES %s") if replaces else ""
        self.primary_key_of = _getter([flat_names.index(name) for name in table.primary_key])
        self._key = _getter([flat_names.index(name) for name in table.key])
        self._seq = flat_names.index("seq") if record_type in LATEST | FROM_FEEDS else None
        self._texts_to_bytes = _texts_to_bytes(texts)
        self._packed = _getter([i for i, _ in packed])
        self._sizes = [_PACKED[f.kind][1] for _, f in packed]
        self._pack = Struct(">" + "".join("i" + _PACKED[f.kind][0] for _, f in packed)).pack
        self._field_count = Struct(">h").pack(len(fields))
        self._json_columns = [i for i, f in enumerate(fields) if f.kind in (dict, list)]
        self._bytes_columns = [i for i, f in enumerate(fields) if f.kind is bytes]

    def prepare_rows(self, rows: list[Any]) -> list[Any]:
        """Return the rows to write for these records of one batch."""
        if self.record_type in _UNCHECKED_TYPES:
            stored = [self.record_type._make(map(storable, row)) for row in rows]
            return list({self._key(row): row for row in stored}.values()) if self.record_type in REVISED else stored
        return rows if self._seq is None or len(rows) == 1 else self._newest(rows, self._seq)

    def _newest(self, rows: list[Any], seq: int) -> list[Any]:
        """Return the newest row per key, because one statement cannot update a row twice."""
        latest: dict[tuple[Any, ...], Any] = {}
        for row in rows:
            newest = latest.setdefault(self._key(row), row)
            if row[seq] >= newest[seq]:
                latest[self._key(row)] = row
        return list(latest.values())

    def _flat(self, rows: list[Any]) -> list[Any]:
        return [to_flat(row) for row in rows] if self.record_type in RECORDS_WITH_TERMS else rows

    def copy_bytes(self, rows: list[Any]) -> bytes:
        """Return the rows in COPY's binary format: texts first, then the packed columns, as in the stage table."""
        interleaved = [0] * (2 * len(self._sizes))
        interleaved[::2] = self._sizes
        pack, packed, texts, count = self._pack, self._packed, self._texts_to_bytes, self._field_count
        parts = [COPY_HEADER]
        for row in self._flat(rows):
            interleaved[1::2] = packed(row)
            parts += (count, texts(row), pack(*interleaved))
        parts.append(COPY_END)
        return b"".join(parts)

    def value_rows(self, rows: list[Any]) -> list[Any]:
        """Return the rows as psycopg2's `execute_values` expects them."""
        if not self._json_columns and not self._bytes_columns:
            return self._flat(rows)
        prepared = []
        for row in self._flat(rows):
            values = list(row)
            for index in self._json_columns:
                values[index] = Json(values[index], dumps=_json)
            for index in self._bytes_columns:
                values[index] = Binary(values[index])
            prepared.append(values)
        return prepared


def _getter(indexes: list[int]) -> Callable[[Any], tuple[Any, ...]]:
    if len(indexes) == 1:
        (index,) = indexes
        return lambda row: (row[index],)
    return itemgetter(*indexes)


def _conflict(record_type: type, table: str, key: list[str], names: list[str]) -> str:
    if record_type not in LATEST | FROM_FEEDS | REVISED:
        return "ON CONFLICT DO NOTHING"
    others = [name for name in names if name not in key]
    assignments = ", ".join(f"{name} = excluded.{name}" for name in others)
    condition = f'excluded."seq" > "{table}"."seq"'
    if record_type in FROM_FEEDS | REVISED:
        stored, new = (", ".join(f"{row}.{name}" for name in others) for row in (f'"{table}"', "excluded"))
        condition = f"({stored}) IS DISTINCT FROM ({new})"
    return f"ON CONFLICT ({', '.join(key)}) DO UPDATE SET {assignments} WHERE {condition}"


def _deletion(table: RecordTable, primary_key: list[str], new_keys: str) -> str:
    """Delete the rows that a new row replaces although its primary key differs: it has the same key, but another time.

    `new_keys` is a query of the primary keys of the new rows.
    """
    same_key = " AND ".join(f't."{name}" = new."{name}"' for name in table.key)
    new = f"({new_keys}) AS new ({', '.join(primary_key)})"
    return f'DELETE FROM "{table.name}" t USING {new} WHERE {same_key} AND t.ts_ns <> new.ts_ns'  # noqa: S608  (our names)


WRITE_STATEMENTS = {record_type: WriteStatements(record_type) for record_type in RECORD_TABLES}
