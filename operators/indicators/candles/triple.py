"""Patterns of three to five candles. Each returns 100, -100 or 0."""

from __future__ import annotations

from operators.indicators.candles.candle import BODY_DOJI, BODY_SHORT, FAR, NEAR, SHADOW_VERY_SHORT, Candles


def _star(c: Candles, color: int, *, star_is_doji: bool) -> int:
    """A long candle, a star that gaps away from it, and a candle of `color` that closes well into the first body."""
    first, star, last = c[2], c[1], c[0]
    if first.color == color or last.color != color:
        return 0
    gap = star.body_gaps_down_from(first) if color > 0 else star.body_gaps_up_from(first)
    deep = (last.close - first.close) * color > first.body * 0.3
    small = c.doji(1) if star_is_doji else c.short_body(1)
    return 100 * color * (gap and deep and small and c.long_body(2) and last.body > c.measure(BODY_SHORT))


def morning_star(c: Candles) -> int:
    """A long black candle, a short body below it, and a white candle that closes well into the first body."""
    return _star(c, 1, star_is_doji=False)


def evening_star(c: Candles) -> int:
    """A long white candle, a short body above it, and a black candle that closes well into the first body."""
    return _star(c, -1, star_is_doji=False)


def morning_doji_star(c: Candles) -> int:
    """A morning star with a doji."""
    return _star(c, 1, star_is_doji=True)


def evening_doji_star(c: Candles) -> int:
    """An evening star with a doji."""
    return _star(c, -1, star_is_doji=True)


def abandoned_baby(c: Candles) -> int:
    """A doji star whose whole range gaps away from the candles on both sides."""
    first, star, last = c[2], c[1], c[0]
    if first.color == last.color:
        return 0
    if first.white:
        gaps = star.gaps_up_from(first) and last.gaps_down_from(star)
    else:
        gaps = star.gaps_down_from(first) and last.gaps_up_from(star)
    deep = (last.close - first.close) * last.color > first.body * 0.3
    return 100 * last.color * (gaps and deep and c.long_body(2) and c.doji(1) and last.body > c.measure(BODY_SHORT))


def tristar(c: Candles) -> int:
    """Three doji; the second gaps away from the first, and the third comes back."""
    doji_body = c.measure(BODY_DOJI, 2)
    if max(c[0].body, c[1].body, c[2].body) > doji_body:
        return 0
    if c[1].body_gaps_up_from(c[2]) and c[0].top < c[1].top:
        return -100
    return 100 * (c[1].body_gaps_down_from(c[2]) and c[0].bottom > c[1].bottom)


def three_inside(c: Candles) -> int:
    """A harami, and a candle that closes beyond the open of the first one."""
    first, second, last = c[2], c[1], c[0]
    if not (second.top < first.top and second.bottom > first.bottom and last.color != first.color):
        return 0
    beyond = last.close < first.open if first.white else last.close > first.open
    return -100 * first.color * (beyond and c.long_body(2) and c.short_body(1))


def three_outside(c: Candles) -> int:
    """An engulfing pattern, and a candle that closes further in its direction."""
    first, second, last = c[2], c[1], c[0]
    if first.color == second.color or not (second.top > first.top and second.bottom < first.bottom):
        return 0
    return 100 * second.color * (last.close > second.close if second.white else last.close < second.close)


def three_white_soldiers(c: Candles) -> int:
    """Three white candles that open in the body before or near it and close higher, near their highs."""
    first, second, last = c[2], c[1], c[0]
    if not (first.white and second.white and last.white and last.close > second.close > first.close):
        return 0
    if not all(c.no_upper_shadow(age) for age in (2, 1, 0)):
        return 0
    for earlier, later, age in ((first, second, 2), (second, last, 1)):
        if not earlier.open < later.open <= earlier.close + c.measure(NEAR, age):
            return 0
        if later.body <= earlier.body - c.measure(FAR, age):
            return 0
    return 100 * (last.body > c.measure(BODY_SHORT))


def three_black_crows(c: Candles) -> int:
    """After a white candle, three black ones that open in the body before and close lower, near their lows."""
    before, first, second, last = c[3], c[2], c[1], c[0]
    if not (before.white and first.black and second.black and last.black and before.high > first.close):
        return 0
    steps = all(
        earlier.close < later.open < earlier.open and later.close < earlier.close
        for earlier, later in ((first, second), (second, last))
    )
    return -100 * (steps and all(c.no_lower_shadow(age) for age in (2, 1, 0)))


def identical_three_crows(c: Candles) -> int:
    """Three black candles; each opens at the close of the one before and closes lower, near its low."""
    if not (c[2].black and c[1].black and c[0].black and c[2].close > c[1].close > c[0].close):
        return 0
    equal = c.equal(c[1].open, c[2].close, 2) and c.equal(c[0].open, c[1].close, 1)
    return -100 * (equal and all(c.no_lower_shadow(age) for age in (2, 1, 0)))


