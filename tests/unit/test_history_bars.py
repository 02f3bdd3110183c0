"""Bars before a start are converted to the shares and symbols of the start, and warm up the stages once."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from configs.required_history import HISTORY_BARS_MAX, history_bars_needed
from configs.settings import load_settings
from operators.features import FeatureStage
from operators.history_bars import history_bars
from operators.trading.market import Market
from operators.trading.market_needs import MarketNeeds
from schemas.records import REGULAR, SPLIT, SYMBOL_CHANGE, Bar, CorporateAction, FeatureRow, HistoryBar, HistoryRow

MINUTE = 60_000_000_000
DAYS = (20240304, 20240305, 20240306)


def bar_at(number: int, close: float, day: int = DAYS[0], symbol: str = "AAA") -> Bar:
    return Bar(
        symbol=symbol,
        seq=number,
        ts_ns=number * MINUTE,
        open_ns=(number - 1) * MINUTE,
        open=close,
        high=close,
        low=close,
        close=close,
        volume=100.0,
        session=REGULAR,
        trading_day=day,
        traded=True,
    )


def action_of(kind: Any, ex_date: int, **fields: Any) -> CorporateAction:
    return CorporateAction(
        action_id=f"{kind}-{ex_date}",
        ts_ns=0,
        kind=kind,
        symbol=fields.get("symbol", "AAA"),
        ex_date=ex_date,
        pay_date=0,
        ratio=fields.get("ratio"),
        amount=None,
        currency="USD",
        new_symbol=fields.get("new_symbol", ""),
        source="test",
    )


def closes(records: list[HistoryBar], symbol: str = "AAA") -> list[float]:
    return [record.close for record in records if record.symbol == symbol]


def test_bars_before_a_split_are_converted_to_new_shares() -> None:
    bars = [bar_at(1, 100.0), bar_at(2, 104.0), bar_at(3, 26.0, DAYS[1])]
    split = action_of(SPLIT, DAYS[1], ratio=Decimal(4))
    history = history_bars(bars, [split], 4 * MINUTE, DAYS[1], 10)
    assert closes(history) == [25.0, 26.0, 26.0]
    assert [record.volume for record in history] == [400.0, 400.0, 100.0]


def test_a_split_after_the_start_changes_nothing() -> None:
    split = action_of(SPLIT, DAYS[2], ratio=Decimal(4))
    assert closes(history_bars([bar_at(1, 100.0)], [split], 4 * MINUTE, DAYS[1], 10)) == [100.0]


def test_a_renamed_symbol_has_the_bars_of_its_old_name() -> None:
    bars = [bar_at(1, 100.0, symbol="FB"), bar_at(2, 101.0, symbol="FB"), bar_at(3, 102.0, DAYS[1], "META")]
    rename = action_of(SYMBOL_CHANGE, DAYS[1], symbol="FB", new_symbol="META")
    history = history_bars(bars, [rename], 4 * MINUTE, DAYS[1], 10)
    assert closes(history, "META") == [100.0, 101.0, 102.0]
    assert not closes(history, "FB")


def test_a_merger_into_a_company_that_trades_keeps_that_company_s_bars() -> None:
    bars = [bar_at(1, 100.0, symbol="OLD"), bar_at(1, 50.0), bar_at(2, 51.0, DAYS[1])]
    rename = action_of(SYMBOL_CHANGE, DAYS[1], symbol="OLD", new_symbol="AAA")
    assert closes(history_bars(bars, [rename], 4 * MINUTE, DAYS[1], 10)) == [50.0, 51.0]


def test_only_the_last_bars_are_given() -> None:
    bars = [bar_at(number, float(number)) for number in range(1, 9)]
    history = history_bars(bars, [], 9 * MINUTE, DAYS[0], 3)
    assert closes(history) == [6.0, 7.0, 8.0]
    assert [record.seq for record in history] == [1, 2, 3]


def test_features_after_history_equal_those_of_all_bars() -> None:
    bars = [bar_at(number, 100.0 + number % 5) for number in range(1, 21)]
    continuous = FeatureStage(["ema_5", "rsi_3"])
    expected = [row for bar in bars for row in continuous.on_slice(bar.ts_ns, [bar])]
    warmed = FeatureStage(["ema_5", "rsi_3"])
    history = history_bars(bars[:15], [], 16 * MINUTE, DAYS[0], 100)
    first = warmed.on_slice(16 * MINUTE, [*history, bars[15]])
    assert [type(row) for row in first] == [HistoryRow] * 15 + [FeatureRow]
    later = [row for bar in bars[16:] for row in warmed.on_slice(bar.ts_ns, [bar])]
    assert [first[-1], *later] == expected[15:]


def test_history_that_repeats_a_bar_or_follows_the_first_bar_is_ignored() -> None:
    history = history_bars([bar_at(number, 100.0 + number) for number in range(1, 6)], [], 6 * MINUTE, DAYS[0], 5)
    stage = FeatureStage(["ema_3"])
    rows = stage.on_slice(6 * MINUTE, [*history[:3], *[one._replace(seq=one.seq + 3) for one in history]])
    assert len(rows) == 5
    restored = FeatureStage(["ema_3"])
    restored.restore(stage.snapshot())
    assert restored.on_slice(7 * MINUTE, history) == []
    [row] = restored.on_slice(8 * MINUTE, [bar_at(8, 100.0)])
    assert type(row) is FeatureRow
    assert restored.on_slice(9 * MINUTE, [one._replace(end_ns=9 * MINUTE) for one in history]) == []


def test_a_split_that_the_history_includes_is_not_applied_again() -> None:
    split = action_of(SPLIT, DAYS[1], ratio=Decimal(4))
    bars = [bar_at(number, 100.0) for number in range(1, 6)]
    history = history_bars(bars, [split], 6 * MINUTE, DAYS[1], 5)
    stage = FeatureStage(["sma_3"])
    stage.on_slice(6 * MINUTE, [split, *history])
    [row] = stage.on_slice(7 * MINUTE, [bar_at(7, 25.0, DAYS[1])])
    assert type(row) is FeatureRow and row.values["sma_3"] == 25.0
    later = action_of(SPLIT, DAYS[2], ratio=Decimal(5))
    [row] = stage.on_slice(8 * MINUTE, [later, bar_at(8, 5.0, DAYS[2])])
    assert type(row) is FeatureRow and row.values["sma_3"] == 5.0


def test_a_history_in_later_shares_replaces_one_before_the_first_bar() -> None:
    """A feed starts again after a split, before the symbol has traded. Its new bars overlap with the old ones."""
    split = action_of(SPLIT, DAYS[1], ratio=Decimal(4))
    bars = [bar_at(number, 100.0) for number in range(1, 6)]
    old = history_bars(bars[:4], [], 6 * MINUTE, DAYS[0], 5)
    new = [one._replace(seq=one.seq + 4) for one in history_bars(bars, [split], 7 * MINUTE, DAYS[1], 5)]
    stage = FeatureStage(["sma_3"])
    stage.on_slice(6 * MINUTE, old)
    restored = FeatureStage(["sma_3"])
    restored.restore(stage.snapshot())
    rows = restored.on_slice(7 * MINUTE, [split, *new])
    assert [row.seq for row in rows if type(row) is HistoryRow] == [5, 6, 7, 8, 9]
    [row] = restored.on_slice(8 * MINUTE, [bar_at(8, 25.0, DAYS[1])])
    assert type(row) is FeatureRow and row.values["sma_3"] == 25.0

    needs = MarketNeeds("1m")
    needs.add_history("1m", 10)
    market = Market(needs)
    market.update(6 * MINUTE, old)
    again = Market(needs)
    again.restore(market.snapshot())
    again.update(7 * MINUTE, new)
    again.apply_action(split)
    again.update(8 * MINUTE, [bar_at(8, 25.0, DAYS[1])])
    assert again.symbols["AAA"].histories[MINUTE].arrays(10)["close"].tolist() == [25.0] * 6


def needed(**environment: str) -> int:
    return history_bars_needed(load_settings(environment=environment))


def test_the_need_is_the_largest_one_declared_with_a_bound() -> None:
    entry = '[{"name": "donchian_turtle", "parameters": {"symbols": ["SPY"]}}]'
    minutes = needed(SIGNALS__STRATEGIES=entry, MARKET_DATA__FEED="files", MARKET_DATA__FILES__BAR_INTERVAL="1m")
    days = needed(SIGNALS__STRATEGIES=entry, MARKET_DATA__FEED="files", MARKET_DATA__FILES__BAR_INTERVAL="1d")
    assert minutes == HISTORY_BARS_MAX
    assert 20 <= days <= 200
    assert needed(SIGNALS__STRATEGIES=entry, MARKET_DATA__HISTORY_BARS="7") == 7


def test_a_universe_rule_and_a_warm_up_beside_other_intervals_count(tmp_path: Path) -> None:
    path = tmp_path / "strategies.py"
    path.write_text(
        """from operators.strategies import TopDollarVolume, TradingStrategy


