"""The Hikkake patterns: a false breakout of an inside bar. Each returns 100 or -100, 200 or -200 if confirmed, or 0."""

from __future__ import annotations

from collections.abc import Callable

from operators.indicators.candles.candle import NEAR, Candle, Candles

CONFIRMATION_BARS = 3
"""Number of bars after the pattern in which a close can confirm it."""


def hikkake(c: Candles) -> int:
    """An inside bar, then a breakout to one side; a close beyond the other side within three bars confirms it (200)."""
    return _confirmed(c, _false_breakout)


def modified_hikkake(c: Candles) -> int:
    """Two inside bars, the first with a close near one end, then a breakout to that side; confirmed like `hikkake`."""
    return _confirmed(c, _modified_false_breakout)


def _confirmed(c: Candles, pattern_at: Callable[[Candles, int], int]) -> int:
    """Return the pattern at the present candle, or twice an earlier one that this candle is the first to confirm."""
    present = pattern_at(c, 0)
    if present:
        return present
    for age in range(1, CONFIRMATION_BARS + 1):
        pattern = pattern_at(c, age)
        if pattern:
            inside = c[age + 1]
            earlier = any(_closes_beyond(c[between], inside, pattern) for between in range(1, age))
            return 2 * pattern if _closes_beyond(c[0], inside, pattern) and not earlier else 0
    return 0


def _closes_beyond(candle: Candle, inside: Candle, pattern: int) -> bool:
    return candle.close > inside.high if pattern > 0 else candle.close < inside.low


def _is_inside(candle: Candle, before: Candle) -> bool:
    return candle.high < before.high and candle.low > before.low


def _breakout(candle: Candle, inside: Candle) -> int:
    """Return 100 if the candle breaks out below (a bullish trap), -100 above, else 0."""
    if candle.high < inside.high and candle.low < inside.low:
        return 100
    return -100 * (candle.high > inside.high and candle.low > inside.low)


def _false_breakout(c: Candles, age: int) -> int:
    return _breakout(c[age], c[age + 1]) if _is_inside(c[age + 1], c[age + 2]) else 0


def _modified_false_breakout(c: Candles, age: int) -> int:
    first = c[age + 2]
    if not (_is_inside(c[age + 1], first) and _is_inside(first, c[age + 3])):
        return 0
    pattern, near = _breakout(c[age], c[age + 1]), c.measure(NEAR, age + 2)
    ends_there = first.close <= first.low + near if pattern > 0 else first.close >= first.high - near
    return pattern * ends_there
