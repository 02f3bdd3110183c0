"""Simulated events of the dry run: quotes, corporate actions, halts, rows of data, filings, headlines and scores.

Each kind occurs several times in a session, one symbol after the other, so that a strategy that fails on one is found.
Events before a time slice do not depend on prices after it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

from operators.fundamentals.ratios import FACTS, ratios
from operators.strategies import READABLE, Strategy, TradingStrategy, reads_of
from schemas.records import (
    CASH_DIVIDEND,
    HALTED,
    SPLIT,
    TRADING,
    Bar,
    CorporateAction,
    DataRow,
    Fundamentals,
    NewsItem,
    Prediction,
    Quote,
    Record,
    SentimentScore,
    SymbolState,
    TradingStatus,
    feature_id,
)

DATA_EVERY, DATA_AT = 10, 0
NEWS_EVERY, NEWS_AT, SCORE_AT = 10, 1, 2
FILING_EVERY, FILING_AT = 30, 3
HALT_EVERY, HALT_AT, RESUME_AT = 60, 4, 6
DIVIDEND_AT, SPLIT_AT = 8, 12
"""Minutes of a session, counted from 0, at which events occur. Events with `EVERY` repeat at that interval."""
SPLIT_RATIO = 2
SOURCE = "simulated"
_SPREAD = 0.0001
_ANALYSIS = (Prediction, Fundamentals, NewsItem, SentimentScore)


class AnyColumn(dict[str, float]):
    """The values of a simulated row of the user's data, whose columns the check does not know: each has a value."""

    def __missing__(self, column: str) -> float:
        return self["value"]

    def __contains__(self, column: object) -> bool:
        return True

    def get(self, column: str, default: Any = None) -> float:
        return self[column]


