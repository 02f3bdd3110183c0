"""Pagination of lists, newest first: by `seq`, or by time for records from outside, which have no `seq`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import Query
from sqlalchemy import Connection, RowMapping, Select, Table, desc, tuple_

from api.json_types import MAX_SEQ
from schemas.errors import BadInput

PAGE_MAX = 500
Before = Annotated[
    int | None, Query(ge=1, le=MAX_SEQ, description="return only entries with a lower seq: `next` of a page")
]
Limit = Annotated[int, Query(ge=1, le=PAGE_MAX)]


def newest_page(
    db: Connection, query: Select[Any], table: Table, *, before: int | None, limit: int, **filters: str | None
) -> tuple[Sequence[RowMapping], int | None]:
    """Return at most `limit` rows of `query`, newest first, and the `before` of the next page; None on the last page.

    `filters` maps columns of `table` to required values; None means any value.
    """
    query = query.order_by(desc(table.c.seq)).limit(limit + 1)
    for name, value in filters.items():
        if value is not None:
            query = query.where(table.c[name] == value)
    if before is not None:
        query = query.where(table.c.seq < before)
    rows = db.execute(query).mappings().all()
    return rows[:limit], rows[limit - 1]["seq"] if len(rows) > limit else None


BeforeEntry = Annotated[
    str | None, Query(max_length=1000, description="return only entries after this one in the list: `next` of a page")
]


def newest_external_page(
    db: Connection,
    query: Select[Any],
    table: Table,
    *,
    before: str | None,
    limit: int,
    time: str = "ts_ns",
    **filters: str | None,
) -> tuple[Sequence[RowMapping], str | None]:
    """Return a page of records without `seq`, and the value of `before` for the next page (None on the last page).

    The records are in descending order of the column `time`, then of their id. `next` contains both, because many
    records have the same time. Raises BadInput if `before` is not the `next` of a page.
    """
    moment, (key,) = table.c[time], table.primary_key.columns
    query = query.order_by(desc(moment), desc(key)).limit(limit + 1)
    for name, value in filters.items():
        if value is not None:
            query = query.where(table.c[name] == value)
    if before is not None:
        query = query.where(tuple_(moment, key) < tuple_(*_time_and_id(before)))
    rows = db.execute(query).mappings().all()
    last = rows[limit - 1] if len(rows) > limit else None
    return rows[:limit], None if last is None else f"{last[time]}:{last[key.name]}"


def _time_and_id(before: str) -> tuple[int, str]:
    time_text, colon, record_id = before.partition(":")
    is_number = time_text.removeprefix("-").isdecimal() and abs(int(time_text)) <= MAX_SEQ
    if not colon or not is_number or "\0" in record_id:  # which PostgreSQL cannot compare
        raise BadInput(f"before must be `next` of a page, such as 1705314600000000000:status-7, found {before[:64]!r}")
    return int(time_text), record_id
