"""The sentiment stage: score each symbol that a headline mentions, by lexicon or by a language model's response."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from operators.sentiment.lexicon import VERSION as LEXICON
from operators.sentiment.lexicon_scorer import LexiconScorer
from operators.sentiment.llm_prompt import build_prompt, parse_answer, request_id
from operators.sentiment.settings import SentimentSettings
from schemas.errors import InvalidField
from schemas.records import BY_LEXICON, BY_LLM, LlmAnswer, LlmRequest, NewsItem, Record, SentimentScore

VERSION = 2
UNANSWERED, FAILED, UNREADABLE, NOT_REQUESTED = "llm_timeout", "llm_error", "llm_unreadable", "llm_not_asked"
"""Parts of a score that state why the lexicon was used instead of the language model."""


class SentimentStage:
    """The logic of the sentiment service.

    With the lexicon, `score` is the compound value and `confidence` its absolute value. With `llm.enabled`, each
    headline first creates an LlmRequest, and the LlmAnswer contains the scores. The lexicon is used if no response
    arrives within `llm.timeout_s` of event time, if the response is an error or malformed, and for each symbol that it
    does not contain. In these cases, `parts` state the reason. Duplicate headlines (same `news_id`) and unexpected
    responses are discarded.
    """

    def __init__(self, settings: SentimentSettings | None = None) -> None:
        self._settings = settings or SentimentSettings()
        self._llm = self._settings.llm
        self._scorer = LexiconScorer()
        self._seen_ids: dict[str, None] = {}
        self._pending: dict[str, tuple[int, NewsItem]] = {}  # request id -> (time at which it expires, headline)
        self._seq = self._request_count = 0

    def on_slice(self, ts_ns: int, records: Sequence[Record]) -> list[Record]:
        out: list[Record] = []
        for record in records:
            if type(record) is LlmAnswer:
                self._apply_answer(ts_ns, record, out)
        if self._pending:
            self._expire_requests(ts_ns, out)
        for record in records:
            if type(record) is NewsItem and record.news_id not in self._seen_ids:
                self._remember(record.news_id)
                if record.symbols:
                    self._score_item(ts_ns, record, out)
        return out

    def _score_item(self, ts_ns: int, item: NewsItem, out: list[Record]) -> None:
        llm = self._llm
        if not llm.enabled:
            return self._score_by_lexicon(ts_ns, item, item.symbols, {}, out)
        if len(self._pending) >= llm.waiting_max:
            return self._score_by_lexicon(ts_ns, item, item.symbols, {NOT_REQUESTED: 1.0}, out)
        llm_request_id = request_id(item, llm.model)
        self._pending[llm_request_id] = (ts_ns + round(llm.timeout_s * 1e9), item)
        self._request_count += 1
        out.append(
            LlmRequest(
                seq=self._request_count,
                ts_ns=ts_ns,
                request_id=llm_request_id,
                news_id=item.news_id,
                model=llm.model,
                prompt=build_prompt(item),
            )
        )
        return None

    def _apply_answer(self, ts_ns: int, answer: LlmAnswer, out: list[Record]) -> None:
        pending = self._pending.pop(answer.request_id, None)
        if pending is None:
            return
        _, item = pending
        if answer.error:
            return self._score_by_lexicon(ts_ns, item, item.symbols, {FAILED: 1.0}, out)
        try:
            scores = parse_answer(answer.answer, item.symbols)
        except InvalidField:
            return self._score_by_lexicon(ts_ns, item, item.symbols, {UNREADABLE: 1.0}, out)
        for symbol in item.symbols:
            if symbol in scores:
                score, confidence = scores[symbol]
                self._seq += 1
                out.append(
                    SentimentScore(
                        seq=self._seq,
                        ts_ns=ts_ns,
                        symbol=symbol,
                        news_id=item.news_id,
                        score=score,
                        confidence=confidence,
                        method=BY_LLM,
                        model=answer.model,
                        answer_id=answer.answer_id,
                        parts={"llm": score},
                    )
                )
            else:
                self._score_by_lexicon(ts_ns, item, [symbol], {UNREADABLE: 1.0}, out)
        return None

    def _expire_requests(self, ts_ns: int, out: list[Record]) -> None:
        # Requests are in order of time, so stop at the first one that has not expired.
        while self._pending:
            llm_request_id = next(iter(self._pending))
            due_ns, item = self._pending[llm_request_id]
            if due_ns > ts_ns:
                return
            del self._pending[llm_request_id]
            self._score_by_lexicon(ts_ns, item, item.symbols, {UNANSWERED: 1.0}, out)

    def _score_by_lexicon(
        self, ts_ns: int, item: NewsItem, symbols: Sequence[str], reason_parts: dict[str, float], out: list[Record]
    ) -> None:
        polarity = self._scorer.polarity(f"{item.headline}. {item.summary}")
        compound, parts = polarity["compound"], polarity | reason_parts
        for symbol in symbols:
            self._seq += 1
            out.append(
                SentimentScore(
                    seq=self._seq,
                    ts_ns=ts_ns,
                    symbol=symbol,
                    news_id=item.news_id,
                    score=compound,
                    confidence=abs(compound),
                    method=BY_LEXICON,
                    model=LEXICON,
                    answer_id="",
                    parts=parts,
                )
            )

    def _remember(self, news_id: str) -> None:
        self._seen_ids[news_id] = None
        if len(self._seen_ids) > self._settings.remembered:
            del self._seen_ids[next(iter(self._seen_ids))]

    def next_timer_ns(self) -> int | None:
        """Return when the oldest request without a response expires."""
        return next((due_ns for due_ns, _ in self._pending.values()), None)

    def snapshot(self) -> Any:
        """Return (version, number of scores, seen ids, number of requests, [(request id, expiry, headline fields)])."""
        pending = [(llm_request_id, due_ns, tuple(item)) for llm_request_id, (due_ns, item) in self._pending.items()]
        return (VERSION, self._seq, list(self._seen_ids), self._request_count, pending)

    def restore(self, snapshot: Any) -> None:
        version, self._seq, seen_ids, *rest = snapshot
        assert version in (1, VERSION), f"sentiment snapshot: version {version}, expected 1 or {VERSION}"
        self._request_count, pending = rest if rest else (0, [])
        self._seen_ids = dict.fromkeys(seen_ids)
        self._pending = {llm_request_id: (due_ns, NewsItem._make(values)) for llm_request_id, due_ns, values in pending}
