"""Corporate actions, exchange rates, halts, trading hours and the user's own data: the topic `reference-data`."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from sqlalchemy import Connection, or_, select

from api.json_types import Amount, ApiModel, Symbol, TextLine, utc
from api.pagination import BeforeEntry, Limit, newest_external_page
from api.resources import Db
from api.routers import PREFIX
from schemas.records import (
    CorporateAction,
    CorporateActionKind,
    DataRow,
    ExchangeRate,
    SymbolState,
    TradingSession,
    TradingStatus,
)
from sinks.record_tables import record_of
from sinks.tables import corporate_actions, data_rows, exchange_rates, trading_sessions, trading_statuses

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


class CorporateActionOut(ApiModel):
    """A corporate action as recorded at `timestamp`. A stock merger is one record.

    It takes effect with the first bar of `ex_date`, or at once if this is null. `ratio` are new shares per old share;
    for a stock dividend, additional shares per share; for a spin-off or rights, shares of `new_symbol` per share.
    `amount` is the money per share of a cash dividend, a delisting or a cash merger; with a ratio, it is paid in lieu
    of a fraction of a new share. `cost_share` is the part of the cost basis that moves to distributed shares,
    `cash_per_share` the money per old share of a stock merger. `new_symbol` is empty if the action has none.
    """

    action_id: str
    timestamp: str
    kind: CorporateActionKind
    symbol: str
    ex_date: str | None
    pay_date: str | None
    ratio: Amount | None
    amount: Amount | None
    currency: str
    new_symbol: str
    cost_share: Amount | None
    cash_per_share: Amount | None
    source: str


class CorporateActionPage(ApiModel):
    """Newest first. `next` is the value of `before` for the next page, null on the last page."""

    actions: list[CorporateActionOut]
    next: str | None


class ExchangeRateOut(ApiModel):
    """One unit of `base` costs `rate` units of `quote` from `timestamp` on."""

    rate_id: str
    timestamp: str
    base: str
    quote: str
    rate: Amount
    source: str


class ExchangeRatePage(ApiModel):
    """Newest first. `next` is the value of `before` for the next page, null on the last page."""

    rates: list[ExchangeRateOut]
    next: str | None


@router.get("/reference/corporate-actions")
def get_corporate_actions(
    db: Db,
    symbol: Symbol | None = None,
    kind: CorporateActionKind | None = None,
    before: BeforeEntry = None,
    limit: Limit = 100,
) -> CorporateActionPage:
    """Recorded corporate actions, newest first, `limit` per page. `symbol` is the symbol or the new symbol."""
    return find_corporate_actions(db, symbol=symbol, kind=kind, before=before, limit=limit)


@router.get("/reference/exchange-rates")
def get_exchange_rates(
    db: Db,
    base: TextLine | None = None,
    quote: TextLine | None = None,
    before: BeforeEntry = None,
    limit: Limit = 100,
) -> ExchangeRatePage:
    """Recorded exchange rates, newest first, `limit` per page. `base` and `quote` are currencies, such as EUR."""
    return find_exchange_rates(db, base=base, quote=quote, before=before, limit=limit)


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


def find_corporate_actions(
    db: Connection, *, symbol: str | None, kind: str | None, before: str | None, limit: int
) -> CorporateActionPage:
    table, query = corporate_actions, select(corporate_actions)
    if symbol is not None:
        query = query.where(or_(table.c.symbol == symbol, table.c.new_symbol == symbol))
    rows, following = newest_external_page(db, query, table, before=before, limit=limit, kind=kind)
    actions = [
        CorporateActionOut(
            **_same_fields(one, "ex_date", "pay_date"),
            timestamp=utc(one.ts_ns),
            ex_date=_date(one.ex_date),
            pay_date=_date(one.pay_date),
        )
        for one in (record_of(CorporateAction, row) for row in rows)
    ]
    return CorporateActionPage(actions=actions, next=following)


def find_exchange_rates(
    db: Connection, *, base: str | None, quote: str | None, before: str | None, limit: int
) -> ExchangeRatePage:
    table = exchange_rates
    rows, following = newest_external_page(db, select(table), table, before=before, limit=limit, base=base, quote=quote)
    rates = [
        ExchangeRateOut(**_same_fields(one), timestamp=utc(one.ts_ns))
        for one in (record_of(ExchangeRate, row) for row in rows)
    ]
    return ExchangeRatePage(rates=rates, next=following)


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
        day=_iso_date(session.day),
        open_time=utc(session.open_ns),
        close_time=utc(session.close_ns),
        utc_offset_s=session.utc_offset_s,
        early_close=session.early_close,
    )


def _date(yyyymmdd: int) -> str | None:
    """Return the date as ISO 8601; None for 0, which stands for no date."""
    return _iso_date(yyyymmdd) if yyyymmdd else None


def _iso_date(yyyymmdd: int) -> str:
    return f"{yyyymmdd // 10_000:04d}-{yyyymmdd // 100 % 100:02d}-{yyyymmdd % 100:02d}"


def _same_fields(record: CorporateAction | ExchangeRate | TradingStatus | DataRow, *other: str) -> dict[str, Any]:
    """Return the fields that the response has too: all but the time and the `other` ones."""
    return {name: value for name, value in record._asdict().items() if name not in ("ts_ns", *other)}
