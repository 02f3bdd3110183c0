"""A rule selects the universe of a strategy from its candidates, on a schedule."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from operators.strategies import TopDollarVolume, TradingStrategy, UniverseFile
from operators.trading.stage import TradingStrategyStage
from schemas.errors import BadInput
from schemas.records import DELISTING, SYMBOL_CHANGE, Bar, Record, StrategyAction
from tests.builders import bar, corporate_action
from tests.unit.strategy_tapes import tape_of
from tests.unit.trading_harness import DAY, MINUTE_NS, OPEN_NS, stage_of

MINUTES = 3
Volumes = Mapping[str, float]


class Rotation(TradingStrategy):
    """Note the universe in each time slice, and buy what is added, sell what is removed."""

    symbols = ("A", "B", "C", "D")

    def __init__(self, rule: TopDollarVolume | UniverseFile) -> None:
        self.universe = rule

    def on_event(self, ctx: Any, event: Any) -> None:
        ctx.note(f"{event.kind} {event.symbol}")
        if event.kind == "UNIVERSE_ADDED":
            ctx.target_weight(event.symbol, 0.1)
        elif event.kind == "UNIVERSE_REMOVED":
            ctx.close(event.symbol)

    def on_slice(self, ctx: Any) -> None:
        if ctx.state.get("universe") != list(ctx.universe):
            ctx.state["universe"] = list(ctx.universe)
            ctx.note("universe " + " ".join(ctx.universe))


def slices_of(days: Sequence[Volumes], price: float = 10.0) -> list[tuple[int, list[Bar]]]:
    """Return a tape of three minutes per day. `days` has the dollar volume per minute by symbol."""
    tape = tape_of([dict.fromkeys(day, price) for day in days for _ in range(MINUTES)], MINUTES)
    return [
        (ts_ns, [one._replace(volume=days[index // MINUTES][one.symbol] / price) for one in records])
        for index, (ts_ns, records) in enumerate(tape.slices)
    ]


def run(stage: TradingStrategyStage, slices: Sequence[tuple[int, Sequence[Record]]]) -> list[StrategyAction]:
    out: list[StrategyAction] = []
    for ts_ns, records in slices:
        out += [one for one in stage.on_slice(ts_ns, records) if type(one) is StrategyAction]
    return out


def changes(actions: Sequence[StrategyAction]) -> list[tuple[int, str, str]]:
    """Return the changes with the number of the calendar day from the first one."""
    return [
        ((one.ts_ns - OPEN_NS) // (24 * 60 * MINUTE_NS), one.kind.removeprefix("UNIVERSE_").lower(), one.symbol)
        for one in actions
        if one.kind.startswith("UNIVERSE_")
    ]


FLAT: Volumes = {"A": 4.0, "B": 3.0, "C": 2.0, "D": 1.0}
TURNED: Volumes = {"A": 1.0, "B": 3.0, "C": 2.0, "D": 9.0}
# 2 January 2024 is a Tuesday: four days until Friday, then full weeks.
WEEKS = [*[FLAT] * 4, *[FLAT] * 2, *[TURNED] * 3, *[TURNED] * 2]


def test_the_rule_selects_with_enough_history_and_then_each_monday() -> None:
    rule = TopDollarVolume(count=2, min_history=2, days=3, every="1w")
    actions = run(stage_of(Rotation(rule)), slices_of(WEEKS))
    # Two days are closed with the first bar of the third one. The turn of the second week counts on the third Monday.
    assert changes(actions) == [(2, "added", "A"), (2, "added", "B"), (13, "removed", "A"), (13, "added", "D")]
    added = next(one for one in actions if one.symbol == "D" and one.kind == "UNIVERSE_ADDED")
    assert added.arguments == {"rank": "1", "dollar_volume": "27"}
    removed = next(one for one in actions if one.kind == "UNIVERSE_REMOVED")
    assert removed.arguments == {"rank": "4", "dollar_volume": "3"}
    assert removed.cause_ids, "the bar behind it"


def test_the_strategy_receives_each_change_and_sees_the_new_universe() -> None:
    rule = TopDollarVolume(count=2, min_history=2, days=3, every="1w")
    actions = run(stage_of(Rotation(rule)), slices_of(WEEKS))
    texts = [one.arguments["text"] for one in actions if one.kind == "NOTE"]
    assert texts == [
        "universe",
        "UNIVERSE_ADDED A",
        "UNIVERSE_ADDED B",
        "universe A B",
        "UNIVERSE_REMOVED A",
        "UNIVERSE_ADDED D",
        "universe B D",
    ]
    target = next(one for one in actions if one.kind == "TARGET_QUANTITY")
    change = next(one for one in actions if one.kind == "UNIVERSE_REMOVED")
    assert (target.symbol, target.cause_ids) == ("A", [change.action_id])


@pytest.mark.parametrize(("every", "expected"), [("1d", {2, 3, 4, 5}), ("1w", {2}), ("1mo", {2})])
def test_the_schedule_decides_when_the_universe_changes(every: str, expected: set[int]) -> None:
    """The order of the volumes changes each day."""
    days = [{"A": 1.0 + index % 2, "B": 2.0 - index % 2} for index in range(4)]
    rule = TopDollarVolume(count=1, min_history=1, days=1, every=every)
    found = {day for day, _, _ in changes(run(stage_of(Rotation(rule)), slices_of(days)))}
    assert found == {day - 1 for day in expected if day <= 4}


def test_a_month_starts_with_its_first_session() -> None:
    rule = TopDollarVolume(count=1, min_history=1, days=1, every="1mo")
    actions = run(stage_of(Rotation(rule)), slices_of([*[FLAT] * 3, *[TURNED] * 25]))
    assert changes(actions) == [(1, "added", "A"), (30, "removed", "A"), (30, "added", "D")]  # 1 February


def test_price_and_history_filter_the_candidates() -> None:
    rule = TopDollarVolume(count=4, min_history=2, days=2, every="1d", min_price=5)
    changed = [
        (
            ts_ns,
            [
                one._replace(close=4.0)
                if one.symbol == "A" and index >= 9
                else one  # A is cheap from the fourth day on
                for one in records
                if one.symbol != "D" or index >= 6  # D is listed on the third day
            ],
        )
        for index, (ts_ns, records) in enumerate(slices_of([FLAT] * 5))
    ]
    actions = run(stage_of(Rotation(rule)), changed)
    assert changes(actions) == [
        (2, "added", "A"),
        (2, "added", "B"),
        (2, "added", "C"),
        (3, "removed", "A"),
        (6, "added", "D"),
    ]
    assert next(one for one in actions if one.kind == "UNIVERSE_REMOVED").arguments == {"filter": "min_price"}


def test_a_delisted_symbol_is_removed_and_a_renamed_one_is_replaced() -> None:
    rule = TopDollarVolume(count=2, min_history=1, days=1, every="1d")
    slices: list[tuple[int, list[Record]]] = [(ts_ns, [*records]) for ts_ns, records in slices_of([FLAT] * 4)]
    delisting = corporate_action("c1", DELISTING, "A", ex_date=20240104)
    rename = corporate_action("c2", SYMBOL_CHANGE, "B", ex_date=20240104, new_symbol="BB")
    slices[6] = (slices[6][0], [delisting, rename, *slices[6][1]])
    stage = stage_of(Rotation(rule))
    actions = run(stage, slices[:7])
    assert changes(actions)[:2] == [(1, "added", "A"), (1, "added", "B")]
    later = changes(actions)[2:]
    assert (2, "removed", "A") in later
    assert (2, "added", "C") in later
    assert (2, "removed", "B") not in later, "its new symbol takes its place"


def test_a_strategy_acts_on_candidates_only() -> None:
    class Outside(TradingStrategy):
        symbols = ("A", "B")
        universe = TopDollarVolume(count=1, min_history=1, days=1)

        def on_slice(self, ctx: Any) -> None:
            if ctx.universe:
                ctx.note(f"{ctx.closed()} {ctx.price('B')}")
                ctx.price("C")

    actions = run(stage_of(Outside()), slices_of([FLAT] * 2))
    assert [one.kind for one in actions] == ["UNIVERSE_ADDED", "SUSPENDED"]
    assert "'C' is not in the universe" in actions[-1].arguments["message"]


def test_the_closed_bars_are_those_of_the_selected_symbols() -> None:
    class Closed(TradingStrategy):
        symbols = ("A", "B")
        universe = TopDollarVolume(count=1, min_history=1, days=1)

        def on_slice(self, ctx: Any) -> None:
            ctx.note(" ".join(ctx.closed()))

    actions = run(stage_of(Closed()), slices_of([FLAT] * 2))
    assert [one.arguments["text"] for one in actions if one.kind == "NOTE"] == [""] * 3 + ["A"] * 3


def test_a_restored_stage_selects_the_same_symbols_from_every_time_slice() -> None:
    rule = TopDollarVolume(count=2, min_history=2, days=3, every="1w")
    slices = slices_of(WEEKS)
    expected = run(stage_of(Rotation(rule)), slices)
    snapshot, actions = None, []
    for one in slices:
        stage = stage_of(Rotation(rule))
        if snapshot is not None:
            stage.restore(pickle.loads(snapshot))  # noqa: S301  (written below)
        actions += run(stage, [one])
        snapshot = pickle.dumps(stage.snapshot())
    assert actions == expected


def test_a_strategy_can_gain_and_lose_a_rule_between_two_runs() -> None:
    class Fixed(Rotation):
        def __init__(self) -> None:
            self.name = "rotation"

    rule = TopDollarVolume(count=2, min_history=1, days=1)
    slices = slices_of([FLAT] * 4)
    fixed = stage_of(Fixed())
    run(fixed, slices[:6])
    with_rule = stage_of(Rotation(rule))
    with_rule.restore(fixed.snapshot())
    # The daily bars start with the rule, so that the first one has closed on the next day.
    assert changes(run(with_rule, slices[6:])) == [(3, "added", "A"), (3, "added", "B")]
    fixed = stage_of(Fixed())
    fixed.restore(with_rule.snapshot())
    assert not changes(run(fixed, slices[9:]))


def test_without_symbols_every_symbol_of_the_market_is_a_candidate() -> None:
    class All(TradingStrategy):
        universe = TopDollarVolume(count=3, min_history=1, days=1)

    assert changes(run(stage_of(All()), slices_of([FLAT] * 2))) == [
        (1, "added", "A"),
        (1, "added", "B"),
        (1, "added", "C"),
    ]


def test_daily_bars_of_the_feed_count_at_once() -> None:
    stage = stage_of(Rotation(TopDollarVolume(count=1, min_history=1, days=1)), bar_interval="1d")
    day_bars = [
        bar(symbol, 1, OPEN_NS + 390 * MINUTE_NS, 10.0, open_ns=OPEN_NS, volume=volume, day=DAY)
        for symbol, volume in FLAT.items()
    ]
    assert [
        one.symbol for one in run(stage, [(OPEN_NS + 390 * MINUTE_NS, day_bars)]) if one.kind == "UNIVERSE_ADDED"
    ] == ["A"]


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"count": 0}, "count must be a number of symbols of at least 1, found 0"),
        ({"count": 1, "every": "2w"}, "every must be one of 1d, 1w, 1mo, found '2w'"),
        ({"count": 1, "min_price": float("nan")}, "min_price must be a number of at least 0, found nan"),
        ({"count": 1, "min_history": 0}, "min_history must be a number of daily bars from 1 to 1000, found 0"),
        ({"count": 1, "days": True}, "days must be a number of daily bars from 1 to 1000, found True"),
    ],
)
def test_an_invalid_rule_is_rejected_in_a_sentence(parameters: dict[str, Any], expected: str) -> None:
    with pytest.raises(BadInput) as error:
        TopDollarVolume(**parameters)
    assert str(error.value) == f"TopDollarVolume: {expected}"


def test_a_universe_that_is_no_rule_is_rejected() -> None:
    class Wrong(TradingStrategy):
        universe = ("A", "B")  # type: ignore[assignment]  # the mistake

    with pytest.raises(BadInput) as error:
        stage_of(Wrong())
    assert str(error.value).startswith("strategy wrong: `universe` must be a rule such as TopDollarVolume(count=20)")
