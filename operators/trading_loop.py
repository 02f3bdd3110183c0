"""The loops of the platform, closed in one process: the inner one trades, the outer one weighs the strategies.

They give each stage, tick by tick, exactly what the aligned topics would give it when it runs as a service of its own:
orders, refusals and weights come back one tick later (`operators/alignment.py`). The fused backtest and replays run
this; a test holds that the staged services decide the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from operators.stage import Stage
from schemas.records import (
    TOPIC_OF,
    Execution,
    GatewayStatus,
    Order,
    OrderCancel,
    OrderIntent,
    OrderProposal,
    OrderRefusal,
    Record,
    RiskFence,
    SentimentScore,
    StrategyWeights,
)

VERSION = 1
_NO_RECORDS: list[Record] = []
_EXECUTION_TYPES = frozenset({Execution, GatewayStatus, OrderIntent})
_FEEDBACK_TOPICS = ("executions", "positions", "valuations", "order-proposals")
"""What feedback reads of the trading loop, in the order of its inputs."""


class RecordsByTopic:
    """The records of one tick, to be taken by topic, each topic in the order of the tick: a log keeps its order
    whatever types it holds.
    """

    __slots__ = ("_by_topic",)

    def __init__(self, records: Sequence[Record]) -> None:
        by_topic: dict[str, list[Record]] = {}
        for record_type, group in groupby(records, type):
            topic = TOPIC_OF[record_type]
            if topic in by_topic:
                by_topic[topic].extend(group)
            else:
                by_topic[topic] = list(group)
        self._by_topic = by_topic

    def records_of(self, topic: str) -> list[Record]:
        """Not to be changed."""
        return self._by_topic.get(topic, _NO_RECORDS)

    def records_in_order(self, topics: Sequence[str]) -> list[Record]:
        """Topic after topic."""
        return [record for topic in topics if topic in self._by_topic for record in self._by_topic[topic]]


class TradingLoop:
    """Reads what traders' topics hold of a tick (quotes, reference data, broker updates, bars, commands, signals);
    gives Executions and intents, the books, Proposals, Orders and Refusals.
    """

    def __init__(self, execution: Stage, portfolio: Stage, risk: Stage) -> None:
        self._execution, self._portfolio, self._risk = execution, portfolio, risk
        self._orders: list[Record] = []
        self._refusals: list[Record] = []

    def on_slice(self, ts_ns: int, records: Sequence[Record]) -> list[Record]:
        by_topic = RecordsByTopic(records)
        return self.on_sorted_slice(ts_ns, by_topic, by_topic.records_of("signals"))

    def on_sorted_slice(self, ts_ns: int, by_topic: RecordsByTopic, signals: list[Record]) -> list[Record]:
        """One tick, of which the signals come apart from the rest."""
        bars, commands, reference = (
            by_topic.records_of("market-bars"),
            by_topic.records_of("commands"),
            by_topic.records_of("reference-data"),
        )
        market_inputs = by_topic.records_of("market-quotes") + reference + by_topic.records_of("broker-updates")
        executed = self._execution.on_slice(ts_ns, self._orders + market_inputs + bars)
        assert all(type(record) in _EXECUTION_TYPES for record in executed), "execution gives reports and intents only"
        reports = [record for record in executed if type(record) is not OrderIntent]
        booked = self._portfolio.on_slice(ts_ns, self._refusals + reference + reports + commands + bars + signals)
        proposals: list[Record] = [record for record in booked if type(record) is OrderProposal]
        decisions = self._risk.on_slice(ts_ns, reference + reports + commands + bars + proposals)
        self._orders = [record for record in decisions if type(record) in (Order, OrderCancel, RiskFence)]
        self._refusals = [record for record in decisions if type(record) is OrderRefusal]
        return executed + booked + decisions

    def snapshot(self) -> Any:
        pending = [(type(record).__name__, tuple(record)) for record in self._orders + self._refusals]
        return (VERSION, pending, self._execution.snapshot(), self._portfolio.snapshot(), self._risk.snapshot())

    def restore(self, snapshot: Any) -> None:
        version, pending, execution, portfolio, risk = snapshot
        assert version == VERSION, f"trading loop state of version {version}, expected {VERSION}"
        kinds: dict[str, Any] = {kind.__name__: kind for kind in (Order, OrderCancel, RiskFence, OrderRefusal)}
        records = [kinds[name]._make(values) for name, values in pending]
        self._orders = [record for record in records if type(record) is not OrderRefusal]
        self._refusals = [record for record in records if type(record) is OrderRefusal]
        self._execution.restore(execution)
        self._portfolio.restore(portfolio)
        self._risk.restore(risk)


class LearningLoop:
    """Sentiment and signals in front of the trading loop, feedback behind it; its weights come back a tick later.

    Reads what edges wrote in a tick, and its feature rows and predictions; gives all that these stages write.
    """

    def __init__(self, sentiment: Stage, signals: Stage, trading: TradingLoop, feedback: Stage) -> None:
        self._sentiment, self._signals, self._trading, self._feedback = sentiment, signals, trading, feedback
        self._weights: list[Record] = []

    def on_slice(self, ts_ns: int, records: Sequence[Record]) -> list[Record]:
        by_topic = RecordsByTopic(records)
        sentiment_out = self._sentiment.on_slice(
            ts_ns, by_topic.records_of("llm-answers") + by_topic.records_of("news")
        )
        scores: list[Record] = [record for record in sentiment_out if type(record) is SentimentScore]
        predictions = by_topic.records_of("predictions")
        signal_inputs = (
            self._weights + by_topic.records_of("features") + predictions + by_topic.records_of("fundamentals") + scores
        )
        signals = self._signals.on_slice(ts_ns, signal_inputs)
        trading_out = self._trading.on_sorted_slice(ts_ns, by_topic, signals)
        feedback_inputs = (
            by_topic.records_of("reference-data") + by_topic.records_of("market-bars") + predictions + signals
        )
        feedback_out = self._feedback.on_slice(
            ts_ns, feedback_inputs + RecordsByTopic(trading_out).records_in_order(_FEEDBACK_TOPICS)
        )
        self._weights = [record for record in feedback_out if type(record) is StrategyWeights]
        return [*sentiment_out, *signals, *trading_out, *feedback_out]

    def snapshot(self) -> Any:
        stages = (self._sentiment, self._signals, self._trading, self._feedback)
        return (VERSION, [tuple(record) for record in self._weights], *(stage.snapshot() for stage in stages))

    def restore(self, snapshot: Any) -> None:
        version, weights, *states = snapshot
        assert version == VERSION, f"learning loop state of version {version}, expected {VERSION}"
        self._weights = [StrategyWeights._make(values) for values in weights]
        stages = (self._sentiment, self._signals, self._trading, self._feedback)
        for stage, state in zip(stages, states, strict=True):
            stage.restore(state)


class Analysis:
    """Features and predictions of one shard: gives what it is given, in front, then feature rows and predictions."""

    def __init__(self, features: Stage, predictions: Stage) -> None:
        self._features, self._predictions = features, predictions

    def on_slice(self, ts_ns: int, records: Sequence[Record]) -> list[Record]:
        rows = self._features.on_slice(ts_ns, records)
        return [*records, *rows, *self._predictions.on_slice(ts_ns, rows)]

    def snapshot(self) -> Any:
        return (VERSION, self._features.snapshot(), self._predictions.snapshot())

    def restore(self, snapshot: Any) -> None:
        version, features, predictions = snapshot
        assert version == VERSION, f"analysis state of version {version}, expected {VERSION}"
        self._features.restore(features)
        self._predictions.restore(predictions)