def two_crows(c: Candles) -> int:
    """A long white candle, a black one that gaps up, and a black one that closes in the first body."""
    first, second, last = c[2], c[1], c[0]
    if not (first.white and second.black and last.black and second.body_gaps_up_from(first)):
        return 0
    back = second.close < last.open < second.open and first.open < last.close < first.close
    return -100 * (back and c.long_body(2))


def upside_gap_two_crows(c: Candles) -> int:
    """A long white candle, a short black one that gaps up, and a black one around it that stays above the first."""
    first, second, last = c[2], c[1], c[0]
    if not (first.white and second.black and last.black and second.body_gaps_up_from(first)):
        return 0
    around = last.open > second.open and first.close < last.close < second.close
    return -100 * (around and c.long_body(2) and c.short_body(1))


def stick_sandwich(c: Candles) -> int:
    """Two black candles that close at the same price, with a white one above that price between them."""
    first, second, last = c[2], c[1], c[0]
    between = first.black and second.white and last.black and second.low > first.close
    return 100 * (between and c.equal(last.close, first.close, 2))


def unique_three_river(c: Candles) -> int:
    """A long black candle, a black one in its body with a new low, and a short white one above that low."""
    first, second, last = c[2], c[1], c[0]
    if not (first.black and second.black and last.white):
        return 0
    inside = second.close > first.close and second.open <= first.open and second.low < first.low
    short = last.open > second.low and last.body < c.measure(BODY_SHORT)
    return 100 * (inside and short and c.long_body(2))


def side_by_side_white_lines(c: Candles) -> int:
    """Two similar white candles, which both gap away from the one before in the same direction."""
    first, second, last = c[2], c[1], c[0]
    up = second.body_gaps_up_from(first) and last.body_gaps_up_from(first)
    down = second.body_gaps_down_from(first) and last.body_gaps_down_from(first)
    if not ((up or down) and second.white and last.white and c.equal(last.open, second.open, 1)):
        return 0
    similar = abs(last.body - second.body) <= c.measure(NEAR, 1)
    return (100 if up else -100) * similar


def tasuki_gap(c: Candles) -> int:
    """Two candles with a gap between them, and one of the other color that opens in the second and ends in the gap."""
    first, second, last = c[2], c[1], c[0]
    if second.color == last.color or not second.bottom < last.open < second.top:
        return 0
    if second.white:
        in_gap = second.body_gaps_up_from(first) and first.top < last.close < second.open
    else:
        in_gap = second.body_gaps_down_from(first) and second.open < last.close < first.bottom
    return 100 * second.color * (in_gap and abs(second.body - last.body) < c.measure(NEAR, 1))


def gap_three_methods(c: Candles) -> int:
    """Two candles of one color with a gap between them, and one of the other color that closes the gap."""
    first, second, last = c[2], c[1], c[0]
    if first.color != second.color or last.color == second.color:
        return 0
    gap = second.body_gaps_up_from(first) if first.white else second.body_gaps_down_from(first)
    closes = second.bottom < last.open < second.top and first.bottom < last.close < first.top
    return 100 * first.color * (gap and closes)


def three_line_strike(c: Candles) -> int:
    """Three candles of one color with rising or falling closes, and one of the other color that spans all of them."""
    first, second, third, last = c[3], c[2], c[1], c[0]
    color = third.color
    if not first.color == second.color == color != last.color:
        return 0
    for earlier, later, age in ((first, second, 3), (second, third, 2)):
        near = c.measure(NEAR, age)
        if not earlier.bottom - near <= later.open <= earlier.top + near:
            return 0
    steps = (third.close - second.close) * color > 0 and (second.close - first.close) * color > 0
    spans = (last.open - third.close) * color > 0 and (last.close - first.open) * color < 0
    return 100 * color * (steps and spans)


def breakaway(c: Candles) -> int:
    """A long candle, a gap, two further steps, and a candle of the other color that closes in the gap."""
    first, second, third, fourth, last = c[4], c[3], c[2], c[1], c[0]
    color = first.color
    if not (second.color == fourth.color == color != last.color):
        return 0
    if color < 0:
        gap = second.body_gaps_down_from(first) and second.open < last.close < first.close
        steps = second.high > third.high > fourth.high and second.low > third.low > fourth.low
    else:
        gap = second.body_gaps_up_from(first) and first.close < last.close < second.open
        steps = second.high < third.high < fourth.high and second.low < third.low < fourth.low
    return 100 * last.color * (gap and steps and c.long_body(4))


def ladder_bottom(c: Candles) -> int:
    """Three black candles that fall, a black one with an upper shadow, and a white one that closes above its high."""
    first, second, third, fourth, last = c[4], c[3], c[2], c[1], c[0]
    if not (first.black and second.black and third.black and fourth.black and last.white):
        return 0
    falling = first.open > second.open > third.open and first.close > second.close > third.close
    reversal = last.open > fourth.open and last.close > fourth.high
    return 100 * (falling and reversal and fourth.upper_shadow > c.measure(SHADOW_VERY_SHORT, 1))
