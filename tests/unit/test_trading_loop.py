"""The fused loop passes each stage the inputs of the aligned topics. Feedback arrives one time slice later."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from operators.trading_loop import Analysis, LearningLoop, TradingLoop
from schemas.records import ACTIVE, Record, StrategyWeights
from tests.builders import (
    bar,
    command,
    execution,
    feature_row,
    fence,
    news_item,
    order,
    prediction,
    proposal,
    refusal,
    sentiment_score,
    signal,
)


class RecordingStage:
    """A stage that records its inputs and returns the output that the test defines."""

    def __init__(self, answer: Callable[[int], list[Any]] = lambda _ts_ns: []) -> None:
        self.inputs: list[tuple[int, list[Record]]] = []
        self._answer = answer

    def on_slice(self, ts_ns: int, records: Sequence[Record]) -> list[Record]:
        self.inputs.append((ts_ns, list(records)))
        return self._answer(ts_ns)

    def snapshot(self) -> Any:
        return (1, [ts_ns for ts_ns, _ in self.inputs])

    def restore(self, snapshot: Any) -> None:
        self.inputs = [(ts_ns, []) for ts_ns in snapshot[1]]


def idle_loop() -> TradingLoop:
    return TradingLoop(RecordingStage(), RecordingStage(), RecordingStage())


NEWS = news_item("n-1", 5)
FENCE = fence(2, epoch=1, state=ACTIVE, ts_ns=1)


def test_each_stage_gets_its_inputs_in_the_order_of_the_topology() -> None:
    fill = execution(1, 1, "A", 1, 10.0)
    venue, portfolio = RecordingStage(lambda _: [fill]), RecordingStage(lambda t: [proposal(seq=t, ts_ns=t)])
    risk = RecordingStage(lambda t: [order(1, ts_ns=t), refusal(1, t, "A"), FENCE] if t == 1 else [])
    loop = TradingLoop(venue, portfolio, risk)
    a_bar, a_signal, a_command = bar("A", 1, 1), signal("A", 1, 1), command("c", 1)

    output = loop.on_slice(1, [a_signal, a_bar, a_command])

    assert venue.inputs == [(1, [a_command, a_bar])]
    assert portfolio.inputs == [(1, [fill, a_command, a_bar, a_signal])]
    assert risk.inputs == [(1, [fill, a_command, a_bar, proposal(seq=1, ts_ns=1)])]
    assert output == [fill, proposal(seq=1, ts_ns=1), order(1, ts_ns=1), refusal(1, 1, "A"), FENCE]


def test_orders_fences_and_refusals_are_fed_back_once_at_the_next_slice() -> None:
    venue, portfolio = RecordingStage(), RecordingStage()
    risk = RecordingStage(lambda t: [order(1, ts_ns=t), refusal(1, t, "A"), FENCE] if t == 1 else [])
    loop = TradingLoop(venue, portfolio, risk)
    for t in (1, 2, 3):
        loop.on_slice(t, [bar("A", t, t)])
    assert [records for _, records in venue.inputs] == [
        [bar("A", 1, 1)],
        [order(1, ts_ns=1), FENCE, bar("A", 2, 2)],
        [bar("A", 3, 3)],
    ]
    assert [records for _, records in portfolio.inputs] == [
        [bar("A", 1, 1)],
        [refusal(1, 1, "A"), bar("A", 2, 2)],
        [bar("A", 3, 3)],
    ]


def test_pending_feedback_survives_a_restart() -> None:
    risk = RecordingStage(lambda t: [order(1, ts_ns=t), FENCE, refusal(1, t, "A")])
    before = TradingLoop(RecordingStage(), RecordingStage(), risk)
    before.on_slice(1, [])
    venue, portfolio = RecordingStage(), RecordingStage()
    after = TradingLoop(venue, portfolio, RecordingStage())
    after.restore(before.snapshot())
    after.on_slice(2, [])
    assert venue.inputs[-1] == (2, [order(1, ts_ns=1), FENCE])
    assert portfolio.inputs[-1] == (2, [refusal(1, 1, "A")])


def test_each_stage_gets_its_own_state_back() -> None:
    before = TradingLoop(RecordingStage(), RecordingStage(), RecordingStage())
    before.on_slice(1, [])
    stages = RecordingStage(), RecordingStage(), RecordingStage()
    after = TradingLoop(*stages)
    after.restore(before.snapshot())
    assert [stage.inputs for stage in stages] == [[(1, [])]] * 3


def test_an_empty_slice_reaches_every_stage() -> None:
    stages = RecordingStage(), RecordingStage(), RecordingStage()
    assert TradingLoop(*stages).on_slice(5, []) == []
    assert [stage.inputs for stage in stages] == [[(5, [])]] * 3


def test_unexpected_venue_output_is_an_assertion_error() -> None:
    loop = TradingLoop(RecordingStage(lambda t: [order(1, ts_ns=t)]), RecordingStage(), RecordingStage())
    with pytest.raises(AssertionError, match="reports, transfers and intents only"):
        loop.on_slice(1, [])


def test_analysis_passes_each_output_to_the_next_stage_and_returns_all() -> None:
    row = feature_row("A", 1, 1)
    forecast = prediction("A", 1, 1)
    features, predictions = RecordingStage(lambda t: [row]), RecordingStage(lambda t: [forecast])
    assert Analysis(features, predictions).on_slice(1, [bar("A", 1, 1)]) == [bar("A", 1, 1), row, forecast]
    assert predictions.inputs == [(1, [row])]


def test_a_loop_without_feedback_has_the_other_records_and_restores_a_snapshot_with_it() -> None:
    weights = StrategyWeights(seq=1, ts_ns=1, weights={"ema_cross": 1.0}, scores={}, reason="test")
    feedback = RecordingStage(lambda t: [weights])
    full = LearningLoop(RecordingStage(), RecordingStage(), idle_loop(), feedback)
    reduced = LearningLoop(RecordingStage(), RecordingStage(), idle_loop(), None)
    assert full.on_slice(1, []) == [*reduced.on_slice(1, []), weights]
    reduced.restore(full.snapshot())
    full.restore(reduced.snapshot())
    assert len(feedback.inputs) == 1


def test_weights_reach_the_signals_one_slice_later_and_survive_a_restart() -> None:
    weights = StrategyWeights(seq=1, ts_ns=1, weights={"ema_cross": 1.0}, scores={}, reason="test")
    signals = RecordingStage()
    loop = LearningLoop(RecordingStage(), signals, idle_loop(), RecordingStage(lambda t: [weights] if t == 1 else []))
    loop.on_slice(1, [])
    restored = LearningLoop(RecordingStage(), restored_signals := RecordingStage(), idle_loop(), RecordingStage())
    restored.restore(loop.snapshot())
    loop.on_slice(2, [])
    loop.on_slice(3, [])
    restored.on_slice(2, [])
    assert signals.inputs == [(1, []), (2, [weights]), (3, [])]
    assert restored_signals.inputs[-1] == (2, [weights])


def test_each_stage_of_the_learning_loop_reads_its_topics_in_their_order() -> None:
    row, view, score = feature_row("A", 1, 5), signal("A", 1, 5), sentiment_score(1, 5, "A")
    sentiment, signals = RecordingStage(lambda t: [score]), RecordingStage(lambda t: [view])
    venue, portfolio, feedback = (
        RecordingStage(lambda t: [execution(1, t, "A", 1, 1.0)]),
        RecordingStage(),
        RecordingStage(),
    )
    trading = TradingLoop(venue, portfolio, RecordingStage())
    records: list[Record] = [bar("A", 1, 5), NEWS, row]
    output = LearningLoop(sentiment, signals, trading, feedback).on_slice(5, records)
    assert sentiment.inputs == [(5, [records[1]])]
    assert signals.inputs == [(5, [row, score])]
    assert venue.inputs == [(5, [records[0]])]
    assert portfolio.inputs == [(5, [execution(1, 5, "A", 1, 1.0), records[0], view])]
    assert feedback.inputs == [(5, [records[0], view, execution(1, 5, "A", 1, 1.0)])]
    assert output == [score, view, execution(1, 5, "A", 1, 1.0)]
