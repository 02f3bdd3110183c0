"""The last price of a symbol and its age."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from schemas.records import CONTINUOUS, REGULAR, Bar, SessionPhase

OpenTime = Callable[[int, int], int]
"""Returns how long the market is open between two times, all in ns."""


class LastBar(NamedTuple):
    """The fields of a symbol's last bar that a snapshot stores, with the field names of `Bar`."""

    ts_ns: int
    close: float
    session: SessionPhase = REGULAR


def price_age_ns(bar: Bar | LastBar, ts_ns: int, enough_ns: int, open_time: OpenTime | None) -> int:
    """Return the age of a symbol's last bar.

    An age above `enough_ns` counts only the time in which the market was open since the bar: the last price before a
    night is the current price until the next open. In a continuous market, all time counts.
    """
    age_ns = ts_ns - bar.ts_ns
    if age_ns <= enough_ns or open_time is None or bar.session == CONTINUOUS:
        return age_ns
    return open_time(bar.ts_ns, ts_ns)
