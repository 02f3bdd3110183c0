"""A trading strategy that fails is suspended alone, with one sentence that names its file and line."""

from __future__ import annotations

import inspect
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from operators.strategies import TargetView, TradingStrategy
from operators.trading.settings import TradingSettings
from operators.trading.stage import TradingStrategyStage
from schemas.errors import BadInput
from schemas.records import (
    CANCEL_ORDER,
    NOTE,
    RESUME_STRATEGY,
    RESUMED,
    SUSPENDED,
    TARGET_QUANTITY,
    StrategyAction,
)
from tests.builders import command, execution
from tests.unit.trading_harness import Scripted, bars, feed, minute, notes, run, stage_of


class Dividing(TradingStrategy):
    """Note each time slice; raise in the second one."""

    symbols = ("KO",)

    def on_slice(self, ctx: Any) -> None:
        number = ctx.state["slice"] = ctx.state.get("slice", 0) + 1
        ctx.note(f"slice {number}")
        ctx.target_weight("KO", 1 / (2 - number))


class Calm(TradingStrategy):
    symbols = ("KO",)

    def on_slice(self, ctx: Any) -> None:
        ctx.note("calm")


RAISING_LINE = inspect.getsourcelines(Dividing)[1] + 8


def suspension_of(strategy: TradingStrategy, slices: int = 1) -> StrategyAction:
    actions = run(strategy, [bars(number, "KO", "PEP") for number in range(1, slices + 1)])
    (suspension,) = [action for action in actions if action.kind == SUSPENDED]
    return suspension


def test_the_suspension_names_the_error_the_file_and_the_line() -> None:
    suspension = suspension_of(Dividing(), 2)
    assert suspension.arguments == {
        "error_type": "ZeroDivisionError",
        "message": "division by zero",
        "file": __file__,
        "line": str(RAISING_LINE),
        "on_error": "hold",
    }


def test_the_failing_evaluation_yields_nothing_and_the_strategy_stops() -> None:
    actions = run(Dividing(), [bars(number, "KO") for number in (1, 2, 3, 4)])
    assert [(action.kind, action.ts_ns) for action in actions] == [
        (NOTE, minute(1)),
        ("TARGET_WEIGHT", minute(1)),
        (SUSPENDED, minute(2)),
    ]


def test_another_strategy_acts_as_if_the_failing_one_did_not_exist() -> None:
    slices = [bars(number, "KO") for number in (1, 2, 3)]
    alone = run(Calm(), slices)
    beside = [action for action in feed(stage_of(Calm(), Dividing()), slices) if action.strategy == "calm"]
    assert [one._replace(seq=0) for one in beside] == [one._replace(seq=0) for one in alone]


def test_actions_do_not_depend_on_the_order_of_the_strategies() -> None:
    slices = [bars(number, "KO") for number in (1, 2, 3)]
    assert feed(stage_of(Calm(), Dividing()), slices) == feed(stage_of(Dividing(), Calm()), slices)


def test_flatten_on_error_cancels_the_orders_and_closes_positions_and_targets() -> None:
    def act(ctx: Any, number: int) -> None:
        if number == 1:
            ctx.submit("KO", "BUY", 10)
            ctx.target_weight("PEP", 0.1)
        elif number == 2:
            ctx.submit("KO", "SELL", 10, limit_price=120)
        else:
            raise ValueError("broken")

    stage = stage_of(Scripted(act), flatten_on_error=frozenset({"scripted"}))
    fill = execution(1, minute(2), "KO", 10, 100, order_id="ord-act-scripted-1")
    slices = [bars(1, "KO", "PEP"), [fill, *bars(2, "KO", "PEP")], bars(3, "KO", "PEP")]
    suspended, *rest = feed(stage, slices)[3:]
    assert suspended.arguments["on_error"] == "flatten"
    assert [(one.kind, one.symbol, one.arguments) for one in rest] == [
        (CANCEL_ORDER, "KO", {"order_id": "ord-act-scripted-3"}),
        (TARGET_QUANTITY, "KO", {"quantity": "0"}),
        (TARGET_QUANTITY, "PEP", {"quantity": "0"}),
    ]
    assert {tuple(one.cause_ids) for one in rest} == {(suspended.action_id,)}


def test_a_suspended_strategy_keeps_its_books() -> None:
    stage = stage_of(Dividing())
    feed(stage, [bars(1, "KO"), bars(2, "KO")])
    late = execution(1, minute(3), "KO", 10, 100, order_id="ord-act-dividing-2")
    feed(stage, [[late, *bars(3, "KO")]], first=3)
    assert stage.accounts()[0].quantities == {"KO": 10}


def test_a_resumed_strategy_starts_without_state() -> None:
    stage = stage_of(Dividing())
    feed(stage, [bars(1, "KO"), bars(2, "KO")])
    assert stage.suspended == ["dividing"]
    resume = command("cmd-1", kind=RESUME_STRATEGY, arguments={"strategy": "dividing"}, reason="fixed")
    actions = feed(stage, [[resume, *bars(3, "KO")]], first=3)
    assert [(action.kind, action.reason, action.cause_ids) for action in actions[:1]] == [(RESUMED, "fixed", ["cmd-1"])]
    assert notes(actions) == ["slice 1"]
    assert stage.suspended == []


def test_a_repeated_resume_has_no_effect() -> None:
    stage = stage_of(Dividing())
    resume = command("cmd-1", kind=RESUME_STRATEGY, arguments={"strategy": "dividing"})
    slices = [bars(1, "KO"), bars(2, "KO"), [resume, *bars(3, "KO")], bars(4, "KO"), [resume, *bars(5, "KO")]]
    feed(stage, slices)
    assert stage.suspended == ["dividing"], "it failed again in the fourth time slice"


