"""Candle patterns, with the definitions of TA-Lib. `PATTERNS` is the table of all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

from operators.indicators.candles import continuation, double, hikkake, single, triple
from operators.indicators.candles.candle import Candle, Candles
from operators.indicators.indicator import Indicator, ValueUnit, new_share_price
from schemas.records import Bar


class Pattern(NamedTuple):
    """A candle pattern: its recognition, the bars before its first value, and the name of the function of TA-Lib."""

    recognize: Callable[[Candles], int]
    warm_up_bars: int
    talib_name: str


PATTERNS: dict[str, Pattern] = {
    "abandoned_baby": Pattern(triple.abandoned_baby, 12, "CDLABANDONEDBABY"),
    "advance_block": Pattern(continuation.advance_block, 12, "CDLADVANCEBLOCK"),
    "belt_hold": Pattern(single.belt_hold, 10, "CDLBELTHOLD"),
    "breakaway": Pattern(triple.breakaway, 14, "CDLBREAKAWAY"),
    "closing_marubozu": Pattern(single.closing_marubozu, 10, "CDLCLOSINGMARUBOZU"),
    "concealing_baby_swallow": Pattern(continuation.concealing_baby_swallow, 13, "CDLCONCEALBABYSWALL"),
    "counterattack": Pattern(double.counterattack, 11, "CDLCOUNTERATTACK"),
    "dark_cloud_cover": Pattern(double.dark_cloud_cover, 11, "CDLDARKCLOUDCOVER"),
    "doji": Pattern(single.doji, 10, "CDLDOJI"),
    "doji_star": Pattern(double.doji_star, 11, "CDLDOJISTAR"),
    "dragonfly_doji": Pattern(single.dragonfly_doji, 10, "CDLDRAGONFLYDOJI"),
    "engulfing": Pattern(double.engulfing, 2, "CDLENGULFING"),
    "evening_doji_star": Pattern(triple.evening_doji_star, 12, "CDLEVENINGDOJISTAR"),
    "evening_star": Pattern(triple.evening_star, 12, "CDLEVENINGSTAR"),
    "gap_three_methods": Pattern(triple.gap_three_methods, 2, "CDLXSIDEGAP3METHODS"),
    "gravestone_doji": Pattern(single.gravestone_doji, 10, "CDLGRAVESTONEDOJI"),
    "hammer": Pattern(single.hammer, 11, "CDLHAMMER"),
    "hanging_man": Pattern(single.hanging_man, 11, "CDLHANGINGMAN"),
    "harami": Pattern(double.harami, 11, "CDLHARAMI"),
    "harami_cross": Pattern(double.harami_cross, 11, "CDLHARAMICROSS"),
    "high_wave": Pattern(single.high_wave, 10, "CDLHIGHWAVE"),
    "hikkake": Pattern(hikkake.hikkake, 5, "CDLHIKKAKE"),
    "homing_pigeon": Pattern(double.homing_pigeon, 11, "CDLHOMINGPIGEON"),
    "identical_three_crows": Pattern(triple.identical_three_crows, 12, "CDLIDENTICAL3CROWS"),
    "in_neck": Pattern(double.in_neck, 11, "CDLINNECK"),
    "inverted_hammer": Pattern(single.inverted_hammer, 11, "CDLINVERTEDHAMMER"),
    "kicking": Pattern(double.kicking, 11, "CDLKICKING"),
    "kicking_by_length": Pattern(double.kicking_by_length, 11, "CDLKICKINGBYLENGTH"),
    "ladder_bottom": Pattern(triple.ladder_bottom, 14, "CDLLADDERBOTTOM"),
    "long_legged_doji": Pattern(single.long_legged_doji, 10, "CDLLONGLEGGEDDOJI"),
    "long_line": Pattern(single.long_line, 10, "CDLLONGLINE"),
    "marubozu": Pattern(single.marubozu, 10, "CDLMARUBOZU"),
    "mat_hold": Pattern(continuation.mat_hold, 14, "CDLMATHOLD"),
    "matching_low": Pattern(double.matching_low, 6, "CDLMATCHINGLOW"),
    "modified_hikkake": Pattern(hikkake.modified_hikkake, 10, "CDLHIKKAKEMOD"),
    "morning_doji_star": Pattern(triple.morning_doji_star, 12, "CDLMORNINGDOJISTAR"),
    "morning_star": Pattern(triple.morning_star, 12, "CDLMORNINGSTAR"),
    "on_neck": Pattern(double.on_neck, 11, "CDLONNECK"),
    "piercing": Pattern(double.piercing, 11, "CDLPIERCING"),
    "rickshaw_man": Pattern(single.rickshaw_man, 10, "CDLRICKSHAWMAN"),
    "rising_falling_three_methods": Pattern(continuation.rising_falling_three_methods, 14, "CDLRISEFALL3METHODS"),
    "separating_lines": Pattern(double.separating_lines, 11, "CDLSEPARATINGLINES"),
    "shooting_star": Pattern(single.shooting_star, 11, "CDLSHOOTINGSTAR"),
    "short_line": Pattern(single.short_line, 10, "CDLSHORTLINE"),
    "side_by_side_white_lines": Pattern(triple.side_by_side_white_lines, 7, "CDLGAPSIDESIDEWHITE"),
    "spinning_top": Pattern(single.spinning_top, 10, "CDLSPINNINGTOP"),
    "stalled_pattern": Pattern(continuation.stalled_pattern, 12, "CDLSTALLEDPATTERN"),
    "stick_sandwich": Pattern(triple.stick_sandwich, 7, "CDLSTICKSANDWICH"),
    "takuri": Pattern(single.takuri, 10, "CDLTAKURI"),
    "tasuki_gap": Pattern(triple.tasuki_gap, 7, "CDLTASUKIGAP"),
    "three_black_crows": Pattern(triple.three_black_crows, 13, "CDL3BLACKCROWS"),
    "three_inside": Pattern(triple.three_inside, 12, "CDL3INSIDE"),
    "three_line_strike": Pattern(triple.three_line_strike, 8, "CDL3LINESTRIKE"),
    "three_outside": Pattern(triple.three_outside, 3, "CDL3OUTSIDE"),
    "three_stars_in_the_south": Pattern(continuation.three_stars_in_the_south, 12, "CDL3STARSINSOUTH"),
    "three_white_soldiers": Pattern(triple.three_white_soldiers, 12, "CDL3WHITESOLDIERS"),
    "thrusting": Pattern(double.thrusting, 11, "CDLTHRUSTING"),
    "tristar": Pattern(triple.tristar, 12, "CDLTRISTAR"),
    "two_crows": Pattern(triple.two_crows, 12, "CDL2CROWS"),
    "unique_three_river": Pattern(triple.unique_three_river, 12, "CDLUNIQUE3RIVER"),
    "upside_gap_two_crows": Pattern(triple.upside_gap_two_crows, 12, "CDLUPSIDEGAP2CROWS"),
}
"""Pattern by its name; the spec is `candle_` and the name."""


class CandlePattern(Indicator):
    """100 at a bar that completes the bullish pattern, -100 for the bearish one, 0 for none, absent during warm-up.

    80 and -80 mean that a body only touches the end of the other one, 200 and -200 a confirmed Hikkake. Equals the
    function of TA-Lib that `PATTERNS` names, with its default settings. The trend before the pattern is not checked. A
    bar without a trade is a candle without body and shadows. Source: S. Nison, Japanese Candlestick Charting Techniques
    (1991); T. Bulkowski, Encyclopedia of Candlestick Charts (2008); D. Chesler, Active Trader (2004), for Hikkake.
    """

    __slots__ = ("candles", "name")
    units: ClassVar[tuple[ValueUnit, ...]] = (ValueUnit.RATIO,)
    pattern: ClassVar[Pattern]

    def __init__(self, name: str) -> None:
        self.name = name
        self.candles: list[Candle] = []

    def update(self, bar: Bar, values: dict[str, float]) -> None:
        candles, pattern = self.candles, self.pattern
        candles.append(Candle(bar.open, bar.high, bar.low, bar.close))
        if len(candles) <= pattern.warm_up_bars:
            return
        values[self.name] = float(pattern.recognize(Candles(candles)))
        del candles[0]

    def rescale(self, factor: float) -> None:
        self.candles = [Candle(*[new_share_price(price, factor) for price in candle]) for candle in self.candles]

    def snapshot(self) -> tuple[Any, ...]:
        return tuple([tuple(candle) for candle in self.candles])

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        self.candles = [Candle(*candle) for candle in snapshot]


def _class_of(name: str, pattern: Pattern) -> type[CandlePattern]:
    class_name = "".join(word.capitalize() for word in name.split("_"))
    fields = {"__slots__": (), "__module__": __name__, "kind": f"candle_{name}", "pattern": pattern}
    return type(class_name, (CandlePattern,), {**fields, "__doc__": pattern.recognize.__doc__})


CANDLE_INDICATORS: tuple[type[CandlePattern], ...] = tuple(_class_of(*item) for item in PATTERNS.items())
