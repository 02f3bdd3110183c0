"""Bars of trades, volume, currency traded and price, and Heikin-Ashi bars, against their definitions."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from operators.trading.event_bars import BarBuilder, bar_builder, bar_of_trade
from operators.trading.intervals import interval_text, parse_interval, time_interval_ns
from operators.trading.sessions import SessionBounds
from operators.trading.settings import TradingSettings
from operators.trading.stage import TradingStrategyStage
from schemas.errors import BadInput
from schemas.records import CONTINUOUS, Bar, Trade
from tests.builders import bar, corporate_action
from tests.unit.test_trading_resampling import random_bars
from tests.unit.trading_harness import DAY, MINUTE_NS, OPEN_NS, Scripted, bars, minute, run

BOUNDS = SessionBounds(OPEN_NS, OPEN_NS + 390 * MINUTE_NS)
COLUMNS = ["open", "high", "low", "close", "volume"]
INTERVALS = ["7t", "3000v", "1e5d", "renko_0.25", "heikin_ashi_1m", "heikin_ashi_5m", "heikin_ashi_3000v"]


def trades(count: int, seed: int = 3) -> list[Bar]:
    """Build random trades, on multiples of a tick of 0.05, as bars."""
    rng = np.random.default_rng(seed)
    prices = np.round(100 + 0.05 * np.cumsum(rng.integers(-3, 4, count)), 9)
    sizes = rng.integers(1, 400, count)
    return [
        bar_of_trade(Trade("KO", number, OPEN_NS + number * 10**9, float(price), float(size)), CONTINUOUS, DAY)
        for number, (price, size) in enumerate(zip(prices, sizes, strict=True), start=1)
    ]


def built(builder: BarBuilder, feed: list[Bar]) -> list[Bar]:
    return [closed for one in feed for closed in builder.update(one, BOUNDS)]


def by_pandas(feed: list[Bar], groups: list[int]) -> pd.DataFrame:
    """Join the bars of each group."""
    frame = pd.DataFrame(feed).assign(group=groups)
    rules: dict[str, Any] = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}
    joined: pd.DataFrame = frame.groupby("group").agg({**rules, "open_ns": "first", "ts_ns": "last"})
    return joined


@pytest.mark.parametrize("text", ["7t", "3000v", "1e5d"])
@pytest.mark.parametrize("kind", ["trades", "bars"])
def test_threshold_bars_equal_groups_of_pandas(text: str, kind: str) -> None:
    """A group ends with the record at which the amount since the end of the last one reaches the threshold."""
    feed = trades(600) if kind == "trades" else [one for one in random_bars(5, missing=0.3) if one.traded]
    amounts: dict[str, Callable[[Bar], float]] = {
        "t": lambda one: 1,
        "v": lambda one: one.volume,
        "d": lambda one: one.close * one.volume,
    }
    groups, group, total = [], 0, 0.0
    for one in feed:
        groups.append(group)
        total += amounts[text[-1]](one)
        if total >= float(text[:-1]):
            group, total = group + 1, 0.0
    expected = by_pandas(feed, groups)[:group]  # without the one that is open
    found = built(bar_builder(parse_interval(text)), feed)
    assert len(found) == group > 5
    assert [one.seq for one in found] == list(range(1, group + 1))
    for name in [*COLUMNS, "open_ns", "ts_ns"]:
        np.testing.assert_array_equal([getattr(one, name) for one in found], expected[name].to_numpy())


def bricks_by_levels(prices: list[float], size: float) -> list[tuple[float, float]]:
    """Renko by a walk over the multiples of `size` that the prices cross: open and close of each brick."""
    level, direction, bricks = round(prices[0] / size), 0, list[tuple[float, float]]()
    for price in prices:
        moved = True
        while moved:
            moved = False
            for step in (1, -1):
                start = level if direction in (0, step) else level + step
                end = start + step
                if (price - round(end * size, 9)) * step >= 0:
                    bricks.append((round(start * size, 9), round(end * size, 9)))
                    level, direction, moved = end, step, True
                    break
    return bricks


@pytest.mark.parametrize("size", ["0.25", "0.5", "0.1"])
def test_renko_bricks_equal_a_walk_over_the_levels(size: str) -> None:
    feed = trades(2000)
    found = built(bar_builder(parse_interval(f"renko_{size}")), feed)
    assert [(one.open, one.close) for one in found] == bricks_by_levels([one.close for one in feed], float(size))
    assert all((one.high, one.low) == (max(one.open, one.close), min(one.open, one.close)) for one in found)
    last = next(index for index, one in enumerate(feed) if one.ts_ns == found[-1].ts_ns)
    assert sum(one.volume for one in found) == sum(one.volume for one in feed[: last + 1])


def test_a_move_closes_several_bricks_and_only_a_second_step_back_turns_them() -> None:
    builder = bar_builder("renko_1")
    prices = [100.0, 100.9, 103.2, 102.0, 101.9, 101.0, 98.5]
    found = [
        [(one.open, one.close) for one in builder.update(bar("KO", n, minute(n), price), BOUNDS)]
        for n, price in enumerate(prices, start=1)
    ]
    assert found == [[], [], [(100, 101), (101, 102), (102, 103)], [], [], [(102, 101)], [(101, 100), (100, 99)]]


def test_a_move_of_too_many_bricks_starts_them_again() -> None:
    builder = bar_builder("renko_0.001")
    assert built(builder, [bar("KO", 1, minute(1), 100.0), bar("KO", 2, minute(2), 500.0)]) == []
    assert len(built(builder, [bar("KO", 3, minute(3), 500.002)])) == 2


@pytest.mark.parametrize("inner", ["1m", "5m", "3000v"])
def test_heikin_ashi_bars_equal_their_recursion_in_pandas(inner: str) -> None:
    feed = random_bars(11)
    frame = pd.DataFrame(built(bar_builder(parse_interval(inner)), feed))
    close = frame[["open", "high", "low", "close"]].mean(axis=1)
    start = [(frame.open[0] + frame.close[0]) / 2]
    for index in range(1, len(frame)):
        start.append((start[index - 1] + close[index - 1]) / 2)
    body = pd.DataFrame({"open": start, "close": close})
    found = pd.DataFrame(built(bar_builder(parse_interval(f"heikin_ashi_{inner}")), feed))
    np.testing.assert_allclose(found.open, body.open, rtol=1e-12)
    np.testing.assert_allclose(found.close, close, rtol=1e-12)
    np.testing.assert_allclose(found.high, np.maximum(frame.high, body.max(axis=1)), rtol=1e-12)
    np.testing.assert_allclose(found.low, np.minimum(frame.low, body.min(axis=1)), rtol=1e-12)
    for name in ("seq", "ts_ns", "open_ns", "volume"):
        assert found[name].tolist() == frame[name].tolist()


@pytest.mark.parametrize("text", INTERVALS)
def test_a_snapshot_at_every_record_changes_nothing(text: str) -> None:
    feed = random_bars(13, 200, missing=0.2)
    interval = parse_interval(text)
    expected = built(bar_builder(interval), feed)
    builder, found = bar_builder(interval), list[Bar]()
    for one in feed:
        found += builder.update(one, BOUNDS)
        snapshot = pickle.dumps(builder.snapshot())
        builder = bar_builder(interval)
        builder.restore(pickle.loads(snapshot))  # noqa: S301  (written above)
    assert found == expected
    assert found


@pytest.mark.parametrize("text", ["7t", "1000v", "1e5d", "heikin_ashi_5m"])
def test_a_split_continues_bars_as_if_all_had_been_in_new_shares(text: str) -> None:
    """A split of two for one: prices halve exactly, volumes double. A threshold of volume counts new shares."""
    feed = random_bars(17, 120)

    def in_new_shares(one: Bar) -> Bar:
        prices = {name: getattr(one, name) / 2 for name in COLUMNS[:4]}
        return one._replace(**prices, volume=one.volume * 2)

    builder, reference = bar_builder(parse_interval(text)), bar_builder(parse_interval(text))
    # Until the split, bars of old shares reach half as many units.
    if text.endswith("v"):
        builder = bar_builder(parse_interval("500v"))
    built(builder, feed[:61])
    built(reference, [in_new_shares(one) for one in feed[:61]])
    if text.endswith("v"):
        seen = builder.snapshot()
        builder = bar_builder(parse_interval(text))
        builder.restore(seen)
    builder.rescale(0.5)
    assert builder.snapshot() == reference.snapshot()


def test_renko_starts_again_at_the_last_edge_after_a_split() -> None:
    builder = bar_builder("renko_1")
    built(builder, [bar("KO", n, minute(n), price) for n, price in enumerate([100.0, 104.0], start=1)])
    builder.rescale(0.5)
    found = built(builder, [bar("KO", 3, minute(3), 53.1)])
    assert [(one.open, one.close) for one in found] == [(52, 53)]


def test_a_strategy_receives_the_bars_features_and_history_of_each_interval() -> None:
    found: list[Any] = []
    declared = {"2500v": ("sma_2",), "renko_0.5": ("sma_1",), "heikin_ashi_2m": ("ema_1",)}

    def act(ctx: Any, number: int) -> None:
        found.append([ctx.closed(one) for one in declared])
        if number == 6:
            assert ctx.bar("KO", "2500v").volume == 3000.0
            assert ctx.feature("KO", "sma_2", "2500v") == (102 + 105) / 2
            assert ctx.feature("KO", "sma_1", "renko_0.5") == 105.0
            assert ctx.history("KO", "2.5e3v")["close"].tolist() == [102.0, 105.0]
            assert ctx.bar("KO", "heikin_ashi_2m").ts_ns == minute(6)

    slices = [bars(number, "KO", close=99.0 + number, volume=1000.0) for number in range(1, 7)]
    run(Scripted(act, features=declared, history={"2500v": 5}, symbols=("KO",)), slices)
    # Renko moves with each bar of 1.0 but the first one.
    assert [one[0] for one in found] == [(), (), ("KO",), (), (), ("KO",)]
    assert [one[1] for one in found] == [(), *[("KO",)] * 5]
    assert [one[2] for one in found] == [(), ("KO",)] * 3


def test_the_stage_continues_from_a_snapshot_with_a_split_between() -> None:
    features = {"1e5d": ("sma_2",), "renko_0.5": ("sma_1",), "heikin_ashi_2m": ("ema_2",)}
    slices: list[list[Any]] = [[one] for one in random_bars(19, 60)]
    slices[30].insert(0, corporate_action("spl-1", "SPLIT", "KO", ratio=2))
    results = []
    for restart in (False, True):
        found: list[Any] = []

        def act(ctx: Any, number: int, found: list[Any] = found) -> None:
            found.append([ctx.feature("KO", spec, one) for one, [spec] in features.items()])

        stage = TradingStrategyStage([Scripted(act, features=features, symbols=("KO",))], TradingSettings())
        for number, records in enumerate(slices, start=1):
            stage.on_slice(minute(number), records)
            if restart:
                snapshot = pickle.dumps(stage.snapshot())
                stage = TradingStrategyStage([Scripted(act, features=features, symbols=("KO",))], TradingSettings())
                stage.restore(pickle.loads(snapshot))  # noqa: S301  (written above)
        results.append(found)
    assert results[0] == results[1]
    assert all(value is not None for value in results[0][-1])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("100t", "bars of 100t need trades, which this feed does not have: pass files of them"),
        ("heikin_ashi_100t", "need trades"),
        ("0v", "must have a size above 0"),
        ("renko_0", "must have a size above 0"),
        ("renko_", "such as 15m, 1d, 10000v, 1e6d, renko_0.5 or heikin_ashi_15m, found 'renko_'"),
        ("heikin_ashi_heikin_ashi_1m", "must contain heikin_ashi_ once; write heikin_ashi_1m"),
        ("heikin_ashi_30s", "must be a multiple of the bars of the feed, 1m"),
        ("1000d", "must be below one day, one day"),
    ],
)
def test_an_interval_that_cannot_be_built_is_rejected(text: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        run(Scripted(lambda ctx, number: None, features={text: ("sma_2",)}), [])


@pytest.mark.parametrize(
    ("text", "shortest"),
    [("2.5e3v", "2500v"), ("500000d", "500000d"), ("5e2d", "500e0d"), ("renko_0.50", "renko_0.5"), ("0.5v", "0.5v")],
)
def test_equal_intervals_have_one_text(text: str, shortest: str) -> None:
    assert interval_text(parse_interval(text)) == shortest
    assert parse_interval(shortest) == shortest
    assert time_interval_ns(parse_interval(text)) is None
    assert bar_builder(parse_interval(f"heikin_ashi_{text}")).seq == 0
