"""Exits in the style of freqtrade (`docs/examples/exit_rules.py`): each table of candles has its exit row and price."""

from __future__ import annotations

from random import Random
from typing import Any, NamedTuple

import pytest

from tests.unit.strategy_examples import load
from tests.unit.trading_desk import TradingDesk

Candle = tuple[float, float, float, float]
"""Open, high, low and close. The first candle is row 0: the entry is at the open of row 1."""


def flat(price: float) -> Candle:
    return price, price, price, price


class Rules(NamedTuple):
    stop_loss: float = 0.05
    trail: float = 0.01
    trail_offset: float = 0.02
    roi: tuple[tuple[int, float], ...] = ((0, 0.04), (10, 0.02), (20, 0.0))


NO_TRAIL = Rules(trail_offset=10.0)
NO_TARGET = Rules(roi=((0, 10.0),))


def exit_of(candles: list[Candle], rules: Rules) -> tuple[int, float] | None:
    """Run the strategy. Return the row and the price of its exit, or None."""
    desk = TradingDesk(load("exit_rules", "ExitRules", **rules._asdict()))
    for candle in candles:
        desk.step(SPY=candle)
    assert "SUSPENDED" not in [action.kind for action in desk.strategy_actions()]
    entry, *exits = desk.trades()
    assert entry[0] == 2 and entry[2] == 100, "minute 2 is row 1"
    assert len(exits) <= 1 and sum(quantity for _, _, quantity, _ in exits) in (0, -100)
    return (exits[0][0] - 1, exits[0][3]) if exits else None


