"""Rules for the rows of each kind of tape file, and their conversion to records.

A rule returns `(time, record)`: the record belongs to the first time slice whose clock is at or after the time. It
raises InvalidField with field, expected and found.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC
from typing import Any, Final, Literal, NamedTuple

from dataflows.sources.bar_layouts import TIME_NAMES
from dataflows.sources.tape.fields import RowFields, content_id, start_of_day_ns
from operators.fundamentals import FACTS, RATIOS, ratios
from operators.market_data_checks import check_quote, check_trade
from operators.money import to_decimal
from operators.news import Tagger, news_id
from operators.reference_data import ACTION_KINDS, COST_SHARE_KINDS, NEW_SYMBOL_KINDS, RATIO_KINDS
from schemas.errors import InvalidField
from schemas.records import (
    CASH_DIVIDEND,
    CASH_MERGER,
    EXCHANGE_RATE,
    HALTED,
    STOCK_MERGER,
    TRADING,
    TRADING_HALT,
    TRADING_RESUMED,
    CorporateAction,
    CorporateActionKind,
    DataRow,
    ExchangeRate,
    Fundamentals,
    NewsItem,
    Quote,
    Record,
    SymbolState,
    Trade,
    TradingSession,
    TradingStatus,
)

ReferenceKind = Literal[CorporateActionKind, "EXCHANGE_RATE", "TRADING_HALT", "TRADING_RESUMED", "TRADING_SESSION"]
TRADING_SESSION: Final = "TRADING_SESSION"
REFERENCE_KINDS: tuple[ReferenceKind, ...] = (
    *ACTION_KINDS,
    EXCHANGE_RATE,
    TRADING_HALT,
    TRADING_RESUMED,
    TRADING_SESSION,
)
FULL_SESSION_NS = 6 * 3600 * 1_000_000_000 + 1800 * 1_000_000_000
"""Length of a regular session of XNYS. A shorter one has an early close."""
DEFAULT_CURRENCY = "USD"
DAY_NS = 86_400 * 1_000_000_000
XNYS: Final = "XNYS"
TIME_COLUMNS = tuple(name for name in TIME_NAMES if name)
NEWS_TIME_COLUMNS = ("known_at", *TIME_COLUMNS, "published", "published_at", "created_at")

SIZE_COLUMNS = ("size", "quantity")
DATA_TIME_COLUMNS = ("available_at",)
_DATA_LABELS = frozenset({*DATA_TIME_COLUMNS, *TIME_COLUMNS, "name", "symbol", "ticker", "source"})

TimedRecord = tuple[int, Record]


class RowContext(NamedTuple):
    """Inputs of a rule besides the row: the source's name, and a function that finds symbols in a text."""

    source: str
    tag: Tagger


class TapeFileKind(NamedTuple):
    """One kind of tape file.

    `sort_by_time`: an unordered file is read whole and sorted; otherwise a row that goes back in time is bad.
    `lookback_ns`: maximum age of a record at the first time slice's open to be included; None is any age.
    """

    name: str
    columns: tuple[tuple[str, ...], ...]  # a CSV file needs one name of each group
    rule: Callable[[RowFields, RowContext], TimedRecord]
    sort_by_time: bool
    lookback_ns: int | None


def quote_record(fields: RowFields, context: RowContext) -> TimedRecord:
    """Build a quote with `seq` 0; the tape assigns `seq`."""
    time_ns = _required_time_ns(fields, TIME_COLUMNS)
    record = Quote(
        symbol=fields.symbol(),
        seq=0,
        ts_ns=time_ns,
        bid=fields.number("bid"),
        ask=fields.number("ask"),
        bid_size=fields.number("bid_size", 0.0),
        ask_size=fields.number("ask_size", 0.0),
    )
    check_quote(record)
    return time_ns, record


def trade_record(fields: RowFields, context: RowContext) -> TimedRecord:
    """Build a trade with `seq` 0; the tape assigns `seq`."""
    time_ns = _required_time_ns(fields, TIME_COLUMNS)
    size = next((name for name in SIZE_COLUMNS if fields.has(name)), SIZE_COLUMNS[0])
    record = Trade(symbol=fields.symbol(), seq=0, ts_ns=time_ns, price=fields.number("price"), size=fields.number(size))
    check_trade(record)
    return time_ns, record


