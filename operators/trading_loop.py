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
_NONE: list[Record] = []
_EXECUTION = frozenset({Execution, GatewayStatus, OrderIntent})
_LEARNT_FROM = ("executions", "positions", "valuations", "order-proposals")
"""What feedback reads of the trading loop, in the order of its inputs."""


class ByTopic:
    """The records of one tick, to be taken by topic, each topic in the order of the tick: a log keeps its order
    whatever types it holds.
    """

    __slots__ = ("_found",)

    def __init__(self, records: Sequence[Record]) -> None:
        found: dict[str, list[Record]] = {}
        for kind, run in groupby(records, type):
            topic = TOPIC_OF[kind]
            if topic in found:
                found[topic].extend(run)
            else:
                found[topic] = list(run)
        self._found = found

    def of(self, topic: str) -> list[Record]:
        """Not to be changed."""
        return self._found.get(topic, _NONE)

    def each(self, topics: Sequence[str]) -> list[Record]:
        """Topic after topic."""
        return [record for topic in topics if topic in self._found for record in self._found[topic]]


class TradingLoop:
    """Reads what traders' topics hold of a tick (quotes, reference data, broker updates, bars, commands, signals);
    gives Executions and intents, the books, Proposals, Orders and Refusals.
    """

    def __init__(self, execution: Stage, portfolio: Stage, risk: Stage) -> None:
        self._execution, self._portfolio, self._risk = execution, portfolio, risk
        self._orders: list[Record] = []
        self._refusals: list[Record] = []

    def on_tick(self, ts_ns: int, records: Sequence[Record]) -> list[Record]:
        given = ByTopic(records)
        return self.on_sorted(ts_ns, given, given.of("signals"))

    def on_sorted(self, ts_ns: int, given: ByTopic, signals: list[Record]) -> list[Record]:
        """One tick, of which the signals come apart from the rest."""
        bars, commands, reference = given.of("market-bars"), given.of("commands"), given.of("reference-data")
        told = given.of("market-quotes") + reference + given.of("broker-updates")
        done = self._execution.on_tick(ts_ns, self._orders + told + bars)
        assert all(type(record) in _EXECUTION for record in done), "execution gives reports and intents only"
        reports = [record for record in done if type(record) is not OrderIntent]
        books = self._portfolio.on_tick(ts_ns, self._refusals + reference + reports + commands + bars + signals)
        proposals: list[Record] = [record for record in books if type(record) is OrderProposal]
        decided = self._risk.on_tick(ts_ns, reference + reports + commands + bars + proposals)
        self._orders = [record for record in decided if type(record) in (Order, OrderCancel, RiskFence)]
        self._refusals = [record for record in decided if type(record) is OrderRefusal]
        return done + books + decided

    def snapshot(self) -> Any:
        waiting = [(type(record).__name__, tuple(record)) for record in self._orders + self._refusals]
        return (VERSION, waiting, self._execution.snapshot(), self._portfolio.snapshot(), self._risk.snapshot())

    def restore(self, snapshot: Any) -> None:
        version, waiting, execution, portfolio, risk = snapshot
        assert version == VERSION, f"trading loop state of version {version}, expected {VERSION}"
        kinds: dict[str, Any] = {kind.__name__: kind for kind in (Order, OrderCancel, RiskFence, OrderRefusal)}
        records = [kinds[name]._make(values) for name, values in waiting]
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

    def on_tick(self, ts_ns: int, records: Sequence[Record]) -> list[Record]:
        given = ByTopic(records)
        judged = self._sentiment.on_tick(ts_ns, given.of("llm-answers") + given.of("news"))
        scores: list[Record] = [record for record in judged if type(record) is SentimentScore]
        predictions = given.of("predictions")
        heard = self._weights + given.of("features") + predictions + given.of("fundamentals") + scores
        signals = self._signals.on_tick(ts_ns, heard)
        traded = self._trading.on_sorted(ts_ns, given, signals)
        seen = given.of("reference-data") + given.of("market-bars") + predictions + signals
        learnt = self._feedback.on_tick(ts_ns, seen + ByTopic(traded).each(_LEARNT_FROM))
        self._weights = [record for record in learnt if type(record) is StrategyWeights]
        return [*judged, *signals, *traded, *learnt]

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

    def on_tick(self, ts_ns: int, records: Sequence[Record]) -> list[Record]:
        rows = self._features.on_tick(ts_ns, records)
        return [*records, *rows, *self._predictions.on_tick(ts_ns, rows)]

    def snapshot(self) -> Any:
        return (VERSION, self._features.snapshot(), self._predictions.snapshot())

    def restore(self, snapshot: Any) -> None:
        version, features, predictions = snapshot
        assert version == VERSION, f"analysis state of version {version}, expected {VERSION}"
        self._features.restore(features)
        self._predictions.restore(predictions)
