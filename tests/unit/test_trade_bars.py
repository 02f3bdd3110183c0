"""Bars of trades equal their definitions in pandas, and reach the strategies that declare them."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflows.runtime import topology
from operators.alignment import AlignedLogs
from operators.trading.event_bars import bar_builder, bar_of_trade
from operators.trading.intervals import from_trades, parse_interval
from operators.trading.sessions import SessionBounds
from operators.trading.stage import TradingStrategyStage
from operators.trading.trade_bars import BARS_MAX
from operators.trading.trade_prints import LATE_NS
from schemas.errors import BadInput
from schemas.records import CONTINUOUS, Bar, Clock, DeadLetter, HistoryTrade, Record, StrategyAction, Trade
from tests.builders import bar, corporate_action
from tests.unit.trading_harness import (
    DAY,
    HOUR_NS,
    OPEN_NS,
    Scripted,
    bars,
    feed,
    minute,
    notes,
    run,
    session,
    stage_of,
)

BOUNDS = SessionBounds(OPEN_NS, None)
SECOND_NS = 10**9
TRADES = st.lists(st.tuples(st.integers(9_900, 10_100), st.integers(1, 400)), min_size=1, max_size=60)
"""Prices in cents, and sizes."""


def trade(seq: int, ts_ns: int, price: float = 100.0, size: float = 10.0, symbol: str = "KO") -> Trade:
    return Trade(symbol=symbol, seq=seq, ts_ns=ts_ns, price=price, size=size)


def trades_of(drawn: Sequence[tuple[int, int]]) -> list[Trade]:
    return [trade(n, OPEN_NS + n * SECOND_NS, cents / 100, float(size)) for n, (cents, size) in enumerate(drawn, 1)]


def built(interval: str, trades: Sequence[Trade], *, restart: bool = False) -> list[Bar]:
    """Build bars. With `restart`, continue from a snapshot after each trade."""
    key = from_trades(parse_interval(interval))
    builder, found = bar_builder(key), list[Bar]()
    for one in trades:
        found += builder.update(bar_of_trade(one, CONTINUOUS, DAY), BOUNDS)
        if restart:
            snapshot = pickle.dumps(builder.snapshot())
            builder = bar_builder(key)
            builder.restore(pickle.loads(snapshot))  # noqa: S301  (written above)
    return found


def joined(units: pd.DataFrame) -> pd.DataFrame:
    """Join the rows of each `group`. A row is a part of a trade with its `price`, `size` and `time`."""
    return units.groupby("group").agg(
        open=("price", "first"),
        high=("price", "max"),
        low=("price", "min"),
        close=("price", "last"),
        volume=("size", "sum"),
        open_ns=("time", "first"),
        ts_ns=("time", "last"),
    )


def check(found: Sequence[Bar], expected: pd.DataFrame) -> None:
    assert [one.seq for one in found] == list(range(1, len(expected) + 1))
    for name in expected.columns:
        values = [getattr(one, name) for one in found]
        np.testing.assert_allclose(values, expected[name].to_numpy(), rtol=1e-9, atol=1e-9, err_msg=name)


@settings(deadline=None, max_examples=20)
@given(TRADES, st.integers(1, 900))
def test_a_bar_of_volume_contains_exactly_its_units(drawn: list[tuple[int, int]], threshold: int) -> None:
    """By pandas: each traded unit is a row, and each bar is the next `threshold` rows."""
    trades = trades_of(drawn)
    units = pd.DataFrame({"price": [t.price for t in trades], "time": [t.ts_ns for t in trades]})
    units = units.loc[units.index.repeat([int(t.size) for t in trades])].reset_index(drop=True).assign(size=1.0)
    units["group"] = units.index // threshold
    check(built(f"{threshold}v", trades), joined(units)[: len(units) // threshold])


@settings(deadline=None, max_examples=20)
@given(TRADES, st.integers(500, 90_000))
def test_a_bar_of_currency_contains_exactly_its_amount(drawn: list[tuple[int, int]], threshold: int) -> None:
    """By pandas: the amounts that have traded so far, in cents, are cut at the multiples of the threshold."""
    trades = trades_of(drawn)
    ends = np.cumsum([cents * size for cents, size in drawn])
    parts = []
    for one, start, end in zip(trades, [0, *ends[:-1]], ends, strict=True):
        cuts = [start, *range((start // (100 * threshold) + 1) * 100 * threshold, end, 100 * threshold), end]
        parts += [
            (one.price, one.ts_ns, (high - low) / 100 / one.price, low // (100 * threshold))
            for low, high in pairwise(cuts)
        ]
    frame = pd.DataFrame(parts, columns=["price", "time", "size", "group"])
    check(built(f"{threshold}e0d", trades), joined(frame)[: int(ends[-1]) // (100 * threshold)])


@settings(deadline=None, max_examples=15)
@given(TRADES, st.integers(1, 9))
def test_a_bar_of_ticks_contains_exactly_its_trades(drawn: list[tuple[int, int]], count: int) -> None:
    trades = trades_of(drawn)
    frame = pd.DataFrame(trades).rename(columns={"ts_ns": "time"})
    frame["group"] = frame.index // count
    check(built(f"{count}t", trades), joined(frame)[: len(trades) // count])


@settings(deadline=None, max_examples=20)
@given(TRADES, st.sampled_from(["3t", "300v", "9e3d", "renko_0.1", "heikin_ashi_2t", "heikin_ashi_300v"]))
def test_a_restart_after_any_trade_changes_no_bar(drawn: list[tuple[int, int]], interval: str) -> None:
    trades = trades_of(drawn)
    assert built(interval, trades, restart=True) == built(interval, trades)


def test_a_trade_above_the_threshold_closes_several_bars_and_its_rest_begins_the_next_one() -> None:
    found = built("100v", [trade(1, 1, 10.0, 60), trade(2, 2, 11.0, 290), trade(3, 3, 9.0, 50)])
    assert [(one.open, one.high, one.low, one.close, one.volume, one.open_ns, one.ts_ns) for one in found] == [
        (10.0, 11.0, 10.0, 11.0, 100.0, 1, 2),
        (11.0, 11.0, 11.0, 11.0, 100.0, 2, 2),
        (11.0, 11.0, 11.0, 11.0, 100.0, 2, 2),
        (11.0, 11.0, 9.0, 9.0, 100.0, 2, 3),
    ]


def test_fractions_of_units_sum_exactly() -> None:
    """Ten trades of 0.1 are one bar of 1, although ten floats of 0.1 sum to less."""
    found = built("1v", [trade(number, number, 10.0, 0.1) for number in range(1, 21)])
    assert [(one.ts_ns, one.volume) for one in found] == [(10, 1.0), (20, 1.0)]


def test_one_trade_closes_a_bounded_number_of_bars_and_loses_no_volume() -> None:
    found = built("1v", [trade(1, 1, 10.0, 1e9 + 0.5), trade(2, 2, 10.0, 0.5)])
    assert len(found) == BARS_MAX + 1
    assert sum(one.volume for one in found) == 1e9 + 1


def test_a_split_counts_the_open_bar_in_new_shares() -> None:
    builder = bar_builder(from_trades("100v"))
    assert builder.update(bar_of_trade(trade(1, 1, 100.0, 60), CONTINUOUS, DAY), BOUNDS) == []
    builder.rescale(0.5)
    closed = builder.update(bar_of_trade(trade(2, 2, 51.0, 30), CONTINUOUS, DAY), BOUNDS)
    assert [(one.close, one.volume) for one in closed] == [(50.0, 120.0)]


class Traded(Scripted):
    """Notes each closed bar of 3 trades."""

    def __init__(self) -> None:
        super().__init__(lambda ctx, number: None, symbols=("KO",), features={"3t": ("sma_2",)})

    def on_slice(self, ctx: Any) -> None:
        closed = ctx.bar("KO", "3t") if ctx.closed("3t") else None
        ctx.note("bar" if closed is None else f"{closed.close:g} {closed.session} {closed.trading_day}")


def notes_at(stage: TradingStrategyStage, ts_ns: int, records: Sequence[Record]) -> list[str]:
    return notes([one for one in stage.on_slice(ts_ns, records) if type(one) is StrategyAction])


def trade_stage(*strategies: Any, **fields: Any) -> TradingStrategyStage:
    return stage_of(*strategies, has_trades=True, sessions={"XNYS": {DAY: session()}}, **fields)


def test_a_strategy_runs_when_a_bar_of_trades_closes_between_the_bars_of_the_feed() -> None:
    quiet = Scripted(lambda ctx, number: ctx.note("quiet"), symbols=("KO",), name="quiet")
    stage = trade_stage(Traded(), quiet)
    first = bars(1, "KO")
    between = [trade(number, minute(1) + number, 100.0 + number) for number in range(1, 8)]
    assert notes(feed(stage, [first])) == ["quiet", "bar"]
    found = [
        notes_at(stage, minute(1) + offset, records)
        for offset, records in ((2, between[:2]), (4, between[2:4]), (9, between[4:]))
    ]
    assert found == [[], ["103 REGULAR 20240102"], ["106 REGULAR 20240102"]]


def test_several_bars_in_one_time_slice_update_history_and_indicators_with_each() -> None:
    seen: list[Any] = []

    def act(ctx: Any, number: int) -> None:
        seen.append(
            (ctx.closed("100v"), ctx.history("KO", "100v")["close"].tolist(), ctx.feature("KO", "sma_2", "1e2v"))
        )

    strategy = Scripted(act, symbols=("KO",), history={"100v": 9}, features={"100v": ("sma_2",)}, bar_source="trades")
    slices = [bars(1, "KO"), [trade(1, minute(2), 10.0, 250), trade(2, minute(2), 12.0, 60), *bars(2, "KO")]]
    feed(trade_stage(strategy), slices)
    assert seen == [((), [], None), (("KO",), [10.0, 10.0, 12.0], 11.0)]


@pytest.mark.parametrize(
    ("source", "has_trades", "expected"),
    [("bars", True, "bars"), ("trades_or_bars", True, "trades"), ("trades_or_bars", False, "bars")],
)
def test_the_source_of_bars_is_declared_and_readable(source: str, has_trades: bool, expected: str) -> None:
    strategy = Scripted(
        lambda ctx, number: ctx.note(f"{ctx.bar_source()} {ctx.bar_source('100v')} {bool(ctx.closed('100v'))}"),
        symbols=("KO",),
        history={"100v": 1},
        bar_source=source,
    )
    stage = stage_of(strategy, has_trades=has_trades)
    assert ("market-trades" in stage.event_topics) == (expected == "trades")
    assert notes(feed(stage, [bars(1, "KO", volume=100.0)])) == [f"bars {expected} {expected == 'bars'}"]


def test_the_interval_keeps_no_bars_when_its_source_changes() -> None:
    """A restart with another source warms up again."""
    strategy = Scripted(
        lambda ctx, number: ctx.note(f"{len(ctx.history('KO', '100v')['close'])}"),
        symbols=("KO",),
        history={"100v": 5},
        bar_source="trades_or_bars",
    )
    stage = stage_of(strategy)
    assert notes(feed(stage, [bars(1, "KO", volume=100.0), bars(2, "KO", volume=100.0)])) == ["1", "2"]
    restarted = stage_of(strategy, has_trades=True)
    restarted.restore(stage.snapshot())
    assert notes(feed(restarted, [[*bars(3, "KO"), trade(1, minute(3), 10.0, 100)]], 3)) == ["1"]


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        (
            {"bar_source": "trades", "history": {"1e4v": 1}},
            "strategy scripted: bars of 1e4v need trades, which this feed",
        ),
        ({"history": {"100t": 1}}, "bars of 100t need trades"),
        (
            {"bar_source": "trade"},
            "`bar_source` must be one of bars, trades, trades_or_bars, found 'trade'; did you mean",
        ),
    ],
)
def test_required_trades_that_the_feed_lacks_are_rejected(declared: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        run(Scripted(lambda ctx, number: None, **declared), [])


def test_trades_of_a_day_wait_for_its_first_bar_and_its_corporate_actions() -> None:
    """A split of two for one takes effect with the first bar of the next day, after its first trades."""
    next_day, next_open = 20240103, OPEN_NS + 24 * HOUR_NS
    days = {DAY: session(), next_day: session(next_day, open_ns=next_open)}
    stage = stage_of(Traded(), has_trades=True, sessions={"XNYS": days})
    feed(stage, [bars(1, "KO"), [trade(1, minute(2), 100.0), *bars(2, "KO")]])
    split = corporate_action("spl-1", "SPLIT", "KO", ratio=2, ex_date=next_day)
    early = [trade(2, next_open + 1, 50.0), trade(3, next_open + 2, 51.0)]
    assert notes_at(stage, next_open + 3, [split, *early]) == []
    first = bar("KO", 3, next_open + 60 * SECOND_NS, 50.0)._replace(trading_day=next_day)
    assert notes_at(stage, first.ts_ns, [first]) == ["51 REGULAR 20240103"]
    built_bar = stage._market.symbols["KO"].intervals["trades_3t"].bar
    assert built_bar is not None
    assert (built_bar.open, built_bar.volume) == (50.0, 40.0)  # the first trade in new shares


@pytest.mark.parametrize(("regular_only", "expected"), [(True, ["bar"]), (False, ["5 PRE 20240102"])])
def test_trades_outside_the_sessions_of_the_feed_do_not_count(regular_only: bool, expected: list[str]) -> None:
    stage = trade_stage(Traded(), regular_trades=regular_only)
    before = [trade(number, OPEN_NS - 10 * SECOND_NS + number, float(number) + 2) for number in range(1, 4)]
    weekend = [trade(number, OPEN_NS + 96 * HOUR_NS, 9.0) for number in range(4, 9)]
    assert notes(feed(stage, [[*before, *weekend, *bars(1, "KO")]])) == expected


def test_a_trade_long_before_the_previous_time_slice_is_discarded() -> None:
    """Such trades come from a recording of an earlier release, whose topic of trades had no clock."""
    stage = trade_stage(Traded())
    feed(stage, [bars(1, "KO")])
    old = [trade(number, minute(1) - LATE_NS, 50.0) for number in range(1, 4)]
    late = [trade(number, minute(1) - LATE_NS + 1, 60.0) for number in range(4, 7)]
    assert notes(feed(stage, [[*old, *late[:2], *bars(2, "KO")], [late[2], *bars(3, "KO")]], 2)) == ["bar", "bar"]
    stage = trade_stage(Traded())
    feed(stage, [bars(1, "KO")])
    assert notes(feed(stage, [[*old, *late, *bars(2, "KO")]], 2)) == ["60 REGULAR 20240102"]


def earlier(number: int, price: float, size: float = 10.0, **fields: Any) -> HistoryTrade:
    """Return a trade of the day before, `number` seconds after its open."""
    traded_ns = OPEN_NS - 24 * HOUR_NS + number * SECOND_NS
    one = HistoryTrade("KO", number, minute(1), traded_ns, price, size, adjusted_day=DAY)
    return one._replace(**fields)


def note_closes(ctx: Any, number: int) -> None:
    ctx.note(f"{ctx.closed('3t')} {ctx.history('KO', '3t')['close'].tolist()}")


def earlier_stage(act: Any = note_closes, **fields: Any) -> TradingStrategyStage:
    before = 20240101
    days = {before: session(before, open_ns=OPEN_NS - 24 * HOUR_NS), DAY: session()}
    strategy = Scripted(act, symbols=("KO",), history={"3t": 3}, **fields)
    return stage_of(strategy, has_trades=True, sessions={"XNYS": days}, regular_trades=True)


@pytest.mark.parametrize("restart", [False, True])
def test_trades_from_before_the_start_fill_histories_and_close_no_bar_of_the_time_slice(restart: bool) -> None:
    stage = earlier_stage()
    history = [earlier(number, 90.0 + number) for number in range(1, 9)]
    outside = earlier(9, 1.0, traded_ns=OPEN_NS - 1)
    assert notes(feed(stage, [[*history, outside, *bars(1, "KO")]])) == ["() [93.0, 96.0]"]
    if restart:
        restored = earlier_stage()
        restored.restore(pickle.loads(pickle.dumps(stage.snapshot())))  # noqa: S301  (written here)
        stage = restored
    repeated: list[Record] = [earlier(1, 50.0), trade(1, minute(2), 99.0)]
    assert notes(feed(stage, [[*bars(2, "KO"), *repeated]], 2)) == ["('KO',) [93.0, 96.0, 99.0]"]


def test_trades_from_before_the_start_count_for_the_warm_up() -> None:
    def act(ctx: Any, number: int) -> None:
        ctx.submit("KO", "BUY", number)

    records = [*(earlier(number, 90.0) for number in range(1, 7)), *bars(1, "KO")]
    found = [feed(earlier_stage(act, warm_up=warm_up), [records]) for warm_up in (2, 3)]
    assert [[one.kind for one in actions] for actions in found] == [["SUBMIT_ORDER"], []]


def test_a_split_that_the_earlier_trades_include_is_not_applied_again() -> None:
    stage = earlier_stage()
    history = [earlier(number, 50.0, 20.0) for number in range(1, 4)]
    feed(stage, [[*history, *bars(1, "KO", close=50.0)]])
    split = corporate_action("s", "SPLIT", "KO", ratio=2, ex_date=DAY)
    assert notes(feed(stage, [[split, *bars(2, "KO", close=50.0)]], 2)) == ["() [50.0]"]


def test_a_snapshot_contains_trades_that_wait() -> None:
    stage = trade_stage(Traded())
    stage.on_slice(OPEN_NS + 1, [trade(number, OPEN_NS + number, 90.0) for number in (1, 2)])
    restored = trade_stage(Traded())
    restored.restore(pickle.loads(pickle.dumps(stage.snapshot())))  # noqa: S301  (written here)
    assert notes(feed(restored, [[trade(3, OPEN_NS + 3, 91.0), *bars(1, "KO")]])) == ["91 REGULAR 20240102"]


def reader_of(topics: Sequence[str], snapshot: Any = None) -> AlignedLogs:
    logs = [log for log in topology.input_logs("strategies", topology.GLOBAL_SHARD, 1) if log.topic in topics]
    return AlignedLogs("strategies", logs, snapshot)


def test_a_topic_of_trades_without_clocks_of_an_earlier_release_is_joined_at_the_state() -> None:
    reader = reader_of(["market-bars"])
    reader.feed("market-bars", 0, [(0, Clock(minute(1), "m")), (1, Clock(minute(2), "m"))])
    assert len(reader.take_slices()) == 2
    joined_reader = reader_of(["market-bars", "market-trades"], reader.snapshot())
    trades = [trade(1, minute(1)), trade(2, minute(2)), trade(3, minute(2) + 1)]
    joined_reader.feed("market-trades", 0, [*enumerate(trades), (3, Clock(minute(4), "m"))])
    joined_reader.feed("market-bars", 0, [(2, Clock(minute(3), "m")), (3, Clock(minute(4), "m"))])
    assert [(one.ts_ns, one.records) for one in joined_reader.take_slices()] == [
        (minute(3), []),
        (minute(4), [trades[2]]),
    ]
    assert joined_reader.counts.late == 0


def test_a_trade_that_arrives_after_its_clock_is_in_the_next_time_slice_and_an_invalid_one_is_a_dead_letter() -> None:
    reader = reader_of(["market-trades"])
    late = trade(1, minute(1) - 1)
    messages: list[Record | Clock] = [Clock(minute(1), "m"), late, trade(2, minute(2), -1.0), Clock(minute(2), "m")]
    reader.feed("market-trades", 0, list(enumerate(messages)))
    first, (ts_ns, records) = reader.take_slices()
    assert (first.records, ts_ns, records[0]) == ([], minute(2), late)
    assert type(records[1]) is DeadLetter
    assert records[1].reason == "field price must be > 0 and finite, found -1.0"
