"""Limits of single trading strategies: risk rejects their orders, and a loss stop suspends them."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from operators.strategy_limits import StrategyLimits
from schemas.errors import BadInput
from schemas.records import RESUME_STRATEGY, SUSPENDED, Order, OrderRefusal, StrategyAction
from tests.builders import command, corporate_action
from tests.unit.trading_desk import TradingDesk
from tests.unit.trading_harness import DAY, HOUR_NS, OPEN_NS, Recording, notes, session

D = Decimal
Act = Callable[[Any, int], Any]


def desk_of(act: Act, other: Act | None = None, **options: Any) -> TradingDesk:
    """Return a desk with the strategy `limited`, and the strategy `other` without limits."""
    limits = {"limited": StrategyLimits(**{name: D(value) for name, value in options.pop("limits").items()})}
    strategies = [Recording(act, name="limited")]
    if other is not None:
        strategies.append(Recording(other, name="other"))
    return TradingDesk(*strategies, limits=limits, **options)


def at_minutes(script: dict[int, Callable[[Any], Any]]) -> Act:
    """Return an act that calls the function of each time slice."""

    def act(ctx: Any, number: int) -> None:
        if number in script:
            script[number](ctx)

    return act


def refusals(desk: TradingDesk) -> list[tuple[str, str, str]]:
    return [(one.check, one.found, one.limit) for one in desk.of(OrderRefusal)]


@pytest.mark.parametrize(
    ("limits", "quantities", "refused"),
    [
        ({"max_order_notional": "1000"}, [10, 11], ("strategy_max_order_notional", "1,100.00", "1,000.00")),
        ({"max_position_size": "1500"}, [10, 5, 1], ("strategy_max_position_size", "1,600.00", "1,500.00")),
        ({"max_gross_exposure": "1500"}, [10, 5, 1], ("strategy_max_gross_exposure", "1,600.00", "1,500.00")),
        ({"max_orders_per_day": "2"}, [1, 1, 1], ("strategy_max_orders_per_day", "3", "2")),
    ],
)
def test_an_order_at_the_limit_passes_and_one_above_it_is_rejected(
    limits: dict[str, str], quantities: list[int], refused: tuple[str, str, str]
) -> None:
    """The orders of one time slice are open together, so that each counts as filled for the next one."""
    script = at_minutes({1: lambda ctx: [ctx.submit("KO", "BUY", quantity) for quantity in quantities]})
    desk = desk_of(script, script, limits=limits)
    desk.step(2, KO=100.0, PEP=50.0)
    assert refusals(desk) == [refused]
    approved = [one.order_id.rsplit("-", 1)[0] for one in desk.of(Order)]
    assert approved == ["ord-act-limited"] * (len(quantities) - 1) + ["ord-act-other"] * len(quantities)
    assert "rejected submit" in str(notes(desk.of(StrategyAction)))


def test_a_rejection_names_the_strategy_the_value_and_the_limit() -> None:
    desk = desk_of(at_minutes({1: lambda ctx: ctx.submit("KO", "BUY", 11)}), limits={"max_position_size": "1000"})
    desk.step(2, KO=100.0)
    (refusal,) = desk.of(OrderRefusal)
    assert refusal.message == (
        "strategy_max_position_size: KO position of limited would be worth 1,100.00 USD, limit 1,000.00"
    )


def test_positions_of_other_strategies_do_not_count() -> None:
    """The account holds 100 units of another strategy, and its short position does not make room either."""
    desk = desk_of(
        at_minutes({3: lambda ctx: ctx.submit("KO", "SELL", 11), 4: lambda ctx: ctx.submit("KO", "SELL", 10)}),
        at_minutes({1: lambda ctx: ctx.submit("KO", "BUY", 100)}),
        limits={"max_position_size": "1000"},
    )
    desk.step(6, KO=100.0)
    assert refusals(desk) == [("strategy_max_position_size", "1,100.00", "1,000.00")]
    assert desk.position("KO") == 90


def test_an_order_that_only_reduces_is_not_limited() -> None:
    desk = desk_of(
        at_minutes({1: lambda ctx: ctx.submit("KO", "BUY", 10), 3: lambda ctx: ctx.close("KO")}),
        limits={"max_order_notional": "1000", "max_orders_per_day": "1", "max_position_size": "1000"},
    )
    desk.step(2, KO=100.0)
    desk.step(3, KO=150.0)
    assert not refusals(desk) and desk.position("KO") == 0


BUY_100_OF_OTHER = at_minutes({1: lambda ctx: ctx.submit("KO", "BUY", 100)})


def test_a_reduce_only_order_that_sells_the_units_of_other_strategies_is_limited() -> None:
    """It reduces the position of the account. The strategy, which has no position, would be short."""

    def with_parent(ctx: Any) -> None:
        parent = ctx.submit("KO", "BUY", 1, limit_price=90)
        ctx.submit("KO", "SELL", 11, reduce_only=True, parent=parent)

    desk = desk_of(
        at_minutes(
            {
                3: lambda ctx: [ctx.submit("KO", "SELL", quantity, reduce_only=True) for quantity in (11, 6, 5)],
                5: with_parent,
            }
        ),
        BUY_100_OF_OTHER,
        limits={"max_position_size": "1000"},
    )
    desk.step(8, KO=100.0)
    values = ["1,100.00", "1,100.00", "1,700.00"]
    assert refusals(desk) == [("strategy_max_position_size", value, "1,000.00") for value in values]
    assert desk.position("KO") == 94


def test_an_open_reduce_only_order_beyond_the_own_units_counts_in_later_orders() -> None:
    """It sells 6 units of another strategy, so that there is room for 4 more."""

    def sell(ctx: Any) -> None:
        ctx.submit("KO", "SELL", 6, limit_price=150, reduce_only=True)
        ctx.submit("KO", "SELL", 5)
        ctx.submit("KO", "SELL", 4)

    desk = desk_of(at_minutes({3: sell}), BUY_100_OF_OTHER, limits={"max_position_size": "1000"})
    desk.step(5, KO=100.0)
    assert refusals(desk) == [("strategy_max_position_size", "1,100.00", "1,000.00")]
    gross = desk_of(at_minutes({3: sell}), BUY_100_OF_OTHER, limits={"max_gross_exposure": "1000"})
    gross.step(5, KO=100.0)
    assert refusals(gross) == [("strategy_max_gross_exposure", "1,100.00", "1,000.00")]


def test_a_position_with_an_open_stop_can_be_closed_but_not_reversed_further() -> None:
    """The stop for 10 stays open. With it, the sale of 10 can make the position short by 10, as large as it was."""

    def protect(ctx: Any) -> None:
        ctx.submit("KO", "SELL", 10, stop_price=90, reduce_only=True)

    def sell(ctx: Any) -> None:
        ctx.submit("KO", "SELL", 11)
        ctx.submit("KO", "SELL", 10)

    script = at_minutes({1: lambda ctx: ctx.submit("KO", "BUY", 10), 3: protect, 5: sell})
    desk = desk_of(script, BUY_100_OF_OTHER, limits={"max_position_size": "1000", "max_orders_per_day": "2"})
    desk.step(4, KO=100.0)
    desk.step(3, KO=150.0)
    assert refusals(desk) == [("strategy_max_position_size", "1,650.00", "1,000.00")]
    assert desk.position("KO") == 100


def test_a_stop_that_is_cancelled_with_the_reversal_does_not_count() -> None:
    def reverse(ctx: Any) -> None:
        ctx.cancel("KO")
        ctx.target_quantity("KO", -10)

    script = at_minutes(
        {
            1: lambda ctx: ctx.submit("KO", "BUY", 10),
            3: lambda ctx: ctx.submit("KO", "SELL", 10, stop_price=90, reduce_only=True),
            5: reverse,
        }
    )
    desk = desk_of(script, BUY_100_OF_OTHER, limits={"max_position_size": "1000"})
    desk.step(8, KO=100.0)
    assert not refusals(desk) and desk.position("KO") == 90


def test_exits_of_a_bracket_are_not_limited_beside_a_position_of_other_strategies() -> None:
    bracket = at_minutes({3: lambda ctx: ctx.submit("KO", "BUY", 10, take_profit=150, stop_loss=90)})
    limits = {"max_order_notional": "1000", "max_orders_per_day": "1", "max_position_size": "1000"}
    desk = desk_of(bracket, BUY_100_OF_OTHER, limits=limits)
    desk.step(5, KO=100.0)
    desk.step(2, KO=150.0)
    assert not refusals(desk) and desk.position("KO") == 100


def test_protective_orders_of_the_own_position_are_not_limited() -> None:
    """One at the market, and a stop and a target of which only one fills."""

    def protect(ctx: Any) -> None:
        for group, quantity in (("", 4), ("exits", 6)):
            ctx.submit("KO", "SELL", quantity, stop_price=90, reduce_only=True, group=group)
        ctx.submit("KO", "SELL", 6, limit_price=150, reduce_only=True, group="exits")

    script = at_minutes({1: lambda ctx: ctx.submit("KO", "BUY", 10), 3: protect})
    limits = {"max_order_notional": "1000", "max_orders_per_day": "1", "max_position_size": "1000"}
    desk = desk_of(script, BUY_100_OF_OTHER, limits=limits)
    desk.step(5, KO=100.0)
    desk.step(2, KO=80.0)
    assert not refusals(desk) and desk.position("KO") == 100


def test_a_target_is_limited_like_an_order() -> None:
    desk = desk_of(at_minutes({1: lambda ctx: ctx.target_quantity("KO", 11)}), limits={"max_position_size": "1000"})
    desk.step(3, KO=100.0)
    assert refusals(desk) == [("strategy_max_position_size", "1,100.00", "1,000.00")]
    assert notes(desk.of(StrategyAction)) == ["rejected target"]


def test_the_number_of_orders_starts_anew_each_day_and_amendments_do_not_count() -> None:
    def act(ctx: Any, number: int) -> None:
        if number in (1, 5):
            ctx.state["id"] = ctx.submit("KO", "BUY", 1, limit_price=90, time_in_force="GTC")
        elif number == 3:
            ctx.amend(ctx.state["id"], limit_price=91)

    days = {DAY: session(), DAY + 1: session(DAY + 1, open_ns=OPEN_NS + 24 * HOUR_NS)}
    desk = desk_of(act, limits={"max_orders_per_day": "1"}, days=days)
    desk.step(4, KO=100.0)
    assert (refusals(desk), len(desk.of(Order))) == ([], 2), "an order and its amendment"
    desk.next_day()
    desk.step(3, KO=100.0)
    assert (refusals(desk), len(desk.of(Order))) == ([], 3)


def test_a_split_changes_no_position_value() -> None:
    desk = desk_of(
        at_minutes({1: lambda ctx: ctx.submit("KO", "BUY", 10), 4: lambda ctx: ctx.submit("KO", "BUY", 1)}),
        limits={"max_position_size": "1000"},
    )
    desk.step(2, KO=100.0)
    desk.step(1, corporate_action("spl-1", "SPLIT", "KO", ratio=2), KO=50.0)
    desk.step(2, KO=50.0)
    assert refusals(desk) == [("strategy_max_position_size", "1,050.00", "1,000.00")]


def test_a_restored_platform_knows_the_positions_and_the_orders_of_the_day() -> None:
    script = at_minutes({1: lambda ctx: ctx.submit("KO", "BUY", 10), 4: lambda ctx: ctx.submit("KO", "BUY", 1)})
    limits = {"max_position_size": "1000", "max_orders_per_day": "5"}
    desk = desk_of(script, limits=limits)
    desk.step(3, KO=100.0)
    restored = desk_of(script, limits=limits)
    restored.restore(desk.snapshot())
    restored.minute = desk.minute
    for one in (desk, restored):
        one.records.clear()
        one.step(2, KO=100.0)
    assert restored.records == desk.records
    assert refusals(restored) == [("strategy_max_position_size", "1,100.00", "1,000.00")]


# -- loss stop


def suspensions(desk: TradingDesk) -> list[StrategyAction]:
    return [one for one in desk.of(StrategyAction) if one.kind == SUSPENDED]


BUY_100 = at_minutes({1: lambda ctx: ctx.submit("KO", "BUY", 100)})


@pytest.mark.parametrize(
    ("limits", "check", "value", "limit"),
    [
        ({"max_daily_loss": "1000"}, "max_daily_loss", "1001", "1000"),
        ({"max_drawdown": "0.01"}, "max_drawdown", "0.01001", "0.01"),
    ],
)
def test_a_loss_above_the_limit_suspends_the_strategy_alone(
    limits: dict[str, str], check: str, value: str, limit: str
) -> None:
    desk = desk_of(BUY_100, BUY_100, limits=limits)
    desk.step(2, KO=100.0)
    desk.step(1, KO=90.0)
    assert suspensions(desk) == [], "a loss equal to the limit"
    desk.step(2, KO=89.99)
    (suspension,) = suspensions(desk)
    arguments = suspension.arguments
    assert (suspension.strategy, arguments["error_type"], arguments["on_error"]) == ("limited", "LossStop", "hold")
    assert (arguments["check"], arguments["value"], arguments["limit"]) == (check, value, limit)
    assert arguments["message"].startswith(f"{check}: ")
    assert desk.strategies.suspended == ["limited"]
    assert desk.position("KO") == 200


def test_a_loss_stop_closes_the_positions_if_the_settings_say_so() -> None:
    desk = desk_of(BUY_100, BUY_100, limits={"max_daily_loss": "1000"}, flatten_on_error=("limited",))
    desk.step(2, KO=100.0)
    desk.step(4, KO=80.0)
    (suspension,) = suspensions(desk)
    assert suspension.arguments["on_error"] == "flatten"
    assert desk.position("KO") == 100, "that of the other strategy"


def test_a_gain_moves_the_peak_and_a_withdrawal_is_no_loss() -> None:
    desk = desk_of(BUY_100, limits={"max_drawdown": "0.01"})
    desk.step(2, KO=100.0)
    desk.step(1, KO=200.0)
    withdrawal = command("cmd-1", kind="CASH_TRANSFER", arguments={"kind": "WITHDRAWAL", "amount": "-50000"})
    desk.step(1, withdrawal, KO=200.0)
    assert suspensions(desk) == []
    desk.step(1, KO=194.0)
    assert suspensions(desk) == [], "1 % of 60,000"
    desk.step(1, KO=193.99)
    assert suspensions(desk)[0].arguments["check"] == "max_drawdown"


def test_a_new_day_starts_the_daily_loss_at_the_last_prices() -> None:
    days = {DAY: session(), DAY + 1: session(DAY + 1, open_ns=OPEN_NS + 24 * HOUR_NS)}
    desk = desk_of(BUY_100, limits={"max_daily_loss": "1000"}, days=days)
    desk.step(2, KO=100.0)
    desk.step(1, KO=91.0)
    desk.next_day()
    desk.step(1, KO=81.0)
    assert suspensions(desk) == []
    desk.step(1, KO=80.99)
    assert suspensions(desk)[0].arguments["value"] == "1001"


def test_a_resume_counts_losses_from_the_present_equity() -> None:
    desk = desk_of(BUY_100, limits={"max_daily_loss": "1000"})
    desk.step(2, KO=100.0)
    desk.step(1, KO=80.0)
    resume = command("cmd-1", kind=RESUME_STRATEGY, arguments={"strategy": "limited"}, reason="accepted")
    desk.step(1, resume, KO=80.0)
    desk.step(1, KO=70.0)
    assert (len(suspensions(desk)), desk.strategies.suspended) == (1, [])
    desk.step(1, KO=69.99)
    assert len(suspensions(desk)) == 2


def test_a_limit_must_be_a_number_of_at_least_0() -> None:
    with pytest.raises(BadInput, match="limit max_drawdown of a strategy must be a number of at least 0, found -1"):
        StrategyLimits(max_drawdown=D(-1))
