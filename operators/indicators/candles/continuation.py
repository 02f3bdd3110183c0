"""Patterns of three to five candles in which a move pauses, continues or tires. Each returns 100, -100 or 0."""

from __future__ import annotations

from operators.indicators.candles.candle import (
    BODY_SHORT,
    FAR,
    NEAR,
    SHADOW_LONG,
    SHADOW_SHORT,
    SHADOW_VERY_SHORT,
    Candles,
)


def _short_pause(c: Candles) -> bool:
    """Whether the three candles between the first and the last of five are short."""
    return all(c[age].body < c.measure(BODY_SHORT, age) for age in (3, 2, 1))


def rising_falling_three_methods(c: Candles) -> int:
    """A long candle, three short ones against it within its range, and a long one that closes beyond the first."""
    first, last, pause = c[4], c[0], (c[3], c[2], c[1])
    color = first.color
    if last.color != color or any(one.color == color for one in pause):
        return 0
    within = all(one.bottom < first.high and one.top > first.low for one in pause)
    steps = (c[3].close - c[2].close) * color > 0 and (c[2].close - c[1].close) * color > 0
    beyond = (last.open - c[1].close) * color > 0 and (last.close - first.close) * color > 0
    return 100 * color * (within and steps and beyond and _short_pause(c) and c.long_body(4) and c.long_body())


def mat_hold(c: Candles) -> int:
    """A long white candle, three short ones that gap up and drift into it, and a white one with a new high."""
    first, second, third, fourth, last = c[4], c[3], c[2], c[1], c[0]
    if not (first.white and second.black and last.white and second.body_gaps_up_from(first)):
        return 0
    floor = first.close - first.body * 0.5
    drift = floor < third.bottom < first.close and floor < fourth.bottom < first.close
    lower_tops = third.top < second.open and fourth.top < third.top
    new_high = last.open > fourth.close and last.close > max(second.high, third.high, fourth.high)
    return 100 * (drift and lower_tops and new_high and _short_pause(c) and c.long_body(4))


def _opens_in_or_near_body(c: Candles, age: int) -> bool:
    """Whether a white candle opens above the open, and not far above the close, of the white one before it."""
    return c[age + 1].open < c[age].open <= c[age + 1].close + c.measure(NEAR, age + 1)


def _three_rising_white(c: Candles) -> bool:
    return c[2].white and c[1].white and c[0].white and c[0].close > c[1].close > c[2].close


def advance_block(c: Candles) -> int:
    """Three white candles with higher closes and weakening bodies or growing upper shadows."""
    if not (_three_rising_white(c) and _opens_in_or_near_body(c, 1) and _opens_in_or_near_body(c, 0)):
        return 0
    first, second, last = c[2], c[1], c[0]
    if not (c.long_body(2) and first.upper_shadow < c.measure(SHADOW_SHORT, 2)):
        return 0
    far_shorter = second.body < first.body - c.measure(FAR, 2) and last.body < second.body + c.measure(NEAR, 1)
    last_far_shorter = last.body < second.body - c.measure(FAR, 1)
    shadows = last.upper_shadow > c.measure(SHADOW_SHORT) or second.upper_shadow > c.measure(SHADOW_SHORT, 1)
    shrinking = last.body < second.body < first.body and shadows
    last_long_shadow = last.body < second.body and last.upper_shadow > c.measure(SHADOW_LONG)
    return -100 * (far_shorter or last_far_shorter or shrinking or last_long_shadow)


def stalled_pattern(c: Candles) -> int:
    """Two long white candles, and a short one at the end of the second body."""
    if not (_three_rising_white(c) and _opens_in_or_near_body(c, 1)):
        return 0
    second, last = c[1], c[0]
    rides = last.body < c.measure(BODY_SHORT) and last.open >= second.close - last.body - c.measure(NEAR, 1)
    return -100 * (rides and c.long_body(2) and c.long_body(1) and c.no_upper_shadow(1))


def three_stars_in_the_south(c: Candles) -> int:
    """Three black candles, each smaller and with a higher low than the one before."""
    first, second, last = c[2], c[1], c[0]
    if not (first.black and second.black and last.black and c.long_body(2)):
        return 0
    first_fits = first.lower_shadow > c.measure(SHADOW_LONG, 2)
    second_fits = second.body < first.body and first.close < second.open <= first.high
    higher_low = first.low <= second.low < first.close and second.lower_shadow > c.measure(SHADOW_VERY_SHORT, 1)
    inside = last.low > second.low and last.high < second.high and last.body < c.measure(BODY_SHORT)
    return 100 * (first_fits and second_fits and higher_low and inside and c.no_lower_shadow() and c.no_upper_shadow())


def concealing_baby_swallow(c: Candles) -> int:
    """Two black candles without shadows, a black one that gaps down but reaches back, and a black one around it."""
    first, second, third, last = c[3], c[2], c[1], c[0]
    if not (first.black and second.black and third.black and last.black and third.body_gaps_down_from(second)):
        return 0
    reaches_back = third.upper_shadow > c.measure(SHADOW_VERY_SHORT, 1) and third.high > second.close
    around = last.high > third.high and last.low < third.low
    bare = all(c.no_lower_shadow(age) and c.no_upper_shadow(age) for age in (3, 2))
    return 100 * (reaches_back and around and bare)