THREE = [flat(100.0)] * 3
CASES: dict[str, tuple[Rules, list[Candle], tuple[int, float] | None]] = {
    "nothing is reached": (Rules(), [flat(100.0)] * 9, None),
    "stop loss": (Rules(), [*THREE, (99.0, 99.0, 94.0, 96.0)], (3, 95.0)),
    "stop loss of two percent": (Rules(stop_loss=0.02), [*THREE, (99.0, 99.0, 94.0, 96.0)], (3, 98.0)),
    "stop loss exactly reached": (Rules(), [*THREE, (99.0, 99.0, 95.0, 96.0)], (3, 95.0)),
    "stop loss missed by a cent": (Rules(), [*THREE, (99.0, 99.0, 95.01, 96.0)], None),
    "stop loss after a gap": (Rules(), [*THREE, (93.0, 94.0, 92.0, 94.0)], (3, 93.0)),
    "stop loss in the row of the entry": (Rules(), [flat(100.0), (100.0, 100.0, 94.0, 96.0)], (1, 95.0)),
    "stop loss from the price paid": (Rules(), [flat(100.0), flat(102.0), (99.0, 99.0, 96.0, 98.0)], (2, 96.9)),
    "target": (Rules(), [*THREE, (101.0, 105.0, 101.0, 104.0)], (3, 104.0)),
    "target exactly reached": (Rules(), [*THREE, (101.0, 104.0, 101.0, 103.0)], (3, 104.0)),
    "target missed by a cent": (NO_TRAIL, [*THREE, (101.0, 103.99, 101.0, 103.0)], None),
    "target after a gap": (Rules(), [*THREE, (106.0, 107.0, 105.0, 105.0)], (3, 106.0)),
    "target in the row of the entry": (Rules(), [flat(100.0), (100.0, 104.5, 100.0, 103.0)], (1, 104.0)),
    "both in one candle: the stop counts": (Rules(), [*THREE, (100.0, 106.0, 94.0, 100.0)], (3, 95.0)),
    "row 10: still four percent": (NO_TRAIL, [flat(100.0)] * 10 + [(101.0, 103.0, 101.0, 102.0)], None),
    "row 11: two percent are enough": (NO_TRAIL, [flat(100.0)] * 11 + [(101.0, 103.0, 101.0, 102.0)], (11, 102.0)),
    "row 11: the open is above two percent": (
        NO_TRAIL,
        [flat(100.0), *[flat(100.0)] * 1, *[flat(103.0)] * 12],
        (11, 103.0),
    ),
    "row 21: any return is enough": (
        NO_TRAIL,
        [flat(100.0)] * 2 + [flat(99.0)] * 19 + [(99.0, 100.5, 99.0, 100.0)],
        (21, 100.0),
    ),
    "row 20: not yet": (NO_TRAIL, [flat(100.0)] * 2 + [flat(99.0)] * 18 + [(99.0, 100.5, 99.0, 99.5)], None),
    "trail below the offset": (NO_TARGET, [*THREE, (100.0, 101.99, 100.0, 101.5), (101.0, 101.0, 96.0, 97.0)], None),
    "trail at the offset": (
        NO_TARGET,
        [*THREE, (100.0, 102.0, 100.0, 101.5), (101.0, 101.2, 100.0, 100.5)],
        (4, 100.98),
    ),
    "trail is not in its own candle": (NO_TARGET, [*THREE, (100.0, 103.0, 99.0, 102.5), flat(102.5)], None),
    "trail follows the best high": (
        NO_TARGET,
        [*THREE, (100.0, 102.0, 101.5, 102.0), (102.0, 108.0, 102.0, 107.5), flat(107.0), (107.0, 107.0, 106.0, 106.5)],
        (6, 106.92),
    ),
    "trail after a gap": (NO_TARGET, [*THREE, (100.0, 103.0, 100.0, 102.5), (101.0, 101.5, 101.0, 101.0)], (4, 101.0)),
    "candle falls through its trail": (NO_TARGET, [*THREE, (100.0, 105.0, 100.0, 102.0), flat(102.5)], (4, 102.5)),
    "trail never falls": (
        NO_TARGET,
        [*THREE, (100.0, 103.0, 102.0, 102.8), flat(102.5), flat(102.2), (102.0, 102.0, 101.0, 101.0)],
        (6, 101.97),
    ),
    "wide trail": (
        NO_TARGET._replace(trail=0.03),
        [*THREE, (100.0, 110.0, 100.0, 109.0), flat(108.0), (107.0, 107.0, 106.0, 106.0)],
        (5, 106.7),
    ),
    "stop loss stays until the offset": (
        NO_TARGET,
        [*THREE, (101.0, 101.9, 101.0, 101.5), (96.0, 96.0, 94.5, 95.5)],
        (4, 95.0),
    ),
    "trail before the target": (
        Rules(),
        [*THREE, (101.0, 103.0, 101.0, 102.9), (102.5, 104.5, 101.0, 104.0)],
        (4, 101.97),
    ),
    "target before the trail": (
        Rules(),
        [*THREE, (101.0, 103.0, 101.0, 102.9), (102.9, 104.5, 102.5, 104.0)],
        (4, 104.0),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_position_is_left_in_this_row_at_this_price(name: str) -> None:
    rules, candles, expected = CASES[name]
    assert exit_of(candles, rules) == expected


def brute_force(candles: list[Candle], rules: Rules) -> tuple[int, float] | None:
    """Follow the rules row by row, without orders."""
    entry, best = candles[1][0], candles[1][0]
    stop, target = round(entry * (1 - rules.stop_loss), 2), round(entry * (1 + rules.roi[0][1]), 2)
    for row in range(1, len(candles)):
        first, high, low, close = candles[row]
        if row > 1 and (first <= stop or first >= target):
            return row, first
        if low <= stop:
            return row, stop
        if high >= target:
            return row, target
        best = max(best, high)
        if best >= entry * (1 + rules.trail_offset):
            stop = max(stop, round(best * (1 - rules.trail), 2))
        if stop >= close:
            return (row + 1, candles[row + 1][0]) if row + 1 < len(candles) else None
        target = min(round(entry * (1 + enough), 2) for after, enough in rules.roi if after <= row)
    return None


def random_candles(seed: int) -> list[Candle]:
    """Return 30 candles, the second of which opens at the close of the first one."""
    random, price, candles = Random(seed), 100.0, []
    for row in range(30):
        first = price if row < 2 else round(price * (1 + random.gauss(0, 0.002)), 2)
        price = round(first * (1 + random.gauss(0, 0.006)), 2)
        high = round(max(first, price) * (1 + abs(random.gauss(0, 0.003))), 2)
        low = round(min(first, price) * (1 - abs(random.gauss(0, 0.003))), 2)
        candles.append((first, high, low, price))
    return candles


RULES = (Rules(), NO_TRAIL, NO_TARGET, Rules(0.02, 0.005, 0.01, ((0, 0.03), (5, 0.015), (12, 0.005))))


@pytest.mark.parametrize("rules", RULES)
def test_thirty_random_candles_are_exited_as_the_rules_say(rules: Any) -> None:
    exits = {seed: exit_of(random_candles(seed), rules) for seed in range(12)}
    assert exits == {seed: brute_force(random_candles(seed), rules) for seed in range(12)}
    assert len(set(exits.values())) > 4, "the tapes differ in their exits"
