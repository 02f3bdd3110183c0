"""A stage that takes the actions of a script, in place of the stage that runs trading strategies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from schemas.records import Record, StrategyAction


class ScriptedStrategies:
    """Publishes the actions of each time slice in turn. `inputs` are the records that it received, by time slice."""

    event_topics: Sequence[str] = ()

    def __init__(self, script: Mapping[int, Sequence[StrategyAction]]) -> None:
        """`script` maps the number of a time slice, from 1, to its actions."""
        self._script = script
        self._slices = 0
        self.inputs: list[list[Record]] = []

    def on_slice(self, ts_ns: int, records: Sequence[Record]) -> list[Record]:
        self._slices += 1
        self.inputs.append(list(records))
        return [action._replace(ts_ns=ts_ns) for action in self._script.get(self._slices, ())]

    def snapshot(self) -> Any:
        return self._slices

    def restore(self, snapshot: Any) -> None:
        self._slices = snapshot
