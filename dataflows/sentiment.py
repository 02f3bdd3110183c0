"""news -> sentiment: a score for each symbol that a headline names."""

from __future__ import annotations

from collections.abc import Mapping

from bytewax.dataflow import Dataflow

from configs.secrets import secret
from configs.settings import Settings
from dataflows.llm.llm_client import LlmClient
from dataflows.llm.request_sink import Asker, AskingSink, Budget
from dataflows.runtime import live, stages
from dataflows.runtime.topology import BOOKS
from dataflows.runtime.wiring import TickSink, TickSource, staged
from dataflows.sources.topic_tail import records_at_the_end
from operators.sentiment.prompt import ANSWER_SCHEMA
from schemas.codec import encode
from schemas.records import TOPIC_OF, LlmAnswer
from sinks.kafka import producer

FLUSH_S = 10.0


def build(settings: Settings, source: TickSource, sinks: Mapping[str, TickSink]) -> Dataflow:
    """Items of the source: (shard, ticks of NewsItems and LlmAnswers). To the sinks: (shard, ticks of
    SentimentScores and LlmRequests).
    """
    return staged("sentiment", stages.sentiment(settings), source, sinks)


def flow() -> Dataflow:
    """On the running platform: `python -m bytewax.run dataflows.sentiment`."""
    at = live.ends("sentiment")
    sinks = dict(at.sinks)
    if at.settings.sentiment.llm.enabled:
        sinks["asking"] = AskingSink(BOOKS, lambda: _asker(at.settings))
    return build(at.settings, live.topics_source("sentiment", at), sinks)


def _asker(settings: Settings) -> Asker:
    """The edge that asks the language model, writing into `llm-answers`."""
    llm, kafka = settings.sentiment.llm, settings.kafka
    written = producer(kafka.cluster)

    def tell(answer: LlmAnswer) -> None:
        written.produce(kafka.topic_prefix + TOPIC_OF[LlmAnswer], encode(answer), partition=0)
        written.flush(FLUSH_S)

    client = LlmClient(
        llm.base_url,
        secret("LLM_API_KEY"),
        timeout_s=llm.request_timeout_s,
        retries=llm.retries,
        answer_tokens_max=llm.answer_tokens_max,
        schema=ANSWER_SCHEMA,
    )
    return Asker(
        client,
        tell,
        budget=Budget(llm.requests_per_day, llm.tokens_per_day),
        patience_s=llm.timeout_s,
        answered=records_at_the_end(kafka, TOPIC_OF[LlmAnswer]),
    )
