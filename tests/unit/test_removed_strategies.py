"""A strategy that the settings no longer name keeps its sub-account, and finds it when it is added again."""

from __future__ import annotations

import pickle
from decimal import Decimal
from typing import Any

from operators.instruments import NO_INSTRUMENTS
from operators.risk import RiskSettings, RiskStage
from operators.strategies import TradingStrategy
from operators.strategy_limits import StrategyLimits
from operators.trading.accounts import StrategyAccounts
from operators.trading.idle import NO_STATE, IdleStrategies
from operators.trading.settings import TradingSettings
from operators.trading.stage import TradingStrategyStage
from schemas.records import (
    BUY,
    FLATTEN_STRATEGY,
    RESUME_STRATEGY,
    SELL,
    Order,
    OrderRefusal,
    Record,
    StrategyAccount,
    StrategyAction,
    StrategyPosition,
)
from tests.builders import command, corporate_action, execution, proposal
from tests.unit.trading_desk import TradingDesk
from tests.unit.trading_harness import Recording, bars, feed, minute, notes, stage_of

D = Decimal


def recording(name: str = "recording", **declarations: Any) -> Recording:
    return Recording(lambda ctx, number: ctx.note(f"position {ctx.position('KO'):g}"), name=name, **declarations)


def restored(stage: Any, *strategies: TradingStrategy) -> TradingStrategyStage:
    """Return a stage of other strategies with the state of `stage`."""
    after = stage_of(*strategies)
    after.restore(pickle.loads(pickle.dumps(stage.snapshot())))  # noqa: S301 - our own, made above
    return after


def own_fill(seq: int, number: int, quantity: int) -> Record:
    return execution(seq, minute(number), "KO", quantity, 100, 1, order_id="ord-act-recording-1")


def test_a_strategy_that_is_added_again_finds_its_position() -> None:
    """While it was removed, its order at the venue filled, and a split took effect."""
    first = stage_of(recording(), recording("other"))
    feed(first, [[own_fill(1, 1, 10), *bars(1, "KO")]])
    second = restored(first, recording("other"))
    split = corporate_action("spl-1", "SPLIT", "KO", ratio=2)
    feed(second, [[own_fill(2, 2, 5), *bars(2, "KO")], [split, *bars(3, "KO", close=50.0)]], first=2)
    assert {row.strategy: row.quantities for row in second.accounts()} == {
        "recording": {"KO": 30},
        "other": {},
        "remainder": {},
    }, "the sub-account of the removed strategy is booked"
    third = restored(second, recording(), recording("other"))
    actions = [one for one in feed(third, [bars(4, "KO", close=50.0)], first=4) if one.strategy == "recording"]
    assert notes(actions) == ["position 30"]
    assert next(row.fees for row in third.accounts() if row.strategy == "recording") == 2


def test_the_sub_accounts_are_booked_while_the_settings_have_no_trading_strategies() -> None:
    first = stage_of(recording())
    feed(first, [[own_fill(1, 1, 10), *bars(1, "KO")]])
    idle = IdleStrategies(lambda: TradingStrategyStage((), TradingSettings()))
    idle.restore(pickle.loads(pickle.dumps(first.snapshot())))  # noqa: S301 - our own, made above
    published = idle.on_slice(minute(2), [own_fill(2, 2, -4), *bars(2, "KO")])
    assert {one.state for one in published if type(one) is StrategyAccount} == {"REMOVED"}
    assert {one.symbol: one.quantity for one in published if type(one) is StrategyPosition} == {"KO": 6, "PEP": 0}
    assert notes(feed(restored(idle, recording()), [bars(3, "KO")], first=3)) == ["position 6"]


def test_a_platform_that_never_had_a_trading_strategy_books_nothing() -> None:
    idle = IdleStrategies(lambda: TradingStrategyStage((), TradingSettings()))
    idle.restore(NO_STATE)
    assert idle.on_slice(minute(1), bars(1, "KO")) == [] and idle.snapshot() == NO_STATE


def test_a_removed_strategy_stays_suspended() -> None:
    def fail(ctx: Any, number: int) -> None:
        raise ValueError("no price")

    failing = stage_of(Recording(fail, name="recording"), recording("other"))
    feed(failing, [bars(1, "KO")])
    assert failing.suspended == ["recording"]
    without = restored(failing, recording("other"))
    resume = command("cmd-1", 1, RESUME_STRATEGY, {"strategy": "recording"})
    feed(without, [[resume, *bars(2, "KO")]], first=2)
    assert without.suspended == []
    again = restored(without, recording(), recording("other"))
    assert again.suspended == ["recording"], "a command cannot resume what does not run"


