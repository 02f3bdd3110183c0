"""Prices: the last bar of a symbol, and past bars."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Annotated, Any

import redis
from fastapi import APIRouter, Query
from sqlalchemy import Connection, desc, func, select, true

from api.json_types import ApiModel, nanoseconds, utc
from api.problems import NotFound
from api.resources import Db, Resources, ResourcesDep
from api.routers import PREFIX
from schemas.errors import BadInput
from schemas.records import Bar, SessionPhase
from sinks.archived_partitions import archived_before, restore_sentence
from sinks.record_tables import record_of
from sinks.tables import bars

BARS_MAX = 10_000
DAY_NS = 86_400 * 10**9

router = APIRouter(prefix=f"{PREFIX}/market", tags=["market"])


class Price(ApiModel):
    """The close of the last bar. `timestamp` is the end of the bar; `traded` is false if the bar had no trades."""

    symbol: str
    price: float
    volume: float
    timestamp: str
    session: SessionPhase
    traded: bool


class DayPrice(Price):
    """A price with the open of the trading day's first bar."""

    day_open: float


class PriceBar(ApiModel):
    """A bar of the trades in `[open_time, timestamp)`."""

    timestamp: str
    open_time: str
    open: float
    high: float
    low: float
    close: float
    volume: float
    session: SessionPhase
    traded: bool


class PriceHistory(ApiModel):
    """Oldest first. `next_start` is the value of `start` for the next page, null on the last page.

    `archived_before`: the bars before this time are no longer in the database but in the archive of the platform's
    host; null if none is, or if the answer does not need them. `archived_note` is a sentence that names the command
    which loads them back.
    """

    symbol: str
    bars: list[PriceBar]
    next_start: str | None
    archived_before: str | None
    archived_note: str | None


@router.get("/price/{symbol}")
def get_price(symbol: str, resources: ResourcesDep, db: Db) -> Price:
    """Latest price, from Redis or, while Redis is unavailable, from PostgreSQL. 404 for a symbol without bars."""
    bar = _latest_in_redis(resources, symbol) or _latest_in_postgres(db, symbol)
    if bar is None:
        raise NotFound(f"No price for {symbol}{_since(archived_before(db, bars))}. Check the symbol.")
    return _price(bar)


@router.get("/prices")
def get_prices(db: Db) -> list[DayPrice]:
    """The last bar of every symbol, by symbol."""
    # Skips along the key from symbol to symbol: a plain DISTINCT would read every bar.
    names = select(func.min(bars.c.symbol).label("symbol")).cte("names", recursive=True)
    following = select(func.min(bars.c.symbol)).where(bars.c.symbol > names.c.symbol).scalar_subquery()
    names = names.union_all(select(following).where(names.c.symbol.is_not(None)))
    last = select(bars).where(bars.c.symbol == names.c.symbol).order_by(desc(bars.c.ts_ns)).limit(1).lateral("last")
    first = (
        select(bars.c.open.label("day_open"))
        .where(
            bars.c.symbol == last.c.symbol,
            bars.c.trading_day == last.c.trading_day,
            bars.c.ts_ns > last.c.ts_ns - DAY_NS,  # no trading day is longer
        )
        .order_by(bars.c.ts_ns)
        .limit(1)
        .lateral("first")
    )
    joined = names.join(last, true()).join(first, true())
    query = select(last, first.c.day_open).select_from(joined).order_by(last.c.symbol)
    return [
        DayPrice(**_price(record_of(Bar, row)).model_dump(), day_open=row["day_open"])
        for row in db.execute(query).mappings()
    ]


@router.get("/history/{symbol}")
def get_history(
    symbol: str,
    db: Db,
    start: Annotated[
        datetime | None, Query(description="earliest end of a bar, inclusive; UTC if it has no time zone")
    ] = None,
    end: Annotated[
        datetime | None, Query(description="latest end of a bar, exclusive; UTC if it has no time zone")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=BARS_MAX)] = 500,
) -> PriceHistory:
    """Bars of a symbol, oldest first: from `start`, or the last `limit` bars. 404 for a symbol without bars."""
    query = select(bars).where(bars.c.symbol == symbol)
    if start is not None and end is not None and nanoseconds("start", start) >= nanoseconds("end", end):
        raise BadInput(f"start must be before end, found {start.isoformat()} and {end.isoformat()}.")
    if start is not None:
        query = query.where(bars.c.ts_ns >= nanoseconds("start", start))
    if end is not None:
        query = query.where(bars.c.ts_ns < nanoseconds("end", end))
    oldest_first = start is not None
    query = query.order_by(bars.c.ts_ns if oldest_first else desc(bars.c.ts_ns)).limit(limit + 1)
    fetched = [record_of(Bar, row) for row in db.execute(query).mappings()]
    archived_ns = archived_before(db, bars)
    if not fetched and _latest_in_postgres(db, symbol) is None:
        raise NotFound(f"No bars for {symbol}{_since(archived_ns)}. Check the symbol.")
    page = fetched[:limit] if oldest_first else fetched[:limit][::-1]
    # Without `start`, an answer with fewer bars than the limit would continue with older bars.
    needs_archived = len(fetched) <= limit if start is None else nanoseconds("start", start) < (archived_ns or 0)
    missing_before_ns = archived_ns if needs_archived else None
    return PriceHistory(
        symbol=symbol,
        bars=[PriceBar(**_bar_fields(bar)) for bar in page],
        next_start=utc(fetched[limit].ts_ns) if oldest_first and len(fetched) > limit else None,
        archived_before=None if missing_before_ns is None else utc(missing_before_ns),
        archived_note=None if missing_before_ns is None else restore_sentence(bars.name, missing_before_ns),
    )


def _since(archived_ns: int | None) -> str:
    """Return from which time on the database has bars, for a message; "" if none was archived."""
    return "" if archived_ns is None else f" since {utc(archived_ns)} (older bars are archived)"


def _price(bar: Bar) -> Price:
    return Price(
        symbol=bar.symbol,
        price=bar.close,
        volume=bar.volume,
        timestamp=utc(bar.ts_ns),
        session=bar.session,
        traded=bar.traded,
    )


def _bar_fields(bar: Bar) -> dict[str, Any]:
    unchanged = {name: getattr(bar, name) for name in ("open", "high", "low", "close", "volume", "session", "traded")}
    return {"timestamp": utc(bar.ts_ns), "open_time": utc(bar.open_ns), **unchanged}


def _latest_in_redis(resources: Resources, symbol: str) -> Bar | None:
    try:
        body = resources.redis.get(f"latest:bar:{symbol}")
    except redis.RedisError:
        return None  # fall back to PostgreSQL
    row = None if body is None else json.loads(body)
    # An older or newer release may have written other fields.
    return Bar(**row) if row is not None and row.keys() == set(Bar._fields) else None


def _latest_in_postgres(db: Connection, symbol: str) -> Bar | None:
    query = select(bars).where(bars.c.symbol == symbol).order_by(desc(bars.c.ts_ns)).limit(1)
    row = db.execute(query).mappings().first()
    return None if row is None else record_of(Bar, row)
