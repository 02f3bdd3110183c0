from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.strategies import feature_specs
from operators.features import FeatureStage
from operators.signals import SignalStage
from operators.strategies import TargetView
from operators.strategies.buy_and_hold import BuyAndHold
from operators.strategies.ema_cross import EmaCross
from schemas.errors import BadInput
from schemas.records import FeatureRow, Fundamentals, HistoryRow, Prediction, SentimentScore, Signal
from tests.builders import feature_row, fundamentals, prediction, sentiment_score
from tests.unit.test_features import MINUTE_NS, SYMBOLS, bars_by_minute


class ScriptedStrategy:
    """A strategy that returns the given views row by row. Its state is the number of rows it has processed."""

    features: tuple[str, ...] = ()

    def __init__(self, views: Sequence[TargetView | None], name: str = "scripted") -> None:
        self.views = views
        self.name = name

    def decide(self, row: FeatureRow, state: Any) -> tuple[Any, TargetView | None]:
        count = state or 0
        return count + 1, self.views[count]


def view(direction: int, strength: float = 1.0, confidence: float = 1.0) -> TargetView:
    return TargetView(direction, strength, confidence, {"ema_3": 7.0})


def row(seq: int, symbol: str = "AAPL") -> FeatureRow:
    return feature_row(symbol, seq, seq * MINUTE_NS, 100.0 + seq, bar_seq=seq + 5)


def signals_of(views: Sequence[TargetView | None]) -> list[Any]:
    stage = SignalStage([ScriptedStrategy(views)])
    return [one for seq in range(1, len(views) + 1) for one in stage.on_slice(seq * MINUTE_NS, [row(seq)])]


def test_signal_contains_its_inputs() -> None:
    assert signals_of([None, view(1, 0.5, 0.25)]) == [
        Signal(
            symbol="AAPL",
            seq=1,
            ts_ns=2 * MINUTE_NS,
            strategy="scripted",
            direction=1,
            strength=0.5,
            confidence=0.25,
            price=102.0,
            feature_id="feat-AAPL-2",
            parts={"ema_3": 7.0},
        )
    ]
    assert signals_of([view(1)])[0].cause_ids == []


@pytest.mark.parametrize(
    ("views", "directions"),
    [
        ([None, None], []),
        ([view(1), view(1), view(1)], [1]),
        ([view(1), None, view(1)], [1]),
        ([view(1), view(0, 0.0), view(1)], [1, 0, 1]),
        ([view(1, 0.5), view(1, 0.6), view(1, 0.6)], [1, 1]),
        ([view(1, 1.0, 0.5), view(1, 1.0, 0.9)], [1]),  # a change of confidence alone is no signal
        ([view(0, 0.0), view(0, 0.0), view(-1)], [-1]),  # a strategy starts flat, so a first flat view is no signal
    ],
)
def test_only_a_change_of_direction_or_strength_is_a_signal(
    views: list[TargetView | None], directions: list[int]
) -> None:
    signals = signals_of(views)
    assert [one.direction for one in signals] == directions
    assert [one.seq for one in signals] == list(range(1, len(directions) + 1))


def test_seq_counts_over_all_strategies_of_a_symbol_in_the_order_of_the_settings() -> None:
    stage = SignalStage([ScriptedStrategy([view(1), view(0, 0.0)], "b"), ScriptedStrategy([view(-1), view(1)], "a")])
    signals: list[Any] = []
    for seq in (1, 2):
        signals += stage.on_slice(seq * MINUTE_NS, [row(seq, "AAPL"), row(seq, "MSFT")])
    assert [(one.symbol, one.seq, one.strategy, one.direction) for one in signals] == [
        ("AAPL", 1, "b", 1), ("AAPL", 2, "a", -1), ("MSFT", 1, "b", 1), ("MSFT", 2, "a", -1),
        ("AAPL", 3, "b", 0), ("AAPL", 4, "a", 1), ("MSFT", 3, "b", 0), ("MSFT", 4, "a", 1),
    ]  # fmt: skip


