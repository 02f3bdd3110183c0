"""How many bars before the start the configured indicators and strategies need to be warm."""

from __future__ import annotations

from functools import cache
from math import ceil, sin

from configs.declared_trade_bars import trade_bars_of
from configs.settings import Settings
from configs.strategies import configured_features, configured_strategies
from operators.indicators import build
from operators.strategies import TopDollarVolume
from operators.trading.intervals import (
    DAY_NS,
    MINUTE_NS,
    SECOND_NS,
    WEEK_NS,
    interval_text,
    parse_interval,
    time_interval_ns,
)
from operators.trading.pair_statistics import parse_pair_spec
from schemas.errors import BadInput
from schemas.records import CONTINUOUS, REGULAR, Bar

HISTORY_BARS_MAX = 10_000
"""Maximum number of bars of a symbol that are loaded for declared needs."""
INDICATOR_BARS_MAX = 2_000
RENAMED_BARS_MIN = 2_000
"""Bars of the old symbol that a view strategy receives under the new one. It cannot declare how many it needs."""
TRADE_SESSIONS = 5
"""Sessions from which trades are loaded. How many trades a bar of volume or Renko needs is not known in advance."""
WARM_UP_FACTOR = 4
"""Bars loaded for an indicator, per bar until its first value. A recursive average then hardly depends on its start.

A statistic of pairs does not depend on it, but bars of a symbol can be missing, such as before its first trade."""
_REGULAR_NS, _EXTENDED_NS = 390 * MINUTE_NS, 960 * MINUTE_NS


def history_bars_needed(settings: Settings) -> int:
    """Return the bars of the feed to load for each symbol: the setting, or the largest need that is declared.

    The need of an indicator is `WARM_UP_FACTOR` times the bars until its first value, that of a trading strategy also
    its `history` and `warm_up` and the days of its universe rule. With trades from files or topics and bars that are
    built from them, it is at least `TRADE_SESSIONS` sessions. It is at most `HISTORY_BARS_MAX`.
    """
    market_data = settings.market_data
    if market_data.history_bars is not None:
        return market_data.history_bars
    base_ns = market_data.bar_interval_s() * SECOND_NS
    is_continuous = settings.is_continuous_market()
    day_ns = DAY_NS if is_continuous else _EXTENDED_NS if settings.feed_session() != "regular" else _REGULAR_NS
    bars_per_day = max(1, ceil(day_ns / base_ns))

    def in_feed_bars(bars: int, interval: str) -> int:
        length = _length_ns(interval, base_ns)
        if length == WEEK_NS:
            return bars * (7 if is_continuous else 5) * bars_per_day
        return bars * (bars_per_day if length == DAY_NS else ceil(length / base_ns))

    feed_interval = interval_text(base_ns)
    needs = [_indicator_bars(spec, bars_per_day) for spec in configured_features(settings)]
    for strategy in configured_strategies(settings).trading:
        # Imported here because it imports NumPy, which a platform without trading strategies does not need.
        from operators.trading.declarations import features_by_interval

        features = features_by_interval(strategy, feed_interval)
        # `warm_up` counts bars of this interval.
        of_time = [text for text in (*features, *strategy.history) if _is_of_time(text)]
        shortest = min(of_time, key=lambda text: _length_ns(text, base_ns), default=feed_interval)
        declared = [(strategy.warm_up, shortest), *((size, interval) for interval, size in strategy.history.items())]
        if isinstance(rule := strategy.universe, TopDollarVolume):
            declared += [(rule.days, "1d"), (rule.min_history, "1d")]
        for interval, specs in features.items():
            per_day = max(1, bars_per_day * base_ns // _length_ns(interval, base_ns))
            declared += [(_indicator_bars(spec, per_day), interval) for spec in specs]
        if market_data.feed == "files" and market_data.files.trades and any(trade_bars_of(strategy, feed_interval)):
            needs.append(TRADE_SESSIONS * bars_per_day)
        # The stage reports a declaration that is not a number.
        needs += [in_feed_bars(bars, interval) for bars, interval in declared if type(bars) is int]
    return min(max(needs, default=0), HISTORY_BARS_MAX)


def renamed_bars_needed(settings: Settings) -> int:
    """Return the bars of its old symbol to load for a renamed symbol: the setting, or the largest need.

    A view strategy has a position in the share that it can leave only if its state continues, so that at least
    `RENAMED_BARS_MIN` bars are loaded. At a start it has none, and only declared needs count.
    """
    needed = history_bars_needed(settings)
    if settings.market_data.history_bars is not None or not configured_strategies(settings).views:
        return needed
    return max(needed, RENAMED_BARS_MIN)


def _is_of_time(interval: str) -> bool:
    """Whether bars of an interval end at a time. Heikin-Ashi bars do too, but are an interval of their own."""
    try:
        return isinstance(parse_interval(interval), int)
    except BadInput:
        return False


def _length_ns(interval: str, base_ns: int) -> int:
    """Return the length of an interval of time, and of any other interval that of a bar of the feed.

    The stage reports invalid intervals.
    """
    try:
        return time_interval_ns(parse_interval(interval)) or base_ns
    except BadInput:
        return base_ns


@cache
def _indicator_bars(spec: str, bars_per_day: int) -> int:
    """Return the bars that an indicator needs, found by computing it on made-up bars; 0 if it has no value on them.

    A statistic of pairs needs one bar more than it has returns.
    """
    try:
        if (pair := parse_pair_spec(spec)) is not None:
            return min(WARM_UP_FACTOR * (pair.period + 1), HISTORY_BARS_MAX)
        indicator = build(spec)
    except BadInput:
        return 0
    names = {f"{spec}{suffix}" for suffix in indicator.value_suffixes}
    for number in range(INDICATOR_BARS_MAX):
        close = 100.0 + 5.0 * sin(number) + 3.0 * sin(0.37 * number)
        values: dict[str, float] = {}
        try:
            indicator.update(_example_bar(number, close, bars_per_day), values)
        except Exception:  # noqa: BLE001  (may be code of the user; the features service reports it)
            return 0
        names -= values.keys()
        if not names:
            return min(WARM_UP_FACTOR * (number + 1), HISTORY_BARS_MAX)
    return 0


def _example_bar(number: int, close: float, bars_per_day: int) -> Bar:
    day = number // bars_per_day
    open_ns = day * DAY_NS + number % bars_per_day * MINUTE_NS
    return Bar(
        symbol="TEST",
        seq=number + 1,
        ts_ns=open_ns + MINUTE_NS,
        open_ns=open_ns,
        open=close - 0.5,
        high=close + 1.0 + 0.3 * sin(number),
        low=close - 1.0,
        close=close,
        volume=1000.0 + 100.0 * sin(0.7 * number),
        session=CONTINUOUS if bars_per_day * MINUTE_NS >= DAY_NS else REGULAR,
        trading_day=(2000 + day // 336) * 10_000 + (day // 28 % 12 + 1) * 100 + day % 28 + 1,
        traded=True,
    )
