"""What a trading strategy reads from its context."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from operators.trading.sessions import Session
from schemas.records import REGULAR, SUSPENDED, StrategyAction
from tests.builders import bar, execution, feature_row, fundamentals, prediction, sentiment_score
from tests.unit import trading_harness
from tests.unit.trading_harness import DAY, MINUTE_NS, OPEN_NS, Scripted, bars, minute, notes, run, session


def value_of(read: Any, slices: Any = None, settings: Any = None, **declarations: Any) -> Any:
    """Return what a strategy reads in the last time slice."""
    found: list[Any] = []

    def act(ctx: Any, number: int) -> None:
        found.append(read(ctx))

    actions = run(Scripted(act, **declarations), slices or [bars(1, "KO", "PEP")], **(settings or {}))
    assert not [action for action in actions if action.kind == SUSPENDED], actions
    return found[-1]


def test_time_is_that_of_the_time_slice() -> None:
    assert value_of(lambda ctx: ctx.time) == minute(1)


def test_the_session_has_its_day_and_the_minutes_since_the_open_and_to_the_close() -> None:
    settings = {"sessions": {"XNYS": {DAY: session()}}}
    slices = [bars(number, "KO") for number in (1, 2, 3)]
    assert value_of(lambda ctx: ctx.session, slices, settings) == Session(
        day=DAY,
        phase=REGULAR,
        open_ns=OPEN_NS,
        close_ns=OPEN_NS + 390 * MINUTE_NS,
        minutes_since_open=3,
        minutes_to_close=387,
        early_close=False,
    )


def test_a_session_without_known_hours_starts_with_its_first_bar_and_has_no_close() -> None:
    found = value_of(lambda ctx: ctx.session, [bars(5, "KO"), bars(6, "KO")])
    assert (found.open_ns, found.close_ns, found.minutes_to_close) == (minute(4), None, None)


def test_a_session_tells_an_early_close() -> None:
    settings = {"sessions": {"XNYS": {DAY: session(minutes=210, early_close=True)}}}
    found = value_of(lambda ctx: ctx.session, None, settings)
    assert (found.early_close, found.minutes_to_close) == (True, 209)


def test_a_bar_has_open_high_low_close_and_volume() -> None:
    slices = [[bar("KO", 1, minute(1), 101.0, open=100.0, high=102.0, low=99.0, volume=7.0)]]
    found = value_of(lambda ctx: ctx.bar("KO"), slices)
    assert (found.open, found.high, found.low, found.close, found.volume) == (100.0, 102.0, 99.0, 101.0, 7.0)


def test_there_is_no_bar_of_a_minute_without_a_trade() -> None:
    slices = [bars(1, "KO"), bars(2, "KO", traded=False, volume=0.0)]
    assert value_of(lambda ctx: (ctx.bar("KO"), ctx.price("KO"), ctx.bar("PEP"), ctx.price("PEP")), slices) == (
        None,
        100.0,
        None,
        None,
    )


def test_a_feature_comes_from_the_feature_row() -> None:
    slices = [[*bars(1, "KO"), feature_row("KO", 1, minute(1), values={"sma_3": 99.5})]]
    assert value_of(
        lambda ctx: (ctx.feature("KO", "sma_3"), ctx.feature("KO", "sma_3", "1m"), ctx.feature("KO", "ema_9")),
        slices,
        features=("sma_3", "ema_9"),
    ) == (99.5, 99.5, None)


def test_a_feature_of_a_longer_interval_is_computed_from_its_bars() -> None:
    slices = [bars(number, "KO", close=100.0 + number) for number in range(1, 16)]
    # Closes of the five-minute bars: 105, 110 and 115. The average of the last two is 112.5.
    assert value_of(lambda ctx: ctx.feature("KO", "sma_2", "5m"), slices, features={"5m": ("sma_2",)}) == 112.5


def test_history_has_the_newest_bars_last_and_cannot_be_changed() -> None:
    slices = [bars(number, "KO", close=100.0 + number) for number in range(1, 6)]
    found = value_of(lambda ctx: ctx.history("KO"), slices, history={"1m": 3})
    assert sorted(found) == ["close", "high", "low", "open", "time", "volume"]
    assert found["close"].tolist() == [103.0, 104.0, 105.0]
    assert found["time"].tolist() == [minute(3), minute(4), minute(5)]
    with pytest.raises(ValueError, match="read-only"):
        found["close"][0] = 0.0


def test_history_grows_until_it_has_the_declared_number_of_bars() -> None:
    slices = [bars(number, "KO") for number in (1, 2)]
    assert value_of(
        lambda ctx: (len(ctx.history("KO", "1m")["close"]), len(ctx.history("PEP", "1m")["close"])),
        slices,
        history={"1m": 3},
    ) == (2, 0)


def test_history_of_many_bars_equals_the_last_closes() -> None:
    """More bars than the arrays hold, so that they are moved."""
    slices = [bars(number, "KO", close=float(number)) for number in range(1, 301)]
    found = value_of(lambda ctx: ctx.history("KO")["close"].copy(), slices, history={"1m": 50})
    assert np.array_equal(found, np.arange(251.0, 301.0))


def test_closed_names_the_symbols_whose_bar_closed() -> None:
    found: list[Any] = []
    strategy = Scripted(lambda ctx, number: found.append((ctx.closed(), ctx.closed("5m"))), history={"5m": 1})
    run(strategy, [bars(number, "PEP", *(["KO"] if number < 5 else [])) for number in range(1, 6)])
    assert found[3] == (("KO", "PEP"), ())
    assert found[4] == (("PEP",), ("PEP",))


def test_analysis_of_the_symbol_is_available() -> None:
    score, forecast = sentiment_score(1, minute(1), "KO", 0.7), prediction("KO", 1, minute(1), 0.02, model="boost")
    filing = fundamentals("fun-1", 5, "KO")
    slices = [[*bars(1, "KO"), forecast, filing, score]]
    found = value_of(
        lambda ctx: (
            ctx.sentiment("KO"),
            ctx.prediction("KO"),
            ctx.prediction("KO", "other"),
            ctx.fundamentals("KO"),
        ),
        slices,
    )
    assert found[:3] == (score, forecast, None)
    assert found[3] == filing._replace(ts_ns=minute(1)), "event time replaces the wall clock"


def test_position_cash_and_equity_are_those_of_the_capital_share() -> None:
    """Half of 10,000, of which 10 shares at 100 and a fee of 1; the shares are worth 110."""
    fill = execution(1, minute(2), "KO", 10, 100, 1, order_id="ord-act-scripted-1")
    slices = [bars(1, "KO"), [fill, *bars(2, "KO", close=110.0)]]
    found = value_of(
        lambda ctx: (ctx.position("KO"), ctx.entry_price("KO"), ctx.cash, ctx.equity, ctx.entry_price("PEP")),
        slices,
        {"initial_capital": 10_000, "capital": {"scripted": Decimal("0.5")}},
    )
    assert found == (10.0, 100.0, 3999.0, 5099.0, None)


def test_the_universe_of_the_settings_is_used_without_own_symbols() -> None:
    slices = [bars(1, "AAPL", "KO", "PEP")]
    assert value_of(lambda ctx: ctx.universe, slices, {"universe": ("PEP", "KO")}, symbols=None) == ("KO", "PEP")


def test_without_a_universe_the_symbols_with_bars_are_it() -> None:
    slices = [bars(1, "PEP"), bars(2, "AAPL", "PEP")]
    assert value_of(lambda ctx: ctx.universe, slices, symbols=None) == ("AAPL", "PEP")


@pytest.mark.parametrize(
    ("read", "message"),
    [
        (lambda ctx: ctx.bar("KOO"), "'KOO' is not in the universe of strategy scripted; did you mean KO?"),
        (lambda ctx: ctx.position("AAPL"), "'AAPL' is not in the universe of strategy scripted"),
        (lambda ctx: ctx.feature("KO", "sma_33"), "feature 'sma_33' of 1m is not declared; did you mean sma_3?"),
        (lambda ctx: ctx.history("KO", "5m"), "history of 5m is not declared. Declared: 1m"),
        (lambda ctx: ctx.bar("KO", "15m"), "interval 15m is not declared"),
        (lambda ctx: ctx.bar("KO", "x"), "interval must be a text such as 15m, 1d, 10000v"),
    ],
)
def test_reading_what_was_not_declared_suspends_the_strategy_with_one_sentence(read: Any, message: str) -> None:
    strategy = Scripted(lambda ctx, number: read(ctx), features=("sma_3",), history={"1m": 1})
    (suspension,) = run(strategy, [bars(1, "KO", "PEP")])
    assert suspension.kind == SUSPENDED
    assert message in suspension.arguments["message"]
    assert suspension.arguments["file"] == trading_harness.__file__, "the file of the handler"


def test_notes_are_records() -> None:
    actions = run(Scripted(lambda ctx, number: ctx.note("calm")), [bars(1, "KO")])
    assert notes(actions) == ["calm"]
    assert type(actions[0]) is StrategyAction
