"""Publish when the next timer of a stage is due, so that `market_data` closes a time slice then.

A timer is due at an event time: the good-till date of an order, a handler with `at`, the timeout of the language model,
the retry of an exit. The stage checks its timers in each time slice. A `StageTimer` only makes the live feed close a
time slice then (`dataflows/sources/market/waiting_records.py`). No stage reads it. Without it, the timer fires with the
next time slice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from configs.settings import Settings
from operators.stage import Stage, next_timer_ns
from schemas.records import Record, StageTimer


class StageWithTimers:
    """A stage that also publishes when its next timer is due, whenever this has changed.

    The published time is not part of the state: a restarted stage publishes it again.
    """

    def __init__(self, service: str, stage: Stage) -> None:
        self._service, self._stage = service, stage
        self._published_ns: int | None = None

    def on_slice(self, ts_ns: int, records: Sequence[Record]) -> list[Record]:
        out = self._stage.on_slice(ts_ns, records)
        due_ns = next_timer_ns(self._stage)
        if due_ns == self._published_ns:
            return out
        self._published_ns = due_ns
        # A timer that is still due after this time slice waits for something else, such as a bar. Another time slice
        # would not end that wait.
        if due_ns is None or due_ns <= ts_ns:
            return out
        return [*out, StageTimer(ts_ns=ts_ns, service=self._service, due_ns=due_ns)]

    def snapshot(self) -> Any:
        return self._stage.snapshot()

    def restore(self, snapshot: Any) -> None:
        self._stage.restore(snapshot)


def with_timers(service: str, make_stage: Callable[[], Stage], settings: Settings) -> Callable[[], Stage]:
    """Return a function that makes the stage of a service, with its timers if the feed closes slices on demand."""
    if not settings.market_data.live_providers():
        return make_stage
    return lambda: StageWithTimers(service, make_stage())
