"""Patterns of two candles. Each returns 100, 80, -80, -100 or 0; 80 if a body only touches the end of the other."""

from __future__ import annotations

from operators.indicators.candles.candle import BODY_DOJI, BODY_SHORT, EQUAL, Candles, Measure


def engulfing(c: Candles) -> int:
    """A body that contains the one before, of the other color."""
    now, before = c[0], c[1]
    if now.color == before.color or now.top < before.top or now.bottom > before.bottom:
        return 0
    if now.top == before.top and now.bottom == before.bottom:
        return 0
    return now.color * (100 if now.top != before.top and now.bottom != before.bottom else 80)


def _inside_long_body(c: Candles, measure: Measure) -> int:
    now, before = c[0], c[1]
    if not c.long_body(1) or now.body > c.measure(measure):
        return 0
    if now.top < before.top and now.bottom > before.bottom:
        return -100 * before.color
    return -80 * before.color * (now.top <= before.top and now.bottom >= before.bottom)


def harami(c: Candles) -> int:
    """A short body inside the long one before."""
    return _inside_long_body(c, BODY_SHORT)


def harami_cross(c: Candles) -> int:
    """A doji inside the long body before."""
    return _inside_long_body(c, BODY_DOJI)


def doji_star(c: Candles) -> int:
    """A doji that gaps away from a long body."""
    gap = c[0].body_gaps_up_from(c[1]) if c[1].white else c[0].body_gaps_down_from(c[1])
    return -100 * c[1].color * (gap and c.long_body(1) and c.doji())


def piercing(c: Candles) -> int:
    """A long white candle opens below the low of a long black one and closes in the upper half of its body."""
    now, before = c[0], c[1]
    if not (before.black and now.white and now.open < before.low and now.close < before.open):
        return 0
    return 100 * (now.close > before.close + before.body * 0.5 and c.long_body(1) and c.long_body())


def dark_cloud_cover(c: Candles) -> int:
    """A black candle opens above the high of a long white one and closes in the lower half of its body."""
    now, before = c[0], c[1]
    if not (before.white and now.black and now.open > before.high and now.close > before.open):
        return 0
    return -100 * (now.close < before.close - before.body * 0.5 and c.long_body(1))


def _kicks(c: Candles) -> bool:
    now, before = c[0], c[1]
    gap = now.gaps_up_from(before) if before.black else now.gaps_down_from(before)
    if now.color == before.color or not gap:
        return False
    return all(c.long_body(age) and c.no_upper_shadow(age) and c.no_lower_shadow(age) for age in (0, 1))


def kicking(c: Candles) -> int:
    """A marubozu gaps away from a marubozu of the other color, and gives the direction."""
    return 100 * _kicks(c) * c[0].color


def kicking_by_length(c: Candles) -> int:
    """A marubozu gaps away from a marubozu of the other color; the longer one gives the direction."""
    return 100 * _kicks(c) * (c[0] if c[0].body > c[1].body else c[1]).color


def counterattack(c: Candles) -> int:
    """Two long candles of different color close at the same price."""
    same = c[0].color != c[1].color and c.equal(c[0].close, c[1].close, 1)
    return 100 * (same and c.long_body(1) and c.long_body()) * c[0].color


def separating_lines(c: Candles) -> int:
    """Two candles of different color open at the same price; the second is a belt hold."""
    if c[0].color == c[1].color or not c.equal(c[0].open, c[1].open, 1) or not c.long_body():
        return 0
    return 100 * (c.no_lower_shadow() if c[0].white else c.no_upper_shadow()) * c[0].color


def homing_pigeon(c: Candles) -> int:
    """A short black body inside a long black one."""
    now, before = c[0], c[1]
    inside = now.open < before.open and now.close > before.close
    return 100 * (now.black and before.black and inside and c.long_body(1) and c.short_body())


def matching_low(c: Candles) -> int:
    """Two black candles close at the same price."""
    return 100 * (c[0].black and c[1].black and c.equal(c[0].close, c[1].close, 1))


def _white_below_long_black(c: Candles) -> bool:
    return c[1].black and c[0].white and c[0].open < c[1].low and c.long_body(1)


def on_neck(c: Candles) -> int:
    """A white candle opens below a long black one and closes at its low."""
    return -100 * (_white_below_long_black(c) and c.equal(c[0].close, c[1].low, 1))


def in_neck(c: Candles) -> int:
    """A white candle opens below a long black one and closes at or just above its close."""
    near = c[1].close <= c[0].close <= c[1].close + c.measure(EQUAL, 1)
    return -100 * (near and _white_below_long_black(c))


def thrusting(c: Candles) -> int:
    """A white candle opens below a long black one and closes in the lower half of its body."""
    low_half = c[1].close + c.measure(EQUAL, 1) < c[0].close <= c[1].close + c[1].body * 0.5
    return -100 * (low_half and _white_below_long_black(c))
