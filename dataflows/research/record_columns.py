"""Records as columns of an Arrow table, for analysis: one row per record, in their order.

Times are timestamps of nanoseconds in UTC, money and quantities are doubles, lists and objects are JSON text.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from schemas.records import TOPIC_OF, CheckResult, FeatureRow, Record
from schemas.records.flat import to_flat
from sinks.record_tables import Field, fields_of

TYPE_COLUMN = "type"
_TIME = pa.timestamp("ns", "UTC")
_TYPES: dict[type, pa.DataType] = {
    str: pa.string(),
    int: pa.int64(),
    float: pa.float64(),
    bool: pa.bool_(),
    bytes: pa.binary(),
    Decimal: pa.float64(),
}
_INTEGERS = {pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}


def record_types(topic: str) -> list[type]:
    """Return the types of the records of a topic."""
    return [kind for kind, name in TOPIC_OF.items() if name == topic]


def column_name(field: str) -> str:
    """Return the column of a field.

    >>> column_name("ts_ns"), column_name("open_ns"), column_name("close")
    ('time', 'open_time', 'close')
    """
    if field.endswith("ts_ns"):
        return field.removesuffix("ts_ns") + "time"
    return field.removesuffix("_ns") + "_time" if field.endswith("_ns") else field


def record_table(kinds: Sequence[type], records: Iterable[Record]) -> pa.Table:
    """Return the records of these types as a table, in their order; others are left out.

    Records of several types have the column `type`, and nulls in foreign columns. The values of feature rows are
    columns of their own.
    """
    rows: dict[type, list[tuple[Any, ...]]] = {kind: [] for kind in kinds}
    places: dict[type, list[int]] = {kind: [] for kind in kinds}
    for place, record in enumerate(records):
        kind = type(record)
        if kind in rows:
            rows[kind].append(to_flat(record))
            places[kind].append(place)
    if len(kinds) == 1:
        return _table_of(kinds[0], rows[kinds[0]])
    tables = [
        _table_of(kind, rows[kind]).add_column(0, TYPE_COLUMN, pa.array([kind.__name__] * len(rows[kind]), pa.string()))
        for kind in kinds
    ]
    order = np.argsort(np.concatenate([np.array(places[kind], np.int64) for kind in kinds]))
    return pa.concat_tables(_with_common_types(tables), promote_options="default").take(pa.array(order))


def _with_common_types(tables: Sequence[pa.Table]) -> list[pa.Table]:
    """Return the tables with text in each column that has several types, such as the limits of two kinds of records."""
    types: dict[str, set[pa.DataType]] = {}
    for table in tables:
        for field in table.schema:
            types.setdefault(field.name, set()).add(field.type)
    schemas = [
        pa.schema([pa.field(f.name, f.type if len(types[f.name]) == 1 else pa.string()) for f in table.schema])
        for table in tables
    ]
    return [table.cast(schema) for table, schema in zip(tables, schemas, strict=True)]


def _table_of(kind: type, rows: list[tuple[Any, ...]]) -> pa.Table:
    fields = fields_of(kind)
    arrays: dict[str, pa.Array] = {}
    columns = list(zip(*rows, strict=True)) or [()] * len(fields)
    for field, values in zip(fields, columns, strict=True):
        if kind is FeatureRow and field.kind is dict:
            arrays |= {name: array for name, array in _expanded(values).items() if name not in arrays}
        else:
            arrays[column_name(field.name)] = _array(field, values)
    time = arrays.pop("time")  # the first column of every table
    return pa.table({"time": time, **arrays})


def frame_of(table: pa.Table) -> pd.DataFrame:
    """Return a table as a pandas frame. Integers and booleans can be missing; texts are in Arrow."""
    frame: pd.DataFrame = table.to_pandas(types_mapper=_INTEGERS.get)
    return frame


def _array(field: Field, values: Iterable[Any]) -> pa.Array:
    if field.name.endswith("_ns"):
        return pa.array(values, pa.int64()).cast(_TIME)
    if field.kind is Decimal:
        return pa.array([None if value is None else float(value) for value in values], pa.float64())
    if field.kind in _TYPES:
        return pa.array(values, _TYPES[field.kind])
    return pa.array([None if value is None else _json(value) for value in values], pa.string())


def _expanded(values: Sequence[dict[str, float | None]]) -> dict[str, pa.Array]:
    names = dict.fromkeys(name for row in values for name in row)
    return {name: pa.array([row.get(name) for row in values], pa.float64()) for name in names}


def _json(value: Any) -> str:
    plain = [one._asdict() if isinstance(one, CheckResult) else one for one in value] if type(value) is list else value
    return json.dumps(plain, default=str)
