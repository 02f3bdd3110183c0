"""Headlines, sentiment scores and company filings, newest first."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from sqlalchemy import Select, desc, select

from api.json_types import ApiModel, Symbol, utc
from api.pagination import Limit
from api.problems import NotFound
from api.resources import Db
from api.routers import PREFIX
from schemas.records import Fundamentals, NewsItem, SentimentMethod, SentimentScore, sentiment_id
from sinks.record_tables import record_of
from sinks.tables import fundamentals, news, sentiment

router = APIRouter(prefix=PREFIX, tags=["news"])


class Headline(ApiModel):
    """`timestamp` is when the platform received the headline, `published` the time that the source states."""

    id: str
    timestamp: str
    published: str
    source: str
    headline: str
    summary: str
    url: str
    symbols: list[str]


class Score(ApiModel):
    """`score` in [-1, 1], `confidence` in [0, 1]; `method` is lexicon or llm; `parts` are the inputs of the score."""

    id: str
    timestamp: str
    symbol: str
    score: float
    confidence: float
    method: SentimentMethod
    model: str
    parts: dict[str, float]
    news_id: str
    headline: str | None
    answer_id: str


class Filing(ApiModel):
    """A filing: figures in `currency`, and the ratios that need no price."""

    id: str
    timestamp: str
    symbol: str
    period_end: str
    filed: str
    form: str
    source: str
    currency: str
    facts: dict[str, float]
    ratios: dict[str, float]


@router.get("/news")
def get_news(db: Db, symbol: Symbol | None = None, limit: Limit = 50) -> list[Headline]:
    """Headlines, newest first, of all symbols or of one."""
    return [_headline(record_of(NewsItem, row)) for row in db.execute(news_query(symbol, limit)).mappings()]


@router.get("/sentiment/{symbol}")
def get_sentiment(symbol: Symbol, db: Db, limit: Limit = 50) -> list[Score]:
    """Scores of a symbol's news, newest first."""
    query = select(sentiment).where(sentiment.c.symbol == symbol)
    rows = db.execute(query.order_by(desc(sentiment.c.ts_ns), desc(sentiment.c.seq)).limit(limit)).mappings()
    scores = [record_of(SentimentScore, row) for row in rows]
    headline_query = select(news.c.news_id, news.c.headline).where(
        news.c.news_id.in_({score.news_id for score in scores})
    )
    headlines = {row.news_id: row.headline for row in db.execute(headline_query)}
    return [_score(score, headlines.get(score.news_id)) for score in scores]


@router.get("/fundamentals/{symbol}")
def get_fundamentals(symbol: Symbol, db: Db, limit: Limit = 8) -> list[Filing]:
    """A company's filings, last filed first. 404 if there are none."""
    query = select(fundamentals).where(fundamentals.c.symbol == symbol)
    rows = db.execute(query.order_by(desc(fundamentals.c.filed), desc(fundamentals.c.period_end)).limit(limit))
    filings = [_filing(record_of(Fundamentals, row)) for row in rows.mappings()]
    if not filings:
        raise NotFound(f"No filings for {symbol}.")
    return filings


def news_query(symbol: str | None, limit: int) -> Select[Any]:
    """Return the query for news, newest first. For a symbol that is rarely in the news it uses the index on
    `symbols`.
    """
    query = select(news).order_by(desc(news.c.ts_ns), news.c.news_id).limit(limit)
    return query if symbol is None else query.where(news.c.symbols.contains([symbol]))


def _headline(item: NewsItem) -> Headline:
    times: dict[str, Any] = {"timestamp": utc(item.ts_ns), "published": utc(item.published_ns)}
    rest: dict[str, Any] = {name: getattr(item, name) for name in ("source", "headline", "summary", "url", "symbols")}
    return Headline(id=item.news_id, **times, **rest)


def _score(score: SentimentScore, headline: str | None) -> Score:
    fields = {name: value for name, value in score._asdict().items() if name not in ("seq", "ts_ns")}
    return Score(id=sentiment_id(score.seq), timestamp=utc(score.ts_ns), headline=headline, **fields)


def _filing(filing: Fundamentals) -> Filing:
    dates: dict[str, Any] = {"period_end": _day(filing.period_end), "filed": _day(filing.filed)}
    same = ("symbol", "form", "source", "currency", "facts", "ratios")
    rest: dict[str, Any] = {name: getattr(filing, name) for name in same}
    return Filing(id=filing.fundamentals_id, timestamp=utc(filing.ts_ns), **dates, **rest)


def _day(day: int) -> str:
    """
    >>> _day(20241101)
    '2024-11-01'
    """
    return f"{day // 10_000:04d}-{day // 100 % 100:02d}-{day % 100:02d}"