class Liquid(TradingStrategy):
    universe = TopDollarVolume(count=2, days=5, min_history=12)
    name = "liquid"


class Volume(TradingStrategy):
    symbols = ("AAA",)
    history = {"1000v": 10, "heikin_ashi_1m": 3, "15m": 2}
    warm_up = 8
    name = "volume"
"""
    )
    files = {"MARKET_DATA__FEED": "files", "MARKET_DATA__FILES__SESSION": "regular"}
    liquid, volume = (f'[{{"name": "{path}:{name}"}}]' for name in ("Liquid", "Volume"))
    features = {"FEATURES__INDICATORS": "[sma_2]"}
    assert needed(SIGNALS__STRATEGIES=liquid, **files, **features) == 12 * 390, "twelve daily bars of minutes"
    assert needed(SIGNALS__STRATEGIES=volume, **files, **features) == 8 * 15, "`warm_up` counts the bars of 15 minutes"


def test_statistics_of_pairs_count(tmp_path: Path) -> None:
    path = tmp_path / "strategies.py"
    path.write_text(
        """from operators.strategies import TradingStrategy


class Minutes(TradingStrategy):
    features = ("beta_60(SPY)",)
    name = "minutes"


class Longer(TradingStrategy):
    features = {"15m": ("sma_3", "correlation_20(SPY)")}
    name = "longer"
"""
    )
    environment = {"MARKET_DATA__FEED": "files", "FEATURES__INDICATORS": "[sma_2]"}
    minutes, longer = (
        needed(SIGNALS__STRATEGIES=f'[{{"name": "{path}:{name}"}}]', **environment) for name in ("Minutes", "Longer")
    )
    assert (minutes, longer) == (4 * 61, 4 * 21 * 15), "a statistic of n returns needs n + 1 closes"


def test_very_many_symbols_get_fewer_bars_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("operators.history_bars.TOTAL_MAX", 10)
    bars = [bar_at(number, 100.0, symbol=symbol) for symbol in "ABCD" for number in range(1, 6)]
    given = history_bars(bars, (), 1, DAYS[0], 5)
    assert [(one.symbol, one.end_ns // MINUTE) for one in given] == [(symbol, n) for symbol in "ABCD" for n in (4, 5)]
