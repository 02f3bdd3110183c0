"""Know sure thing."""

from __future__ import annotations

from typing import ClassVar, Final

from operators.indicators.composed import ComposedIndicator
from operators.indicators.indicator import ValueUnit, check_period
from operators.indicators.rolling import PastValue, RollingSum
from schemas.records import Bar

WEIGHTS: Final = (1.0, 2.0, 3.0, 4.0)


class Kst(ComposedIndicator):
    """Pring's sum of four smoothed rates of change, in percent, with the weights 1 to 4, and its mean (signal).

    Rate i is the change of the close over `roc_i` bars in percent, as a mean over `smooth_i` bars. Pring's values for
    daily bars are `kst_10_15_20_30_10_10_10_15_9`. The sum is absent until all four exist, the signal for another
    `signal` - 1 sums. Equals `ta.trend.KSTIndicator` after the warm-up, for which `ta` uses the mean of all closes.
    Source: M. Pring, Summed Rate of Change, Technical Analysis of Stocks & Commodities (1992).
    """

    __slots__ = ("name", "name_signal", "past_closes", "rates", "signal", "signal_period", "smooth")
    kind: ClassVar[str] = "kst"
    parameters: ClassVar[dict[str, type[int] | type[float]]] = {
        "roc_1": int,
        "roc_2": int,
        "roc_3": int,
        "roc_4": int,
        "smooth_1": int,
        "smooth_2": int,
        "smooth_3": int,
        "smooth_4": int,
        "signal": int,
    }
    suffixes: ClassVar[tuple[str, ...]] = ("", "_signal")
    units: ClassVar[tuple[ValueUnit, ...]] = (ValueUnit.RATIO,)
    accepts_input: ClassVar[bool] = True

    def __init__(self, name: str, *periods: int) -> None:
        for period in periods:
            check_period(name, period)
        *pairs, signal = periods
        self.name = name
        self.name_signal = f"{name}_signal"
        self.smooth = tuple(pairs[4:])
        self.signal_period = signal
        self.past_closes = tuple([PastValue(period) for period in pairs[:4]])
        self.rates = tuple([RollingSum(period, price_power=0) for period in self.smooth])
        self.signal = RollingSum(signal, price_power=0)
        self.parts = (*self.past_closes, *self.rates, self.signal)

    def update(self, bar: Bar, values: dict[str, float]) -> None:
        close = bar.close
        total = 0.0
        complete = True
        for weight, past_closes, rates, period in zip(WEIGHTS, self.past_closes, self.rates, self.smooth, strict=True):
            past = past_closes.push(close)
            if not past:  # None in warm-up; an input such as the volume can be 0
                rates.clear()
                complete = False
                continue
            rate = rates.push((close - past) * 100.0 / past)
            if rate is None:
                complete = False
            else:
                total += weight * rate / period
        if not complete:
            self.signal.clear()
            return
        values[self.name] = total
        signal = self.signal.push(total)
        if signal is not None:
            values[self.name_signal] = signal / self.signal_period
