"""Sentiment service: news -> sentiment, one score for each symbol of a headline."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from bytewax.dataflow import Dataflow

from configs.secrets import secret
from configs.settings import Settings
from dataflows.llm.llm_client import LlmClient
from dataflows.llm.request_sink import LlmBudget, LlmRequester, LlmRequestSink
from dataflows.runtime import live_endpoints, stages
from dataflows.runtime.configured_stage import StageFactory
from dataflows.runtime.stage_timers import with_timers
from dataflows.runtime.topology import GLOBAL_SHARD
from dataflows.runtime.wiring import SliceSink, SliceSource, build_stage_flow
from dataflows.sources.topic_tail import topic_tail_reader
from operators.sentiment.llm_prompt import ANSWER_SCHEMA
from operators.stage import Stage
from schemas.codec import encode
from schemas.records import TOPIC_OF, LlmAnswer
from sinks.kafka import producer

FLUSH_TIMEOUT_S = 10.0


def build(
    settings: Settings,
    source: SliceSource,
    sinks: Mapping[str, SliceSink],
    make_stage: Callable[[], Stage] | None = None,
) -> Dataflow:
    """Build the flow. `make_stage` makes a stage that publishes its timers; the default publishes none.

    Source items: (shard, time slices of NewsItems and LlmAnswers). Sink items: (shard, time slices of
    SentimentScores and LlmRequests).
    """
    return build_stage_flow("sentiment", make_stage or StageFactory(stages.sentiment, settings), source, sinks)


def flow() -> Dataflow:
    """Connect the flow to the running platform. Run it with `python -m bytewax.run dataflows.sentiment`."""
    endpoints = live_endpoints.connect("sentiment")
    sinks = dict(endpoints.sinks)
    request_sink = connect_llm(endpoints.settings)
    if request_sink is not None:
        sinks["asking"] = request_sink
    make_stage = with_timers("sentiment", StageFactory(stages.sentiment, endpoints.settings), endpoints.settings)
    return build(endpoints.settings, live_endpoints.topics_source("sentiment", endpoints), sinks, make_stage)


def connect_llm(settings: Settings) -> SliceSink | None:
    """Return the sink that sends requests to the language model; None if the settings do not enable one."""
    if not settings.sentiment.llm.enabled:
        return None
    return LlmRequestSink(GLOBAL_SHARD, lambda: _build_requester(settings))


def _build_requester(settings: Settings) -> LlmRequester:
    """Build the requester that sends prompts to the language model and publishes the answers to `llm-answers`."""
    llm, kafka = settings.sentiment.llm, settings.kafka
    answer_producer = producer(kafka.cluster)

    def publish(answer: LlmAnswer) -> None:
        answer_producer.produce(kafka.topic_prefix + TOPIC_OF[LlmAnswer], encode(answer), partition=0)
        answer_producer.flush(FLUSH_TIMEOUT_S)

    client = LlmClient(
        llm.base_url,
        secret("LLM_API_KEY"),
        timeout_s=llm.request_timeout_s,
        retries=llm.retries,
        answer_tokens_max=llm.answer_tokens_max,
        schema=ANSWER_SCHEMA,
    )
    return LlmRequester(
        client,
        publish,
        budget=LlmBudget(llm.requests_per_day, llm.tokens_per_day),
        queue_age_max_s=llm.timeout_s,
        recorded_answers=topic_tail_reader(kafka, TOPIC_OF[LlmAnswer]),
    )
