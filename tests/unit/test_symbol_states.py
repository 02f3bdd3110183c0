"""`ctx.state_of`: memory about one symbol, which follows it through renames, mergers and restarts."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from operators.strategies import STRATEGIES, TradingStrategy
from operators.trading.symbol_states import SymbolStates
from schemas.records import (
    DELISTING,
    NOTE,
    RIGHTS,
    SPIN_OFF,
    STOCK_MERGER,
    SUSPENDED,
    SYMBOL_CHANGE,
    Record,
    StrategyAction,
)
from tests.builders import corporate_action
from tests.unit.trading_desk import TradingDesk
from tests.unit.trading_harness import Scripted, closes, feed, minute, notes, run, stage_of

RENAME = corporate_action("r", SYMBOL_CHANGE, "FB", new_symbol="META")
MERGER = corporate_action("m", STOCK_MERGER, "FB", new_symbol="META", ratio="0.5")
DELISTED = corporate_action("d", DELISTING, "FB", amount=1)
COUNTED = ("FB", "KO")


def count(ctx: Any, number: int) -> None:
    """Count the bars of each symbol in its state, and note the states."""
    for symbol in ctx.closed():
        state = ctx.state_of(symbol)
        state["bars"] = state.get("bars", 0) + 1
    ctx.note(" ".join(f"{symbol} {ctx.state_of(symbol)['bars']}" for symbol in ctx.closed()))


def tape(change: Record, later: str = "META") -> list[list[Record]]:
    """Two minutes of FB and KO, then `change` and two minutes of `later` and KO."""
    slices: list[list[Record]] = [[*closes(number, FB=300.0, KO=60.0)] for number in (1, 2)]
    slices += [[*closes(number, **{later: 300.0, "KO": 60.0})] for number in (3, 4)]
    slices[2].insert(0, change)
    return slices


@pytest.mark.parametrize(
    ("change", "later", "symbols", "expected"),
    [
        (RENAME, "META", COUNTED, "META 4 KO 4"),
        (MERGER, "META", COUNTED, "META 4 KO 4"),
        (RENAME, "META", None, "META 4 KO 4"),
        (DELISTED, "OTHER", COUNTED, "KO 4"),
    ],
)
def test_the_state_of_a_symbol_follows_it(change: Record, later: str, symbols: Any, expected: str) -> None:
    found = notes(run(Scripted(count, symbols=symbols), tape(change, later)))
    assert sorted(found[-1].split()) == sorted(expected.split())


@pytest.mark.parametrize("restart", [1, 2, 3])
def test_a_restart_in_any_time_slice_changes_nothing(restart: int) -> None:
    expected = run(Scripted(count, symbols=COUNTED), tape(RENAME))
    first, second = (stage_of(Scripted(count, symbols=COUNTED)) for _ in range(2))
    actions = feed(first, tape(RENAME)[:restart])
    second.restore(pickle.loads(pickle.dumps(first.snapshot())))  # noqa: S301  (written above)
    assert actions + feed(second, tape(RENAME)[restart:], restart + 1) == expected


def test_a_merger_into_a_symbol_of_the_universe_keeps_the_state_of_that_symbol() -> None:
    class Events(TradingStrategy):
        symbols = ("FB", "META")

        def on_slice(self, ctx: Any) -> None:
            for symbol in ctx.closed():
                ctx.state_of(symbol).setdefault("first", symbol)

        def on_event(self, ctx: Any, event: Any) -> None:
            ctx.note(f"{event.kind} {ctx.state_of(event.symbol)} {ctx.state_of('META')}")

    slices: list[list[Record]] = [[*closes(1, FB=100.0, META=200.0)], [MERGER, *closes(2, META=200.0)]]
    expected = "{} {'first': 'META'}"
    assert notes(run(Events(), slices)) == [f"SPLIT {expected}", f"SYMBOL_CHANGE {expected}"]


def test_the_old_name_of_a_cancelled_order_has_the_state_of_the_present_symbol() -> None:
    class Resting(TradingStrategy):
        symbols = ("FB",)

        def on_slice(self, ctx: Any) -> None:
            for symbol in ctx.closed():
                if not ctx.state_of(symbol):
                    ctx.state_of(symbol)["id"] = ctx.submit(symbol, "BUY", 1, limit_price=1, time_in_force="GTC")

        def on_event(self, ctx: Any, event: Any) -> None:
            ctx.note(f"{event.kind} {[one.id for one in ctx.orders(event.symbol)]}")

        def on_order(self, ctx: Any, update: Any) -> None:
            if update.status == "cancelled":
                is_known = ctx.state_of(update.symbol)["id"] == update.order_id
                ctx.note(f"{update.symbol} {ctx.current(update.symbol)} {is_known} {update.reason}")

    desk = TradingDesk(Resting())
    desk.step(2, FB=300.0)
    desk.step(2, RENAME, META=300.0)
    assert desk.notes() == [
        "SYMBOL_CHANGE ['ord-act-resting-1']",
        "FB META True FB was renamed to META (r)",
    ]
    assert not [one for one in desk.strategy_actions() if one.kind == SUSPENDED]


def test_another_company_under_the_old_name_starts_without_a_state() -> None:
    slices: list[list[Record]] = [*tape(RENAME), [*closes(5, FB=9.0, META=300.0, KO=60.0)]]
    assert sorted(notes(run(Scripted(count, symbols=None), slices))[-1].split(" "))[:3] == ["1", "5", "5"]


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda ctx: ctx.state_of("KO").update(x=object()), "ctx.state_of('KO')['x'] must be a plain value"),
        (lambda ctx: ctx.state_of("PEPSI"), "'PEPSI' is not in the universe of strategy scripted"),
    ],
)
def test_a_value_that_a_snapshot_cannot_hold_suspends_the_strategy(change: Callable[[Any], Any], error: str) -> None:
    stage = stage_of(Scripted(lambda ctx, number: change(ctx)))
    [suspension] = feed(stage, [[*closes(1, KO=1.0)]])
    assert suspension.kind == SUSPENDED and suspension.arguments["message"].startswith(error)
    stage.snapshot()


def test_a_failing_handler_leaves_no_state_and_scalars_of_numpy_become_plain() -> None:
    states = SymbolStates()
    states.get("KO")["last"] = np.float64(2.0)
    states.commit()
    assert [(type(one["last"]), symbol) for symbol, one in states.snapshot()] == [(float, "KO")]
    states.get("KO").clear()
    states.get("PEP")
    states.commit()
    assert states.snapshot() == [], "an empty dict is not stored"


def test_a_snapshot_of_the_previous_layout_has_no_states() -> None:
    stage = stage_of(Scripted(count, symbols=COUNTED, name="own"))
    feed(stage, tape(RENAME)[:1])
    version, counts, market, accounts, reference, strategies, *rest = stage.snapshot()
    own = strategies["own"]
    assert own[0] == 2, "the version of a strategy's state"
    older = stage_of(Scripted(count, symbols=COUNTED, name="own"))
    older.restore((version, counts, market, accounts, reference, {"own": (1, *own[1:-1])}, *rest))
    assert notes(feed(older, tape(RENAME)[1:2], 2)) == ["FB 1 KO 1"]


def desk_of(name: str, **parameters: Any) -> TradingDesk:
    strategy = STRATEGIES[name](symbols=("FB",), **parameters)
    assert isinstance(strategy, TradingStrategy)
    return TradingDesk(strategy)


def states_of(desk: TradingDesk, name: str) -> dict[str, Any]:
    """Return the states of a strategy's symbols, from its snapshot."""
    return dict(desk.strategies.snapshot()[5][name][-1])


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("macd_trend", {"fast": 2, "slow": 3, "signal": 2, "interval": "1m"}),
        ("moving_average_ribbon", {"periods": [2, 3], "interval": "1m"}),
        ("donchian_turtle", {"entry": 2, "exit": 2, "atr": 2, "interval": "1m"}),
        ("opening_range_breakout", {"minutes": 2}),
        ("grid", {"step": 0.01}),
    ],
)
def test_a_strategy_of_the_platform_has_the_same_state_under_the_new_name(
    name: str, parameters: dict[str, Any]
) -> None:
    desk = desk_of(name, **parameters)
    for number in range(8):
        desk.step(1, FB=100.0 + 2 * number + number % 2)
    before = states_of(desk, name)
    assert before.keys() == {"FB"}
    desk.step(1, RENAME, KO=60.0)
    after = states_of(desk, name)
    assert after.keys() == ({"META"} if name != "grid" else set()), "a new grid starts with the first bar"
    assert name == "grid" or after["META"].keys() == before["FB"].keys()
    desk.step(3, META=115.0)
    assert states_of(desk, name).keys() == {"META"} and not desk_failures(desk)


