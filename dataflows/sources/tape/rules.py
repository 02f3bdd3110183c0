"""Rules for the rows of each kind of tape file, and their conversion to records.

A rule returns `(time, record)`: the record belongs to the first time slice whose clock is at or after the time. It
raises InvalidField with field, expected and found.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from dataflows.sources.rows import TIME_NAMES
from dataflows.sources.tape.fields import RowFields, content_id, start_of_day_ns
from operators.alignment import check_quote
from operators.fundamentals import FACTS, RATIOS, ratios
from operators.news import news_id
from schemas.errors import InvalidField
from schemas.records import (
    CASH_DIVIDEND,
    DELISTING,
    SPLIT,
    STOCK_DIVIDEND,
    SYMBOL_CHANGE,
    CorporateAction,
    ExchangeRate,
    Fundamentals,
    NewsItem,
    Quote,
    Record,
)

EXCHANGE_RATE = "EXCHANGE_RATE"
REFERENCE_KINDS = (SPLIT, STOCK_DIVIDEND, CASH_DIVIDEND, SYMBOL_CHANGE, DELISTING, EXCHANGE_RATE)
DEFAULT_CURRENCY = "USD"
DAY_NS = 86_400 * 1_000_000_000
TIME_COLUMNS = tuple(name for name in TIME_NAMES if name)
NEWS_TIME_COLUMNS = ("known_at", *TIME_COLUMNS, "published", "published_at", "created_at")

TimedRecord = tuple[int, Record]
Tagger = Callable[[str], list[str]]


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
        fields.symbol(),
        0,
        time_ns,
        fields.number("bid"),
        fields.number("ask"),
        fields.number("bid_size", 0.0),
        fields.number("ask_size", 0.0),
    )
    check_quote(record)
    return time_ns, record


def news_record(fields: RowFields, context: RowContext) -> TimedRecord:
    time_ns = _required_time_ns(fields, NEWS_TIME_COLUMNS)
    published_ns = fields.time_ns(("published", "published_at", "created_at")) or time_ns
    source = fields.text("source", context.source)
    headline, summary, url = fields.text("headline"), fields.text("summary", ""), fields.text("url", "")
    symbols = fields.symbols("symbols") or context.tag(f"{headline} {summary}")
    item_id = fields.text("news_id", news_id(source, headline, published_ns, url))
    return time_ns, NewsItem(item_id, time_ns, published_ns, source, headline, summary, url, symbols)


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
        record_id, time_ns, symbol, period_end, filed, form, source, facts, ratios(facts) | reported_ratios, currency
    )


def reference_record(fields: RowFields, context: RowContext) -> TimedRecord:
    """Build a corporate action or an exchange rate."""
    kind = fields.one_of("kind", REFERENCE_KINDS)
    return _exchange_rate(fields, context) if kind == EXCHANGE_RATE else _corporate_action(kind, fields, context)


def _corporate_action(kind: str, fields: RowFields, context: RowContext) -> TimedRecord:
    """Build a corporate action. Without a time, it is known from midnight before its ex-date."""
    ex_date = fields.day("ex_date", 0)
    time_ns = fields.time_ns(TIME_COLUMNS) or (start_of_day_ns(ex_date) if ex_date else None)
    if time_ns is None:
        raise InvalidField("field ex_date must be a date where the row has no time, found nothing")
    symbol, pay_date = fields.symbol(), fields.day("pay_date", 0)
    ratio = fields.positive("ratio") if kind in (SPLIT, STOCK_DIVIDEND) else None
    amount = fields.positive("amount") if kind == CASH_DIVIDEND or fields.has("amount") else None
    new_symbol = fields.symbol("new_symbol", None if kind == SYMBOL_CHANGE else "")
    currency, source = fields.text("currency", DEFAULT_CURRENCY), fields.text("source", context.source)
    identity = (kind, symbol, ex_date or time_ns, ratio, amount, new_symbol)
    action_id = fields.text("action_id", content_id("action", *identity))
    return time_ns, CorporateAction(
        action_id, time_ns, kind, symbol, ex_date, pay_date, ratio, amount, currency, new_symbol, source
    )


def _exchange_rate(fields: RowFields, context: RowContext) -> TimedRecord:
    time_ns = _required_time_ns(fields, TIME_COLUMNS)
    base, quote_currency, rate = fields.symbol("base").upper(), fields.symbol("quote").upper(), fields.positive("rate")
    if base == quote_currency:
        raise InvalidField(f"field quote must be another currency than base, found {quote_currency!r}")
    rate_id = fields.text("rate_id", content_id("rate", base, quote_currency, time_ns))
    return time_ns, ExchangeRate(rate_id, time_ns, base, quote_currency, rate, fields.text("source", context.source))


def _required_time_ns(fields: RowFields, names: tuple[str, ...]) -> int:
    time_ns = fields.time_ns(names)
    if time_ns is None:
        raise InvalidField("field time must be an ISO time or an epoch number, found nothing")
    return time_ns


QUOTES = TapeFileKind(
    "quotes", (TIME_COLUMNS, ("symbol",), ("bid",), ("ask",)), quote_record, sort_by_time=False, lookback_ns=0
)
REFERENCE_DATA = TapeFileKind("reference_data", (("kind",),), reference_record, sort_by_time=True, lookback_ns=None)
NEWS = TapeFileKind("news", (NEWS_TIME_COLUMNS, ("headline",)), news_record, sort_by_time=True, lookback_ns=DAY_NS)
FUNDAMENTALS = TapeFileKind("fundamentals", (("symbol",), ("filed",), ("period_end",)), fundamentals_record, True, None)


def normalize_names(row: dict[Any, Any]) -> dict[str, Any]:
    """Normalise a row's column names: lower case, no surrounding spaces, `ticker` as `symbol`."""
    normalized = {str(name).strip().lower(): value for name, value in row.items()}
    return (
        normalized
        if "symbol" in normalized or "ticker" not in normalized
        else normalized | {"symbol": normalized["ticker"]}
    )
