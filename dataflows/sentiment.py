"""news -> sentiment: a score for each symbol that a headline names."""

from __future__ import annotations

from collections.abc import Mapping

from bytewax.dataflow import Dataflow

from configs.settings import Settings
from dataflows import live, stages
from dataflows.wiring import TickSink, TickSource, staged


def build(settings: Settings, source: TickSource, sinks: Mapping[str, TickSink]) -> Dataflow:
    """Items of the source: (shard, ticks of NewsItems and LlmAnswers). To the sinks: (shard, ticks of
    SentimentScores and LlmRequests).
    """
    return staged("sentiment", stages.sentiment(settings), source, sinks)


def flow() -> Dataflow:
    """On the running platform: `python -m bytewax.run dataflows.sentiment`."""
    at = live.ends("sentiment")
    return build(at.settings, live.topics_source("sentiment", at), at.sinks)
