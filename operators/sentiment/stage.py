"""News in, a score for each symbol they name out: by lexicon, or by a language model's recorded answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from operators.sentiment.lexicon import VERSION as LEXICON
from operators.sentiment.prompt import question, read_answer, request_id
from operators.sentiment.scoring import LexiconScorer
from operators.sentiment.settings import SentimentSettings
from schemas.errors import InvalidField
from schemas.records import LlmAnswer, LlmRequest, NewsItem, Record, SentimentScore

VERSION = 2
BY_LEXICON, BY_LLM = "lexicon", "llm"
UNANSWERED, FAILED, UNREADABLE, CROWDED = "llm_timeout", "llm_error", "llm_unreadable", "llm_not_asked"
"""Parts that say why the lexicon judged a headline that a language model should have judged."""


class SentimentStage:
    """Scores by lexicon: `score` is the compound value, `confidence` its absolute value.

    With `llm.enabled` each headline gives an LlmRequest first. Its scores are those of the LlmAnswer; without one
    after `llm.timeout_s` of event time, with an error in it, or with one that cannot be read, the lexicon's, and
    `parts` say why. A symbol that the answer leaves out is judged by the lexicon too. A headline that comes again
    (same `news_id`) gives nothing, nor does an answer that nobody waits for.
    """

    def __init__(self, settings: SentimentSettings | None = None) -> None:
        self._settings = settings or SentimentSettings()
        self._llm = self._settings.llm
        self._scorer = LexiconScorer()
        self._seen: dict[str, None] = {}
        self._waiting: dict[str, tuple[int, NewsItem]] = {}  # request id -> (when the lexicon judges, headline)
        self._seq = self._requests = 0

    def on_tick(self, ts_ns: int, records: Sequence[Record]) -> list[Record]:
        out: list[Record] = []
        for record in records:
            if type(record) is LlmAnswer:
                self._hear(ts_ns, record, out)
        if self._waiting:
            self._give_up(ts_ns, out)
        for record in records:
            if type(record) is NewsItem and record.news_id not in self._seen:
                self._remember(record.news_id)
                if record.symbols:
                    self._take(ts_ns, record, out)
        return out

    def _take(self, ts_ns: int, item: NewsItem, out: list[Record]) -> None:
        llm = self._llm
        if not llm.enabled:
            return self._by_lexicon(ts_ns, item, item.symbols, {}, out)
        if len(self._waiting) >= llm.waiting_max:
            return self._by_lexicon(ts_ns, item, item.symbols, {CROWDED: 1.0}, out)
        asked = request_id(item, llm.model)
        self._waiting[asked] = (ts_ns + round(llm.timeout_s * 1e9), item)
        self._requests += 1
        out.append(LlmRequest(self._requests, ts_ns, asked, item.news_id, llm.model, question(item)))
        return None

    def _hear(self, ts_ns: int, answer: LlmAnswer, out: list[Record]) -> None:
        waiting = self._waiting.pop(answer.request_id, None)
        if waiting is None:
            return
        _, item = waiting
        if answer.error:
            return self._by_lexicon(ts_ns, item, item.symbols, {FAILED: 1.0}, out)
        try:
            judged = read_answer(answer.answer, item.symbols)
        except InvalidField:
            return self._by_lexicon(ts_ns, item, item.symbols, {UNREADABLE: 1.0}, out)
        for symbol in item.symbols:
            if symbol in judged:
                score, confidence = judged[symbol]
                how = (BY_LLM, answer.model, answer.answer_id)
                parts = {"llm": score}
                self._seq += 1
                out.append(SentimentScore(self._seq, ts_ns, symbol, item.news_id, score, confidence, *how, parts))
            else:
                self._by_lexicon(ts_ns, item, [symbol], {UNREADABLE: 1.0}, out)
        return None

    def _give_up(self, ts_ns: int, out: list[Record]) -> None:
        # In the order in which they were asked, so the first that is not due ends it.
        while self._waiting:
            asked = next(iter(self._waiting))
            due_ns, item = self._waiting[asked]
            if due_ns > ts_ns:
                return
            del self._waiting[asked]
            self._by_lexicon(ts_ns, item, item.symbols, {UNANSWERED: 1.0}, out)

    def _by_lexicon(
        self, ts_ns: int, item: NewsItem, symbols: Sequence[str], why: dict[str, float], out: list[Record]
    ) -> None:
        found = self._scorer.parts(f"{item.headline}. {item.summary}")
        compound, parts = found["compound"], found | why
        for symbol in symbols:
            self._seq += 1
            how = (BY_LEXICON, LEXICON, "", parts)
            out.append(SentimentScore(self._seq, ts_ns, symbol, item.news_id, compound, abs(compound), *how))

    def _remember(self, news_id: str) -> None:
        self._seen[news_id] = None
        if len(self._seen) > self._settings.remembered:
            del self._seen[next(iter(self._seen))]

    def snapshot(self) -> Any:
        """(version, scores written, ids seen, requests written, [(request id, due, headline's fields)])."""
        waiting = [(asked, due_ns, tuple(item)) for asked, (due_ns, item) in self._waiting.items()]
        return (VERSION, self._seq, list(self._seen), self._requests, waiting)

    def restore(self, snapshot: Any) -> None:
        version, self._seq, seen, *rest = snapshot
        assert version in (1, VERSION), f"sentiment state of version {version}, expected {VERSION}"
        self._requests, waiting = rest if rest else (0, [])
        self._seen = dict.fromkeys(seen)
        self._waiting = {asked: (due_ns, NewsItem._make(values)) for asked, due_ns, values in waiting}
