"""Bars from before the start warm up correlation and beta: the values equal those of a run that began earlier."""

from __future__ import annotations

import pickle
import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest

from operators.history_bars import history_bars
from operators.trading.pair_statistics import PairStatistic, parse_pair_spec
from operators.trading.settings import TradingSettings
from operators.trading.stage import TradingStrategyStage
from schemas.records import Bar, HistoryBar, Record
from tests.builders import corporate_action
from tests.unit.trading_harness import DAY, Scripted, bars, closes, minute, session

FEATURES = {"1m": ("beta_20(SPY)", "correlation_10(SPY)"), "5m": ("beta_5(SPY)",), "renko_0.5": ("beta_3(SPY)",)}
NAMES = [(name, interval) for interval, names in FEATURES.items() for name in names if interval != "renko_0.5"]
MINUTES = 120
FIRST = 73
"""The first minute after the start."""
SETTINGS = TradingSettings(sessions={"XNYS": {day: session(day) for day in (DAY, DAY + 1)}})
"""Trading hours, so that bars of five minutes start at the same times. Both days are the same one, for the splits."""
Values = list[tuple[float | None, ...]]


def prices() -> dict[str, list[float]]:
    rng = np.random.default_rng(7)
    market = rng.normal(0, 0.001, MINUTES)
    returns = {symbol: 0.7 * market + rng.normal(0, 0.001, MINUTES) for symbol in ("KO", "PEP")} | {"SPY": market}
    return {symbol: (60 * np.cumprod(1 + one)).round(2).tolist() for symbol, one in returns.items()}


PRICES = prices()


def tape(symbols: Sequence[str] = ("KO", "PEP", "SPY")) -> list[list[Bar]]:
    return [closes(n, **{symbol: PRICES[symbol][n - 1] for symbol in symbols}) for n in range(1, MINUTES + 1)]


def history_of(
    slices: Sequence[Sequence[Bar]],
    number: int,
    count: int,
    actions: Sequence[Record] = (),
    *,
    symbols: Sequence[str] = ("KO", "PEP", "SPY"),
    adjusted_day: int = DAY,
) -> list[HistoryBar]:
    """Return the history of `count` bars for the time slice at a minute."""
    earlier = [bar for one in slices[: number - 1] for bar in one if bar.symbol in symbols]
    return history_bars(earlier, actions, minute(number), adjusted_day, count)


class Observer:
    """Collects what a strategy reads of its symbols, in each time slice."""

    def __init__(self, symbols: Sequence[str] = ("KO", "PEP")) -> None:
        self.values = found = {symbol: Values() for symbol in symbols}

        def act(ctx: Any, number: int) -> None:
            for symbol, values in found.items():
                values.append(tuple(ctx.feature(symbol, name, interval) for name, interval in NAMES))

        self.strategy = Scripted(act, symbols=tuple(symbols), features=FEATURES)
        self.stage = TradingStrategyStage([self.strategy], SETTINGS)

    def run(self, slices: Sequence[Sequence[Record]], first: int = 1, *, restarts: bool = False) -> dict[str, Values]:
        for number, records in enumerate(slices, start=first):
            if restarts:
                self.restart(self.stage)
            self.stage.on_slice(minute(number), records)
        return self.values

    def restart(self, stopped: TradingStrategyStage) -> None:
        """Continue with the state of a stage."""
        snapshot = pickle.dumps(stopped.snapshot())
        self.stage = TradingStrategyStage([self.strategy], SETTINGS)
        self.stage.restore(pickle.loads(snapshot))  # noqa: S301  (written here)


def continuous(symbol: str = "KO", slices: Sequence[Sequence[Record]] | None = None) -> Values:
    """Return the values of a symbol from the start on, in a run that began with the first bar."""
    return Observer().run(slices or tape())[symbol][FIRST - 1 :]


def from_start(values: Values) -> Values:
    return values[FIRST - 1 - MINUTES :]


@pytest.mark.parametrize("restarts", [False, True])
@pytest.mark.parametrize("order", ["symbol", "reversed", "time", "shuffled"])
def test_values_after_history_equal_those_of_an_earlier_start(order: str, restarts: bool) -> None:
    """Partitions deliver the symbols in any order, but the bars of each symbol by time. SPY is not in the universe."""
    slices = tape()
    history = history_of(slices, FIRST, 30)
    if order == "reversed":
        history.sort(key=lambda one: one.symbol, reverse=True)
    elif order == "time":
        history.sort(key=lambda one: one.end_ns)
    elif order == "shuffled":
        places = [one.symbol for one in history]
        random.Random(1).shuffle(places)
        by_symbol = {symbol: iter([one for one in history if one.symbol == symbol]) for symbol in set(places)}
        history = [next(by_symbol[symbol]) for symbol in places]
    first, *later = slices[FIRST - 1 :]
    found = Observer().run([[*history, *first], *later], FIRST, restarts=restarts)
    for symbol, values in found.items():
        assert values == continuous(symbol)
        assert not any(one is None for row in values for one in row)