def news_record(fields: RowFields, context: RowContext) -> TimedRecord:
    time_ns = _required_time_ns(fields, NEWS_TIME_COLUMNS)
    published_ns = fields.time_ns(("published", "published_at", "created_at")) or time_ns
    source = fields.text("source", context.source)
    headline, summary, url = fields.text("headline"), fields.text("summary", ""), fields.text("url", "")
    symbols = fields.symbols("symbols") or context.tag(f"{headline} {summary}")
    item_id = fields.text("news_id", news_id(source, headline, published_ns, url))
    return time_ns, NewsItem(
        news_id=item_id,
        ts_ns=time_ns,
        published_ns=published_ns,
        source=source,
        headline=headline,
        summary=summary,
        url=url,
        symbols=symbols,
    )


def fundamentals_record(fields: RowFields, context: RowContext) -> TimedRecord:
    """Build fundamentals. Without a time, they are known from the end of the day of filing."""
    symbol, filed = fields.symbol(), fields.day("filed")
    time_ns = fields.time_ns(TIME_COLUMNS) or start_of_day_ns(filed, days_later=1)
    period_end, form = fields.day("period_end"), fields.text("form", "")
    facts = {name: fields.number(name) for name in FACTS if fields.has(name)} | fields.numbers("facts")
    if not facts:
        raise InvalidField(f"field facts must hold one of {', '.join(FACTS)}, found nothing")
    reported_ratios = {name: fields.number(name) for name in RATIOS if fields.has(name)} | fields.numbers("ratios")
    record_id = fields.text("fundamentals_id", content_id("fund", symbol, period_end, filed, form))
    source, currency = fields.text("source", context.source), fields.text("currency", DEFAULT_CURRENCY)
    return time_ns, Fundamentals(
        fundamentals_id=record_id,
        ts_ns=time_ns,
        symbol=symbol,
        period_end=period_end,
        filed=filed,
        form=form,
        source=source,
        facts=facts,
        ratios=ratios(facts) | reported_ratios,
        currency=currency,
    )


def data_record(fields: RowFields, context: RowContext) -> TimedRecord:
    """Build a row of the user's data: its columns with numbers, known from `available_at` on.

    Without a column `name`, the name is that of the file without its endings.
    """
    time_ns = _required_time_ns(fields, DATA_TIME_COLUMNS)
    file_name = context.source.removeprefix("file:").removesuffix(".gz").rpartition(".")[0]
    name, symbol = fields.symbol("name", file_name), fields.symbol("symbol", "")
    values = {column: fields.number(column) for column in fields.names() if column not in _DATA_LABELS}
    if not values:
        raise InvalidField("row must have a number besides available_at, symbol and name, found none")
    row_id = content_id("data", name, symbol, time_ns, *sorted(values.items()))
    source = fields.text("source", context.source)
    return time_ns, DataRow(row_id=row_id, ts_ns=time_ns, name=name, symbol=symbol, values=values, source=source)


def reference_record(fields: RowFields, context: RowContext) -> TimedRecord:
    """Build a corporate action, an exchange rate, a halt or resumption of trading, or the trading hours of a day."""
    kind = fields.one_of("kind", REFERENCE_KINDS)
    if kind == EXCHANGE_RATE:
        return _exchange_rate(fields, context)
    if kind == TRADING_HALT:
        return _trading_status(HALTED, fields, context)
    if kind == TRADING_RESUMED:
        return _trading_status(TRADING, fields, context)
    if kind == TRADING_SESSION:
        return _trading_session(fields)
    return _corporate_action(kind, fields, context)


def _corporate_action(kind: CorporateActionKind, fields: RowFields, context: RowContext) -> TimedRecord:
    """Build a corporate action. Without a time, it is known from midnight UTC before its ex-date.

    No trading day of a calendar begins before midnight UTC, so it takes effect with the first bar of its ex-date.
    """
    ex_date = fields.day("ex_date", 0)
    time_ns = fields.time_ns(TIME_COLUMNS) or (start_of_day_ns(ex_date, zone=UTC) if ex_date else None)
    if time_ns is None:
        raise InvalidField("field ex_date must be a date where the row has no time, found nothing")
    symbol, pay_date = fields.symbol(), fields.day("pay_date", 0)
    ratio = fields.positive("ratio") if kind in RATIO_KINDS else None
    amount = fields.positive("amount") if kind in (CASH_DIVIDEND, CASH_MERGER) or fields.has("amount") else None
    new_symbol = fields.symbol("new_symbol", None if kind in NEW_SYMBOL_KINDS else "")
    cost_share = to_decimal(fields.number("cost_share")) if kind in COST_SHARE_KINDS else None
    currency, source = fields.text("currency", DEFAULT_CURRENCY), fields.text("source", context.source)
    merger_cash = fields.positive("cash_per_share") if kind == STOCK_MERGER and fields.has("cash_per_share") else None
    further = tuple(value for value in (cost_share, merger_cash) if value is not None)
    content = (kind, symbol, ex_date or time_ns, ratio, amount, new_symbol, *further)
    action_id = fields.text("action_id", content_id("action", *content))
    return time_ns, CorporateAction(
        action_id=action_id,
        ts_ns=time_ns,
        kind=kind,
        symbol=symbol,
        ex_date=ex_date,
        pay_date=pay_date,
        ratio=ratio,
        amount=amount,
        currency=currency,
        new_symbol=new_symbol,
        source=source,
        cost_share=cost_share,
        cash_per_share=merger_cash,
    )


