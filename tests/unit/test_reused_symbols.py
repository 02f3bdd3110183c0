"""Another company trades under the symbol of one that was renamed or delisted. It inherits nothing.

Rows 1 to 3 of A belong to the old company, rows from 4 on to the new one (`first_seq` 4).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dataflows.research.training import ROWS_MIN, build_samples
from operators.features import FeatureStage
from operators.predictions import PredictionStage
from operators.predictions.drift import ROWS_MIN as DRIFT_ROWS_MIN
from operators.predictions.drift import DriftReference
from operators.signals import SignalStage
from operators.signals.ensemble import EnsembleSettings
from operators.strategies import TargetView
from schemas.records import (
    DELISTING,
    SYMBOL_CHANGE,
    DeadLetter,
    FeatureRow,
    Fundamentals,
    Prediction,
    SentimentScore,
    Signal,
)
from tests.builders import bar, corporate_action, feature_row, fundamentals, sentiment_score

MINUTE_NS = 60_000_000_000
FIRST_SEQ = 4


def row(seq: int, symbol: str = "A", **values: float) -> FeatureRow:
    first_seq = FIRST_SEQ if seq >= FIRST_SEQ and symbol == "A" else 1
    return feature_row(symbol, seq, seq * MINUTE_NS, values=values, first_seq=first_seq)


class CountingStrategy:
    """Long at its first row or record of a symbol; the strength is 1 / number of calls for it."""

    features: tuple[str, ...] = ()
    reads = (FeatureRow, Fundamentals, SentimentScore)
    name = "counting"

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def decide(self, record: Any, state: Any) -> tuple[Any, TargetView]:
        self.seen.append(record)
        calls = (state or 0) + 1
        return calls, TargetView(1, 1.0 / calls, 1.0, {})


def signals_of(stage: SignalStage, *records: Any) -> list[tuple[str, int, float]]:
    out = stage.on_slice(records[-1].ts_ns, records)
    return [(one.strategy, one.seq, one.strength) for one in out if type(one) is Signal]


def test_features_number_the_first_row_of_the_new_company() -> None:
    for kind in (SYMBOL_CHANGE, DELISTING):
        stage = FeatureStage(["sma_2"])
        change = corporate_action("c", kind, "A", new_symbol="B" if kind == SYMBOL_CHANGE else "")
        out = [
            one
            for seq in range(1, 6)
            for one in stage.on_slice(
                seq * MINUTE_NS,
                [change, bar("A", seq, seq * MINUTE_NS)] if seq == 4 else [bar("A", seq, seq * MINUTE_NS)],
            )
        ]
        assert [(one.seq, one.first_seq) for one in out if type(one) is FeatureRow] == [
            (1, 1), (2, 1), (3, 1), (4, 4), (5, 4)
        ]  # fmt: skip
        restored = FeatureStage(["sma_2"])
        restored.restore(stage.snapshot())
        [last] = restored.on_slice(6 * MINUTE_NS, [bar("A", 6, 6 * MINUTE_NS)])
        assert isinstance(last, FeatureRow) and last.first_seq == 4


def test_strategies_start_without_state_and_the_signal_number_continues() -> None:
    stage = SignalStage([CountingStrategy()])
    for seq, strength in ((1, 1.0), (2, 0.5), (3, 1 / 3), (4, 1.0), (5, 0.5)):
        assert signals_of(stage, row(seq)) == [("counting", seq, strength)]


def test_the_view_of_the_old_company_does_not_hide_the_first_signal_of_the_new_one() -> None:
    class AlwaysLong(CountingStrategy):
        def decide(self, record: Any, state: Any) -> tuple[Any, TargetView]:
            return None, TargetView(1, 1.0, 1.0, {})

    stage = SignalStage([AlwaysLong()], EnsembleSettings(enabled=True))
    assert signals_of(stage, row(1)) == [("counting", 1, 1.0), ("ensemble", 2, 1.0)]
    assert signals_of(stage, row(3)) == []
    assert signals_of(stage, row(4)) == [("counting", 3, 1.0), ("ensemble", 4, 1.0)]
    assert signals_of(stage, row(5)) == []


def test_other_symbols_keep_their_state() -> None:
    stage = SignalStage([CountingStrategy()])
    for seq in range(1, 4):
        signals_of(stage, row(seq), row(seq, "B"))
    assert signals_of(stage, row(4), row(4, "B")) == [("counting", 4, 1.0), ("counting", 4, 0.25)]


def test_filings_and_scores_of_the_old_company_do_not_reach_the_new_one() -> None:
    """A filing from before the last row of the old company is its own; a later one may be of the new company."""
    strategy = CountingStrategy()
    stage = SignalStage([strategy])
    stage.on_slice(1, [fundamentals("old", 0, "A")])
    signals_of(stage, row(1))
    signals_of(stage, row(3))
    after = int(3.5 * MINUTE_NS)
    stage.on_slice(after, [sentiment_score(1, after, "A", 0.5)])
    restored = SignalStage([strategy])
    restored.restore(stage.snapshot())
    strategy.seen.clear()
    signals_of(restored, row(4))
    assert [type(record) for record in strategy.seen] == [FeatureRow, SentimentScore]


def test_a_restored_stage_knows_the_company_of_each_symbol() -> None:
    stage = SignalStage([CountingStrategy()])
    for seq in (1, 4):
        signals_of(stage, row(seq))
    restored = SignalStage([CountingStrategy()])
    restored.restore(stage.snapshot())
    assert signals_of(restored, row(5)) == [("counting", 3, 0.5)]


class ShiftedModel:
    """Every input lies in the upper of two bins, of which each held half of the training rows. Raises on input -1."""

    name = "shifted"
    sha256 = "ab" * 32
    inputs = ("rsi_5",)
    horizon_bars = 5
    reference = DriftReference(((0.0,),), ((0.5, 0.5),), 0.1)

    def forecast(self, rows: Sequence[Sequence[float]]) -> list[tuple[float, float]]:
        if any(value < 0 for values in rows for value in values):
            raise RuntimeError("negative input")
        return [(0.01, 0.6)] * len(rows)


def forecasts(stage: PredictionStage, one: FeatureRow) -> list[tuple[int, float]]:
    return [(p.seq, p.drift) for p in stage.on_slice(one.ts_ns, [one]) if type(p) is Prediction]


def test_drift_of_the_new_company_is_measured_afresh() -> None:
    stage = PredictionStage(ShiftedModel())
    for seq in range(1, DRIFT_ROWS_MIN + 1):
        last = forecasts(stage, feature_row("A", seq, seq, values={"rsi_5": 1.0}))
    assert last == [(DRIFT_ROWS_MIN, 1.0)], "all rows are in one bin, so the old company's inputs have drifted"
    first = feature_row("A", 241, 241, values={"rsi_5": 1.0}, first_seq=241)
    assert forecasts(stage, first) == [(241, 0.0)]
    restored = PredictionStage(ShiftedModel())
    restored.restore(stage.snapshot())
    assert restored.snapshot()[3]["A"][0] == 1, "one row in the window"
    assert forecasts(restored, first._replace(seq=242)) == [(242, 0.0)]
    assert restored.snapshot()[3]["A"][0] == 2


def test_a_model_suspended_for_the_old_company_runs_for_the_new_one() -> None:
    stage = PredictionStage(ShiftedModel())
    [letter] = stage.on_slice(1, [row(1, rsi_5=-1.0)])
    assert type(letter) is DeadLetter
    assert forecasts(stage, row(2, rsi_5=1.0)) == []
    assert forecasts(stage, row(4, rsi_5=1.0)) == [(1, 0.0)]
    assert forecasts(stage, row(5, rsi_5=1.0)) == [(2, 0.0)]


def test_a_training_label_never_compares_two_companies() -> None:
    rows = [
        feature_row("A", seq, seq, 100.0 if seq <= ROWS_MIN else 1.0, values={"rsi_5": 50.0}, first_seq=first_seq)
        for first_seq, seqs in ((1, range(1, ROWS_MIN + 1)), (ROWS_MIN + 1, range(ROWS_MIN + 1, 2 * ROWS_MIN + 1)))
        for seq in seqs
    ]
    samples = build_samples(rows, ["rsi_5"], 5)
    assert set(samples.returns.tolist()) == {0.0}
    assert len(samples.returns) == 2 * (ROWS_MIN - 5)