def test_a_signal_keeps_its_parts_when_the_strategy_reuses_its_dict() -> None:
    parts = {"x": 1.0}
    stage = SignalStage([ScriptedStrategy([TargetView(1, 1.0, 1.0, parts)])])
    (signal,) = stage.on_slice(MINUTE_NS, [row(1)])
    parts["x"] = 2.0
    assert isinstance(signal, Signal) and signal.parts == {"x": 1.0}


@pytest.mark.parametrize(
    "invalid_view", [view(2), view(1, 1.5), view(1, -0.1), view(1, float("nan")), view(1, 1.0, 2.0)]
)
def test_view_out_of_range_suspends_the_strategy(invalid_view: TargetView) -> None:
    (suspension,) = signals_of([invalid_view])
    assert (suspension.strategy, suspension.state, suspension.error_type) == ("scripted", "SUSPENDED", "BadInput")
    assert suspension.message.startswith("strategy scripted on AAPL: direction must be -1, 0 or 1")


def test_duplicate_strategy_names_are_rejected() -> None:
    with pytest.raises(BadInput, match="two strategies have the name ema_cross"):
        SignalStage([EmaCross(), EmaCross(fast=5)])


class ScriptedReader(ScriptedStrategy):
    """A strategy that returns the given views, one per record of the types in `reads`."""

    def __init__(self, views: Sequence[TargetView | None], reads: tuple[type, ...], name: str = "reader") -> None:
        super().__init__(views, name)
        self.reads = reads


def score(seq: int, symbol: str = "AAPL", minute: int = 1) -> SentimentScore:
    return sentiment_score(seq, minute * MINUTE_NS, symbol)


def figures(number: int, symbol: str = "AAPL") -> Fundamentals:
    return fundamentals(f"fund-{number}", 987, symbol, ratios={"roe": 0.1})


def forecast(seq: int, symbol: str = "AAPL") -> Prediction:
    return prediction(symbol, seq, seq * MINUTE_NS)


def test_signal_names_its_cause_and_the_last_rows_price() -> None:
    stage = SignalStage([ScriptedReader([view(1), view(0, 0.0), view(-1)], (Prediction, Fundamentals, SentimentScore))])
    assert stage.on_slice(2 * MINUTE_NS, [row(2), forecast(2)]) == [
        Signal(
            symbol="AAPL",
            seq=1,
            ts_ns=2 * MINUTE_NS,
            strategy="reader",
            direction=1,
            strength=1.0,
            confidence=1.0,
            price=102.0,
            feature_id="feat-AAPL-2",
            parts={"ema_3": 7.0},
            cause_ids=["pred-AAPL-2"],
        )
    ]
    (from_figures,) = stage.on_slice(3 * MINUTE_NS, [figures(7)])
    assert from_figures == Signal(
        symbol="AAPL",
        seq=2,
        ts_ns=3 * MINUTE_NS,
        strategy="reader",
        direction=0,
        strength=0.0,
        confidence=1.0,
        price=102.0,
        feature_id="feat-AAPL-2",
        parts={"ema_3": 7.0},
        cause_ids=["fund-7"],
    )
    (from_score,) = stage.on_slice(4 * MINUTE_NS, [row(4), score(9, minute=4)])
    assert isinstance(from_score, Signal) and (from_score.price, from_score.cause_ids) == (104.0, ["sent-9"])


def test_a_strategy_may_name_its_causes_itself() -> None:
    view_with_causes = TargetView(direction=1, strength=1.0, confidence=1.0, parts={}, causes=("fund-1", "sent-2"))
    stage = SignalStage([ScriptedReader([None, view_with_causes], (FeatureRow, SentimentScore))])
    (signal,) = stage.on_slice(MINUTE_NS, [row(1), score(3)])
    assert isinstance(signal, Signal) and signal.cause_ids == ["fund-1", "sent-2"]


