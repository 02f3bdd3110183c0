"""The session of the bar in a strategy's row: `minutes_since_open`, `minutes_to_close` and `early_close`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from operators.indicators.indicator import Indicator, ValueUnit
from operators.trading.sessions import Session, SessionClock, SessionTimes
from schemas.records import Bar


class SessionField(Indicator):
    """A field of the session at the end of the bar. The trading hours come from `use_sessions`.

    Without the hours of the day, the first bar of a session marks its open, and fields of its close are absent.
    """

    __slots__ = ("clock", "name")
    units: ClassVar[tuple[ValueUnit, ...]] = (ValueUnit.RATIO,)
    reads_sessions: ClassVar[bool] = True

    def __init__(self, name: str) -> None:
        self.name = name
        self.clock = SessionClock({})

    def use_sessions(self, days: Mapping[int, SessionTimes]) -> None:
        self.clock.set_days(days)

    def read(self, session: Session) -> float | None:
        raise NotImplementedError

    def update(self, bar: Bar, values: dict[str, float]) -> None:
        value = self.read(self.clock.session(bar.ts_ns, bar))
        if value is not None:
            values[self.name] = float(value)

    def rescale(self, factor: float) -> None:
        """Do nothing: a split does not change times."""

    def snapshot(self) -> tuple[Any, ...]:
        version, first_bars = self.clock.snapshot()
        return version, tuple(first_bars)

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        self.clock.restore(snapshot)


class MinutesSinceOpen(SessionField):
    """Whole minutes since the open of the regular session; negative before it."""

    __slots__ = ()
    kind: ClassVar[str] = "minutes_since_open"

    def read(self, session: Session) -> float | None:
        return session.minutes_since_open


class MinutesToClose(SessionField):
    """Whole minutes to the close of the regular session; negative after it."""

    __slots__ = ()
    kind: ClassVar[str] = "minutes_to_close"

    def read(self, session: Session) -> float | None:
        return session.minutes_to_close


class EarlyClose(SessionField):
    """1 on a day with an early close, else 0."""

    __slots__ = ()
    kind: ClassVar[str] = "early_close"

    def read(self, session: Session) -> float | None:
        return None if session.minutes_to_close is None else float(session.early_close)
