"""News in, a score for each symbol they name out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from operators.sentiment.settings import SentimentSettings
from schemas.records import NewsItem, Record, SentimentScore

VERSION = 1
LEXICON = "vader-3.3.2"


class SentimentStage:
    """Scores by lexicon: `score` is VADER's compound value, `confidence` its absolute value.

    A headline that comes again (same `news_id`) gives nothing.
    """

    def __init__(self, settings: SentimentSettings | None = None) -> None:
        self._settings = settings or SentimentSettings()
        self._analyzer = SentimentIntensityAnalyzer()
        self._seen: dict[str, None] = {}
        self._seq = 0

    def on_tick(self, ts_ns: int, records: Sequence[Record]) -> list[Record]:
        out: list[Record] = []
        for record in records:
            if type(record) is NewsItem and record.news_id not in self._seen:
                self._remember(record.news_id)
                self._score(ts_ns, record, out)
        return out

    def _remember(self, news_id: str) -> None:
        self._seen[news_id] = None
        if len(self._seen) > self._settings.remembered:
            del self._seen[next(iter(self._seen))]

    def _score(self, ts_ns: int, item: NewsItem, out: list[Record]) -> None:
        found = self._analyzer.polarity_scores(f"{item.headline}. {item.summary}")
        compound = found["compound"]
        for symbol in item.symbols:
            self._seq += 1
            out.append(
                SentimentScore(
                    self._seq, ts_ns, symbol, item.news_id, compound, abs(compound), "lexicon", LEXICON, "", found
                )
            )

    def snapshot(self) -> Any:
        return (VERSION, self._seq, list(self._seen))

    def restore(self, snapshot: Any) -> None:
        version, self._seq, seen = snapshot
        assert version == VERSION, f"sentiment state of version {version}, expected {VERSION}"
        self._seen = dict.fromkeys(seen)