def test_records_before_the_first_price_are_processed_with_it() -> None:
    stage = SignalStage([ScriptedReader([None, view(1)], (SentimentScore, Fundamentals))])
    assert stage.on_slice(MINUTE_NS, [figures(1), score(1), score(2), score(3, "MSFT")]) == []
    restored = SignalStage([ScriptedReader([None, view(1)], (SentimentScore, Fundamentals))])
    restored.restore(stage.snapshot())
    for current in (stage, restored):
        (signal,) = current.on_slice(2 * MINUTE_NS, [row(2)])
        assert isinstance(signal, Signal) and (signal.cause_ids, signal.ts_ns) == (["sent-2"], 2 * MINUTE_NS)
        assert current.on_slice(3 * MINUTE_NS, [row(3)]) == []


def test_symbols_of_other_shards_make_no_signal_and_no_growing_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("operators.signals.stage.PENDING_RECORDS_MAX", 5)
    stage = SignalStage([ScriptedReader([view(1)] * 100, (SentimentScore,))])
    for seq in range(1, 50):
        assert stage.on_slice(seq * MINUTE_NS, [score(seq, f"S{seq}")]) == []
    _, symbols, waiting, *_ = stage.snapshot()
    assert symbols == {} and [values[2] for _, values in waiting] == ["S45", "S46", "S47", "S48", "S49"]


def test_repeated_older_filing_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """A restarted feed writes records again that it wrote before the crash."""
    monkeypatch.setattr("operators.signals.stage.FILING_IDS_MAX", 5)
    views = [view(1), view(0, 0.0), view(-1), view(1)]
    stage = SignalStage([ScriptedReader(views, (Fundamentals,))])
    assert len(stage.on_slice(MINUTE_NS, [row(1), figures(1)])) == 1
    assert len(stage.on_slice(2 * MINUTE_NS, [figures(2), figures(1), figures(2)])) == 1
    restored = SignalStage([ScriptedReader([*views, *[None] * 20], (Fundamentals,))])
    restored.restore(stage.snapshot())
    assert restored.on_slice(3 * MINUTE_NS, [figures(1)]) == []
    (signal,) = restored.on_slice(4 * MINUTE_NS, [figures(3)])
    assert isinstance(signal, Signal) and signal.cause_ids == ["fund-3"]
    for number in range(10, 20):
        restored.on_slice(number * MINUTE_NS, [figures(number)])
    assert len(restored.snapshot()[4]) == 5
    before = restored.snapshot()[:4]
    SignalStage([ScriptedReader(views, (Fundamentals,))]).restore(before)


def test_waiting_records_do_not_depend_on_other_symbols_of_the_shard() -> None:
    """A symbol with a late first row has the same signals in a whole market and in a shard of its own."""
    early_records = [score(1, "B"), score(2, "A"), figures(3, "B"), score(4, "C")]
    minutes: list[list[Any]] = [
        [row(1, "A"), *early_records],
        [row(2, "A")],
        [row(3, "A"), row(3, "B"), score(5, "B")],
        [row(4, "C")],
    ]

    def run_with(symbols: str) -> list[Any]:
        stage = SignalStage([ScriptedReader([view(1), view(0, 0.0), view(1)], (SentimentScore, Fundamentals))])
        signals: list[Any] = []
        for minute, minute_records in enumerate(minutes, 1):
            shard_records = [one for one in minute_records if type(one) is not FeatureRow or one.symbol in symbols]
            signals += stage.on_slice(minute * MINUTE_NS, shard_records)
        return signals

    all_signals = run_with("ABC")
    assert [one.symbol for one in all_signals] == ["A", "B", "B", "B", "C"]
    for symbol in "ABC":
        assert run_with(symbol) == [one for one in all_signals if one.symbol == symbol]


def test_signals_of_a_slice_are_in_topic_order() -> None:
    stage = SignalStage([ScriptedReader([view(1), view(0, 0.0)], (FeatureRow, Prediction))])
    signals: list[Any] = stage.on_slice(MINUTE_NS, [row(1, "A"), row(1, "B"), forecast(1, "A"), forecast(1, "B")])
    assert [(one.symbol, one.seq) for one in signals] == [("A", 1), ("A", 2), ("B", 1), ("B", 2)]


