"""Halts of the exchange, trading hours, and the user's own data: records of the topic `reference-data`."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from sqlalchemy import Connection, select

from api.json_types import ApiModel, Symbol, TextLine, utc
from api.pagination import BeforeEntry, Limit, newest_external_page
from api.resources import Db
from api.routers import PREFIX
from schemas.records import DataRow, SymbolState, TradingSession, TradingStatus
from sinks.record_tables import record_of
from sinks.tables import data_rows, trading_sessions, trading_statuses

router = APIRouter(prefix=PREFIX, tags=["market"])


class TradingStatusOut(ApiModel):
    """The exchange halted the trading of a symbol (`state` HALTED), or resumed it (TRADING), at `timestamp`.

    `code` is that of the exchange, such as T1 (news pending) or LUDP (volatility pause).
    """

    status_id: str
    timestamp: str
    symbol: str
    state: SymbolState
    code: str
    reason: str
    source: str


class TradingStatusPage(ApiModel):
    """Newest first. `next` is the value of `before` for the next page, null on the last page."""

    halts: list[TradingStatusOut]
    next: str | None


class TradingSessionOut(ApiModel):
    """The regular trading hours of an exchange on one day, as last published at `timestamp`."""

    session_id: str
    timestamp: str
    calendar: str
    day: str
    open_time: str
    close_time: str
    utc_offset_s: int
    early_close: bool


class TradingSessionPage(ApiModel):
    """Latest day first. `next` is the value of `before` for the next page, null on the last page."""

    sessions: list[TradingSessionOut]
    next: str | None


class DataRowOut(ApiModel):
    """A row of the user's own data, available from `timestamp` on. `symbol` is empty if it concerns no symbol."""

    row_id: str
    timestamp: str
    name: str
    symbol: str
    values: dict[str, float | None]
    source: str


class DataRowPage(ApiModel):
    """Newest first. `next` is the value of `before` for the next page, null on the last page."""

    rows: list[DataRowOut]
    next: str | None


@router.get("/market/halts")
def get_halts(
    db: Db,
    symbol: Symbol | None = None,
    state: SymbolState | None = None,
    before: BeforeEntry = None,
    limit: Limit = 100,
) -> TradingStatusPage:
    """Halts and resumptions by the exchange, newest first, `limit` per page."""
    return find_halts(db, symbol=symbol, state=state, before=before, limit=limit)


@router.get("/market/sessions")
def get_sessions(
    db: Db, calendar: TextLine | None = None, before: BeforeEntry = None, limit: Limit = 100
) -> TradingSessionPage:
    """Recorded trading hours by day, latest day first, `limit` per page."""
    return find_sessions(db, calendar=calendar, before=before, limit=limit)


@router.get("/data-rows")
def get_data_rows(
    db: Db,
    name: TextLine | None = None,
    symbol: Symbol | None = None,
    before: BeforeEntry = None,
    limit: Limit = 100,
) -> DataRowPage:
    """Rows of the user's own data, newest first, `limit` per page. `name` is the name of the data, such as vix."""
    return find_data_rows(db, name=name, symbol=symbol, before=before, limit=limit)


def find_halts(
    db: Connection, *, symbol: str | None, state: str | None, before: str | None, limit: int
) -> TradingStatusPage:
    table = trading_statuses
    rows, following = newest_external_page(
        db, select(table), table, before=before, limit=limit, symbol=symbol, state=state
    )
    halts = [
        TradingStatusOut(**_same_fields(one), timestamp=utc(one.ts_ns))
        for one in (record_of(TradingStatus, row) for row in rows)
    ]
    return TradingStatusPage(halts=halts, next=following)


def find_sessions(db: Connection, *, calendar: str | None, before: str | None, limit: int) -> TradingSessionPage:
    table = trading_sessions
    rows, following = newest_external_page(
        db, select(table), table, before=before, limit=limit, time="open_ns", calendar=calendar
    )
    return TradingSessionPage(sessions=[_session_out(record_of(TradingSession, row)) for row in rows], next=following)


def find_data_rows(
    db: Connection, *, name: str | None, symbol: str | None, before: str | None, limit: int
) -> DataRowPage:
    table = data_rows
    rows, following = newest_external_page(
        db, select(table), table, before=before, limit=limit, name=name, symbol=symbol
    )
    page = [
        DataRowOut(**_same_fields(one), timestamp=utc(one.ts_ns)) for one in (record_of(DataRow, row) for row in rows)
    ]
    return DataRowPage(rows=page, next=following)


def _session_out(session: TradingSession) -> TradingSessionOut:
    return TradingSessionOut(
        session_id=session.session_id,
        timestamp=utc(session.ts_ns),
        calendar=session.calendar,
        day=f"{session.day // 10_000:04d}-{session.day // 100 % 100:02d}-{session.day % 100:02d}",
        open_time=utc(session.open_ns),
        close_time=utc(session.close_ns),
        utc_offset_s=session.utc_offset_s,
        early_close=session.early_close,
    )


def _same_fields(record: TradingStatus | DataRow) -> dict[str, Any]:
    return {name: value for name, value in record._asdict().items() if name != "ts_ns"}
