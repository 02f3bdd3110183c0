"""The trading strategies of the platform find the effect that they are made for, and survive white noise."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from math import sin
from pathlib import Path
from random import Random
from runpy import run_path
from typing import Any, NamedTuple

import numpy as np
import pytest

from configs.strategies import load_strategies
from operators.risk import RiskSettings
from operators.strategies import STRATEGIES, TradingStrategy
from schemas.errors import BadInput
from schemas.records import OrderRefusal, StrategyAction
from tests.unit.strategy_tapes import (
    StrategyTape,
    check_restores,
    path,
    profit,
    run,
    run_unchecked,
    tape_of,
    white_noise,
)
from tests.unit.trading_desk import TradingDesk

SHIPPED = sorted(name for name, one in STRATEGIES.items() if issubclass(one, TradingStrategy))
TREND = path([0.0] * 40 + [0.002] * 40 + [-0.002] * 60, noise=0.0003)
"""40 minutes without a trend, 40 minutes up, 60 minutes down."""
DIP = path([0.0] * 30 + [-0.01] * 4 + [0.008] * 10 + [0.0] * 20, noise=0.0008)
"""A fall of 4 percent in four minutes that is made good in the next ten."""
BREAKOUT = [100 + 0.25 * (i % 4) for i in range(15)] + [100.5, 100.6, 100.9] + [101 + 0.2 * i for i in range(20)]
FALSE_BREAKOUT = [100 + 0.25 * (i % 4) for i in range(15)] + [100.8, 100.5, 99.9] + [99.5] * 20

WAVE = [round(100 + 2.2 * sin(i / 5), 2) for i in range(110)]
"""Waves of 2.2 percent around 100."""


def one_symbol(closes: list[float], minutes_per_day: int = 390) -> StrategyTape:
    return tape_of([{"A": close} for close in closes], minutes_per_day)


def overnight_tape() -> StrategyTape:
    """Return six days of 12 minutes: one percent up overnight, and down in each minute of the session."""
    price, closes = 100.0, []
    for day in range(6):
        for minute in range(12):
            price *= 1.01 if minute == 0 and day else 0.9995
            closes.append(round(price, 2))
    return one_symbol(closes, 12)


def strong_and_weak_tape() -> StrategyTape:
    """Return 40 days of 6 minutes: A rises, B has no trend, and C falls."""
    paths = [path([change] * 240, noise=0.001, seed=seed) for seed, change in ((1, 0.001), (2, 0.0), (3, -0.001))]
    return tape_of([dict(zip("ABC", closes, strict=True)) for closes in zip(*paths, strict=True)], 6)


def pair_prices(seed: int) -> list[dict[str, float]]:
    """Return 360 minutes of two shares that follow one random walk. A deviates from it, and loses a tenth a minute."""
    random, deviation, prices = Random(seed), 0.0, []
    for price in path([0.0] * 360, noise=0.004, seed=seed):
        deviation += random.gauss(0, 0.002) - 0.1 * deviation
        prices.append({"A": round(price * (1 + deviation), 2), "B": round(price / 2, 2)})
    return prices


PAIR = pair_prices(4)


def calm_and_wild_tape() -> StrategyTape:
    """Return 40 days of 6 minutes without a trend: B varies four times as much as A."""
    paths = [path([0.0] * 240, noise=noise, seed=seed) for seed, noise in ((1, 0.001), (2, 0.004))]
    return tape_of([dict(zip("AB", closes, strict=True)) for closes in zip(*paths, strict=True)], 6)


def bear_market_tape() -> StrategyTape:
    """Return 60 days of 6 minutes: A rises for 30 days and falls for 30, B has no trend, C earns a little."""
    risky = path([0.002] * 180 + [-0.002] * 180, noise=0.0005, seed=1)
    paths = [risky, path([0.0] * 360, noise=0.0001, seed=5), path([0.0001] * 360)]
    return tape_of([dict(zip("ABC", closes, strict=True)) for closes in zip(*paths, strict=True)], 6)


def sides(desk: TradingDesk) -> list[tuple[int, int]]:
    """Return the minute and the side (1 or -1) of each fill."""
    return [(minute, 1 if quantity > 0 else -1) for minute, _, quantity, _ in desk.trades()]


def ema(values: list[float], period: int) -> list[float]:
    """Return exponential averages that start with the first value."""
    averages = [values[0]]
    for value in values[1:]:
        averages.append(averages[-1] + (value - averages[-1]) * 2 / (period + 1))
    return averages


def changes_of(position: list[int]) -> list[tuple[int, int]]:
    """Return the fills that a position by minute (from minute 1 on) leads to: one minute later."""
    pairs = enumerate(zip([0, *position], position, strict=False), start=2)
    return [(minute, after - before) for minute, (before, after) in pairs if after != before]


class Case(NamedTuple):
    """A strategy with its parameters and the tape on which it trades."""

    name: str
    parameters: dict[str, Any]
    tape: Callable[[], StrategyTape]

    def create(self) -> TradingStrategy:
        strategy: TradingStrategy = STRATEGIES[self.name](**self.parameters)
        return strategy

    def run(self) -> TradingDesk:
        return run(self.create(), self.tape())


CASES = {
    case.name: case
    for case in (
        Case("macd_trend", {"interval": "1m"}, lambda: one_symbol(TREND)),
        Case("moving_average_ribbon", {"interval": "1m", "periods": [3, 5, 8, 12]}, lambda: one_symbol(TREND)),
        Case("bollinger_reversion", {"interval": "1m"}, lambda: one_symbol(DIP)),
        Case("opening_range_breakout", {}, lambda: one_symbol(BREAKOUT)),
        Case("overnight_intraday", {}, overnight_tape),
        Case("donchian_turtle", {"interval": "1m"}, lambda: one_symbol(TREND)),
        Case("grid", {"levels": 2, "step": 0.01}, lambda: one_symbol(WAVE)),
        Case("cross_sectional_momentum", {"lookback": 10, "skip": 2, "top": 1}, strong_and_weak_tape),
        Case("pairs_reversion", {"symbols": ["A", "B"]}, lambda: tape_of(PAIR)),
        Case("risk_parity", {"period": 15}, calm_and_wild_tape),
        Case("dual_momentum", {"risky": ["A", "B"], "safe": "C", "lookback": 10}, bear_market_tape),
    )
}


def test_every_shipped_trading_strategy_has_a_case() -> None:
    assert sorted(CASES) == SHIPPED


def test_macd_trend_holds_while_the_line_is_above_the_signal() -> None:
    desk = CASES["macd_trend"].run()
    line = [fast - slow for fast, slow in zip(ema(TREND, 12), ema(TREND, 26), strict=True)]
    signal = [0.0] * 25 + ema(line[25:], 9)
    position = [int(number >= 33 and line[number] > signal[number]) for number in range(len(TREND) - 1)]
    assert sides(desk) == changes_of(position), "the signal exists from bar 34 on"
    assert profit(desk) > 5_000, "40 minutes of 0.2 percent are 8 percent, less the entry's delay"


def test_moving_average_ribbon_holds_from_the_order_of_the_averages_until_the_outer_ones_cross() -> None:
    desk = CASES["moving_average_ribbon"].run()
    averages = list(zip(*(ema(TREND, period) for period in (3, 5, 8, 12)), strict=True))
    position, held = [], 0
    for number, values in enumerate(averages[:-1]):
        if number >= 11 and not held and sorted(values, reverse=True) == list(values):
            held = 1
        elif held and values[0] < values[-1]:
            held = 0
        position.append(held)
    assert sides(desk) == changes_of(position)
    assert profit(desk) > 5_000


def test_bollinger_reversion_buys_the_fall_and_sells_at_the_mean() -> None:
    desk = CASES["bollinger_reversion"].run()
    (entry, exit_), held = desk.trades(), range(20, len(DIP))
    means = {number: sum(DIP[number - 20 : number]) / 20 for number in held}
    assert 32 <= entry[0] <= 35, "the fall is in the minutes 31 to 34, and the order trades a minute later"
    reached = next(number for number in held if number >= entry[0] and DIP[number - 1] >= means[number])
    assert exit_[0] == reached + 1
    assert profit(desk) > 0


def test_opening_range_breakout_takes_its_profit() -> None:
    """The range is 100 to 100.75: entry at 100.76, 942 shares with 95 percent, profit two widths above."""
    desk = CASES["opening_range_breakout"].run()
    assert desk.trades() == [(18, "A", 942.0, 100.76), (26, "A", -942.0, 102.26)]
    assert profit(desk) == pytest.approx(942 * 1.5)


def test_opening_range_breakout_stops_a_false_breakout_at_the_low_of_the_range() -> None:
    """One percent of 100,000 over 0.76 a share would be 1,315 shares; the weight allows 942. Loss 0.1 percent: 131."""
    desk = run(STRATEGIES["opening_range_breakout"](risk=0.001), one_symbol(FALSE_BREAKOUT))
    assert desk.trades() == [(16, "A", 131.0, 100.76), (18, "A", -131.0, 100.0)]
    assert profit(desk) == pytest.approx(-131 * 0.76)


def test_opening_range_breakout_is_flat_before_the_close() -> None:
    closes = [100 + 0.25 * (i % 4) for i in range(15)] + [101.0] * 15
    desk = run(STRATEGIES["opening_range_breakout"](), one_symbol(closes, 30))
    assert desk.trades() == [(16, "A", 942.0, 100.76), (26, "A", -942.0, 101.0)], "minute 25 is five minutes before"


@pytest.mark.parametrize(("hold", "sign"), [("overnight", 1), ("intraday", -1)])
def test_overnight_and_intraday_returns_are_separated(hold: str, sign: int) -> None:
    """Nights gain one percent, and sessions lose: the one run gains, the other one loses."""
    desk = run(STRATEGIES["overnight_intraday"](hold=hold), overnight_tape())
    assert sign * profit(desk) > 1_000
    times = {(minute % 1440, side) for minute, side in sides(desk)}
    assert times == {(8, sign), (2, -sign)}, "minute 7 is five minutes before the close"


def test_donchian_turtle_adds_units_in_the_trend_and_leaves_by_its_stop() -> None:
    desk = CASES["donchian_turtle"].run()
    *entries, last = desk.trades()
    quantities = [quantity for _, _, quantity, _ in entries]
    assert len(set(quantities)) == 1 and len(quantities) == 4, "four equal units"
    first = next(n for n in range(20, len(TREND)) if n >= 21 and TREND[n] > max(TREND[n - 20 : n]))
    assert entries[0][0] == first + 2, "index 0 is minute 1, and the order trades a minute later"
    assert last[2] == -sum(quantities) and last[0] > 80, "the position ends after the trend"
    assert profit(desk) > 4_000


def test_grid_buys_each_level_and_sells_it_one_step_higher() -> None:
    """The first price is 100: levels at 99 and 98, with 47,500 each."""
    desk = CASES["grid"].run()
    cycle = [("A", 479.0, 99.0), ("A", 484.0, 98.0), ("A", -484.0, 98.98), ("A", -479.0, 99.99)]
    trades = [(symbol, quantity, price) for _, symbol, quantity, price in desk.trades()]
    assert trades[:12] == 3 * cycle, "one cycle in each wave"
    assert profit(desk) > 3 * (484 * 0.98 + 479 * 0.99) - 1_000, "less the open loss of the last purchases"


@pytest.mark.parametrize("scale", [1, 10])
def test_the_step_of_a_grid_fits_the_symbol(scale: int) -> None:
    """Each minute moves by 4 cents (or 40) of 100 (or 1,000). Five of these are a step."""
    closes = [round(scale * (100.04 - 0.04 * (number % 2)), 2) for number in range(60)]
    closes += [round(scale * price, 2) for price in (99.79, 99.7, 99.5, 99.8, 99.9, 100.0)]
    desk = run(STRATEGIES["grid"](levels=2, step_atr=5.0, atr=20), one_symbol(closes))
    trades = [(round(price / scale, 2), quantity > 0) for _, _, quantity, price in desk.trades()]
    assert trades == [(99.8, True), (99.6, True), (99.8, False), (100.0, False)]


def test_cross_sectional_momentum_holds_the_strongest_symbol() -> None:
    """The first selection is on the first day after eleven closes (17 January), five minutes after the open."""
    desk = CASES["cross_sectional_momentum"].run()
    assert {symbol for _, symbol, _, _ in desk.trades()} == {"A"}
    assert desk.trades()[0][0] == 15 * 1440 + 6
    assert profit(desk) > 5_000


def test_dual_momentum_changes_to_the_safe_asset_in_a_bear_market() -> None:
    """A rises until 12 February. The choice of February is A, and that of March is C."""
    desk = CASES["dual_momentum"].run()
    trades = [(symbol, quantity > 0) for _, symbol, quantity, _ in desk.trades()]
    assert trades[0] == ("A", True) and set(trades[1:]) == {("A", False), ("C", True)}


def test_pairs_reversion_trades_both_shares_when_the_spread_is_stretched_and_reverts_fast() -> None:
    desk = CASES["pairs_reversion"].run()
    first, second = (np.log([prices[symbol] for prices in PAIR]) for symbol in "AB")
    for number in range(120, len(PAIR)):
        one, other = first[number - 120 : number], second[number - 120 : number]
        hedge = np.polyfit(other, one, 1)[0]
        spread = one - hedge * other
        z_score = (spread[-1] - spread.mean()) / spread.std()
        speed = np.polyfit(spread[:-1], np.diff(spread), 1)[0]
        if abs(z_score) >= 2 and 0 < np.log(0.5) / np.log(1 + speed) <= 30:
            break
    entries = desk.trades()[:2]
    assert [(minute, symbol) for minute, symbol, _, _ in entries] == [(number + 1, "A"), (number + 1, "B")]
    assert np.sign(entries[0][2]) == -np.sign(z_score) == -np.sign(entries[1][2])
    quantity = 80_000 / (1 + hedge) // PAIR[number - 1]["A"]
    assert abs(entries[0][2]) == quantity, "80 percent of the equity in the ratio of the hedge"


def test_pairs_reversion_repeats_a_rejected_entry_only_after_the_spread_was_within_it() -> None:
    """Each entry is larger than the limit of an order, so risk rejects every one of them."""
    tape = tape_of(PAIR)
    risk = RiskSettings.unlimited(initial_capital=Decimal(100_000), max_order_notional=Decimal(10_000))
    desk = TradingDesk(CASES["pairs_reversion"].create(), days=tape.days, risk=risk)
    entries, within = 0, False
    for index, (ts_ns, bars) in enumerate(tape.slices):
        before = len(desk.records)
        desk.on_slice(ts_ns, bars)
        if any(isinstance(one, OrderRefusal) for one in desk.records[before:]):
            assert entries == 0 or within, f"minute {index} repeats the rejected entry of the same stretch"
            entries, within = entries + 1, False
        first, second = (
            np.log([prices[symbol] for prices in PAIR[max(0, index - 119) : index + 1]]) for symbol in "AB"
        )
        if len(first) == 120:
            spread = first - np.polyfit(second, first, 1)[0] * second
            within = within or bool(abs(spread[-1] - spread.mean()) < 2 * spread.std())
    assert entries >= 2, "the spread is stretched several times"


def test_pairs_reversion_earns_on_most_planted_pairs() -> None:
    """One tape has about ten positions of a few minutes, so eight tapes count together."""
    create = CASES["pairs_reversion"].create
    profits = [profit(run(create(), tape_of(pair_prices(seed)))) for seed in range(1, 9)]
    assert sum(profits) > 2_500 and sum(one > 0 for one in profits) >= 6, profits


def test_pairs_reversion_trades_no_spread_that_reverts_too_slowly() -> None:
    assert not run(STRATEGIES["pairs_reversion"](symbols=("A", "B"), half_life_max=0.5), tape_of(PAIR)).trades()


@pytest.mark.parametrize("target", [0.1, 0.02])
def test_risk_parity_weights_by_the_inverse_of_the_volatility(target: float) -> None:
    """The first trades are on the 17th session (24 January), the first one after 16 closes; a year has 252 days."""
    tape = calm_and_wild_tape()
    desk = run(STRATEGIES["risk_parity"](period=15, target=target), tape)
    days = [[one.close for one in bars] for _, bars in tape.slices[5::6]][:16]
    returns = np.diff(np.array(days), axis=0) / np.array(days)[:-1]
    shares = 1 / returns.std(axis=0, ddof=1)
    shares /= shares.sum()
    total = min(0.95, target / float((returns @ shares).std(ddof=1) * 252**0.5))
    assert (total < 0.95) == (target == 0.02), "only the low target reduces the weights"
    prices = np.array([one.close for one in tape.slices[16 * 6 + 4][1]])
    trades = desk.trades()[:2]
    assert [minute for minute, _, _, _ in trades] == [22 * 1440 + 6] * 2
    assert [quantity for _, _, quantity, _ in trades] == list(100_000 * total * shares // prices)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_second_run_and_restores_write_the_same_records(name: str) -> None:
    check_restores(CASES[name].create, CASES[name].tape())


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("name", SHIPPED)
def test_white_noise_raises_no_exception(name: str, seed: int) -> None:
    """An order may be refused: a stop that has filled in the same minute can no longer be amended."""
    desk = run_unchecked(CASES[name].create(), tape_of(white_noise(("A", "B", "C"), 180, seed=seed), 60))
    assert not [one for one in desk.of(StrategyAction) if one.kind == "SUSPENDED"]


def test_donchian_turtle_closes_a_unit_that_is_bought_while_the_stop_sells_the_others() -> None:
    """In minute 34 of this tape, the stop sells three units and the fourth one is bought."""
    tape = tape_of(white_noise(("A", "B", "C"), 180, seed=2), 60)
    trades = run_unchecked(CASES["donchian_turtle"].create(), tape).trades()
    last = [(minute, quantity) for minute, symbol, quantity, _ in trades if symbol == "A"][3:6]
    assert last == [(34, 78.0), (34, -234.0), (35, -78.0)]


@pytest.mark.parametrize("name", sorted({*SHIPPED} - {"dual_momentum"}))
def test_strategies_are_named_in_the_settings_with_lists_of_symbols(name: str) -> None:
    (strategy,) = load_strategies([{"name": name, "parameters": {"symbols": ["A", "B"]}}])
    assert isinstance(strategy, TradingStrategy)
    assert (strategy.name, strategy.symbols) == (name, ("A", "B"))


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("macd_trend", {"fast": 1}, "fast must be a whole number of bars >= 2, found 1"),
        ("macd_trend", {"weight": 1.5}, r"weight must be in \(0, 1\], found 1.5"),
        ("moving_average_ribbon", {"periods": [5, 3]}, r"periods must rise, found \[5, 3\]"),
        ("moving_average_ribbon", {"periods": [5]}, "periods must be at least two numbers of bars"),
        ("bollinger_reversion", {"width": 0}, "width must be a number above 0, found 0"),
        ("bollinger_reversion", {"rsi_max": 101}, r"rsi_max must be in \(0, 100\], found 101"),
        ("opening_range_breakout", {"minutes": 0}, "minutes must be a whole number >= 1, found 0"),
        ("donchian_turtle", {"units_max": 0}, "units_max must be a whole number >= 1, found 0"),
        ("grid", {"levels": 10, "step": 0.1}, "levels times step must be below 1, found 10 and 0.1"),
        ("grid", {"step_atr": 0}, "step_atr must be a number above 0, found 0"),
        ("cross_sectional_momentum", {"skip": 252}, "skip must be a whole number of days below lookback, found 252"),
        ("dual_momentum", {"risky": []}, "risky must be a list of symbols without 'AGG'"),
        ("pairs_reversion", {"symbols": ["A", "A"]}, r"symbols must be two different symbols, found \['A', 'A'\]"),
        ("risk_parity", {"target": 0}, "target must be a number above 0, found 0"),
        ("overnight_intraday", {"hold": "never"}, "hold must be overnight or intraday, found 'never'"),
    ],
)
def test_invalid_parameters_are_rejected_with_the_value_found(
    name: str, parameters: dict[str, Any], message: str
) -> None:
    with pytest.raises(BadInput, match=f"strategy {name}: {message}"):
        STRATEGIES[name](**parameters)


def test_the_results_in_the_how_to_include_every_trading_strategy() -> None:
    docs = Path(__file__).parents[2] / "docs"
    parameters = run_path(str(docs / "tutorials" / "run_strategies.py"))["PARAMETERS"]
    loaded = load_strategies([{"name": name, "parameters": values} for name, values in parameters.items()])
    assert sorted(one.name for one in loaded) == SHIPPED
    page = (docs / "howto" / "trading-strategy.md").read_text()
    table = page.partition("### Results on the sample data")[2].partition("###")[0]
    assert sorted(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == SHIPPED