def test_snapshot_of_the_first_version_continues_with_the_next_row() -> None:
    stage = SignalStage([ScriptedReader([None, None, None, view(0, 0.0)], (FeatureRow, SentimentScore))])
    stage.restore((1, {"AAPL": (7, {"reader": (2, 1, 1.0)})}))
    assert stage.on_slice(MINUTE_NS, [score(1)]) == []
    (signal,) = stage.on_slice(2 * MINUTE_NS, [row(2)])
    assert isinstance(signal, Signal) and (signal.seq, signal.cause_ids, signal.price) == (8, ["sent-1"], 102.0)


STRATEGIES = (EmaCross(fast=2, slow=4, rsi_period=3, rsi_max=95.0), BuyAndHold())


def feature_rows_by_minute() -> list[list[Any]]:
    features = FeatureStage(feature_specs(STRATEGIES))
    return [list(features.on_slice(minute_records[0].ts_ns, minute_records)) for minute_records in bars_by_minute(60)]


def run(stage: SignalStage, minutes: list[list[Any]]) -> list[Any]:
    return [one for minute_records in minutes for one in stage.on_slice(minute_records[0].ts_ns, minute_records)]


def test_restart_after_any_slice_changes_no_signal_or_snapshot() -> None:
    minutes = feature_rows_by_minute()
    stage = SignalStage(STRATEGIES)
    expected = [stage.on_slice(minute_records[0].ts_ns, minute_records) for minute_records in minutes]
    assert sum(map(len, expected)) > 20
    stage = SignalStage(STRATEGIES)
    for cut, minute_records in enumerate(minutes):
        snapshot = stage.snapshot()
        text = repr(snapshot)
        restored = SignalStage(STRATEGIES)
        restored.restore(snapshot)
        assert run(restored, minutes[cut:]) == [one for minute_signals in expected[cut:] for one in minute_signals]
        stage.on_slice(minute_records[0].ts_ns, minute_records)
        assert repr(snapshot) == text


def test_an_added_strategy_starts_without_state_and_the_others_continue() -> None:
    minutes = feature_rows_by_minute()
    before = SignalStage(STRATEGIES[:1])
    run(before, minutes[:30])
    after = SignalStage((STRATEGIES[1], STRATEGIES[0]))
    after.restore(before.snapshot())
    signals = run(after, minutes[30:])
    single = SignalStage(STRATEGIES[:1])
    rest = run(single, minutes)[-len([one for one in signals if one.strategy == "ema_cross"]) :]
    key = [(one.symbol, one.ts_ns, one.direction) for one in signals if one.strategy == "ema_cross"]
    assert key == [(one.symbol, one.ts_ns, one.direction) for one in rest]
    assert [one.symbol for one in signals if one.strategy == "buy_and_hold"] == list(SYMBOLS)


def test_buy_and_hold_buys_once_at_the_first_bar_also_after_history() -> None:
    stage = SignalStage([BuyAndHold()])
    history = HistoryRow(
        symbol="AAPL",
        seq=1,
        ts_ns=2 * MINUTE_NS,
        end_ns=MINUTE_NS,
        bar_seq=1,
        close=99.0,
        values={},
        first_seq=1,
    )
    (signal,) = stage.on_slice(2 * MINUTE_NS, [history, row(2)])
    assert isinstance(signal, Signal) and (signal.direction, signal.price) == (1, row(2).close)
    assert stage.on_slice(3 * MINUTE_NS, [row(3)]) == []


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 11), min_size=1, max_size=10))
def test_signals_do_not_depend_on_how_rows_are_batched(sizes: list[int]) -> None:
    minutes = feature_rows_by_minute()
    rows = [one for minute_records in minutes for one in minute_records]
    stage = SignalStage(STRATEGIES)
    signals: list[Any] = []
    index = turn = 0
    while index < len(rows):
        size = sizes[turn % len(sizes)]
        signals += stage.on_slice(rows[index].ts_ns, rows[index : index + size])
        index, turn = index + size, turn + 1
    assert signals == run(SignalStage(STRATEGIES), minutes)


def test_empty_slice_gives_nothing_and_unknown_snapshot_version_stops_the_worker() -> None:
    stage = SignalStage(STRATEGIES)
    assert stage.on_slice(MINUTE_NS, []) == []
    with pytest.raises(AssertionError, match="version 99"):
        stage.restore((99, {}))
