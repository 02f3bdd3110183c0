"""Quotes, headlines, sentiment scores and filings as events of the trading strategies that declare them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple, get_args

from schemas.records import Fundamentals, NewsItem, Quote, Record, SentimentScore, quote_id, sentiment_id

EventName = Literal["quotes", "news", "sentiment", "filings"]
EVENT_NAMES: Final[tuple[EventName, ...]] = get_args(EventName)
"""The events that a strategy can declare, in the order in which it receives those of one time slice."""
TOPICS: Final[Mapping[EventName, str]] = {"quotes": "market-quotes", "news": "news"}
"""The topics that the strategies service reads only for these events."""
VERSION = 1
IDS_MAX = 10_000
"""Number of recent headlines and filings that are stored to discard duplicates."""


class MarketEvent(NamedTuple):
    """An event, the id of its record, and the symbols that it concerns; none for a headline without symbols."""

    name: EventName
    record: Quote | NewsItem | SentimentScore | Fundamentals
    record_id: str
    symbols: Sequence[str]

    def concerns(self, universe: Any) -> bool:
        """Whether the event concerns a universe. A headline without symbols concerns each one."""
        return not self.symbols or any(symbol in universe for symbol in self.symbols)


class MarketEvents:
    """The events of each time slice, and the newest quote of each symbol. `declared` are the events that are needed."""

    def __init__(self, declared: Iterable[EventName]) -> None:
        self._declared = frozenset(declared)
        self._quotes: dict[str, Quote] = {}
        self._ids: dict[str, None] = {}

    @property
    def topics(self) -> tuple[str, ...]:
        """The topics that are read only for these events."""
        return tuple(topic for name, topic in TOPICS.items() if name in self._declared)

    def quote(self, symbol: str) -> Quote | None:
        """Return the newest quote of a symbol; None before the first one."""
        return self._quotes.get(symbol)

    def events_of(self, ts_ns: int, records: Sequence[Record]) -> list[MarketEvent]:
        """Return the events of a time slice, by kind and in the order of the records. Call once for each time slice."""
        declared = self._declared
        if not declared:
            return []
        events: list[MarketEvent] = []
        for record in records:
            event: MarketEvent | None = None
            if type(record) is Quote:
                event = MarketEvent("quotes", record, quote_id(record.symbol, record.seq), (record.symbol,))
            elif type(record) is NewsItem:
                event = MarketEvent("news", record, record.news_id, record.symbols)
            elif type(record) is SentimentScore:
                event = MarketEvent("sentiment", record, sentiment_id(record.seq), (record.symbol,))
            elif type(record) is Fundamentals:
                filing = record._replace(ts_ns=ts_ns)  # as in `ctx.fundamentals`
                event = MarketEvent("filings", filing, record.fundamentals_id, (record.symbol,))
            if event is None or event.name not in declared or not self._is_new(event):
                continue
            if type(event.record) is Quote:
                self._quotes[event.record.symbol] = event.record
            events.append(event)
        events.sort(key=lambda event: EVENT_NAMES.index(event.name))
        return events

    def _is_new(self, event: MarketEvent) -> bool:
        """Whether a headline or filing is not a duplicate. The reader of the topics discards other duplicates."""
        if event.name not in ("news", "filings"):
            return True
        if event.record_id in self._ids:
            return False
        self._ids[event.record_id] = None
        if len(self._ids) > IDS_MAX:
            del self._ids[next(iter(self._ids))]
        return True

    def snapshot(self) -> Any:
        return (VERSION, [tuple(quote) for quote in self._quotes.values()], list(self._ids))

    def restore(self, snapshot: Any) -> None:
        """Restore a snapshot, without the quotes if no strategy declares them any more."""
        version, quotes, ids = snapshot
        assert version == VERSION, f"market events snapshot: version {version}, expected {VERSION}"
        if "quotes" in self._declared:
            self._quotes = {quote.symbol: quote for quote in (Quote(*values) for values in quotes)}
        self._ids = dict.fromkeys(ids)
