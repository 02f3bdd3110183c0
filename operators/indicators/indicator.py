"""What an indicator is, for whoever writes one (see docs/howto/indicator.md)."""

from __future__ import annotations

from typing import Any, ClassVar

from schemas.errors import BadInput
from schemas.records import Bar


class Indicator:
    """One running statistic of one symbol's bars: state bounded by its parameters, whatever the history.

    A spec such as `bollinger_20_2` is the class's `kind` and its `parameters` in order, joined by `_`; it is also the
    `name` under which the values appear. An indicator with several values appends a suffix to the name for each.
    """

    __slots__ = ()

    kind: ClassVar[str]
    parameters: ClassVar[dict[str, type[int] | type[float]]] = {}
    suffixes: ClassVar[tuple[str, ...]] = ("",)
    """What follows the name in the names of the values, in the order in which they are written."""

    def update(self, bar: Bar, values: dict[str, float]) -> None:
        """Fold one bar in, traded or not, and write the values as of it. What has not warmed up is not written.

        Neither is what is undefined at this bar (0/0): a reader finds a number that means something, or nothing.
        """
        raise NotImplementedError

    def snapshot(self) -> tuple[Any, ...]:
        """The state as a tuple of plain values (no parameters), which later updates do not change."""
        raise NotImplementedError

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        """Become the indicator of the same spec whose `snapshot()` this was."""
        raise NotImplementedError


def check_period(name: str, period: int, minimum: int = 1) -> None:
    """Raises BadInput where `period`, in bars, is below `minimum`."""
    if period < minimum:
        raise BadInput(f"indicator {name}: a period must be at least {minimum} bars, found {period}")
