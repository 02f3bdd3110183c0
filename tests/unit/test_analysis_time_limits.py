"""Indicators of the user and models under a time limit, and indicators that trading strategies read on longer bars.

Whether a call exceeds its limit is decided here by the test instead of a clock.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import pytest

from operators.features import FeatureStage
from operators.handler_limit import HandlerCall
from operators.indicators import INDICATORS, register
from operators.predictions import PredictionStage
from operators.strategies import TradingStrategy
from operators.trading.settings import TradingSettings
from operators.trading.stage import TradingStrategyStage
from schemas.codec import decode
from schemas.records import (
    NOTE,
    SUSPENDED,
    Bar,
    DeadLetter,
    FeatureRow,
    Prediction,
    Record,
    StrategyAction,
)
from tests.builders import feature_row
from tests.endless_indicator import EndlessRange
from tests.unit.test_handler_limit import LimitOf, with_timeouts
from tests.unit.test_suspended_analysis import FailingModel
from tests.unit.trading_harness import bars as minute_bars
from tests.unit.trading_harness import minute as minute_ns


@pytest.fixture
def own_indicator() -> Iterator[None]:
    """The indicator `endless_range` is known. Its file is that of a user."""
    before = dict(INDICATORS)
    register(EndlessRange)
    yield
    INDICATORS.clear()
    INDICATORS.update(before)


SPECS = ("sma_2", "endless_range_0", "sma_2(endless_range_0)")
"""`endless_range_0` spins on no bar: the test decides which call exceeds the limit."""


def slices(count: int) -> list[list[Record]]:
    return [minute_bars(number, "A", "B", "C") for number in range(1, count + 1)]


def outputs(stage: Any, time_slices: list[list[Record]]) -> list[list[Record]]:
    return [stage.on_slice(minute_ns(number), records) for number, records in enumerate(time_slices, start=1)]


def exceeds(name: str, symbol: str, number: int) -> Any:
    return lambda call: (call.strategy, call.symbol, call.ts_ns) == (name, symbol, minute_ns(number))


@pytest.mark.usefixtures("own_indicator")
def test_an_indicator_that_exceeds_its_limit_is_suspended_and_a_replay_of_its_timeouts_is_equal() -> None:
    limit = LimitOf(exceeds("indicator:endless_range_0", "B", 3))
    live = outputs(FeatureStage(SPECS, limit=limit), slices(5))
    assert [(one.symbol, one.call) for one in limit.timeouts] == [("B", 1), ("A", 2), ("C", 1)]
    assert {(one.strategy, one.handler, one.file) for one in limit.timeouts} == {
        ("indicator:endless_range_0", "update", inspect.getsourcefile(EndlessRange))
    }

    recorded = limit.timeouts
    replayed = outputs(FeatureStage(SPECS), with_timeouts(slices(5), *recorded))
    rows = {(one.symbol, one.seq): set(one.values) for out in replayed for one in out if type(one) is FeatureRow}
    assert rows["A", 3] == set(SPECS), "A had already been updated when B exceeded the limit"
    assert rows["B", 3] == rows["B", 4] == rows["C", 3] == {"sma_2", "sma_2(endless_range_0)"}
    letters = [one for out in replayed for one in out if type(one) is DeadLetter]
    assert [(one.topic, one.offset) for one in letters] == [
        ("indicator:endless_range_0/B", 3),
        ("indicator:endless_range_0/C", 3),
    ]
    assert letters[0].reason == (
        "indicator endless_range_0 is suspended for B: "
        "update did not return within its limit of 5 s of processor time "
        f"at {inspect.getsourcefile(EndlessRange)}:12"
    )
    # The process ends at a timeout: what it published before equals the replay, and with it the restart.
    assert live[:2] == replayed[:2]
    restarted = FeatureStage(SPECS, limit=LimitOf(lambda call: False))
    assert outputs(restarted, with_timeouts(slices(5), *recorded)) == replayed


@pytest.mark.usefixtures("own_indicator")
def test_indicators_of_the_platform_are_called_without_a_limit() -> None:
    called: set[str] = set()

    def note(call: HandlerCall) -> bool:
        called.add(call.strategy)
        return False

    outputs(FeatureStage(SPECS, limit=LimitOf(note)), slices(2))
    assert called == {"indicator:endless_range_0", "indicator:sma_2(endless_range_0)"}


class Reading(TradingStrategy):
    """Note the value of the user's indicator at each bar of two minutes."""

    symbols = ("KO",)
    features = {"2m": ("endless_range_0",)}  # noqa: RUF012  (as a user writes it)

    def on_slice(self, ctx: Any) -> None:
        if ctx.closed("2m"):
            ctx.note(str(ctx.feature("KO", "endless_range_0", "2m")))