class SimulatedEvents:
    """The events that one strategy declares, handles or can read."""

    def __init__(self, strategy: Strategy | TradingStrategy, session_minutes: int) -> None:
        self._session_minutes = session_minutes
        self._data: Sequence[str] = ()
        self._has_quotes = self._has_news = self._has_actions = False
        reads: tuple[type, ...] = READABLE  # `ctx` has all of them
        if isinstance(strategy, TradingStrategy):
            events = _names(strategy.events)
            self._data = _names(strategy.data)
            self._has_quotes, self._has_news = "quotes" in events, "news" in events
            self._has_actions = type(strategy).on_event is not TradingStrategy.on_event
        else:
            reads = reads_of(strategy)
        self._reads = frozenset(reads)

    def split_symbol(self, number: int, symbols: Sequence[str]) -> str | None:
        """Return the symbol whose shares are split before the bars of a minute, counted from 0; None if none is."""
        session, minute = divmod(number, self._session_minutes)
        return symbols[session % len(symbols)] if self._has_actions and minute == SPLIT_AT else None

    def add(self, number: int, bars: Sequence[Bar]) -> list[Record]:
        """Return the bars of a minute with its events, each kind in the order of a time slice."""
        before: list[Record] = []
        after: list[Record] = []
        minute, symbols = number % self._session_minutes, [one.symbol for one in bars]
        ts_ns = bars[0].ts_ns
        if self._has_quotes:
            before += map(_quote, bars)
        if self._has_actions:
            before += self._market_actions(number, minute, ts_ns, symbols)
        if minute % DATA_EVERY == DATA_AT:
            before += (_data_row(name, symbol, number, ts_ns) for name in self._data for symbol in ("", *symbols))
        turn = number // DATA_EVERY
        if Prediction in self._reads:
            after += (_prediction(one, number + place) for place, one in enumerate(bars))
        if Fundamentals in self._reads and minute % FILING_EVERY == FILING_AT:
            after.append(_filing(symbols[(number // FILING_EVERY) % len(symbols)], number, bars[0]))
        if self._has_news and minute % NEWS_EVERY == NEWS_AT:
            after.append(_headline(number, ts_ns, [symbols[turn % len(symbols)]] if turn % 4 else []))
        if SentimentScore in self._reads and minute % NEWS_EVERY == SCORE_AT:
            after.append(_score(symbols[turn % len(symbols)], number, ts_ns))
        return [*before, *bars, *after]

    def _market_actions(self, number: int, minute: int, ts_ns: int, symbols: Sequence[str]) -> Iterable[Record]:
        halted = symbols[(number // HALT_EVERY) % len(symbols)]
        if minute % HALT_EVERY == HALT_AT:
            yield _status(halted, HALTED, number, ts_ns)
        if minute % HALT_EVERY == RESUME_AT:
            yield _status(halted, TRADING, number, ts_ns)
        if minute == DIVIDEND_AT:
            yield _action(CASH_DIVIDEND, symbols[-1], number, ts_ns, amount=Decimal("0.1"))
        split = self.split_symbol(number, symbols)
        if split is not None:
            yield _action(SPLIT, split, number, ts_ns, ratio=Decimal(SPLIT_RATIO))


def _names(declared: Any) -> Sequence[str]:
    """Return declared names. The stage reports a malformed declaration."""
    return declared if isinstance(declared, list | tuple) else ()


def with_rows(records: Sequence[Record], rows: Sequence[Record]) -> list[Record]:
    """Return the records of a time slice with its feature rows at their place: before all other analysis."""
    market = [one for one in records if type(one) not in _ANALYSIS]
    return [*market, *rows, *(one for one in records if type(one) in _ANALYSIS)]


def _quote(one: Bar) -> Quote:
    return Quote(
        symbol=one.symbol,
        seq=one.seq,
        ts_ns=one.ts_ns,
        bid=one.close * (1 - _SPREAD),
        ask=one.close * (1 + _SPREAD),
        bid_size=1_000.0,
        ask_size=1_000.0,
    )


def _status(symbol: str, state: SymbolState, number: int, ts_ns: int) -> TradingStatus:
    return TradingStatus(
        status_id=f"simulated-{state.lower()}-{number}",
        ts_ns=ts_ns,
        symbol=symbol,
        state=state,
        code="T1" if state == HALTED else "",
        reason="simulated news pending" if state == HALTED else "",
        source=SOURCE,
    )


def _action(kind: Any, symbol: str, number: int, ts_ns: int, **terms: Decimal) -> CorporateAction:
    return CorporateAction(
        action_id=f"simulated-action-{number}",
        ts_ns=ts_ns,
        kind=kind,
        symbol=symbol,
        ex_date=0,
        pay_date=0,
        ratio=terms.get("ratio"),
        amount=terms.get("amount"),
        currency="USD",
        new_symbol="",
        source=SOURCE,
    )


def _data_row(name: str, symbol: str, number: int, ts_ns: int) -> DataRow:
    values = AnyColumn(value=20.0 + number % 7)
    return DataRow(f"simulated-{name}-{symbol}-{number}", ts_ns, name, symbol, values, SOURCE)


def _prediction(one: Bar, turn: int) -> Prediction:
    return Prediction(
        symbol=one.symbol,
        seq=one.seq,
        ts_ns=one.ts_ns,
        model=SOURCE,
        model_hash="00" * 32,
        feature_id=feature_id(one.symbol, one.seq),
        horizon_bars=5,
        expected_return=(turn % 5 - 2) / 500,
        probability_up=0.5 + (turn % 5 - 2) / 20,
        drift=0.0,
    )


def _filing(symbol: str, number: int, one: Bar) -> Fundamentals:
    facts = {name: 1e9 * (2 + (number + place) % 3) for place, name in enumerate(FACTS)}
    facts |= {"eps": 5.0, "dividends": 1.0}
    return Fundamentals(
        fundamentals_id=f"simulated-filing-{number}",
        ts_ns=one.ts_ns,
        symbol=symbol,
        period_end=one.trading_day,
        filed=one.trading_day,
        form="10-Q",
        source=SOURCE,
        facts=facts,
        ratios=ratios(facts),
        currency="USD",
    )


def _headline(number: int, ts_ns: int, symbols: list[str]) -> NewsItem:
    return NewsItem(
        news_id=f"simulated-news-{number}",
        ts_ns=ts_ns,
        published_ns=ts_ns,
        source=SOURCE,
        headline=f"{symbols[0] if symbols else 'The market'} reports record results",
        summary="",
        url="",
        symbols=symbols,
    )


def _score(symbol: str, number: int, ts_ns: int) -> SentimentScore:
    return SentimentScore(
        seq=number + 1,
        ts_ns=ts_ns,
        symbol=symbol,
        news_id=f"simulated-news-{number}",
        score=(number // NEWS_EVERY % 5 - 2) / 2,
        confidence=0.8,
        method="lexicon",
        model=SOURCE,
        answer_id="",
        parts={},
    )
