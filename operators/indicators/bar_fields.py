"""Fields of the bar as values of a feature row: `open`, `high`, `low`, `close` and `volume`."""

from __future__ import annotations

from typing import Any, ClassVar

from operators.indicators.derived import INPUTS, BarInput
from operators.indicators.indicator import Indicator, ValueUnit
from schemas.records import Bar


class BarField(Indicator):
    """A field of the bar. A bar without a trade has the last close as its prices, and the volume 0."""

    __slots__ = ("name",)
    bar_input: ClassVar[BarInput]

    def __init__(self, name: str) -> None:
        self.name = name

    def update(self, bar: Bar, values: dict[str, float]) -> None:
        values[self.name] = self.bar_input.read(bar)

    def rescale(self, factor: float) -> None:
        """Do nothing: there is no state, and the next bar is in new shares."""

    def snapshot(self) -> tuple[Any, ...]:
        return ()

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        """Restore nothing: there is no state."""


def _class_of(kind: str, bar_input: BarInput) -> type[BarField]:
    fields = {"__slots__": (), "__module__": __name__, "kind": kind, "bar_input": bar_input, "units": (bar_input.unit,)}
    return type(kind.capitalize(), (BarField,), {**fields, "accepts_input": kind == "close"})


BAR_FIELDS: tuple[type[BarField], ...] = (
    _class_of("close", BarInput(lambda bar: bar.close, ValueUnit.PRICE)),
    *(_class_of(name, INPUTS[name]) for name in ("open", "high", "low", "volume")),
)
