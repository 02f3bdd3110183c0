"""Volume price trend."""

from __future__ import annotations

from typing import Any, ClassVar

from operators.indicators.indicator import Indicator, ValueUnit, new_share_price
from schemas.records import Bar


class Vpt(Indicator):
    """Sum of the volume times the relative change of the close, in units, since the second bar.

    Absent at the first bar. Equals `ta.volume.VolumePriceTrendIndicator`.
    """

    __slots__ = ("close", "name", "total")
    kind: ClassVar[str] = "vpt"
    units: ClassVar[tuple[ValueUnit, ...]] = (ValueUnit.VOLUME_TOTAL,)

    def __init__(self, name: str) -> None:
        self.name = name
        self.close: float | None = None
        self.total = 0.0

    def update(self, bar: Bar, values: dict[str, float]) -> None:
        close = bar.close
        last_close = self.close
        self.close = close
        if last_close is None:
            return
        if last_close:
            self.total += bar.volume * (close - last_close) / last_close
        values[self.name] = self.total

    def rescale(self, factor: float) -> None:
        if self.close is not None:
            self.close = new_share_price(self.close, factor)
        self.total /= factor

    def snapshot(self) -> tuple[Any, ...]:
        return self.close, self.total

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        self.close, self.total = snapshot
