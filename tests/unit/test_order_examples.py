"""The examples of orders in `docs/examples` trade as they say."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from operators.risk import RiskSettings
from tests.unit.strategy_examples import load
from tests.unit.strategy_tapes import run, tape_of
from tests.unit.trading_desk import CAPITAL, FREE, TradingDesk


def test_the_exit_that_fills_first_cancels_the_other_one() -> None:
    """Bought at 100: the profit is taken at 104, and the fall to 90 sells nothing more."""
    desk = TradingDesk(load("oco_exits", "OcoExits"))
    desk.step(3, SPY=100.0)
    desk.step(SPY=(103.0, 104.5, 103.0, 104.0))
    desk.step(3, SPY=90.0)
    desk.check()
    assert desk.trades() == [(2, "SPY", 100.0, 100.0), (4, "SPY", -100.0, 104.0)]


def test_the_loss_exit_cancels_the_profit_exit() -> None:
    desk = TradingDesk(load("oco_exits", "OcoExits"))
    desk.step(3, SPY=100.0)
    desk.step(SPY=(99.0, 99.0, 97.0, 97.5))
    desk.step(3, SPY=110.0)
    desk.check()
    assert desk.trades() == [(2, "SPY", 100.0, 100.0), (4, "SPY", -100.0, 98.0)]


def test_an_order_waits_for_the_fill_of_its_parent() -> None:
    """The offer at 101 does not trade in minute 3, because the bid at 99 has not filled yet."""
    desk = TradingDesk(load("oto_orders", "OneTriggersOther"))
    desk.step(2, SPY=100.0)
    desk.step(SPY=102.0)
    desk.step(SPY=(100.0, 100.0, 98.9, 100.0))
    desk.step(SPY=(100.0, 101.5, 100.0, 101.0))
    desk.check()
    assert desk.trades() == [(4, "SPY", 100.0, 99.0), (5, "SPY", -100.0, 101.0)]


def test_each_time_in_force_ends_in_its_way() -> None:
    """IOC and FOK end with minute 2, GTD with minute 6, DAY with the session. GTC fills at its limit a day later."""
    prices = [{"SPY": 100.0}] * 31 + [{"SPY": 98.0}]
    desk = run(load("time_in_force", "TimeInForce"), tape_of(prices, 30))
    assert desk.notes() == ["IOC cancelled", "FOK cancelled", "GTD expired", "DAY expired"]
    assert desk.trades() == [(24 * 60 + 2, "SPY", 10.0, 99.0)]


def test_a_position_is_sold_at_the_close_and_bought_at_the_open() -> None:
    """Two sessions of 30 minutes: bought at the second open (101), sold at the second close (103)."""
    prices = [{"SPY": 100.0}] * 30 + [{"SPY": 101.0}, *[{"SPY": 102.0}] * 28, {"SPY": 103.0}]
    tape = tape_of(prices, 30)
    opening = [one._replace(open=101.0, low=101.0) for one in tape.slices[30][1]]
    tape.slices[30] = (tape.slices[30][0], opening)
    desk = run(load("open_and_close", "OpenAndClose"), tape)
    assert desk.trades() == [(24 * 60 + 1, "SPY", 100.0, 101.0), (24 * 60 + 30, "SPY", -100.0, 103.0)]


def test_a_limit_follows_the_market_and_keeps_its_id() -> None:
    """The bid is 99.90, and 100.90 after the rise to 101. It fills there."""
    desk = TradingDesk(load("amend_limit", "FollowingLimit"))
    desk.step(3, SPY=100.0)
    desk.step(3, SPY=101.0)
    desk.step(SPY=(101.0, 101.0, 100.8, 100.9))
    desk.check()
    assert desk.trades() == [(7, "SPY", 100.0, 100.9)]


def test_an_order_is_cancelled_at_eleven_and_the_rest_bought_at_the_market() -> None:
    """11:00 is minute 90. The cancel takes effect in minute 91, and the market order trades in minute 92."""
    desk = TradingDesk(load("cancel_at_time", "CancelAtTime"))
    desk.step(100, SPY=100.0)
    desk.check()
    assert desk.trades() == [(92, "SPY", 100.0, 100.0)]


def test_nothing_is_bought_at_eleven_if_the_bid_has_filled() -> None:
    desk = TradingDesk(load("cancel_at_time", "CancelAtTime"))
    desk.step(10, SPY=100.0)
    desk.step(90, SPY=99.0)
    desk.check()
    assert desk.trades() == [(11, "SPY", 100.0, 99.0)]


def test_a_position_is_built_and_left_in_parts() -> None:
    """Bids at 99, 98 and 97. Offers two percent above: 100.98, 99.96 and 98.94."""
    desk = TradingDesk(load("scale_in_and_out", "ScaleInAndOut"))
    desk.step(2, SPY=100.0)
    for price in (99.0, 98.0, 97.0, 98.0):
        desk.step(SPY=price)
    desk.step(SPY=(98.0, 101.0, 98.0, 101.0))
    desk.check()
    assert desk.trades() == [
        (3, "SPY", 100.0, 99.0),
        (4, "SPY", 100.0, 98.0),
        (5, "SPY", 100.0, 97.0),
        (7, "SPY", -100.0, 98.94),
        (7, "SPY", -100.0, 99.96),
        (7, "SPY", -100.0, 100.98),
    ]


def test_the_stop_covers_what_has_been_bought_so_far() -> None:
    """Bars have a volume of 1,000, of which 30 percent may be traded: 300 a minute. The stop is at 98."""
    desk = TradingDesk(load("partial_fills", "PartialFills"), venue=replace(FREE, max_volume_share=Decimal("0.3")))
    desk.step(5, SPY=100.0)
    desk.step(SPY=99.0)
    desk.step(4, SPY=97.0)
    desk.check()
    assert [quantity for _, _, quantity, _ in desk.trades()] == [
        300.0,
        300.0,
        300.0,
        100.0,
        -300.0,
        -300.0,
        -300.0,
        -100.0,
    ]
    assert desk.notes()[-1] == "1000 bought, 0 remaining"


def test_a_stop_limit_buys_no_more_than_its_limit_after_a_gap() -> None:
    """Yesterday's high is 100: stop 100.01, limit 100.20. The price jumps to 101, then falls to 100.10."""
    prices = [{"SPY": 100.0}] * 20 + [{"SPY": 99.0}] * 2 + [{"SPY": 101.0}] * 2 + [{"SPY": 100.1}] * 16
    tape = tape_of(prices, 20)
    jump = [one._replace(open=101.0, low=101.0) for one in tape.slices[22][1]]
    tape.slices[22] = (tape.slices[22][0], jump)
    desk = run(load("stop_limit", "StopLimit"), tape)
    assert desk.trades() == [(24 * 60 + 5, "SPY", 100.0, 100.2), (24 * 60 + 16, "SPY", -100.0, 100.1)]