def desk_failures(desk: TradingDesk) -> list[StrategyAction]:
    return [one for one in desk.strategy_actions() if one.kind == SUSPENDED]


def turtle_with_a_stop() -> TradingDesk:
    """Return a desk whose turtle has bought one unit in a quiet trend, with its stop at the venue."""
    desk = desk_of("donchian_turtle", entry=2, exit=2, atr=2, units_max=1, interval="1m")
    for number in range(6):
        desk.step(1, FB=100.0 + number)
    desk.step(2, FB=105.0)
    [stop] = desk.strategies.snapshot()[5]["donchian_turtle"][3][0]
    assert stop[1][3]["symbol"] == "FB" and desk.position("FB") > 0
    return desk


def stops(desk: TradingDesk) -> list[tuple[str, float, float]]:
    """Return the working orders: symbol, quantity and stop price."""
    orders = desk.strategies.snapshot()[5]["donchian_turtle"][3][0]
    return [(one[1][3]["symbol"], float(one[1][3]["quantity"]), float(one[1][3]["stop_price"] or 0)) for one in orders]


def test_the_stop_of_a_turtle_works_on_under_the_new_name() -> None:
    desk = turtle_with_a_stop()
    [(_, quantity, price)] = stops(desk)
    desk.step(3, RENAME, META=105.0)
    assert stops(desk) == [("META", quantity, price)] and not desk_failures(desk)
    desk.step(3, META=price - 1)
    assert desk.position("META") == 0


