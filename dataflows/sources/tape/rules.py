"""What a row of each kind of file must be, and the record that it becomes.

A rule gives `(time, record)`: the record belongs to the first tick whose clock is at or behind the time. It raises
InvalidField with field, expected and found.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from dataflows.sources.rows import TIME_NAMES
from dataflows.sources.tape.fields import Fields, content_id, start_of_day_ns
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
KINDS = (SPLIT, STOCK_DIVIDEND, CASH_DIVIDEND, SYMBOL_CHANGE, DELISTING, EXCHANGE_RATE)
CURRENCY = "USD"
DAY_NS = 86_400 * 1_000_000_000
TIMES = tuple(name for name in TIME_NAMES if name)
NEWS_TIMES = ("known_at", *TIMES, "published", "published_at", "created_at")

Placed = tuple[int, Record]
Tagger = Callable[[str], list[str]]


class Context(NamedTuple):
    """What a rule may know beside the row: where it is from, and how to find symbols in a text."""

    source: str
    tag: Tagger


class Kind(NamedTuple):
    """`sorts`: a file that is not ordered by time is read whole and sorted, else a row that goes back is bad.

    `history_ns`: how old a record may be at the first tick's open to be in the first tick; None is any age.
    """

    name: str
    columns: tuple[tuple[str, ...], ...]  # a CSV file needs one of each
    rule: Callable[[Fields, Context], Placed]
    sorts: bool
    history_ns: int | None


def quote(fields: Fields, context: Context) -> Placed:
    """`seq` is 0: the tape counts."""
    time_ns = _time(fields, TIMES)
    found = Quote(
        fields.symbol(),
        0,
        time_ns,
        fields.number("bid"),
        fields.number("ask"),
        fields.number("bid_size", 0.0),
        fields.number("ask_size", 0.0),
    )
    check_quote(found)
    return time_ns, found


def news(fields: Fields, context: Context) -> Placed:
    time_ns = _time(fields, NEWS_TIMES)
    published_ns = fields.time_ns(("published", "published_at", "created_at")) or time_ns
    source = fields.text("source", context.source)
    headline, summary, url = fields.text("headline"), fields.text("summary", ""), fields.text("url", "")
    symbols = fields.symbols("symbols") or context.tag(f"{headline} {summary}")
    found = fields.text("news_id", news_id(source, headline, published_ns, url))
    return time_ns, NewsItem(found, time_ns, published_ns, source, headline, summary, url, symbols)


def fundamentals(fields: Fields, context: Context) -> Placed:
    """Known, where no time is given, from the end of the day on which it was filed."""
    symbol, filed = fields.symbol(), fields.day("filed")
    time_ns = fields.time_ns(TIMES) or start_of_day_ns(filed, days_later=1)
    period_end, form = fields.day("period_end"), fields.text("form", "")
    facts = {name: fields.number(name) for name in FACTS if fields.has(name)} | fields.numbers("facts")
    if not facts:
        raise InvalidField(f"field facts must hold one of {', '.join(FACTS)}, found nothing")
    given = {name: fields.number(name) for name in RATIOS if fields.has(name)} | fields.numbers("ratios")
    record_id = fields.text("fundamentals_id", content_id("fund", symbol, period_end, filed, form))
    source, currency = fields.text("source", context.source), fields.text("currency", CURRENCY)
    return time_ns, Fundamentals(
        record_id, time_ns, symbol, period_end, filed, form, source, facts, ratios(facts) | given, currency
    )


def reference(fields: Fields, context: Context) -> Placed:
    """A corporate action or an exchange rate."""
    kind = fields.one_of("kind", KINDS)
    return _exchange_rate(fields, context) if kind == EXCHANGE_RATE else _corporate_action(kind, fields, context)


def _corporate_action(kind: str, fields: Fields, context: Context) -> Placed:
    """Known, where no time is given, from midnight before its ex-date on."""
    ex_date = fields.day("ex_date", 0)
    time_ns = fields.time_ns(TIMES) or (start_of_day_ns(ex_date) if ex_date else None)
    if time_ns is None:
        raise InvalidField("field ex_date must be a date where the row has no time, found nothing")
    symbol, pay_date = fields.symbol(), fields.day("pay_date", 0)
    ratio = fields.positive("ratio") if kind in (SPLIT, STOCK_DIVIDEND) else None
    amount = fields.positive("amount") if kind == CASH_DIVIDEND or fields.has("amount") else None
    new_symbol = fields.symbol("new_symbol", None if kind == SYMBOL_CHANGE else "")
    currency, source = fields.text("currency", CURRENCY), fields.text("source", context.source)
    what = (kind, symbol, ex_date or time_ns, ratio, amount, new_symbol)
    action_id = fields.text("action_id", content_id("action", *what))
    return time_ns, CorporateAction(
        action_id, time_ns, kind, symbol, ex_date, pay_date, ratio, amount, currency, new_symbol, source
    )


def _exchange_rate(fields: Fields, context: Context) -> Placed:
    time_ns = _time(fields, TIMES)
    base, to, rate = fields.symbol("base").upper(), fields.symbol("quote").upper(), fields.positive("rate")
    if base == to:
        raise InvalidField(f"field quote must be another currency than base, found {to!r}")
    rate_id = fields.text("rate_id", content_id("rate", base, to, time_ns))
    return time_ns, ExchangeRate(rate_id, time_ns, base, to, rate, fields.text("source", context.source))


def _time(fields: Fields, names: tuple[str, ...]) -> int:
    found = fields.time_ns(names)
    if found is None:
        raise InvalidField("field time must be an ISO time or an epoch number, found nothing")
    return found


QUOTES = Kind("quotes", (TIMES, ("symbol",), ("bid",), ("ask",)), quote, sorts=False, history_ns=0)
REFERENCE_DATA = Kind("reference_data", (("kind",),), reference, sorts=True, history_ns=None)
NEWS = Kind("news", (NEWS_TIMES, ("headline",)), news, sorts=True, history_ns=DAY_NS)
FUNDAMENTALS = Kind("fundamentals", (("symbol",), ("filed",), ("period_end",)), fundamentals, True, None)


def named(row: dict[Any, Any]) -> dict[str, Any]:
    """A row's names as the rules know them: lower case, without spaces around, `ticker` is a symbol."""
    found = {str(name).strip().lower(): value for name, value in row.items()}
    return found if "symbol" in found or "ticker" not in found else found | {"symbol": found["ticker"]}
