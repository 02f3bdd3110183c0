"""The stage of a platform without trading strategies. It needs none of the libraries that strategies use."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from operators.stage import Stage, next_timer_ns
from schemas.records import Record

NO_STATE = (0,)
"""Snapshot of a stage that has never run a strategy."""


class IdleStrategies:
    """Publishes nothing.

    If strategies ran before, their sub-accounts are still booked, so that they are right when a strategy is added
    again. `create` returns a stage without strategies that books them; if it is not passed, the state is unchanged.
    """

    def __init__(self, create: Callable[[], Stage] | None = None) -> None:
        self._create = create
        self._stage: Stage | None = None
        self._state: Any = NO_STATE

    @property
    def event_topics(self) -> Sequence[str]:
        return ()

    def on_slice(self, ts_ns: int, records: Sequence[Record]) -> list[Record]:
        return [] if self._stage is None else self._stage.on_slice(ts_ns, records)

    def next_timer_ns(self) -> int | None:
        return None if self._stage is None else next_timer_ns(self._stage)

    def snapshot(self) -> Any:
        return self._state if self._stage is None else self._stage.snapshot()

    def restore(self, snapshot: Any) -> None:
        self._state, self._stage = snapshot, None
        if snapshot != NO_STATE and self._create is not None:
            self._stage = self._create()
            self._stage.restore(snapshot)
