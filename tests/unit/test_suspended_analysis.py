"""An indicator or a model that raises is suspended for the symbol on which it failed; everything else goes on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from operators.features import FeatureStage
from operators.indicators import Indicator
from operators.indicators.sma import Sma
from operators.predictions import PredictionStage
from operators.predictions.drift import DriftReference
from schemas.codec import decode
from schemas.records import SPLIT, Bar, DeadLetter, FeatureRow, Prediction, Record
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
