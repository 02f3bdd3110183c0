"""The interface of an indicator (see docs/howto/indicator.md)."""

from __future__ import annotations

from typing import Any, ClassVar

from schemas.errors import BadInput
from schemas.records import Bar


class Indicator:
    """A running statistic of one symbol's bars. The size of its state depends only on its parameters.

    A spec such as `bollinger_20_2` consists of the class's `kind` and its `parameters` in order, joined by `_`. It is
    also the `name` of the value. An indicator with several values appends a suffix to the name for each.
    """

    __slots__ = ()

    kind: ClassVar[str]
    parameters: ClassVar[dict[str, type[int] | type[float]]] = {}
    suffixes: ClassVar[tuple[str, ...]] = ("",)
    """Suffixes of the names of the values, in the order in which they are written."""

    def update(self, bar: Bar, values: dict[str, float]) -> None:
        """Process one bar, with or without a trade, and write the new values to `values`.

        A value that has not warmed up or is undefined at this bar (0/0) is not written.
        """
        raise NotImplementedError

    def rescale(self, factor: float) -> None:
        """Convert the state after a split: multiply its prices by `factor`, divide its volumes by it.

        The values continue as if all earlier bars had been in new shares. An indicator without this method warms up
        again after a split.
        """
        raise NotImplementedError

    def snapshot(self) -> tuple[Any, ...]:
        """Return the state, without parameters, as a tuple of plain values that later updates do not change."""
        raise NotImplementedError

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        """Restore the state from the `snapshot()` of an indicator with the same spec."""
        raise NotImplementedError


def check_period(name: str, period: int, minimum: int = 1) -> None:
    """Raise BadInput if `period`, in bars, is below `minimum`."""
    if period < minimum:
        raise BadInput(f"indicator {name}: a period must be at least {minimum} bars, found {period}")