def test_risk_knows_the_position_of_a_strategy_that_is_added_again() -> None:
    """Also if the settings had no trading strategies in between."""

    def risk(*names: str) -> RiskStage:
        accounts = StrategyAccounts(names, TradingSettings(), NO_INSTRUMENTS)
        limits = {name: StrategyLimits(max_position_size=D(1_000)) for name in names}
        return RiskStage(RiskSettings.unlimited(), None, accounts, limits)

    first, idle, last = risk("recording"), risk(), risk("recording")
    first.on_slice(minute(1), [own_fill(1, 1, 4), *bars(1, "KO")])
    idle.restore(pickle.loads(pickle.dumps(first.snapshot())))  # noqa: S301 - our own, made above
    idle.on_slice(minute(2), [own_fill(2, 2, 4), *bars(2, "KO")])
    last.restore(pickle.loads(pickle.dumps(idle.snapshot())))  # noqa: S301 - our own, made above
    decisions = last.on_slice(
        minute(3),
        [
            *bars(3, "KO"),
            *(proposal(BUY, quantity, "KO", seq=seq, strategy="recording") for seq, quantity in ((1, 3), (2, 2))),
        ],
    )
    refusals = [one.check for one in decisions if type(one) is OrderRefusal]
    assert refusals == ["strategy_max_position_size"] and len([one for one in decisions if type(one) is Order]) == 1


def trading(name: str = "recording") -> Recording:
    """Build a strategy that buys 10 KO and 5 PEP and leaves a limit order at the venue. `failing` raises later."""

    def act(ctx: Any, number: int) -> None:
        if number == 1:
            ctx.submit("KO", BUY, 10)
            ctx.target_quantity("PEP", 5)
            ctx.submit("KO", SELL, 10, limit_price=200, time_in_force="GTC")
        if number == 4 and name == "failing":
            raise ValueError("no price")

    return Recording(act, name=name)


def without(desk: TradingDesk, *strategies: TradingStrategy) -> TradingDesk:
    """Return a desk of other strategies with the state of `desk`."""
    after = TradingDesk(*strategies)
    after.restore(desk.snapshot())
    after.minute = desk.minute
    return after


def flatten(number: int, strategy: str = "recording") -> Record:
    return command(f"cmd-{number}", 1, FLATTEN_STRATEGY, {"strategy": strategy}, reason="retired")


def quantities(desk: TradingDesk) -> dict[str, dict[str, Decimal]]:
    return {row.strategy: row.quantities for row in desk.strategies.accounts()}


def test_flatten_closes_the_positions_and_orders_of_a_removed_strategy() -> None:
    first = TradingDesk(trading(), recording("other"))
    first.step(3, KO=100.0, PEP=50.0)
    assert quantities(first)["recording"] == {"KO": 10, "PEP": 5}
    desk = without(first, recording("other"))
    desk.step(1, KO=101.0, PEP=50.0)
    removed = [one for one in desk.of(StrategyAccount) if one.strategy == "recording"]
    assert [(one.state, one.open_positions) for one in removed] == [("REMOVED", 2)]
    desk.step(1, flatten(1), KO=101.0, PEP=50.0)
    actions = [one for one in desk.of(StrategyAction) if one.strategy == "recording"]
    assert [(one.kind, one.symbol) for one in actions] == [
        ("CANCEL_ORDER", "KO"),
        ("TARGET_QUANTITY", "KO"),
        ("TARGET_QUANTITY", "PEP"),
    ]
    assert {tuple(one.cause_ids) for one in actions} == {("cmd-1",)}
    desk.step(2, flatten(1), KO=101.0, PEP=50.0)
    assert quantities(desk) == {"other": {}, "recording": {}, "remainder": {}}
    assert len([one for one in desk.of(StrategyAction) if one.strategy == "recording"]) == 3, (
        "a duplicate has no effect"
    )
    desk.step(1, KO=250.0, PEP=50.0)
    assert quantities(desk)["recording"] == {}, "its order at the venue was cancelled"
    last = [one for one in desk.of(StrategyAccount) if one.strategy == "recording"][-1]
    assert (last.state, last.open_positions) == ("REMOVED", 0)
    desk.check()


def test_a_restart_does_not_lose_the_orders_of_a_removed_strategy() -> None:
    first = TradingDesk(trading(), recording("other"))
    first.step(3, KO=100.0, PEP=50.0)
    desk = without(without(first, recording("other")), recording("other"))
    desk.step(1, corporate_action("spl-1", "SPLIT", "KO", ratio=2), KO=50.0, PEP=50.0)
    desk = without(desk, recording("other"))
    desk.step(4, flatten(1), KO=50.0, PEP=50.0)
    assert quantities(desk)["recording"] == {} and desk.position("KO") == 0
    cancels = [one for one in desk.of(StrategyAction) if one.kind == "CANCEL_ORDER"]
    assert [one.arguments["order_id"] for one in cancels] == ["ord-act-recording-3"]


def test_flatten_closes_the_positions_of_a_suspended_strategy_and_leaves_it_suspended() -> None:
    desk = TradingDesk(trading("failing"), recording("other"))
    desk.step(5, KO=100.0, PEP=50.0)
    assert desk.strategies.suspended == ["failing"] and quantities(desk)["failing"] != {}
    desk.step(3, flatten(1, "failing"), KO=100.0, PEP=50.0)
    assert quantities(desk)["failing"] == {} and desk.strategies.suspended == ["failing"]


def test_flatten_has_no_effect_on_a_strategy_that_runs_or_is_unknown() -> None:
    desk = TradingDesk(trading())
    desk.step(3, KO=100.0, PEP=50.0)
    before = len(desk.of(StrategyAction))
    desk.step(2, flatten(1), flatten(2, "nobody"), KO=100.0, PEP=50.0)
    assert quantities(desk)["recording"] == {"KO": 10, "PEP": 5}
    assert not [one for one in desk.of(StrategyAction)[before:] if one.kind != "NOTE"]
