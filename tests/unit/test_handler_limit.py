"""A recorded timeout replaces the call of a handler, and a stage decides alike with the limit and with its record."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from operators.handler_limit import HANDLER_TIME_LIMIT, HandlerCall, HandlerTimedOut, timeouts_of
from operators.signals.stage import SignalStage
from operators.strategies import TargetView, TradingStrategy
from operators.trading.settings import TradingSettings
from operators.trading.stage import TradingStrategyStage
from schemas.records import (
    NOTE,
    RESUME_STRATEGY,
    SUSPENDED,
    FeatureRow,
    HandlerTimeout,
    Record,
    Signal,
    StrategyAction,
    StrategySuspension,
)
from tests.builders import command
from tests.unit.trading_harness import bars, minute

TIMED_OUT_SLICE = 2


class Endless(TradingStrategy):
    """Note each time slice. The second one never returns, if the test does not replace the call."""

    symbols = ("KO",)

    def __init__(self) -> None:
        self.name = "endless"

    def on_slice(self, ctx: Any) -> None:
        number = ctx.state["slice"] = ctx.state.get("slice", 0) + 1
        ctx.note(f"slice {number}")
        assert number != TIMED_OUT_SLICE, "the handler was called"


class Calm(TradingStrategy):
    symbols = ("KO",)

    def on_slice(self, ctx: Any) -> None:
        ctx.note("calm")


class FadingView:
    """Long from the first row on, with a strength that falls with each row."""

    name = "view"
    features: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.called_on: list[str] = []

    def decide(self, row: Any, state: Any) -> tuple[Any, TargetView | None]:
        self.called_on.append(row.symbol)
        return (state or 0) + 1, TargetView(1, 1.0 / ((state or 0) + 1), 0.5, {})


class LimitOf:
    """A limit without a clock: the calls that a condition selects exceed it, after they have run."""

    def __init__(self, exceeds: Callable[[HandlerCall], bool]) -> None:
        self._exceeds = exceeds
        self.timeouts: list[HandlerTimeout] = []

    def run(self, call: HandlerCall, handler: Callable[..., Any], *arguments: Any) -> Any:
        if not self._exceeds(call):
            return handler(*arguments)
        timeout = timeout_of(call.strategy, call.symbol, call.ts_ns, call.number, file=call.file)
        timeout = timeout._replace(handler=call.handler)
        self.timeouts += timeouts_of(call, timeout)
        raise HandlerTimedOut(timeout)


def timeout_of(strategy: str, symbol: str, ts_ns: int, call: int = 1, *, file: str = "own.py") -> HandlerTimeout:
    return HandlerTimeout(
        ts_ns=ts_ns,
        strategy=strategy,
        symbol=symbol,
        call=call,
        handler="on_slice",
        measure="PROCESSOR_TIME",
        limit_s=5.0,
        file=file,
        line=12,
    )


def trading_stage(*strategies: TradingStrategy, limit: Any = None) -> TradingStrategyStage:
    return TradingStrategyStage(strategies, TradingSettings(), limit=limit)


def slices(count: int) -> list[list[Record]]:
    return [bars(number, "KO") for number in range(1, count + 1)]


def run(stage: Any, time_slices: list[list[Record]]) -> list[list[Record]]:
    return [stage.on_slice(minute(number), records) for number, records in enumerate(time_slices, start=1)]


def with_timeouts(time_slices: list[list[Record]], *timeouts: HandlerTimeout) -> list[list[Record]]:
    by_time = {timeout.ts_ns: [one for one in timeouts if one.ts_ns == timeout.ts_ns] for timeout in timeouts}
    return [[*by_time.get(minute(number), []), *records] for number, records in enumerate(time_slices, start=1)]


def actions_of(outputs: list[list[Record]], strategy: str) -> list[StrategyAction]:
    return [one for out in outputs for one in out if type(one) is StrategyAction and one.strategy == strategy]


def test_a_recorded_timeout_suspends_the_strategy_without_a_call() -> None:
    given = timeout_of("endless", "", minute(TIMED_OUT_SLICE))
    outputs = run(trading_stage(Endless(), Calm()), with_timeouts(slices(4), given))
    first, suspension = actions_of(outputs, "endless")
    assert (first.kind, first.arguments) == (NOTE, {"text": "slice 1"})
    assert (suspension.kind, suspension.ts_ns) == (SUSPENDED, minute(TIMED_OUT_SLICE))
    assert suspension.arguments == {
        "error_type": HANDLER_TIME_LIMIT,
        "message": "on_slice did not return within its limit of 5 s of processor time",
        "file": "own.py",
        "line": "12",
        "on_error": "hold",
    }
    assert len(actions_of(outputs, "calm")) == 4, "the other strategy goes on"


def test_a_run_with_a_limit_equals_a_replay_of_its_timeouts() -> None:
    limit = LimitOf(lambda call: call.strategy == "endless" and call.ts_ns == minute(TIMED_OUT_SLICE))
    live = run(trading_stage(Endless(), Calm(), limit=limit), slices(5))
    assert limit.timeouts, "or the equality would prove nothing"
    assert run(trading_stage(Endless(), Calm()), with_timeouts(slices(5), *limit.timeouts)) == live


def test_a_resumed_strategy_runs_again_without_state() -> None:
    given = timeout_of("endless", "", minute(TIMED_OUT_SLICE))
    resume = command("cmd-resume", 1, RESUME_STRATEGY, {"strategy": "endless"})
    time_slices = with_timeouts(slices(4), given)
    time_slices[3] = [resume, *time_slices[3]]
    actions = actions_of(run(trading_stage(Endless()), time_slices), "endless")
    assert [action.arguments.get("text") for action in actions if action.kind == NOTE] == ["slice 1", "slice 1"]


def test_only_the_call_with_the_recorded_number_is_skipped() -> None:
    """Of two fills in a time slice, the handler of the second one exceeded its limit: the first one had its effect."""

    class Twice(TradingStrategy):
        symbols = ("KO",)

        def on_event(self, ctx: Any, event: Any) -> None:
            ctx.note("event")

        def on_slice(self, ctx: Any) -> None:
            raise AssertionError("the handler was called")

    class Counting(Endless):
        def on_slice(self, ctx: Any) -> None:
            ctx.note("first call")

    counting = timeout_of("endless", "", minute(1), call=2)
    outputs = run(trading_stage(Counting()), with_timeouts(slices(2), counting))
    assert [one.kind for one in actions_of(outputs, "endless")] == [NOTE, NOTE], "there was no second call"
    twice = timeout_of("twice", "", minute(1), call=1)
    (suspension,) = actions_of(run(trading_stage(Twice()), with_timeouts(slices(2), twice)), "twice")
    assert suspension.kind == SUSPENDED


def row(symbol: str, number: int) -> FeatureRow:
    return FeatureRow(symbol=symbol, seq=number, ts_ns=minute(number), bar_seq=number, close=100.0, values={})


def test_a_view_strategy_is_not_called_on_later_symbols_of_the_time_slice_either() -> None:
    rows: list[list[Record]] = [[row(symbol, number) for symbol in ("A", "B", "C")] for number in (1, 2)]
    limit = LimitOf(lambda call: call.symbol == "B" and call.ts_ns == minute(2))
    SignalStage([FadingView()], limit=limit).on_slice(minute(1), rows[0])
    live_stage = SignalStage([FadingView()], limit=limit)
    live_stage.on_slice(minute(1), rows[0])
    live_stage.on_slice(minute(2), rows[1])
    assert [(one.symbol, one.call) for one in limit.timeouts] == [("B", 1), ("A", 2), ("C", 1)]

    view = FadingView()
    first, second = run(SignalStage([view]), with_timeouts(rows, *limit.timeouts))
    assert view.called_on == ["A", "B", "C", "A"], "A had already been called when B exceeded the limit"
    assert {one.symbol for one in first if type(one) is Signal} == {"A", "B", "C"}
    assert [one.symbol for one in second if type(one) is Signal] == ["A"]
    suspensions = [one for one in second if type(one) is StrategySuspension]
    assert [(one.symbol, one.error_type) for one in suspensions] == [
        ("B", HANDLER_TIME_LIMIT),
        ("C", HANDLER_TIME_LIMIT),
    ]


def test_a_recorded_timeout_of_an_unknown_strategy_changes_nothing() -> None:
    expected = run(trading_stage(Calm()), slices(3))
    given = timeout_of("gone", "", minute(2))
    assert run(trading_stage(Calm()), with_timeouts(slices(3), given)) == expected
