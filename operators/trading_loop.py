"""The platform's feedback loops in one process: the inner loop trades, the outer loop learns strategy weights.

In each time slice, every stage receives the same records as from the aligned topics when it runs as a separate service:
orders, refusals and weights arrive one time slice later (`operators/alignment.py`). The fused backtest and replays use
these loops. A test verifies that the staged services make the same decisions.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby, takewhile
from typing import Any, Protocol

from operators.stage import Stage
from schemas.records import (
    TOPIC_OF,
    CashTransfer,
    Execution,
    GatewayStatus,
    HandlerTimeout,
    InternalCross,
    Order,
    OrderCancel,
    OrderIntent,
    OrderProposal,
    OrderRefusal,
    Record,
    RiskEvent,
    RiskFence,
    SentimentScore,
    Signal,
    StrategySuspension,
    StrategyWeights,
    TargetReduction,
    Valuation,
)
from schemas.records.flat import from_stored, to_flat

VERSION = 1
STRATEGIES_VERSION = 2
"""Version of the snapshot of a trading loop with trading strategies. Without them, the version is 1."""
LEARNING_VERSION = 2
_NO_RECORDS: list[Record] = []
_EXECUTION_TYPES = frozenset({Execution, GatewayStatus, CashTransfer, OrderIntent})
_ORDER_TYPES = (Order, OrderCancel, RiskFence)
_PROPOSAL_TYPES = (OrderProposal, InternalCross, TargetReduction)
_OTHER_FEEDBACK_TYPES = (OrderRefusal, Valuation, *_PROPOSAL_TYPES, RiskEvent)
_ANALYSIS = ("features", "predictions", "fundamentals")
_FEEDBACK_TOPICS = ("strategy-actions", "executions", "positions", "valuations", "order-proposals")
"""Outputs of the trading loop that the feedback stage reads, in the order of its inputs."""


class RecordsByTopic:
    """The records of one time slice, grouped by topic. The records of a topic keep their order."""

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
        """Return the records of a topic. The caller must not change the list."""
        return self._by_topic.get(topic, _NO_RECORDS)

    def records_in_order(self, topics: Sequence[str]) -> list[Record]:
        """Return the records of all `topics`, one topic after the other."""
        return [record for topic in topics if topic in self._by_topic for record in self._by_topic[topic]]


class StrategiesStage(Stage, Protocol):
    """The stage of the trading strategies."""

    @property
    def event_topics(self) -> Sequence[str]:
        """The topics that the stage needs only for events, and bars of trades, that strategies declare."""
        ...


class TradingLoop:
    """The execution, trading strategies, portfolio and risk stages in one loop.

    Orders, refusals, valuations and (for the strategies) proposals, reduced targets and risk events reach their readers
    one time slice later. Inputs: quotes, reference data, broker updates, bars, commands and signals of a time slice;
    with trading strategies also trades, feature rows, predictions, fundamentals, sentiment scores and headlines.
    Outputs: the records of the stages, in the order execution, strategies, portfolio, risk. `strategies` is None if
    there are no trading strategies.
    """

    def __init__(
        self, execution: Stage, portfolio: Stage, risk: Stage, strategies: StrategiesStage | None = None
    ) -> None:
        self._execution, self._portfolio, self._risk, self._strategies = execution, portfolio, risk, strategies
        self._event_topics = () if strategies is None else tuple(strategies.event_topics)
        self._orders: list[Record] = []
        self._valuations: list[Record] = []
        self._refusals: list[Record] = []
        self._proposals: list[Record] = []
        self._risk_events: list[Record] = []

    def on_slice(self, ts_ns: int, records: Sequence[Record]) -> list[Record]:
        by_topic = RecordsByTopic(records)
        return self.on_sorted_slice(ts_ns, by_topic, by_topic.records_of("signals"), by_topic.records_of("sentiment"))

    def on_sorted_slice(
        self, ts_ns: int, by_topic: RecordsByTopic, signals: list[Record], scores: list[Record] = _NO_RECORDS
    ) -> list[Record]:
        """Process one time slice whose records are already grouped by topic, with its signals and scores separate."""
        bars, commands, reference = (
            by_topic.records_of("market-bars"),
            by_topic.records_of("commands"),
            by_topic.records_of("reference-data"),
        )
        market_inputs = by_topic.records_of("market-quotes") + reference + by_topic.records_of("broker-updates")
        executed = self._execution.on_slice(ts_ns, self._orders + self._valuations + commands + market_inputs + bars)
        assert all(type(record) in _EXECUTION_TYPES for record in executed), (
            "expected reports, transfers and intents only"
        )
        reports = [record for record in executed if type(record) is not OrderIntent]
        actions = _NO_RECORDS
        if self._strategies is not None:
            fed_back = (
                by_topic.records_of("handler-timeouts")
                + self._refusals
                + self._orders
                + self._proposals
                + self._risk_events
            )
            history = by_topic.records_of("history-bars")
            current = (
                by_topic.records_of("configuration")
                + reference
                + reports
                + commands
                + history
                + bars
                + by_topic.records_in_order(_ANALYSIS)
                + scores
            )
            current += by_topic.records_in_order(self._event_topics)
            actions = self._strategies.on_slice(ts_ns, fed_back + current)
        booked = self._portfolio.on_slice(
            ts_ns, self._refusals + reference + reports + commands + bars + signals + actions
        )
        proposals = [record for record in booked if type(record) in _PROPOSAL_TYPES]
        decisions = self._risk.on_slice(ts_ns, reference + reports + commands + bars + proposals + actions)
        if self._strategies is not None:
            self._proposals = proposals
            self._risk_events = [record for record in decisions if type(record) is RiskEvent]
        self._valuations = [record for record in booked if type(record) is Valuation]
        self._orders = [record for record in decisions if type(record) in _ORDER_TYPES]
        self._refusals = [record for record in decisions if type(record) is OrderRefusal]
        return executed + actions + booked + decisions

    def snapshot(self) -> Any:
        records = self._orders + self._refusals + self._valuations + self._proposals + self._risk_events
        pending = [(type(record).__name__, tuple(to_flat(record))) for record in records]
        stages = (self._execution.snapshot(), self._portfolio.snapshot(), self._risk.snapshot())
        if self._strategies is None:
            return (VERSION, pending, *stages)
        return (STRATEGIES_VERSION, pending, *stages, self._strategies.snapshot())

    def restore(self, snapshot: Any) -> None:
        """Restore a snapshot. In one without trading strategies, the strategies of this loop start afresh."""
        version, pending, execution, portfolio, risk, *strategies = snapshot
        assert version in (VERSION, STRATEGIES_VERSION), (
            f"trading loop snapshot: version {version}, expected {VERSION} or {STRATEGIES_VERSION}"
        )
        kinds: dict[str, Any] = {kind.__name__: kind for kind in (*_ORDER_TYPES, *_OTHER_FEEDBACK_TYPES)}
        records = [from_stored(kinds[name], values) for name, values in pending]
        self._orders = [record for record in records if type(record) in _ORDER_TYPES]
        self._valuations = [record for record in records if type(record) is Valuation]
        self._refusals = [record for record in records if type(record) is OrderRefusal]
        self._proposals, self._risk_events = [], []
        if self._strategies is not None:
            self._proposals = [record for record in records if type(record) in _PROPOSAL_TYPES]
            self._risk_events = [record for record in records if type(record) is RiskEvent]
            for state in strategies:
                self._strategies.restore(state)
        self._execution.restore(execution)
        self._portfolio.restore(portfolio)
        self._risk.restore(risk)


class LearningLoop:
    """The sentiment and signals stages, the trading loop and the feedback stage in one loop.

    The weights of the feedback stage and the suspensions of strategies reach the signals stage one time slice later.
    Inputs: external records, feature rows and predictions of a time slice. Outputs: the records of all stages.
    `feedback` is None if neither the signals stage nor a reader of the outputs needs its records.
    """

    def __init__(self, sentiment: Stage, signals: Stage, trading: TradingLoop, feedback: Stage | None) -> None:
        self._sentiment, self._signals, self._trading, self._feedback = sentiment, signals, trading, feedback
        self._weights: list[Record] = []
        self._suspensions: list[Record] = []

    def on_slice(self, ts_ns: int, records: Sequence[Record]) -> list[Record]:
        by_topic = RecordsByTopic(records)
        sentiment_out = self._sentiment.on_slice(
            ts_ns, by_topic.records_of("llm-answers") + by_topic.records_of("news")
        )
        scores: list[Record] = [record for record in sentiment_out if type(record) is SentimentScore]
        predictions = by_topic.records_of("predictions")
        signal_inputs = (
            by_topic.records_of("handler-timeouts")
            + self._weights
            + self._suspensions
            + by_topic.records_of("configuration")
            + by_topic.records_of("commands")
            + by_topic.records_of("features")
            + predictions
            + by_topic.records_of("fundamentals")
            + scores
        )
        signals_out = self._signals.on_slice(ts_ns, signal_inputs)
        self._suspensions = [record for record in signals_out if type(record) is StrategySuspension]
        signals = signals_out
        if self._suspensions:
            signals = [record for record in signals_out if type(record) is Signal]
        trading_out = self._trading.on_sorted_slice(ts_ns, by_topic, signals, scores)
        if self._feedback is None:
            return [*sentiment_out, *signals_out, *trading_out]
        feedback_inputs = (
            by_topic.records_of("reference-data") + by_topic.records_of("market-bars") + predictions + signals
        )
        feedback_out = self._feedback.on_slice(
            ts_ns, feedback_inputs + RecordsByTopic(trading_out).records_in_order(_FEEDBACK_TOPICS)
        )
        self._weights = [record for record in feedback_out if type(record) is StrategyWeights]
        return [*sentiment_out, *signals_out, *trading_out, *feedback_out]

    def snapshot(self) -> Any:
        stages = (self._sentiment, self._signals, self._trading, self._feedback)
        feedback_records = (
            [tuple(record) for record in self._weights],
            [tuple(record) for record in self._suspensions],
        )
        states = (None if stage is None else stage.snapshot() for stage in stages)
        return (LEARNING_VERSION, *feedback_records, *states)

    def restore(self, snapshot: Any) -> None:
        version, weights, *states = snapshot
        assert version in (1, LEARNING_VERSION), (
            f"learning loop snapshot: version {version}, expected {LEARNING_VERSION}"
        )
        suspensions = states.pop(0) if version == LEARNING_VERSION else []
        self._weights = [StrategyWeights._make(values) for values in weights]
        self._suspensions = [StrategySuspension._make(values) for values in suspensions]
        stages = (self._sentiment, self._signals, self._trading, self._feedback)
        for stage, state in zip(stages, states, strict=True):
            if stage is not None and state is not None:
                stage.restore(state)


class Analysis:
    """The features and predictions stages of one shard. Returns the inputs, then feature rows and predictions."""

    def __init__(self, features: Stage, predictions: Stage) -> None:
        self._features, self._predictions = features, predictions

    def on_slice(self, ts_ns: int, records: Sequence[Record]) -> list[Record]:
        rows = self._features.on_slice(ts_ns, records)
        timeouts = takewhile(lambda record: type(record) is HandlerTimeout, records)
        return [*records, *rows, *self._predictions.on_slice(ts_ns, [*timeouts, *rows])]

    def snapshot(self) -> Any:
        return (VERSION, self._features.snapshot(), self._predictions.snapshot())

    def restore(self, snapshot: Any) -> None:
        version, features, predictions = snapshot
        assert version == VERSION, f"analysis snapshot: version {version}, expected {VERSION}"
        self._features.restore(features)
        self._predictions.restore(predictions)
