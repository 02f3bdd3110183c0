"""Pagination of lists by `seq`, newest first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import Query
from sqlalchemy import Connection, RowMapping, Select, Table, desc

from api.json_types import MAX_SEQ

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