class Remembering(TradingStrategy):
    symbols = ("KO",)
    seen: list[float] = []  # noqa: RUF012  (what a user may write)

    def __init__(self, how: str) -> None:
        self.how = how
        self.prices: list[float] = []
        self.levels = np.zeros(2)
        self.nested = {"a": [1, 2]}

    def on_slice(self, ctx: Any) -> None:
        if self.how == "append":
            self.prices.append(ctx.bar("KO").close)
        elif self.how == "assign":
            self.last = ctx.bar("KO").close
        elif self.how == "array":
            self.levels[0] = 1.0
        elif self.how == "nested":
            self.nested["a"][0] = 9
        elif self.how == "class":
            self.seen.append(1.0)


@pytest.mark.parametrize(
    ("how", "attribute"),
    [("append", "prices"), ("assign", "last"), ("array", "levels"), ("nested", "nested"), ("class", "seen")],
)
def test_memory_on_self_suspends_the_strategy(how: str, attribute: str) -> None:
    arguments = suspension_of(Remembering(how)).arguments
    assert arguments["message"] == (
        f"on_slice changed self.{attribute}, which a snapshot does not contain; use ctx.state['{attribute}'] instead"
    )
    assert (arguments["file"], arguments["line"]) == (
        __file__,
        str(inspect.getsourcelines(Remembering.on_slice)[1]),
    )


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (np.zeros(3), "ndarray"),
        ({1, 2}, "set"),
        (object(), "object"),
        (TargetView(1, 1.0, 1.0, {}), "TargetView"),
        (lambda: 1, "function"),
    ],
)
def test_a_state_that_a_snapshot_cannot_hold_suspends_the_strategy(value: Any, found: str) -> None:
    def act(ctx: Any, number: int) -> None:
        ctx.state["deep"] = [{"x": value}]

    message = suspension_of(Scripted(act)).arguments["message"]
    assert message.startswith("ctx.state['deep'][0]['x'] must be a plain value")
    assert f"found {found};" in message


def test_plain_values_and_scalars_of_numpy_are_a_state() -> None:
    values = {"a": [1, 2.5, None, True, "x", (1, 2)], ("KO", 1): Decimal(3), "n": np.float64(2.5), 3: np.int64(7)}

    def act(ctx: Any, number: int) -> None:
        if number == 2:
            ctx.note(repr(ctx.state["values"]))
        ctx.state["values"] = values

    actions = run(Scripted(act), [bars(1, "KO"), bars(2, "KO")])
    expected = {"a": [1, 2.5, None, True, "x", (1, 2)], ("KO", 1): Decimal(3), "n": 2.5, 3: 7}
    assert notes(actions) == [repr(expected)]


def test_a_returned_value_is_explained() -> None:
    class Returning(TradingStrategy):
        symbols = ("KO",)

        def on_slice(self, ctx: Any) -> Any:
            return TargetView(1, 1.0, 1.0, {})

    class Generating(TradingStrategy):
        symbols = ("KO",)

        def on_slice(self, ctx: Any) -> Any:
            yield ctx.target_weight("KO", 1.0)

    assert "on_slice returned TargetView, expected nothing" in suspension_of(Returning()).arguments["message"]
    assert "on_slice returned generator, expected nothing" in suspension_of(Generating()).arguments["message"]


def test_every_handler_is_isolated() -> None:
    class Failing(Calm):
        def on_fill(self, ctx: Any, fill: Any) -> None:
            raise KeyError("fill")

    fill = execution(1, minute(1), "KO", 10, 100, order_id="ord-act-failing-1")
    (suspension,) = run(Failing(), [[fill, *bars(1, "KO")]])
    assert (suspension.arguments["error_type"], suspension.cause_ids) == ("KeyError", ["exe-1"])


@pytest.mark.parametrize(
    ("declarations", "message"),
    [
        ({"name": "two words"}, "`name` must be 1 to 32 letters, digits"),
        ({"name": "a+b"}, "`name` must be 1 to 32 letters, digits"),
        ({"symbols": "KO"}, "`symbols` must be a tuple of symbols"),
        ({"symbols": ()}, "`symbols` must be a tuple of symbols"),
        ({"features": {"1m": "sma_3"}}, "`features` must be a mapping of intervals to tuples"),
        ({"features": {"5m": ("smma_3",)}}, "unknown indicator 'smma_3'; did you mean sma_3?"),
        ({"features": {"30s": ("sma_3",)}}, "interval 30s must be a multiple of the bars of the feed, 1m"),
        ({"history": {"1m": 0}}, "history of 1m must be a number of bars from 1 to 1000000, found 0"),
        ({"history": ("1m",)}, "`history` must be a mapping of intervals"),
        ({"warm_up": -1}, "`warm_up` must be a number of bars of at least 0, found -1"),
    ],
)
def test_an_invalid_declaration_is_rejected_at_the_start(declarations: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput) as raised:
        stage_of(Scripted(lambda ctx, number: None, **declarations))
    assert message in str(raised.value)
    assert str(raised.value).startswith("strategy ")


def test_two_strategies_with_one_name_are_rejected() -> None:
    with pytest.raises(BadInput, match="two strategies have the name calm"):
        TradingStrategyStage([Calm(), Calm()], TradingSettings())


def test_a_strategy_is_named_after_its_class() -> None:
    class MeanReversion(TradingStrategy):
        pass

    class Named(TradingStrategy):
        name = "own"

    assert (MeanReversion().name, Named().name, Dividing().name) == ("mean_reversion", "own", "dividing")
