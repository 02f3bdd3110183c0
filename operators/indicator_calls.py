"""Calls of the user's own indicators under a time limit. Indicators of the platform are called directly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from operators.handler_limit import HandlerCalls, HandlerLimit
from operators.indicators import Indicator
from operators.raised_error import source_file
from schemas.records import Bar, Record

IndicatorUpdate = Callable[[Bar, dict[str, float]], None]
_PLATFORM_INDICATORS = "operators.indicators"


def own_component(indicator: Indicator) -> Indicator | None:
    """Return the first component of an indicator whose class is from a file of the user; None if there is none."""
    return next((one for one in indicator.components if not _is_of_platform(one)), None)


def _is_of_platform(indicator: Indicator) -> bool:
    return type(indicator).__module__.startswith(_PLATFORM_INDICATORS)


class IndicatorCalls:
    """The calls of the indicators of a stage. Call `begin` first in every time slice.

    A timeout names an indicator `indicator:SPEC` as its strategy (`HandlerTimeout.strategy`), with the symbol of the
    bar. Without a limit and without recorded timeouts, a call costs nothing.
    """

    def __init__(self, calls: HandlerCalls) -> None:
        self._calls = calls
        self.is_guarded = False

    @classmethod
    def under(cls, limit: HandlerLimit | None) -> IndicatorCalls:
        """Return the calls of a stage that calls nothing else under this limit."""
        return cls(HandlerCalls(limit))

    def begin(self, ts_ns: int, records: Sequence[Record]) -> bool:
        """Begin a time slice, whose recorded timeouts are its first `records`. Return whether `is_guarded` changed."""
        before, self.is_guarded = self.is_guarded, self._calls.begin(ts_ns, records)
        return before != self.is_guarded

    def update_of(self, spec: str, indicator: Indicator) -> IndicatorUpdate:
        """Return the function to call instead of the `update` of an indicator."""
        own = own_component(indicator) if self.is_guarded else None
        if own is None:
            return indicator.update
        name, run, update, file = name_of(spec), self._calls.run, indicator.update, source_file(own)
        return lambda bar, values: run(name, bar.symbol, update, file, bar, values)

    def run(self, spec: str, indicator: Indicator, symbol: str, method: Callable[..., None], *arguments: Any) -> None:
        """Call another method of an indicator. Raises what it raises, and HandlerTimedOut."""
        own = own_component(indicator) if self.is_guarded else None
        if own is None:
            method(*arguments)
        else:
            self._calls.run(name_of(spec), symbol, method, source_file(own), *arguments)


def name_of(spec: str) -> str:
    """Return the name of an indicator in `HandlerTimeout.strategy`. No strategy can have it.

    >>> name_of("own_range_2")
    'indicator:own_range_2'
    """
    return f"indicator:{spec}"
