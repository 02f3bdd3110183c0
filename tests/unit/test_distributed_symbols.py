"""Distributed shares through later changes: renames, mergers, selection by a rule, and a strategy added again."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from operators.strategies import TopDollarVolume
from operators.trading.stage import TradingStrategyStage
from schemas.records import SPIN_OFF, STOCK_MERGER, SUSPENDED, SYMBOL_CHANGE, Record, StrategyAction
from tests.builders import corporate_action, execution
from tests.unit.test_trading_universe import Rotation, changes, slices_of
from tests.unit.trading_desk import TradingDesk
from tests.unit.trading_harness import Scripted, closes, feed, minute, notes, run, stage_of

DISTRIBUTION = corporate_action("s", SPIN_OFF, "KO", new_symbol="SPIN", ratio="0.5", cost_share="0.2")
RENAME = corporate_action("r", SYMBOL_CHANGE, "SPIN", new_symbol="SOLO")


def universe(ctx: Any, number: int) -> None:
    ctx.note(" ".join(ctx.universe))


def test_distributed_shares_that_are_renamed_stay_outside_the_universe() -> None:
    def sell(ctx: Any, number: int) -> None:
        universe(ctx, number)
        if number == 4:
            ctx.close("SOLO")

    slices: list[list[Record]] = [
        [*closes(1, KO=100.0, PEP=50.0)],
        [DISTRIBUTION, *closes(2, KO=90.0, PEP=50.0, SPIN=20.0)],
        [RENAME, *closes(3, KO=90.0, PEP=50.0, SOLO=20.0)],
        [*closes(4, KO=90.0, PEP=50.0, SOLO=20.0)],
    ]
    actions = run(Scripted(sell), slices)
    assert notes(actions) == ["KO PEP"] * 4 and not [one for one in actions if one.kind == SUSPENDED]
    assert [one.symbol for one in actions if one.kind == "TARGET_QUANTITY"] == ["SOLO"]


@pytest.mark.parametrize("with_restart", [False, True])
@pytest.mark.parametrize(
    "change",
    [
        corporate_action("m", STOCK_MERGER, "KO", new_symbol="SPIN", ratio=1),
        corporate_action("m", SYMBOL_CHANGE, "KO", new_symbol="SPIN"),
    ],
)
def test_a_symbol_that_becomes_the_distributed_one_stays_in_the_universe(change: Record, with_restart: bool) -> None:
    stage = stage_of(Scripted(universe))
    slices: list[list[Record]] = [
        [*closes(1, KO=100.0, PEP=50.0)],
        [DISTRIBUTION, *closes(2, KO=90.0, PEP=50.0, SPIN=20.0)],
        [change, *closes(3, PEP=50.0, SPIN=20.0)],
    ]
    found = feed(stage, slices)
    if with_restart:
        state = pickle.dumps(stage.snapshot())
        stage = stage_of(Scripted(universe))
        stage.restore(pickle.loads(state))  # noqa: S301 - our own, made above
    found += feed(stage, [[*closes(4, PEP=50.0, SPIN=20.0)]], first=4)
    assert notes(found) == ["KO PEP", "KO PEP", "SPIN PEP", "SPIN PEP"]


def test_a_rule_does_not_select_distributed_shares() -> None:
    """SPIN has the highest volume of all."""
    days = [{"A": 4.0, "B": 3.0, "C": 1.0}] * 2 + [{"A": 4.0, "B": 3.0, "C": 1.0, "SPIN": 99.0}] * 4
    slices = [(ts_ns, [*records]) for ts_ns, records in slices_of(days)]
    distribution = corporate_action("s", SPIN_OFF, "A", new_symbol="SPIN", ratio="0.5", cost_share="0.2")
    strategy: Any = Rotation(TopDollarVolume(count=2, min_history=1, days=1, every="1d"))
    strategy.symbols = ("A", "B", "C")
    stage, found = TradingStrategyStage([strategy]), list[StrategyAction]()
    for number, (ts_ns, bars) in enumerate(slices):
        records: list[Record] = [distribution, *bars] if number == 6 else [*bars]
        found += [one for one in stage.on_slice(ts_ns, records) if type(one) is StrategyAction]
    assert [(kind, symbol) for _, kind, symbol in changes(found)] == [("added", "A"), ("added", "B")]


def test_a_strategy_that_is_added_again_can_sell_distributed_shares() -> None:
    """They are not among its declared symbols, and its state does not name them any more."""

    def sell(ctx: Any, number: int) -> None:
        if number == 1 and ctx.time == minute(5):
            ctx.note(f"{ctx.position('SPIN'):g} {' '.join(ctx.universe)}")
            ctx.close("SPIN")

    def restored(stage: TradingStrategyStage, *strategies: Scripted) -> TradingStrategyStage:
        after = stage_of(*strategies)
        after.restore(pickle.loads(pickle.dumps(stage.snapshot())))  # noqa: S301 - our own, made above
        return after

    one, other = Scripted(sell, name="one"), Scripted(lambda ctx, number: None, name="other")
    first = stage_of(one, other)
    fill = execution(1, minute(2), "KO", 10, 100, order_id="ord-act-one-1")
    feed(first, [[*closes(1, KO=100.0)], [fill, *closes(2, KO=100.0)]])
    feed(first, [[DISTRIBUTION, *closes(3, KO=90.0, SPIN=20.0)]], first=3)
    without = restored(first, Scripted(lambda ctx, number: None, name="other"))
    feed(without, [[*closes(4, KO=90.0, SPIN=20.0)]], first=4)
    again = restored(without, Scripted(sell, name="one"), Scripted(lambda ctx, number: None, name="other"))
    actions = feed(again, [[*closes(5, KO=90.0, SPIN=20.0)]], first=5)
    assert notes(actions) == ["5 KO PEP"] and not [one for one in actions if one.kind == SUSPENDED]
    assert [one.symbol for one in actions if one.kind == "TARGET_QUANTITY"] == ["SPIN"]


def prices_of(ctx: Any, *symbols: str) -> str:
    return " ".join(f"{symbol} {ctx.position(symbol):g} at {ctx.price(symbol)}" for symbol in symbols)


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize(
    ("change", "symbol", "expected"),
    [
        (corporate_action("x", "SPLIT", "SPIN", ratio=4), "SPIN", "SPIN 20 at 10.0"),
        (RENAME, "SOLO", "SOLO 5 at 40.0"),
        (corporate_action("x", STOCK_MERGER, "SPIN", ratio=2, new_symbol="SOLO"), "SOLO", "SOLO 10 at 20.0"),
        (corporate_action("x", "CASH_DIVIDEND", "SPIN", amount=1), "SPIN", "SPIN 5 at 39.0"),
    ],
)
def test_an_action_on_distributed_shares_before_their_first_bar_changes_their_price(
    change: Any, symbol: str, expected: str, restart: bool
) -> None:
    """A fifth of 100 for half a share is 40. Before, the price stayed, and the equity with it was wrong."""

    def act(ctx: Any, number: int) -> None:
        if number == 1:
            ctx.submit("KO", "BUY", 10)
        if number == 4:
            ctx.note(prices_of(ctx, symbol))
            ctx.target_quantity(symbol, 0)

    desk = TradingDesk(Scripted(act, symbols=("KO",), name="own"))
    desk.step(2, KO=100.0)
    desk.step(1, DISTRIBUTION, KO=80.0)
    if restart:
        other = TradingDesk(Scripted(act, symbols=("KO",), name="own"))
        other.restore(desk.snapshot())
        other.minute, desk = desk.minute, other
    desk.step(1, change, KO=80.0)
    assert desk.notes() == [expected]
    desk.step(2, **{"KO": 80.0, symbol: 11.0})
    desk.check()
    assert desk.position(symbol) == 0


def test_shares_that_are_distributed_under_an_old_name_can_be_sold() -> None:
    """FB is META; later, KO distributes shares that trade as FB. FB in the declaration is META all the time."""
    rename = corporate_action("r", SYMBOL_CHANGE, "FB", new_symbol="META")
    spin = DISTRIBUTION._replace(new_symbol="FB")

    def act(ctx: Any, number: int) -> None:
        ctx.note(f"{' '.join(ctx.universe)} | {' '.join(ctx.symbols)} | {ctx.current('FB')}")
        if number == 1:
            ctx.submit("KO", "BUY", 10)
        if number == 4:
            ctx.note(f"{prices_of(ctx, 'FB')} {ctx.bar('FB')} {ctx.state_of('FB')} {ctx.state_of('META')}")
            ctx.close("FB")
        if number == 2:
            ctx.state_of("FB")["own"] = 1

    desk = TradingDesk(Scripted(act, symbols=("FB", "KO"), name="own"))
    desk.step(2, FB=300.0, KO=100.0)
    desk.step(1, rename, META=300.0, KO=100.0)
    desk.step(1, spin, META=300.0, KO=80.0)
    state = desk.snapshot()
    restored = TradingDesk(Scripted(act, symbols=("FB", "KO"), name="own"))
    restored.restore(state)
    restored.minute = desk.minute
    for one in (desk, restored):
        one.step(3, META=300.0, KO=80.0, FB=41.0)
        one.check()
        assert one.position("FB") == 0 and one.trades()[-1][1:] == ("FB", -5.0, 41.0)
    names = "META KO | META KO | META"
    assert desk.notes()[2:] == [names, names, "FB 5 at 40.0 None {} {'own': 1}", *[names] * 3]


def test_distributed_shares_under_the_name_of_a_delisted_symbol_can_be_closed() -> None:
    delisting = corporate_action("d", "DELISTING", "FB", amount=1)

    def act(ctx: Any, number: int) -> None:
        if number == 1:
            ctx.submit("KO", "BUY", 10)
        if number == 5:
            ctx.close("FB")

    desk = TradingDesk(Scripted(act, symbols=("FB", "KO"), name="own"))
    desk.step(2, FB=300.0, KO=100.0)
    desk.step(1, delisting, KO=100.0)
    desk.step(1, DISTRIBUTION._replace(new_symbol="FB"), KO=80.0)
    desk.step(3, KO=80.0, FB=40.0)
    desk.check()
    assert desk.trades()[-1][1:3] == ("FB", -5.0)
