"""Patterns of one candle, some with the trend from the candle before. Each returns 100, -100 or 0."""

from __future__ import annotations

from operators.indicators.candles.candle import (
    BODY_SHORT,
    NEAR,
    SHADOW_LONG,
    SHADOW_SHORT,
    SHADOW_VERY_LONG,
    SHADOW_VERY_SHORT,
    Candles,
)


def doji(c: Candles) -> int:
    """Open and close are nearly equal."""
    return 100 * c.doji()


def dragonfly_doji(c: Candles) -> int:
    """A doji with a lower shadow only."""
    return 100 * (c.doji() and c.no_upper_shadow() and c[0].lower_shadow > c.measure(SHADOW_VERY_SHORT))


def gravestone_doji(c: Candles) -> int:
    """A doji with an upper shadow only."""
    return 100 * (c.doji() and c.no_lower_shadow() and c[0].upper_shadow > c.measure(SHADOW_VERY_SHORT))


def long_legged_doji(c: Candles) -> int:
    """A doji with a long shadow."""
    return 100 * (c.doji() and max(c[0].lower_shadow, c[0].upper_shadow) > c.measure(SHADOW_LONG))


def rickshaw_man(c: Candles) -> int:
    """A long-legged doji with its body near the middle of the range."""
    now, middle, near = c[0], c[0].low + (c[0].high - c[0].low) / 2.0, c.measure(NEAR)
    central = now.bottom <= middle + near and now.top >= middle - near
    return 100 * (central and c.doji() and min(now.lower_shadow, now.upper_shadow) > c.measure(SHADOW_LONG))


def takuri(c: Candles) -> int:
    """A dragonfly doji with a very long lower shadow."""
    return 100 * (c.doji() and c.no_upper_shadow() and c[0].lower_shadow > c.measure(SHADOW_VERY_LONG))


def spinning_top(c: Candles) -> int:
    """A short body between longer shadows."""
    body = c[0].body
    small = body < c.measure(BODY_SHORT) and c[0].upper_shadow > body and c[0].lower_shadow > body
    return 100 * small * c[0].color


def high_wave(c: Candles) -> int:
    """A short body between very long shadows."""
    shadow = c.measure(SHADOW_VERY_LONG)
    small = c[0].body < c.measure(BODY_SHORT)
    return 100 * (small and c[0].upper_shadow > shadow and c[0].lower_shadow > shadow) * c[0].color


def marubozu(c: Candles) -> int:
    """A long body without shadows."""
    return 100 * (c.long_body() and c.no_upper_shadow() and c.no_lower_shadow()) * c[0].color


def closing_marubozu(c: Candles) -> int:
    """A long body without a shadow at its close."""
    return 100 * (c.long_body() and (c.no_upper_shadow() if c[0].white else c.no_lower_shadow())) * c[0].color


def belt_hold(c: Candles) -> int:
    """A long body without a shadow at its open."""
    return 100 * (c.long_body() and (c.no_lower_shadow() if c[0].white else c.no_upper_shadow())) * c[0].color


def long_line(c: Candles) -> int:
    """A long body with short shadows."""
    shadow = c.measure(SHADOW_SHORT)
    return 100 * (c.long_body() and c[0].upper_shadow < shadow and c[0].lower_shadow < shadow) * c[0].color


def short_line(c: Candles) -> int:
    """A short body with short shadows."""
    shadow, small = c.measure(SHADOW_SHORT), c[0].body < c.measure(BODY_SHORT)
    return 100 * (small and c[0].upper_shadow < shadow and c[0].lower_shadow < shadow) * c[0].color


def _small_with_lower_shadow(c: Candles) -> bool:
    small = c[0].body < c.measure(BODY_SHORT)
    return small and c[0].lower_shadow > c.measure(SHADOW_LONG) and c.no_upper_shadow()


def _small_with_upper_shadow(c: Candles) -> bool:
    small = c[0].body < c.measure(BODY_SHORT)
    return small and c[0].upper_shadow > c.measure(SHADOW_LONG) and c.no_lower_shadow()


def hammer(c: Candles) -> int:
    """A short body over a long lower shadow, near or below the low before."""
    return 100 * (_small_with_lower_shadow(c) and c[0].bottom <= c[1].low + c.measure(NEAR, 1))


def hanging_man(c: Candles) -> int:
    """A short body over a long lower shadow, near or above the high before."""
    return -100 * (_small_with_lower_shadow(c) and c[0].bottom >= c[1].high - c.measure(NEAR, 1))


def inverted_hammer(c: Candles) -> int:
    """A short body under a long upper shadow, after a gap down."""
    return 100 * (_small_with_upper_shadow(c) and c[0].body_gaps_down_from(c[1]))


def shooting_star(c: Candles) -> int:
    """A short body under a long upper shadow, after a gap up."""
    return -100 * (_small_with_upper_shadow(c) and c[0].body_gaps_up_from(c[1]))