def test_the_value_at_the_first_bar_equals_that_of_pandas() -> None:
    slices = tape()
    found = Observer().run([[*history_of(slices, FIRST, 30), *slices[FIRST - 1]]], FIRST)
    table = pd.DataFrame(PRICES)[:FIRST]
    returns = table / table.shift(1) - 1
    window = returns["KO"].rolling(20)
    expected = (window.cov(returns["SPY"]) / returns["SPY"].rolling(20).var()).iloc[-1]
    assert found["KO"][0][0] == pytest.approx(expected, rel=1e-9)


def test_a_history_in_a_time_slice_before_the_first_bar_is_used() -> None:
    """A live feed gives it at its start, which is up to a minute before the first bar."""
    observer, slices = Observer(), tape()
    observer.stage.on_slice(minute(FIRST) - 1, history_of(slices, FIRST, 30))
    assert from_start(observer.run(slices[FIRST - 1 :], FIRST)["KO"]) == continuous()


def test_bars_that_one_symbol_lacks_are_left_out_as_in_an_earlier_start() -> None:
    slices = [[bar for bar in one if bar.symbol != "KO" or n % 7] for n, one in enumerate(tape(), start=1)]
    found = Observer().run([[*history_of(slices, FIRST, 60), *slices[FIRST - 1]], *slices[FIRST:]], FIRST)
    assert found["KO"] == continuous(slices=slices)


def test_a_symbol_that_is_added_is_warm_though_its_benchmark_has_traded_since() -> None:
    """The history of the added symbol arrives after live bars of SPY, whose last closes are stored."""
    slices = tape()
    before = Observer(("KO",))
    before.run([[bar for bar in one if bar.symbol != "PEP"] for one in slices[: FIRST - 1]])
    after = Observer()
    after.restart(before.stage)
    history = history_of(slices, FIRST, 60, symbols=("PEP",))
    found = after.run([[*history, *slices[FIRST - 1]], *slices[FIRST:]], FIRST)
    assert found == {symbol: continuous(symbol) for symbol in ("KO", "PEP")}


@pytest.mark.parametrize("symbols", [("KO", "SPY"), ("KO",)])
def test_history_that_repeats_bars_changes_nothing(symbols: Sequence[str]) -> None:
    """A start that was interrupted while it wrote the history writes it again."""
    slices = tape()
    history = [one for one in history_of(slices, FIRST, 30) if one.symbol in symbols]
    spy = [one for one in history_of(slices, FIRST, 30) if one.symbol == "SPY"]
    repeated = Observer(("KO",))
    repeated.run([[*spy, *history[:15]], [*history, *spy, *slices[FIRST - 1]], *slices[FIRST:]], FIRST - 1)
    assert from_start(repeated.values["KO"]) == continuous()


@pytest.mark.parametrize("symbol", ["KO", "SPY"])
@pytest.mark.parametrize("ex_minute", [FIRST - 10, FIRST, FIRST + 10])
def test_a_split_of_either_symbol_in_or_after_the_history_changes_nothing(symbol: str, ex_minute: int) -> None:
    """In the history, it takes effect with the first bar of a day. Closes have the same cents in new shares."""

    def halved(bar: Bar, n: int) -> Bar:
        return bar._replace(close=bar.close / 2) if bar.symbol == symbol and n >= ex_minute else bar

    slices = [
        [bar._replace(trading_day=DAY + (n >= ex_minute)) for bar in one] for n, one in enumerate(tape(), start=1)
    ]
    divided = [[halved(bar, n) for bar in one] for n, one in enumerate(slices, start=1)]
    split = corporate_action("spl-1", "SPLIT", symbol, ratio=2, ex_date=DAY + 1)
    history = history_of(divided, FIRST, 30, [split], adjusted_day=divided[FIRST - 1][0].trading_day)
    records: list[list[Record]] = [list(one) for one in divided[FIRST - 1 :]]
    records[max(0, ex_minute - FIRST)].insert(0, split)
    found = Observer().run([[*history, *records[0]], *records[1:]], FIRST)
    expected = np.array(continuous(slices=slices), dtype=float)
    np.testing.assert_allclose(np.array(found["KO"], dtype=float), expected, rtol=1e-9)


def test_an_added_symbol_is_paired_with_the_closes_before_a_split_of_the_benchmark() -> None:
    """The split takes effect between the stored closes of SPY, ten minutes before the history of PEP arrives."""
    ex_minute, slices = FIRST - 10, tape()
    divided: list[list[Record]] = [
        [bar._replace(close=bar.close / 2) if bar.symbol == "SPY" and n >= ex_minute else bar for bar in one]
        for n, one in enumerate(slices, start=1)
    ]
    divided[ex_minute - 1].insert(0, corporate_action("spl-1", "SPLIT", "SPY", ratio=2))
    before, after = Observer(("KO",)), Observer()
    before.run([[one for one in records if getattr(one, "symbol", "") != "PEP"] for records in divided[: FIRST - 1]])
    after.restart(before.stage)
    history = history_of(slices, FIRST, 60, symbols=("PEP",))
    found = after.run([[*history, *divided[FIRST - 1]], *divided[FIRST:]], FIRST)
    expected = np.array(continuous("PEP"), dtype=float)
    np.testing.assert_allclose(np.array(found["PEP"], dtype=float), expected, rtol=1e-9)