def _trading_status(state: SymbolState, fields: RowFields, context: RowContext) -> TimedRecord:
    time_ns, symbol, code = _required_time_ns(fields, TIME_COLUMNS), fields.symbol(), fields.text("code", "")
    status_id = fields.text("status_id", content_id("status", symbol, time_ns, state))
    return time_ns, TradingStatus(
        status_id=status_id,
        ts_ns=time_ns,
        symbol=symbol,
        state=state,
        code=code,
        reason=fields.text("reason", ""),
        source=fields.text("source", context.source),
    )


def _trading_session(fields: RowFields) -> TimedRecord:
    """Build the trading hours of a day of XNYS. Without a time, they are known from midnight UTC before the day."""
    day = fields.day("day")
    open_ns, close_ns = fields.time_ns(("open",)), fields.time_ns(("close",))
    if open_ns is None or close_ns is None or close_ns <= open_ns:
        raise InvalidField("fields open and close must be times, with close after open")
    start_ns = start_of_day_ns(day)
    if not start_ns <= open_ns < close_ns <= start_of_day_ns(day, days_later=1):
        raise InvalidField(f"fields open and close must lie on the day {day} in New York")
    time_ns = fields.time_ns(TIME_COLUMNS) or start_of_day_ns(day, zone=UTC)
    return time_ns, TradingSession(
        session_id=f"session-{XNYS}-{day}",
        ts_ns=time_ns,
        calendar=XNYS,
        day=day,
        open_ns=open_ns,
        close_ns=close_ns,
        utc_offset_s=(start_of_day_ns(day, zone=UTC) - start_ns) // 1_000_000_000,
        early_close=close_ns - open_ns < FULL_SESSION_NS,
    )


def _exchange_rate(fields: RowFields, context: RowContext) -> TimedRecord:
    time_ns = _required_time_ns(fields, TIME_COLUMNS)
    base, quote_currency, rate = fields.symbol("base").upper(), fields.symbol("quote").upper(), fields.positive("rate")
    if base == quote_currency:
        raise InvalidField(f"field quote must be another currency than base, found {quote_currency!r}")
    rate_id = fields.text("rate_id", content_id("rate", base, quote_currency, time_ns))
    return time_ns, ExchangeRate(
        rate_id=rate_id,
        ts_ns=time_ns,
        base=base,
        quote=quote_currency,
        rate=rate,
        source=fields.text("source", context.source),
    )


def _required_time_ns(fields: RowFields, names: tuple[str, ...]) -> int:
    time_ns = fields.time_ns(names)
    if time_ns is None:
        name = names[0] if len(names) == 1 else "time"
        raise InvalidField(f"field {name} must be an ISO time or an epoch number, found nothing")
    return time_ns


QUOTES = TapeFileKind(
    "quotes", (TIME_COLUMNS, ("symbol",), ("bid",), ("ask",)), quote_record, sort_by_time=False, lookback_ns=0
)
TRADES = TapeFileKind(
    "trades", (TIME_COLUMNS, ("symbol",), ("price",), SIZE_COLUMNS), trade_record, sort_by_time=False, lookback_ns=0
)
REFERENCE_DATA = TapeFileKind("reference_data", (("kind",),), reference_record, sort_by_time=True, lookback_ns=None)
DATA = TapeFileKind("data", (DATA_TIME_COLUMNS,), data_record, sort_by_time=True, lookback_ns=None)
NEWS = TapeFileKind("news", (NEWS_TIME_COLUMNS, ("headline",)), news_record, sort_by_time=True, lookback_ns=DAY_NS)
FUNDAMENTALS = TapeFileKind("fundamentals", (("symbol",), ("filed",), ("period_end",)), fundamentals_record, True, None)


def normalize_names(row: dict[Any, Any]) -> dict[str, Any]:
    """Normalize a row's column names: lower case, no surrounding spaces, `ticker` as `symbol`."""
    normalized = {str(name).strip().lower(): value for name, value in row.items()}
    return (
        normalized
        if "symbol" in normalized or "ticker" not in normalized
        else normalized | {"symbol": normalized["ticker"]}
    )