def test_a_rejected_order_is_sent_with_half_of_its_quantity() -> None:
    """The limit of an order is 30,000: 1,000 and 500 shares at 100 are too many."""
    risk = replace(RiskSettings.unlimited(initial_capital=CAPITAL), max_order_notional=Decimal(30_000))
    desk = TradingDesk(load("rejected_order", "RejectedOrder"), risk=risk)
    desk.step(6, SPY=100.0)
    assert desk.trades() == [(4, "SPY", 250.0, 100.0)]
    assert [note.partition(":")[0] for note in desk.notes()] == ["max_order_notional"] * 2


def test_a_short_position_is_covered_at_its_stop() -> None:
    """Sold at 99; the stop is 2 percent above the last close before the order (99): 100.98."""
    desk = TradingDesk(load("short_selling", "ShortSelling"))
    desk.step(10, SPY=100.0)
    desk.step(3, SPY=99.0)
    desk.step(SPY=(99.0, 101.0, 99.0, 101.0))
    desk.step(2, SPY=101.0)
    desk.check()
    assert desk.trades() == [(12, "SPY", -100.0, 99.0), (14, "SPY", 100.0, 100.98)]


def test_a_short_position_is_covered_above_the_average() -> None:
    desk = TradingDesk(load("short_selling", "ShortSelling"))
    desk.step(10, SPY=100.0)
    desk.step(3, SPY=99.0)
    desk.step(3, SPY=100.5)
    desk.check()
    assert desk.trades() == [(12, "SPY", -100.0, 99.0), (15, "SPY", 100.0, 100.5)]


def test_a_quantity_is_bought_in_equal_parts() -> None:
    """Every 15 minutes, an order of 100 trades a minute later, until ten of them are filled."""
    desk = TradingDesk(load("twap", "Twap"))
    desk.step(200, SPY=100.0)
    desk.check()
    assert desk.trades() == [(15 * number + 1, "SPY", 100.0, 100.0) for number in range(1, 11)]
