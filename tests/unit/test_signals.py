from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.strategies import feature_specs
from operators.features import FeatureStage
from operators.signals import SignalStage
from operators.strategies import View
from operators.strategies.buy_and_hold import BuyAndHold
from operators.strategies.ema_cross import EmaCross
from schemas.errors import BadInput
from schemas.records import FeatureRow, Fundamentals, Prediction, SentimentScore, Signal
from tests.unit.test_features import MINUTE, SYMBOLS, ticks_of


class Said:
    """Says what it was told to, row by row; its state is the number of rows it has seen."""

    features: tuple[str, ...] = ()

    def __init__(self, views: Sequence[View | None], name: str = "said") -> None:
        self.views = views
        self.name = name

    def decide(self, row: FeatureRow, state: Any) -> tuple[Any, View | None]:
        seen = state or 0
        return seen + 1, self.views[seen]


def view(direction: int, strength: float = 1.0, confidence: float = 1.0) -> View:
    return View(direction, strength, confidence, {"ema_3": 7.0})


def row(seq: int, symbol: str = "AAPL") -> FeatureRow:
    return FeatureRow(symbol, seq, seq * MINUTE, seq + 5, 100.0 + seq, {})


def signals_of(views: Sequence[View | None]) -> list[Any]:
    stage = SignalStage([Said(views)])
    return [one for seq in range(1, len(views) + 1) for one in stage.on_tick(seq * MINUTE, [row(seq)])]


def test_a_signal_says_what_it_rests_on() -> None:
    assert signals_of([None, view(1, 0.5, 0.25)]) == [
        Signal("AAPL", 1, 2 * MINUTE, "said", 1, 0.5, 0.25, 102.0, "feat-AAPL-2", {"ema_3": 7.0})
    ]
    assert signals_of([view(1)])[0].cause_ids == []


@pytest.mark.parametrize(
    ("views", "given_out"),
    [
        ([None, None], []),
        ([view(1), view(1), view(1)], [1]),
        ([view(1), None, view(1)], [1]),
        ([view(1), view(0, 0.0), view(1)], [1, 0, 1]),
        ([view(1, 0.5), view(1, 0.6), view(1, 0.6)], [1, 1]),
        ([view(1, 1.0, 0.5), view(1, 1.0, 0.9)], [1]),  # confidence alone changes no view
        ([view(0, 0.0), view(0, 0.0), view(-1)], [-1]),  # out of it is where everyone starts
    ],
)
def test_only_a_change_of_direction_or_strength_is_a_signal(views: list[View | None], given_out: list[int]) -> None:
    signals = signals_of(views)
    assert [one.direction for one in signals] == given_out
    assert [one.seq for one in signals] == list(range(1, len(given_out) + 1))


def test_seq_counts_over_all_strategies_of_a_symbol_in_the_order_of_the_settings() -> None:
    stage = SignalStage([Said([view(1), view(0, 0.0)], "b"), Said([view(-1), view(1)], "a")])
    got: list[Any] = []
    for seq in (1, 2):
        got += stage.on_tick(seq * MINUTE, [row(seq, "AAPL"), row(seq, "MSFT")])
    assert [(one.symbol, one.seq, one.strategy, one.direction) for one in got] == [
        ("AAPL", 1, "b", 1), ("AAPL", 2, "a", -1), ("MSFT", 1, "b", 1), ("MSFT", 2, "a", -1),
        ("AAPL", 3, "b", 0), ("AAPL", 4, "a", 1), ("MSFT", 3, "b", 0), ("MSFT", 4, "a", 1),
    ]  # fmt: skip


def test_a_signal_keeps_its_parts_when_the_strategy_reuses_its_dict() -> None:
    parts = {"x": 1.0}
    stage = SignalStage([Said([View(1, 1.0, 1.0, parts)])])
    (signal,) = stage.on_tick(MINUTE, [row(1)])
    parts["x"] = 2.0
    assert isinstance(signal, Signal) and signal.parts == {"x": 1.0}


@pytest.mark.parametrize("wrong", [view(2), view(1, 1.5), view(1, -0.1), view(1, float("nan")), view(1, 1.0, 2.0)])
def test_a_view_out_of_range_is_refused_with_the_strategys_name(wrong: View) -> None:
    with pytest.raises(BadInput, match="strategy said on AAPL: direction must be -1, 0 or 1"):
        signals_of([wrong])


def test_two_strategies_of_one_name_are_refused() -> None:
    with pytest.raises(BadInput, match="two strategies are called ema_cross"):
        SignalStage([EmaCross(), EmaCross(fast=5)])


class Reader(Said):
    """Says what it was told to, record by record, of whatever it reads."""

    def __init__(self, views: Sequence[View | None], reads: tuple[type, ...], name: str = "reader") -> None:
        super().__init__(views, name)
        self.reads = reads


