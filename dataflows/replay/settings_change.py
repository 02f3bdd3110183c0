"""Replay with other settings from a time slice on, for `fork` and previews."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from configs.settings import Settings
from dataflows.runtime.configured_stage import read_state
from operators.stage import Stage, next_timer_ns
from schemas.records import CheckpointMarker, Configuration, Record

_NOT_FOR_STAGES: Final = (Configuration, CheckpointMarker)


class SettingsChange:
    """Settings that replace the recorded configurations in the time slices at or after `at_ns`.

    `configurations` counts the configurations that are recorded there.
    """

    def __init__(self, settings: Settings, at_ns: int) -> None:
        self.settings, self.at_ns = settings, at_ns
        self.configurations = 0


class ChangingStage:
    """Runs a stage before the change. From then on, one with the new settings runs, which continues from its state, as
    after a restart of the platform.
    """

    def __init__(self, stage: Stage, make_changed: Callable[[], Stage], change: SettingsChange) -> None:
        self._stage, self._make_changed, self._change = stage, make_changed, change
        self._is_changed = False
        self._configurations = 0

    def on_slice(self, ts_ns: int, records: Sequence[Record]) -> list[Record]:
        if ts_ns < self._change.at_ns:
            return self._stage.on_slice(ts_ns, records)
        if not self._is_changed:
            state, self._stage = read_state(self._stage.snapshot()).stage, self._make_changed()
            self._stage.restore(state)
            self._is_changed = True
        self._configurations += sum(type(record) is Configuration for record in records)
        # Several stages with the same change count the same configurations.
        self._change.configurations = max(self._change.configurations, self._configurations)
        return self._stage.on_slice(ts_ns, [record for record in records if type(record) not in _NOT_FOR_STAGES])

    def next_timer_ns(self) -> int | None:
        return next_timer_ns(self._stage)

    def snapshot(self) -> Any:
        return self._stage.snapshot()

    def restore(self, snapshot: Any) -> None:
        self._stage.restore(snapshot)
