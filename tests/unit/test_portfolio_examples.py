"""The examples of portfolios, indicators and analyses in `docs/examples` trade as they say."""

from __future__ import annotations

import numpy as np

from schemas.records import StrategyAction
from tests.builders import fundamentals, prediction, sentiment_score
from tests.unit.strategy_examples import load
from tests.unit.strategy_tapes import StrategyTape, path, run, tape_of
from tests.unit.trading_desk import TradingDesk
from tests.unit.trading_harness import minute

DAY_MINUTES = 24 * 60


def daily_tape(closes: dict[str, list[float]], minutes_per_day: int) -> StrategyTape:
    """Return days whose bars all have the day's close."""
    days = [dict(zip(closes, values, strict=True)) for values in zip(*closes.values(), strict=True)]
    return tape_of([day for day in days for _ in range(minutes_per_day)], minutes_per_day)


def test_the_universe_rotates_to_the_strongest_symbols_once_a_week() -> None:
    """GLD and TLT gain most for 22 days, then SPY gains 2 percent a day. 2 January 2024, a Tuesday, is day 0.

    The first choice is on Wednesday 31 January, the first day after 21 closes: calendar day 29. The second choice is on
    Monday 5 February, calendar day 34.
    """
    gains = {"DIA": 0, "EEM": -0.002, "EFA": 0.0005, "GLD": 0.004, "IWM": 0, "QQQ": 0.001, "SPY": 0.002, "TLT": 0.003}
    closes = {symbol: path([gain] * 22 + [0.02 if symbol == "SPY" else gain] * 6) for symbol, gain in gains.items()}
    trades = run(load("universe_rotation", "Rotation"), daily_tape(closes, 6)).trades()
    days = [number // DAY_MINUTES for number, _, _, _ in trades]
    assert set(days) == {29, 34}
    assert {symbol for day, (_, symbol, _, _) in zip(days, trades, strict=True) if day == 29} == {"GLD", "TLT"}
    positions: dict[str, float] = {}
    for _, symbol, quantity, _ in trades:
        positions[symbol] = positions.get(symbol, 0) + quantity
    assert {symbol for symbol, quantity in positions.items() if quantity} == {"GLD", "SPY"}


def test_weights_are_inverse_to_the_volatility() -> None:
    """Day 21 is the first with 20 returns before it; the weights follow the definition."""
    closes = {
        symbol: path([0.0] * 22, noise=noise, seed=seed)
        for symbol, noise, seed in (("GLD", 0.01, 1), ("SPY", 0.02, 2), ("TLT", 0.005, 3))
    }
    desk = run(load("inverse_volatility", "InverseVolatility"), daily_tape(closes, 20))
    inverse = {}
    for symbol, prices in closes.items():
        returns = np.diff(prices[:21]) / prices[:20]
        inverse[symbol] = 1 / returns.std()
    first = {symbol: quantity for _, symbol, quantity, _ in desk.trades()[:3]}
    expected = {
        symbol: 95_000 * value / sum(inverse.values()) // closes[symbol][21] for symbol, value in inverse.items()
    }
    assert first == expected


def test_bars_of_fifteen_minutes_are_consolidated() -> None:
    """Three rising quarters end at minute 45; the falling one ends at minute 75."""
    desk = TradingDesk(load("consolidator", "Consolidator"))
    for number in range(80):
        desk.step(SPY=100 + 0.1 * min(number, 60 - number // 2 if number > 60 else number))
    desk.check()
    assert [(number, quantity > 0) for number, _, quantity, _ in desk.trades()] == [(46, True), (76, False)]


def test_minutes_choose_the_entry_while_hours_rise() -> None:
    """The fall after the fourth hour takes the RSI below 30, while the last hourly close is above its average."""
    desk = TradingDesk(load("several_intervals", "SeveralIntervals"))
    for number in range(241):
        desk.step(SPY=round(100 + 0.01 * number, 2))
    assert not desk.trades()
    for number in range(10):
        desk.step(SPY=round(102.3 - 0.02 * number, 2))
    for number in range(30):
        desk.step(SPY=round(102.1 + 0.02 * number, 2))
    desk.check()
    entry, exit_ = desk.trades()
    assert 242 < entry[0] <= 252 and entry[2] > 0
    assert exit_[0] > 252 and exit_[2] == -entry[2] and exit_[3] > entry[3]


def test_nothing_trades_during_the_warm_up() -> None:
    """The price rises from the second bar on. Bar 50 is the first one at which a target is accepted."""
    desk = TradingDesk(load("warm_up", "WarmUp"))
    for number in range(60):
        desk.step(SPY=100 + 0.1 * number)
    desk.step(2, SPY=100.0)
    desk.check()
    assert [(number, quantity > 0) for number, _, quantity, _ in desk.trades()] == [(51, True), (62, False)]


def test_the_majority_of_three_indicators_decides() -> None:
    """All three are positive in the rise. MACD's histogram exists from bar 34 on."""
    desk = TradingDesk(load("ensemble", "Ensemble"))
    desk.step(34, SPY=100.0)
    assert not desk.trades()
    desk.step(10, SPY=101.0)
    desk.step(5, SPY=99.0)
    desk.check()
    assert [(number, quantity > 0) for number, _, quantity, _ in desk.trades()] == [(36, True), (46, False)]
    tags = [action.reason for action in desk.of(StrategyAction) if action.kind.startswith("TARGET")]
    assert tags == ["3 of 3", "0 of 3"]


def test_a_price_below_the_vwap_is_bought_and_sold_at_the_vwap() -> None:
    """Equal volumes: the VWAP of 40 minutes at 100 and one at 99 is 99.98. The price is back at 100 in minute 44."""
    desk = TradingDesk(load("vwap_reversion", "VwapReversion"))
    desk.step(40, SPY=100.0)
    desk.step(3, SPY=99.0)
    desk.step(3, SPY=100.0)
    desk.check()
    assert desk.trades() == [(42, "SPY", 505.0, 99.0), (45, "SPY", -505.0, 100.0)]


def test_a_model_is_traded_while_its_forecast_is_good_enough() -> None:
    desk = TradingDesk(load("prediction", "Forecast"))
    desk.step(2, SPY=100.0)
    desk.step(2, prediction("SPY", 1, minute(3), 0.001, probability_up=0.9), SPY=100.0)
    desk.step(2, prediction("SPY", 2, minute(5), 0.01, probability_up=0.6), SPY=100.0)
    desk.step(2, prediction("SPY", 3, minute(7), -0.01, probability_up=0.3, drift=0.95), SPY=100.0)
    desk.step(2, prediction("SPY", 4, minute(9), -0.01, probability_up=0.3), SPY=100.0)
    desk.check()
    assert desk.trades() == [(6, "SPY", 500.0, 100.0), (10, "SPY", -500.0, 100.0)]


def test_bad_news_ends_a_position_and_prevents_a_new_one_for_an_hour() -> None:
    desk = TradingDesk(load("sentiment_filter", "SentimentFilter"))
    desk.step(10, AAPL=100.0)
    desk.step(5, AAPL=101.0)
    desk.step(1, sentiment_score(1, minute(16), "AAPL", -0.8), AAPL=102.0)
    for number in range(70):
        desk.step(AAPL=103 + 0.1 * number)
    desk.check()
    fills = [(number, quantity) for number, _, quantity, _ in desk.trades()]
    assert fills[0][0] == 12 and fills[1] == (17, -fills[0][1]) and fills[2][0] == 77


def test_cheap_shares_are_bought_by_the_figures_of_their_filings() -> None:
    """AAPL costs 20 times its earnings, KO 10 times; XOM has no filing. Then KO's earnings fall."""
    desk = TradingDesk(load("fundamentals", "PriceToEarnings"))
    filings = [fundamentals("f1", 1, "AAPL", facts={"eps": 5.0}), fundamentals("f2", 1, "KO", facts={"eps": 6.0})]
    desk.step(40, *filings, AAPL=100.0, KO=60.0, XOM=100.0)
    desk.check()
    assert desk.trades() == [(31, "KO", 500.0, 60.0)]


def test_tags_and_notes_explain_what_was_done_and_what_was_not() -> None:
    desk = TradingDesk(load("explained", "Explained"))
    desk.step(60, SPY=100.0)
    desk.step(SPY=99.0)
    desk.step(2, SPY=96.0)
    desk.step(2, SPY=99.0)
    targets = [action.reason for action in desk.of(StrategyAction) if action.kind.startswith("TARGET")]
    assert targets == ["RSI 0.0"] and desk.trades()[0][0] == 62
    fresh = TradingDesk(load("explained", "Explained"))
    fresh.step(60, SPY=100.0)
    fresh.step(SPY=96.0)
    assert fresh.notes() == ["no purchase: 96.00 is more than 3 percent below the average 99.93"]


def test_the_loss_of_a_day_ends_trading_until_tomorrow() -> None:
    """90 percent of the equity lose 2.5 percent in minute 8. Later rises are bought on the next day only."""
    first_day = [100.0] * 5 + [101.0, 101.0, 98.5, 98.5, 98.5, 103.0, 104.0, 105.0]
    second_day = [106.0] * 13
    tape = tape_of([{"SPY": price} for price in first_day + second_day], 13)
    desk = run(load("daily_loss_limit", "DailyLossLimit"), tape)
    trades = [(number, quantity > 0) for number, _, quantity, _ in desk.trades()]
    assert trades[:2] == [(7, True), (9, False)]
    assert trades[2] == (DAY_MINUTES + 2, True)