def score(seq: int, symbol: str = "AAPL", minute: int = 1) -> SentimentScore:
    return SentimentScore(seq, minute * MINUTE, symbol, f"news-{seq}", 0.5, 0.5, "lexicon", "v", "", {})


def figures(number: int, symbol: str = "AAPL") -> Fundamentals:
    return Fundamentals(f"fund-{number}", 987, symbol, 20240331, 20240501, "10-Q", "file:x", {}, {"roe": 0.1}, "USD")


def forecast(seq: int, symbol: str = "AAPL") -> Prediction:
    return Prediction(symbol, seq, seq * MINUTE, "gb", "hash", f"feat-{symbol}-{seq}", 10, 0.01, 0.6, 0.0)


def test_a_signal_names_the_record_it_rests_on_and_the_last_rows_price() -> None:
    stage = SignalStage([Reader([view(1), view(0, 0.0), view(-1)], (Prediction, Fundamentals, SentimentScore))])
    assert stage.on_tick(2 * MINUTE, [row(2), forecast(2)]) == [
        Signal("AAPL", 1, 2 * MINUTE, "reader", 1, 1.0, 1.0, 102.0, "feat-AAPL-2", {"ema_3": 7.0}, ["pred-AAPL-2"])
    ]
    (of_figures,) = stage.on_tick(3 * MINUTE, [figures(7)])
    assert of_figures == Signal(
        "AAPL", 2, 3 * MINUTE, "reader", 0, 0.0, 1.0, 102.0, "feat-AAPL-2", {"ema_3": 7.0}, ["fund-7"]
    )
    (of_score,) = stage.on_tick(4 * MINUTE, [row(4), score(9, minute=4)])
    assert isinstance(of_score, Signal) and (of_score.price, of_score.cause_ids) == (104.0, ["sent-9"])


def test_a_strategy_may_name_its_causes_itself() -> None:
    one = View(1, 1.0, 1.0, {}, ("fund-1", "sent-2"))
    stage = SignalStage([Reader([None, one], (FeatureRow, SentimentScore))])
    (signal,) = stage.on_tick(MINUTE, [row(1), score(3)])
    assert isinstance(signal, Signal) and signal.cause_ids == ["fund-1", "sent-2"]


def test_what_came_before_a_symbols_first_price_is_taken_up_with_it() -> None:
    stage = SignalStage([Reader([None, view(1)], (SentimentScore, Fundamentals))])
    assert stage.on_tick(MINUTE, [figures(1), score(1), score(2), score(3, "MSFT")]) == []
    again = SignalStage([Reader([None, view(1)], (SentimentScore, Fundamentals))])
    again.restore(stage.snapshot())
    for one in (stage, again):
        (signal,) = one.on_tick(2 * MINUTE, [row(2)])
        assert isinstance(signal, Signal) and (signal.cause_ids, signal.ts_ns) == (["sent-2"], 2 * MINUTE)
        assert one.on_tick(3 * MINUTE, [row(3)]) == []


def test_symbols_of_other_shards_make_no_signal_and_no_growing_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("operators.signals.stage.KEPT_MAX", 5)
    stage = SignalStage([Reader([view(1)] * 100, (SentimentScore,))])
    for seq in range(1, 50):
        assert stage.on_tick(seq * MINUTE, [score(seq, f"S{seq}")]) == []
    _, symbols, waiting, *_ = stage.snapshot()
    assert symbols == {} and [values[2] for _, values in waiting] == ["S45", "S46", "S47", "S48", "S49"]