def test_a_split_converts_the_prices_of_a_turtle() -> None:
    """Before, the low of the bars before the split ended the position at once."""
    desk = turtle_with_a_stop()
    [(_, quantity, price)] = stops(desk)
    desk.step(3, corporate_action("s", "SPLIT", "FB", ratio=2), FB=52.5)
    [(_, new_quantity, new_price)] = stops(desk)
    assert new_quantity == 2 * quantity and abs(new_price - price / 2) < 0.01
    assert desk.position("FB") == 2 * quantity and not desk_failures(desk)


@pytest.mark.parametrize("kind", [SPIN_OFF, RIGHTS, SYMBOL_CHANGE])
def test_a_grid_starts_again_after_its_orders_were_cancelled(kind: Any) -> None:
    """Levels at 99 and 98. At 98.50, the first one is bought; then the action cancels all orders."""
    desk = desk_of("grid", levels=2, step=0.01)
    desk.step(2, FB=100.0)
    desk.step(2, FB=98.5)
    held = desk.position("FB")
    assert held > 0
    symbol, price = ("META", 98.5) if kind == SYMBOL_CHANGE else ("FB", 88.65)
    change = corporate_action("c", kind, "FB", new_symbol="META", ratio=1, cost_share="0.1")
    if kind == SYMBOL_CHANGE:
        change = RENAME
    desk.step(3, change, **{symbol: price})
    orders = [one[1] for one in desk.strategies.snapshot()[5]["grid"][3][0]]
    assert [(one[3]["symbol"], one[3]["side"], one[5]) for one in orders] == [
        (symbol, "SELL", "accepted"),
        (symbol, "BUY", "accepted"),
    ]
    assert orders[0][3]["quantity"] == held and not desk_failures(desk)
    assert [one for one in desk.strategy_actions() if one.kind == NOTE] == [] and minute(desk.minute) > 0
