"""Minute completion: every known symbol has a bar in every minute, and `seq` has no gaps."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.bar_completion import FeedSettings, Minute, MinuteCompletion, MinuteRow
from schemas.errors import BadInput
from schemas.records import REGULAR, Bar
from tests.builders import bar


def minute(number: int) -> Minute:
    return Minute(number * 60, number * 60 + 60, REGULAR, 20131007)


def row(symbol: str, close: float) -> MinuteRow:
    return MinuteRow(symbol=symbol, open=close - 0.5, high=close + 1.0, low=close - 1.0, close=close, volume=100.0)


def test_a_symbol_has_no_bar_before_its_first_trade_and_one_in_every_minute_after() -> None:
    completion = MinuteCompletion()
    assert completion.complete(minute(0), []) == []
    assert completion.complete(minute(1), [row("B", 7.0)]) == [
        bar("B", 1, 120, 7.0, open=6.5, high=8.0, low=6.0, volume=100.0, day=20131007, open_ns=60)
    ]
    no_trade_bar = bar("B", 2, 180, 7.0, volume=0.0, day=20131007, traded=False, open_ns=120)
    assert completion.complete(minute(2), [row("A", 5.0)])[1] == no_trade_bar


@given(st.lists(st.dictionaries(st.sampled_from("ABCDE"), st.floats(1.5, 1e6)), max_size=30), st.integers(0, 30))
def test_bars_are_sorted_gapless_and_do_not_depend_on_a_restart(minutes: list[dict[str, float]], stop: int) -> None:
    completion, bars = MinuteCompletion(), []
    last: dict[str, tuple[int, float]] = {}
    for number, closes in enumerate(minutes):
        if number == stop:
            state = completion.snapshot()
            completion.complete(minute(number), [row("Z", 9.0)])  # must not change the snapshot
            completion = MinuteCompletion()
            completion.restore(pickle.loads(pickle.dumps(state)))  # noqa: S301
        bars = completion.complete(minute(number), [row(symbol, close) for symbol, close in closes.items()])
        # Naive definition: symbols in order, `seq` plus one, and a symbol without trades repeats its close.
        for symbol in sorted(last.keys() | closes.keys()):
            last[symbol] = (last.get(symbol, (0, 0.0))[0] + 1, closes.get(symbol, last.get(symbol, (0, 0.0))[1]))
        assert [(bar.symbol, bar.seq, bar.close, bar.traded) for bar in bars] == [
            (symbol, *last[symbol], symbol in closes) for symbol in sorted(last)
        ]
        assert all(type(bar) is Bar for bar in bars)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"calendar": "XLON"}, "setting calendar must be one of XNYS, 24/7, found 'XLON'"),
        ({"session": "night"}, "setting session must be one of auto, extended, regular, found 'night'"),
        ({"time_is": "middle"}, "setting time_is must be one of open, close, found 'middle'"),
        (
            {"bar_interval_s": 420},
            "setting bar_interval (--interval) must divide 30m or be 1h, 2h, 4h or 1d for calendar XNYS, found 7m",
        ),
        (
            {"bar_interval": "3h"},
            "setting bar_interval (--interval) must divide 30m or be 1h, 2h, 4h or 1d for calendar XNYS, found 3h",
        ),
        (
            {"bar_interval": "7m", "calendar": "24/7"},
            "setting bar_interval (--interval) must divide 1d for calendar 24/7, found 7m",
        ),
        (
            {"bar_interval": "1w"},
            "setting bar_interval (--interval) must be auto or an interval such as 1m, 1h or 1d, found '1w'",
        ),
        (
            {"bar_interval": "1h", "bar_interval_s": 60},
            "settings bar_interval and bar_interval_s must agree, found 1h and 60",
        ),
        (
            {"bar_interval_s": 0},
            "setting bar_interval (--interval) must divide 30m or be 1h, 2h, 4h or 1d for calendar XNYS, found 0s",
        ),
        (
            {"timezone": "Mars/Base"},
            "setting timezone must be an IANA time zone such as America/New_York, found 'Mars/Base'",
        ),
        ({"start": "soon"}, "setting start must be an ISO date or time such as 2024-01-31, found 'soon'"),
        (
            {"start": "2013-10-08", "end": "2013-10-08"},
            "setting start must be before end, found 2013-10-08 and 2013-10-08",
        ),
    ],
)
def test_invalid_settings_give_a_one_line_error(settings: dict[str, str], message: str) -> None:
    with pytest.raises(BadInput) as error:
        FeedSettings(**settings)  # type: ignore[arg-type]
    assert str(error.value) == message


def test_start_is_local_to_the_settings_time_zone() -> None:
    assert FeedSettings(start="2013-10-07", timezone="America/New_York").start_ns == 1381118400 * 10**9
    assert FeedSettings(start="2013-10-07T04:00:00Z", timezone="America/New_York").start_ns == 1381118400 * 10**9
