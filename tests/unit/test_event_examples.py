"""The examples of times and corporate actions in `docs/examples` trade as they say."""

from __future__ import annotations

from schemas.records import StrategyAction
from tests.builders import corporate_action
from tests.unit.strategy_examples import load
from tests.unit.strategy_tapes import run, tape_of
from tests.unit.trading_desk import TradingDesk

DAY_MINUTES = 24 * 60


def test_a_gap_is_faded_until_yesterdays_close() -> None:
    """Yesterday closed at 100, and today opens at 98: bought in minute 2, sold at 100."""
    prices = [100.0] * 200 + [98.0, 98.0, 99.0] + [100.5] * 197
    tape = tape_of([{"SPY": price} for price in prices], 200)
    desk = run(load("gap_fade", "GapFade"), tape)
    assert desk.trades() == [(DAY_MINUTES + 2, "SPY", 100.0, 98.0), (DAY_MINUTES + 4, "SPY", -100.0, 100.0)]


def test_a_gap_that_does_not_close_is_left_at_noon() -> None:
    """12:00 is minute 150."""
    prices = [100.0] * 200 + [98.0] * 200
    desk = run(load("gap_fade", "GapFade"), tape_of([{"SPY": price} for price in prices], 200))
    assert desk.trades() == [(DAY_MINUTES + 2, "SPY", 100.0, 98.0), (DAY_MINUTES + 151, "SPY", -100.0, 98.0)]


def test_handlers_run_every_hour_and_twice_a_day() -> None:
    """The session has six full hours and ends at minute 390. 12:00 is minute 150."""
    desk = TradingDesk(load("hourly", "Hourly"))
    desk.step(390, SPY=100.0)
    desk.check()
    assert [number for number, _, _, _ in desk.trades()] == [60 * hour + 1 for hour in range(1, 7)]
    assert desk.notes() == ["20 shares, equity 100000.00", "60 shares, equity 100000.00"]


def test_a_position_is_held_from_monday_to_friday() -> None:
    """2 January 2024 is a Tuesday; the Monday is 8 January, and the Friday 12 January."""
    desk = run(load("weekday", "Weekday"), tape_of([{"SPY": 100.0}] * 9 * 10, 10))
    assert desk.trades() == [(6 * DAY_MINUTES + 2, "SPY", 900.0, 100.0), (10 * DAY_MINUTES + 10, "SPY", -900.0, 100.0)]


def test_a_strategy_counts_falling_days_across_sessions() -> None:
    """Closes 100, 99, 98, 97: bought on the fourth day (5 January); sold on the first rising day (9 January)."""
    closes = [100.0, 99.0, 98.0, 97.0, 96.0, 97.0]
    tape = tape_of([{"SPY": close} for close in closes for _ in range(10)], 10)
    desk = run(load("across_sessions", "AcrossSessions"), tape)
    assert [
        (number // DAY_MINUTES, number % DAY_MINUTES, quantity > 0) for number, _, quantity, _ in desk.trades()
    ] == [
        (3, 9, True),
        (7, 9, False),
    ]


def test_a_noted_price_is_converted_at_a_split() -> None:
    """Bought at 100, split 4 for 1: the target is 27.50, and all 400 shares are sold above it."""
    desk = TradingDesk(load("split", "Split"))
    desk.step(3, AAPL=100.0)
    desk.step(1, corporate_action("s1", "SPLIT", "AAPL", ratio=4), AAPL=25.0)
    desk.step(3, AAPL=27.4)
    desk.step(2, AAPL=27.6)
    desk.check()
    assert desk.trades() == [(2, "AAPL", 100.0, 100.0), (9, "AAPL", -400.0, 27.6)]
    assert desk.notes() == ["AAPL split 4 for 1, now 400 shares"]


def test_a_dividend_is_reinvested() -> None:
    """500 shares pay 0.50 each: 250, which buys 4 shares at 60."""
    desk = TradingDesk(load("dividend", "Dividend"))
    desk.step(3, KO=60.0)
    desk.step(2, corporate_action("d1", "CASH_DIVIDEND", "KO", amount="0.5"), KO=60.0)
    desk.check()
    assert desk.trades() == [(2, "KO", 500.0, 60.0), (5, "KO", 4.0, 60.0)]


def test_a_stop_works_on_under_the_new_symbol() -> None:
    """Bought at 100 with a stop at 95. FB becomes META, and falls to 94: sold at the stop."""
    desk = TradingDesk(load("renamed_orders", "RenamedOrders"))
    desk.step(4, FB=100.0)
    desk.step(3, corporate_action("r1", "SYMBOL_CHANGE", "FB", new_symbol="META"), META=100.0)
    desk.step(1, META=(96.0, 96.0, 94.0, 94.0))
    desk.check()
    assert desk.trades() == [(2, "FB", 100.0, 100.0), (8, "META", -100.0, 95.0)]
    assert desk.notes() == ["FB was renamed to META (r1)"]


def test_the_money_of_a_delisted_share_is_invested_in_the_other_one() -> None:
    """400 shares of each at 100. OLD pays 80 a share: the equity is 92,000, and 80 percent of it are 736 shares."""
    desk = TradingDesk(load("delisting", "Delisting"))
    desk.step(3, NEW=100.0, OLD=100.0)
    desk.step(1, corporate_action("x1", "DELISTING", "OLD", amount=80), NEW=100.0)
    desk.step(2, NEW=100.0)
    desk.check()
    assert desk.trades() == [(2, "NEW", 400.0, 100.0), (2, "OLD", 400.0, 100.0), (5, "NEW", 336.0, 100.0)]
    assert desk.notes() == ["OLD is delisted at 80 a share"]
    assert not [action for action in desk.of(StrategyAction) if action.kind == "SUSPENDED"]