def reading_stage(limit: Any = None) -> TradingStrategyStage:
    return TradingStrategyStage([Reading()], TradingSettings(), limit=limit)


@pytest.mark.usefixtures("own_indicator")
@pytest.mark.parametrize(
    ("written", "cause"),
    [
        (ZeroDivisionError("none"), "it raised ZeroDivisionError: none at "),
        (float("nan"), "update wrote nan as endless_range_0, expected a finite number at "),
    ],
)
def test_an_indicator_of_longer_bars_that_fails_is_absent_and_a_dead_letter_names_it(
    monkeypatch: pytest.MonkeyPatch, written: Any, cause: str
) -> None:
    def failing(self: EndlessRange, one: Bar, values: dict[str, Any]) -> None:
        if one.seq == 2:
            if isinstance(written, Exception):
                raise written
            values[self.name] = written
        else:
            values[self.name] = 1.0

    monkeypatch.setattr(EndlessRange, "update", failing)
    out = [one for records in outputs(reading_stage(), [minute_bars(n, "KO") for n in range(1, 7)]) for one in records]
    actions = [one for one in out if type(one) is StrategyAction]
    assert [(one.kind, one.arguments.get("text")) for one in actions] == [(NOTE, "1.0"), (NOTE, "None"), (NOTE, "None")]
    [letter] = [one for one in out if type(one) is DeadLetter]
    assert (letter.stage, letter.topic, letter.offset) == ("strategies", "indicator:endless_range_0 of 2m/KO", 2)
    assert letter.reason.startswith(f"indicator endless_range_0 of 2m is suspended for KO: {cause}{__file__}:")
    assert type(decode(letter.raw)) is Bar


@pytest.mark.usefixtures("own_indicator")
def test_an_indicator_of_longer_bars_that_exceeds_its_limit_suspends_no_strategy() -> None:
    time_slices: list[list[Record]] = [minute_bars(number, "KO") for number in range(1, 7)]
    limit = LimitOf(exceeds("indicator:endless_range_0 of 2m", "KO", 4))
    live = outputs(reading_stage(limit), time_slices)
    assert [one.handler for one in limit.timeouts] == ["update"], "or the equality would prove nothing"
    replayed = outputs(reading_stage(), with_timeouts(time_slices, *limit.timeouts))
    assert replayed == live
    records = [one for out in replayed for one in out]
    assert not [one for one in records if type(one) is StrategyAction and one.kind == SUSPENDED]
    assert [one.topic for one in records if type(one) is DeadLetter] == ["indicator:endless_range_0 of 2m/KO"]


def test_a_model_that_exceeds_its_limit_is_suspended_for_the_rows_of_its_call_and_a_replay_is_equal() -> None:
    time_slices: list[list[Record]] = [
        [feature_row(symbol, n, minute_ns(n), values={"rsi_5": 1.0}) for symbol in "ABC"] for n in (1, 2, 3)
    ]
    limit = LimitOf(exceeds("model:fragile", "A", 2))
    live = outputs(PredictionStage(FailingModel(), limit), time_slices)
    assert [(one.symbol, one.call) for one in limit.timeouts] == [("A", 1), ("B", 1), ("C", 1)]
    assert outputs(PredictionStage(FailingModel()), with_timeouts(time_slices, *limit.timeouts)) == live
    assert [len([one for one in out if type(one) is Prediction]) for out in live] == [3, 0, 0]
    assert [one.topic for one in live[1] if type(one) is DeadLetter] == [f"model:fragile/{s}" for s in "ABC"]


def test_a_recorded_timeout_of_one_row_leaves_the_forecasts_of_the_others() -> None:
    """The first call raised because of B. Of the calls for one row, that of B exceeded its limit."""
    rows: list[Record] = [
        feature_row(symbol, 1, minute_ns(1), values={"rsi_5": value})
        for symbol, value in zip("ABC", (1, -1, 2), strict=True)
    ]
    limit = LimitOf(exceeds("model:fragile", "B", 1))
    live = outputs(PredictionStage(FailingModel(), limit), [rows])
    assert [(one.symbol, one.call) for one in limit.timeouts] == [("B", 1), ("A", 3), ("C", 1)]
    [replayed] = outputs(PredictionStage(FailingModel()), with_timeouts([rows], *limit.timeouts))
    assert replayed == live[0], "the calls for later rows are not made"
    [replayed] = outputs(PredictionStage(FailingModel()), with_timeouts([rows], *limit.timeouts[:1]))
    assert [one.symbol for one in replayed if type(one) is Prediction] == ["A", "C"]