def test_a_history_in_later_shares_replaces_that_of_the_benchmark() -> None:
    """A feed starts again after a split of SPY, before either symbol has traded."""
    slices = tape()
    split = corporate_action("spl-1", "SPLIT", "SPY", ratio=2, ex_date=DAY + 1)
    old = history_of(slices, FIRST - 1, 30)
    new = history_of(slices, FIRST, 30, [split], adjusted_day=DAY + 1)
    first = [bar._replace(trading_day=DAY + 1, close=bar.close / (1 + (bar.symbol == "SPY"))) for bar in slices[72]]
    found = Observer().run([old, [split, *new, *first]], FIRST - 1)
    assert found["KO"][-1][:2] == pytest.approx(continuous()[0][:2], rel=1e-9)


@pytest.mark.parametrize(("followed", "count"), [(("META",), 60), (("KO", "META"), 60), (("KO", "META"), 10)])
def test_a_renamed_symbol_is_warm(followed: Sequence[str], count: int) -> None:
    """The file feed gives the bars of KO as history of META. If KO was followed, no bar counts twice."""
    slices = tape(("KO", "SPY"))
    change = corporate_action("c", "SYMBOL_CHANGE", "KO", new_symbol="META", ts_ns=minute(FIRST) - 1)
    history = [one for one in history_of(slices, FIRST, count, [change]) if one.symbol == "META"]
    renamed = [[bar._replace(symbol="META") if bar.symbol == "KO" else bar for bar in one] for one in slices]
    records: list[Sequence[Record]] = [*slices[: FIRST - 1], [change, *history, *renamed[FIRST - 1]], *renamed[FIRST:]]
    assert from_start(Observer(followed).run(records)["META"]) == continuous()


def test_a_benchmark_of_another_company_starts_without_closes() -> None:
    """SPY is delisted. When another company trades as SPY, the history of an added symbol is not paired with it."""
    slices = tape(("KO", "SPY"))
    end = corporate_action("d", "DELISTING", "SPY", amount=1)
    before = Observer(("KO",))
    before.run([*slices[:40], [end, *bars(41, "KO", close=60.0)], closes(42, KO=60.0, SPY=5.0)])
    after = Observer()
    after.restart(before.stage)
    history = history_of(tape(), 43, 40, symbols=("PEP",))
    found = after.run([[*history, *closes(43, KO=60.0, PEP=60.0, SPY=5.0)]], 43)
    assert found == {"KO": [(None, None, None)], "PEP": [(None, None, None)]}


def statistic(name: str = "beta_20(SPY)") -> PairStatistic:
    spec = parse_pair_spec(name)
    assert spec is not None
    return PairStatistic(spec)


@pytest.mark.parametrize("kind", ["beta", "correlation"])
def test_a_value_depends_on_the_last_returns_only(kind: str) -> None:
    """Also after returns of another magnitude, whose rounding errors would remain in sums of floats."""
    rng = np.random.default_rng(3)
    table = np.cumprod(1 + rng.normal(0, 0.01, (400, 2)) * rng.choice([1, 1e-4], (400, 1)), axis=0) * 50
    all_closes = statistic(f"{kind}_20(SPY)")
    for number, pair in enumerate(table.tolist()):
        all_closes.update(number, *pair)
        if number >= 20:
            last = statistic(f"{kind}_20(SPY)")
            for end_ns, one in enumerate(table[number - 20 : number + 1].tolist()):
                last.update(end_ns, *one)
            assert last.value == all_closes.value is not None


def test_a_statistic_warms_up_again_after_a_return_that_no_market_has() -> None:
    one = statistic("beta_2(SPY)")
    for number, close in enumerate([1e-9, 1.1e-9, 1.0e-9, 1e308, 1.1e308, 1e308]):
        one.update(number, close, 100.0 + number % 3)
        assert (one.value is None) == (number != 2 and number != 5), number


def test_the_state_of_an_earlier_release_continues() -> None:
    """Its windows are lists with the index of the oldest return; the sums are not needed."""
    table = pd.DataFrame(PRICES)[["KO", "SPY"]]
    returns = (table / table.shift(1) - 1)[1:41].to_numpy()
    oldest = 13
    windows = [
        (tuple(np.roll(column[-20:], oldest).tolist()), oldest, 0.0, (0.0, 0.0), 0.0, 0.0) for column in returns.T
    ]
    earlier = statistic()
    earlier.restore((0.5, tuple(table.to_numpy()[40].tolist()), [*windows, windows[0]]))
    expected = statistic()
    for number, (own, benchmark) in enumerate(table.to_numpy()[:60].tolist()):
        expected.update(number, own, benchmark)
        if number > 40:
            earlier.update(number, own, benchmark)
        if number >= 40:
            assert earlier.value == expected.value is not None
