"""The fused loop hands each stage exactly what the aligned topics would: what was decided comes back one tick later."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

from operators.trading_loop import Analysis, LearningLoop, TradingLoop
from schemas.records import (
    ACTIVE,
    BUY,
    DAY,
    MARKET,
    FeatureRow,
    NewsItem,
    Order,
    OrderProposal,
    Prediction,
    Record,
    RiskFence,
    SentimentScore,
    StrategyWeights,
)
from tests.unit.builders import bar, command, execution, refusal, signal


class Recorded:
    """A stage that notes what it is given and answers with what the test says."""

    def __init__(self, answer: Callable[[int], list[Any]] = lambda _ts_ns: []) -> None:
        self.given: list[tuple[int, list[Record]]] = []
        self._answer = answer

    def on_tick(self, ts_ns: int, records: Sequence[Record]) -> list[Record]:
        self.given.append((ts_ns, list(records)))
        return self._answer(ts_ns)

    def snapshot(self) -> Any:
        return (1, [ts_ns for ts_ns, _ in self.given])

    def restore(self, snapshot: Any) -> None:
        self.given = [(ts_ns, []) for ts_ns in snapshot[1]]


def idle() -> TradingLoop:
    return TradingLoop(Recorded(), Recorded(), Recorded())


def proposal(seq: int, ts_ns: int) -> OrderProposal:
    one = Decimal(1)
    return OrderProposal(seq, ts_ns, f"prop-{seq}", "A", BUY, one, MARKET, None, DAY, "test", one, "", [])


def order(seq: int, ts_ns: int) -> Order:
    return Order(seq, ts_ns, f"ord-{seq}", f"prop-{seq}", "A", BUY, Decimal(1), MARKET, None, DAY, 1, [])


NEWS = NewsItem("n-1", 5, 4, "test", "A beats", "", "", ["A"])
FENCE = RiskFence(2, 1, 1, ACTIVE, "", "c")


def test_each_stage_gets_its_inputs_in_the_order_of_the_topology() -> None:
    fill = execution(1, 1, "A", 1, 10.0)
    venue, books = Recorded(lambda _: [fill]), Recorded(lambda t: [proposal(t, t)])
    risk = Recorded(lambda t: [order(1, t), refusal(1, t, "A"), FENCE] if t == 1 else [])
    loop = TradingLoop(venue, books, risk)
    a_bar, a_signal, a_command = bar("A", 1, 1), signal("A", 1, 1), command("c", 1)

    out = loop.on_tick(1, [a_signal, a_bar, a_command])

    assert venue.given == [(1, [a_bar])]
    assert books.given == [(1, [fill, a_command, a_bar, a_signal])]
    assert risk.given == [(1, [fill, a_command, a_bar, proposal(1, 1)])]
    assert out == [fill, proposal(1, 1), order(1, 1), refusal(1, 1, "A"), FENCE]


def test_orders_fences_and_refusals_come_back_at_the_next_tick_and_once() -> None:
    venue, books = Recorded(), Recorded()
    risk = Recorded(lambda t: [order(1, t), refusal(1, t, "A"), FENCE] if t == 1 else [])
    loop = TradingLoop(venue, books, risk)
    for t in (1, 2, 3):
        loop.on_tick(t, [bar("A", t, t)])
    assert [records for _, records in venue.given] == [
        [bar("A", 1, 1)],
        [order(1, 1), FENCE, bar("A", 2, 2)],
        [bar("A", 3, 3)],
    ]
    assert [records for _, records in books.given] == [
        [bar("A", 1, 1)],
        [refusal(1, 1, "A"), bar("A", 2, 2)],
        [bar("A", 3, 3)],
    ]


def test_what_is_on_its_way_back_survives_a_restart() -> None:
    risk = Recorded(lambda t: [order(1, t), FENCE, refusal(1, t, "A")])
    before = TradingLoop(Recorded(), Recorded(), risk)
    before.on_tick(1, [])
    venue, books = Recorded(), Recorded()
    after = TradingLoop(venue, books, Recorded())
    after.restore(before.snapshot())
    after.on_tick(2, [])
    assert venue.given[-1] == (2, [order(1, 1), FENCE])
    assert books.given[-1] == (2, [refusal(1, 1, "A")])


def test_each_stage_gets_its_own_state_back() -> None:
    before = TradingLoop(Recorded(), Recorded(), Recorded())
    before.on_tick(1, [])
    stages = [Recorded(), Recorded(), Recorded()]
    after = TradingLoop(*stages)
    after.restore(before.snapshot())
    assert [stage.given for stage in stages] == [[(1, [])]] * 3


def test_an_empty_tick_reaches_every_stage() -> None:
    stages = [Recorded(), Recorded(), Recorded()]
    assert TradingLoop(*stages).on_tick(5, []) == []
    assert [stage.given for stage in stages] == [[(5, [])]] * 3


def test_a_venue_that_gives_anything_else_is_a_defect() -> None:
    loop = TradingLoop(Recorded(lambda t: [order(1, t)]), Recorded(), Recorded())
    try:
        loop.on_tick(1, [])
    except AssertionError as error:
        assert "reports and intents only" in str(error)
    else:
        raise AssertionError("an order from the venue went through")


def test_the_analysis_feeds_each_stage_with_what_the_one_before_gave_and_gives_it_all() -> None:
    row = FeatureRow("A", 1, 1, 1, 10.0, {})
    forecast = Prediction("A", 1, 1, "m", "0", "feat-A-1", 5, 0.0, 0.5, 0.0)
    features, predictions = Recorded(lambda t: [row]), Recorded(lambda t: [forecast])
    assert Analysis(features, predictions).on_tick(1, [bar("A", 1, 1)]) == [bar("A", 1, 1), row, forecast]
    assert predictions.given == [(1, [row])]


def test_weights_reach_the_signals_one_tick_later_and_survive_a_restart() -> None:
    weights = StrategyWeights(1, 1, {"ema_cross": 1.0}, {}, "test")
    signals = Recorded()
    loop = LearningLoop(Recorded(), signals, idle(), Recorded(lambda t: [weights] if t == 1 else []))
    loop.on_tick(1, [])
    again = LearningLoop(Recorded(), heard := Recorded(), idle(), Recorded())
    again.restore(loop.snapshot())
    loop.on_tick(2, [])
    loop.on_tick(3, [])
    again.on_tick(2, [])
    assert signals.given == [(1, []), (2, [weights]), (3, [])]
    assert heard.given[-1] == (2, [weights])


def test_each_stage_of_the_learning_loop_reads_its_topics_in_their_order() -> None:
    row, view, score = (
        FeatureRow("A", 1, 5, 1, 10.0, {}),
        signal("A", 1, 5),
        SentimentScore(1, 5, "A", "n-1", 0.5, 0.5, "lexicon", "v", "", {}),
    )
    sentiment, signals = Recorded(lambda t: [score]), Recorded(lambda t: [view])
    venue, books, feedback = Recorded(lambda t: [execution(1, t, "A", 1, 1.0)]), Recorded(), Recorded()
    trading = TradingLoop(venue, books, Recorded())
    given: list[Record] = [bar("A", 1, 5), NEWS, row]
    out = LearningLoop(sentiment, signals, trading, feedback).on_tick(5, given)
    assert sentiment.given == [(5, [given[1]])]
    assert signals.given == [(5, [row, score])]
    assert venue.given == [(5, [given[0]])]
    assert books.given == [(5, [execution(1, 5, "A", 1, 1.0), given[0], view])]
    assert feedback.given == [(5, [given[0], view, execution(1, 5, "A", 1, 1.0)])]
    assert out == [score, view, execution(1, 5, "A", 1, 1.0)]
