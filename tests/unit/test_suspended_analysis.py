"""An indicator or a model that fails is suspended for the symbol on which it failed; everything else goes on.

It fails if it raises, returns no finite number, or exceeds its time limit. Whether a call exceeds its limit is decided
here by the test instead of a clock.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest

from operators.features import FeatureStage
from operators.history_bars import history_bars
from operators.indicators import Indicator
from operators.indicators.sma import Sma
from operators.predictions import PredictionStage
from operators.predictions.drift import DriftReference
from schemas.codec import decode
from schemas.records import (
    SPLIT,
    Bar,
    DeadLetter,
    FeatureRow,
    HistoryRow,
    Prediction,
    Record,
)
from tests.builders import bar, corporate_action, feature_row

MINUTE_NS = 60_000_000_000


@pytest.fixture
def failing_sma(monkeypatch: pytest.MonkeyPatch) -> None:
    """The moving average divides by zero on the third bar of B, after it has written a value."""
    update = Sma.update

    def failing_update(self: Sma, one: Bar, values: dict[str, float]) -> None:
        update(self, one, values)
        if one.symbol == "B" and one.seq == 3:
            values["sma_2"] = 1 / 0

    monkeypatch.setattr(Sma, "update", failing_update)


def minute(seq: int, symbols: str = "ABC") -> list[Record]:
    return [bar(symbol, seq, seq * MINUTE_NS) for symbol in symbols]


def run(stage: FeatureStage, first: int, last: int) -> tuple[dict[tuple[str, int], set[str]], list[DeadLetter]]:
    """Return the names of the values of each row, and the dead letters."""
    out = [one for seq in range(first, last + 1) for one in stage.on_slice(seq * MINUTE_NS, minute(seq))]
    rows = {(r.symbol, r.seq): set(r.values) for r in out if type(r) is FeatureRow}
    return rows, [r for r in out if type(r) is DeadLetter]


@pytest.mark.usefixtures("failing_sma")
def test_an_indicator_that_raises_is_absent_for_its_symbol_from_then_on() -> None:
    stage = FeatureStage(["ema_2", "sma_2"])
    rows, [letter] = run(stage, 1, 4)
    assert rows["B", 2] == {"ema_2", "sma_2"}
    assert rows["B", 3] == rows["B", 4] == {"ema_2"}
    assert rows["A", 4] == rows["C", 4] == {"ema_2", "sma_2"}
    assert (letter.stage, letter.topic, letter.offset) == ("features", "indicator:sma_2/B", 3)
    assert letter.reason.startswith("indicator sma_2 is suspended for B: it raised ZeroDivisionError: division by zero")
    assert ".py:" in letter.reason


@pytest.mark.usefixtures("failing_sma")
def test_a_snapshot_keeps_the_suspension_and_a_split_ends_it() -> None:
    stage = FeatureStage(["ema_2", "sma_2"])
    run(stage, 1, 3)
    restored = FeatureStage(["sma_2", "ema_2"])
    restored.restore(stage.snapshot())
    assert restored.snapshot()[2]["B"][1][0] is None
    rows, letters = run(restored, 4, 5)
    assert rows["B", 5] == {"ema_2"} and letters == []
    split = corporate_action("s", SPLIT, "B", ex_date=minute(6)[0].trading_day, ratio=2)  # type: ignore[union-attr]
    restored.on_slice(6 * MINUTE_NS, [split, *minute(6)])
    rows, _ = run(restored, 7, 7)
    assert rows["B", 7] == {"ema_2", "sma_2"}


@pytest.mark.parametrize("error", [OverflowError, NotImplementedError])
def test_an_indicator_that_raises_at_a_split_warms_up_again_and_a_dead_letter_names_it(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def failing_rescale(self: Sma, factor: float) -> None:
        raise error(f"factor {factor}")

    monkeypatch.setattr(Sma, "rescale", failing_rescale)
    stage = FeatureStage(["ema_2", "sma_2"])
    run(stage, 1, 3)
    day = minute(4)[0].trading_day  # type: ignore[union-attr]
    split = corporate_action("s1", SPLIT, "B", ex_date=day, ratio=2)
    *_, letter = stage.on_slice(4 * MINUTE_NS, [split, *minute(4)])
    assert type(letter) is DeadLetter
    assert (letter.stage, letter.topic, letter.offset) == ("features", "indicator:sma_2/B", 3)
    assert letter.ts_ns == 4 * MINUTE_NS
    assert letter.reason.startswith(
        f"indicator sma_2 warms up again for B after SPLIT s1: its rescale raised {error.__name__}: factor 0.5 at "
    )
    assert decode(letter.raw) == split
    rows, letters = run(stage, 5, 6)
    assert rows["A", 5] == rows["B", 5] == {"ema_2", "sma_2"} and letters == []


def test_an_indicator_without_a_conversion_warms_up_again_without_a_dead_letter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Sma, "rescale", Indicator.rescale)
    stage = FeatureStage(["sma_2"])
    run(stage, 1, 3)
    split = corporate_action("s1", SPLIT, "B", ex_date=minute(4)[0].trading_day, ratio=2)  # type: ignore[union-attr]
    out = stage.on_slice(4 * MINUTE_NS, [split, *minute(4)])
    assert not [one for one in out if type(one) is DeadLetter]
    [row] = [one for one in out if type(one) is FeatureRow and one.symbol == "B"]
    assert "sma_2" not in row.values


class FailingModel:
    """Raises on every batch that has a row with an input below 0."""

    name = "fragile"
    sha256 = "ab" * 32
    inputs = ("rsi_5",)
    horizon_bars = 5
    reference = DriftReference(((0.0,),), ((0.5, 0.5),), 1.0)

    def forecast(self, rows: Sequence[Sequence[float]]) -> list[tuple[float, float]]:
        if any(value < 0 for row in rows for value in row):
            raise RuntimeError("negative input")
        return [(0.01, 0.6) for _ in rows]


def rows_at(seq: int, **values: float) -> list[Any]:
    return [feature_row(symbol, seq, seq * MINUTE_NS, values={"rsi_5": value}) for symbol, value in values.items()]


def test_a_model_that_raises_is_suspended_for_the_symbols_of_the_failing_rows() -> None:
    stage = PredictionStage(FailingModel())
    out = stage.on_slice(MINUTE_NS, rows_at(1, A=1.0, B=-1.0, C=2.0))
    assert [r.symbol for r in out if type(r) is Prediction] == ["A", "C"]
    [letter] = [r for r in out if type(r) is DeadLetter]
    assert letter.topic.startswith("model:") and letter.topic.endswith("/B")
    assert "it raised RuntimeError: negative input" in letter.reason

    restored = PredictionStage(FailingModel())
    restored.restore(stage.snapshot())
    for one in (stage, restored):
        out = one.on_slice(2 * MINUTE_NS, rows_at(2, A=1.0, B=1.0, C=2.0))
        assert [(type(r), r.symbol) for r in out] == [(Prediction, "A"), (Prediction, "C")]  # type: ignore[union-attr]


def write_value(monkeypatch: pytest.MonkeyPatch, value: Any) -> None:
    """The moving average writes `value` on the third bar of B."""
    update = Sma.update

    def writing_update(self: Sma, one: Bar, values: dict[str, Any]) -> None:
        update(self, one, values)
        if one.symbol == "B" and one.seq == 3:
            values["sma_2"] = value

    monkeypatch.setattr(Sma, "update", writing_update)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
        (None, "None"),
        ("1.5", "'1.5'"),
        (Decimal("NaN"), "Decimal('NaN')"),
        ([1.0], "[1.0]"),
    ],
)
def test_a_value_that_is_no_finite_number_suspends_the_indicator_for_its_symbol(
    monkeypatch: pytest.MonkeyPatch, value: Any, text: str
) -> None:
    write_value(monkeypatch, value)
    stage = FeatureStage(["ema_2", "sma_2", "sma_3(sma_2)"])
    rows, letters = run(stage, 1, 5)
    assert rows["B", 3] == rows["B", 4] == {"ema_2"} | ({"sma_3(sma_2)"} & rows["B", 4])
    assert rows["A", 4] == rows["C", 4] == {"ema_2", "sma_2", "sma_3(sma_2)"}
    letter = letters[0]
    assert (letter.topic, letter.offset) == ("indicator:sma_2/B", 3)
    assert letter.reason.startswith(
        f"indicator sma_2 is suspended for B: update wrote {text} as sma_2, expected a finite number at {__file__}:"
    )
    restored = FeatureStage(["ema_2", "sma_2", "sma_3(sma_2)"])
    restored.restore(stage.snapshot())
    assert run(restored, 6, 6) == run(stage, 6, 6)


def test_huge_values_are_finite_although_their_sum_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    def huge(self: Sma, one: Bar, values: dict[str, float]) -> None:
        values[self.name] = 1.7e308

    monkeypatch.setattr(Sma, "update", huge)
    rows, letters = run(FeatureStage(["sma_2", "sma_3"]), 1, 1)
    assert rows["A", 1] == {"sma_2", "sma_3"} and letters == []


def test_a_value_of_an_unknown_name_that_is_no_finite_number_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def misnamed(self: Sma, one: Bar, values: dict[str, float]) -> None:
        values |= {"sma_2": 1.0, "other": float("nan")}

    monkeypatch.setattr(Sma, "update", misnamed)
    rows, letters = run(FeatureStage(["sma_2"]), 1, 1)
    assert rows["A", 1] == {"sma_2"} and letters == []


def test_an_invalid_value_of_a_bar_from_before_the_first_one_suspends_the_indicator(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_value(monkeypatch, float("nan"))
    stage = FeatureStage(["ema_2", "sma_2"])
    three = [bar("B", seq, seq * MINUTE_NS) for seq in (1, 2, 3)]
    out = stage.on_slice(4 * MINUTE_NS, history_bars(three, [], 4 * MINUTE_NS, three[0].trading_day, 3))
    assert [set(one.values) for one in out if type(one) is HistoryRow] == [set(), {"ema_2", "sma_2"}, {"ema_2"}]
    assert [one.topic for one in out if type(one) is DeadLetter] == ["indicator:sma_2/B"]


class ReturningModel(FailingModel):
    """Returns for the input 1 what the test gives it."""

    def __init__(self, returned: Any) -> None:
        self._returned = returned

    def forecast(self, rows: Sequence[Sequence[float]]) -> list[tuple[float, float]]:
        return [self._returned if row[0] == 1.0 else (0.01, 0.6) for row in rows]


@pytest.mark.parametrize(
    ("returned", "text"),
    [
        ((float("nan"), 0.5), "(nan, 0.5)"),
        ((0.01, float("nan")), "(0.01, nan)"),
        ((0.01, 1.5), "(0.01, 1.5)"),
        ((float("inf"), 0.5), "(inf, 0.5)"),
        (0.5, "0.5"),
        (None, "None"),
    ],
)
def test_an_invalid_forecast_suspends_the_model_for_the_symbol_of_its_row(returned: Any, text: str) -> None:
    stage = PredictionStage(ReturningModel(returned))
    out = stage.on_slice(MINUTE_NS, rows_at(1, A=2.0, B=1.0, C=3.0))
    assert [one.symbol for one in out if type(one) is Prediction] == ["A", "C"]
    [letter] = [one for one in out if type(one) is DeadLetter]
    line = inspect.getsourcelines(ReturningModel.forecast)[1]
    assert letter.reason == (
        f"model fragile is suspended for B: forecast returned {text}, expected a finite return and a probability "
        f"from 0 to 1 at {__file__}:{line}"
    )
    assert [type(one) for one in stage.on_slice(2 * MINUTE_NS, rows_at(2, A=2.0, B=2.0))] == [Prediction]