def test_a_filing_that_comes_again_behind_a_newer_one_is_not_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the feed was killed and writes what it wrote once more."""
    monkeypatch.setattr("operators.signals.stage.FILINGS_KNOWN", 5)
    views = [view(1), view(0, 0.0), view(-1), view(1)]
    stage = SignalStage([Reader(views, (Fundamentals,))])
    assert len(stage.on_tick(MINUTE, [row(1), figures(1)])) == 1
    assert len(stage.on_tick(2 * MINUTE, [figures(2), figures(1), figures(2)])) == 1
    again = SignalStage([Reader([*views, *[None] * 20], (Fundamentals,))])
    again.restore(stage.snapshot())
    assert again.on_tick(3 * MINUTE, [figures(1)]) == []
    (heard,) = again.on_tick(4 * MINUTE, [figures(3)])
    assert isinstance(heard, Signal) and heard.cause_ids == ["fund-3"]
    for number in range(10, 20):
        again.on_tick(number * MINUTE, [figures(number)])
    assert len(again.snapshot()[4]) == 5
    before = again.snapshot()[:4]
    SignalStage([Reader(views, (Fundamentals,))]).restore(before)


def test_what_a_symbol_waits_for_does_not_depend_on_the_other_symbols_of_the_shard() -> None:
    """A late row in a whole market, and in a shard of its own."""
    heard = [score(1, "B"), score(2, "A"), figures(3, "B"), score(4, "C")]
    ticks: list[list[Any]] = [
        [row(1, "A"), *heard],
        [row(2, "A")],
        [row(3, "A"), row(3, "B"), score(5, "B")],
        [row(4, "C")],
    ]

    def run_with(symbols: str) -> list[Any]:
        stage = SignalStage([Reader([view(1), view(0, 0.0), view(1)], (SentimentScore, Fundamentals))])
        out: list[Any] = []
        for minute, tick in enumerate(ticks, 1):
            mine = [one for one in tick if type(one) is not FeatureRow or one.symbol in symbols]
            out += stage.on_tick(minute * MINUTE, mine)
        return out

    whole = run_with("ABC")
    assert [one.symbol for one in whole] == ["A", "B", "B", "B", "C"]
    for symbol in "ABC":
        assert run_with(symbol) == [one for one in whole if one.symbol == symbol]


def test_signals_of_a_tick_stand_as_their_topic_gives_them() -> None:
    stage = SignalStage([Reader([view(1), view(0, 0.0)], (FeatureRow, Prediction))])
    got: list[Any] = stage.on_tick(MINUTE, [row(1, "A"), row(1, "B"), forecast(1, "A"), forecast(1, "B")])
    assert [(one.symbol, one.seq) for one in got] == [("A", 1), ("A", 2), ("B", 1), ("B", 2)]


def test_a_snapshot_of_the_first_version_goes_on_with_the_next_row() -> None:
    stage = SignalStage([Reader([None, None, None, view(0, 0.0)], (FeatureRow, SentimentScore))])
    stage.restore((1, {"AAPL": (7, {"reader": (2, 1, 1.0)})}))
    assert stage.on_tick(MINUTE, [score(1)]) == []
    (signal,) = stage.on_tick(2 * MINUTE, [row(2)])
    assert isinstance(signal, Signal) and (signal.seq, signal.cause_ids, signal.price) == (8, ["sent-1"], 102.0)


STRATEGIES = (EmaCross(fast=2, slow=4, rsi_period=3, rsi_max=95.0), BuyAndHold())


def tape() -> list[list[Any]]:
    features = FeatureStage(feature_specs(STRATEGIES))
    return [list(features.on_tick(tick[0].ts_ns, tick)) for tick in ticks_of(60)]


def run(stage: SignalStage, ticks: list[list[Any]]) -> list[Any]:
    return [one for tick in ticks for one in stage.on_tick(tick[0].ts_ns, tick)]


def test_a_restart_after_any_tick_changes_no_signal_and_the_snapshot_stays_as_it_was() -> None:
    ticks = tape()
    stage = SignalStage(STRATEGIES)
    expected = [stage.on_tick(tick[0].ts_ns, tick) for tick in ticks]
    assert sum(map(len, expected)) > 20
    stage = SignalStage(STRATEGIES)
    for cut, tick in enumerate(ticks):
        snapshot = stage.snapshot()
        text = repr(snapshot)
        restored = SignalStage(STRATEGIES)
        restored.restore(snapshot)
        assert run(restored, ticks[cut:]) == [one for some in expected[cut:] for one in some]
        stage.on_tick(tick[0].ts_ns, tick)
        assert repr(snapshot) == text


def test_a_strategy_added_to_the_settings_starts_afresh_and_the_others_go_on() -> None:
    ticks = tape()
    before = SignalStage(STRATEGIES[:1])
    run(before, ticks[:30])
    after = SignalStage((STRATEGIES[1], STRATEGIES[0]))
    after.restore(before.snapshot())
    got = run(after, ticks[30:])
    alone = SignalStage(STRATEGIES[:1])
    rest = run(alone, ticks)[-len([one for one in got if one.strategy == "ema_cross"]) :]
    key = [(one.symbol, one.ts_ns, one.direction) for one in got if one.strategy == "ema_cross"]
    assert key == [(one.symbol, one.ts_ns, one.direction) for one in rest]
    assert [one.symbol for one in got if one.strategy == "buy_and_hold"] == list(SYMBOLS)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 11), min_size=1, max_size=10))
def test_signals_do_not_depend_on_how_rows_are_batched(sizes: list[int]) -> None:
    ticks = tape()
    rows = [one for tick in ticks for one in tick]
    stage = SignalStage(STRATEGIES)
    got: list[Any] = []
    place = turn = 0
    while place < len(rows):
        size = sizes[turn % len(sizes)]
        got += stage.on_tick(rows[place].ts_ns, rows[place : place + size])
        place, turn = place + size, turn + 1
    assert got == run(SignalStage(STRATEGIES), ticks)


def test_an_empty_tick_gives_nothing_and_a_snapshot_to_come_stops_the_worker() -> None:
    stage = SignalStage(STRATEGIES)
    assert stage.on_tick(MINUTE, []) == []
    with pytest.raises(AssertionError, match="version 99"):
        stage.restore((99, {}))
