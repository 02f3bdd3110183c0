"""The stage of a platform without trading strategies. It needs none of the libraries that strategies use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from schemas.records import Record

NO_STATE = (0,)
"""Snapshot of a stage that has never run a strategy."""


class IdleStrategies:
    """Publishes nothing. The state of strategies that ran before is retained, so that action ids never repeat."""

    def __init__(self) -> None:
        self._state: Any = NO_STATE

    def on_slice(self, ts_ns: int, records: Sequence[Record]) -> list[Record]:
        return []

    def snapshot(self) -> Any:
        return self._state

    def restore(self, snapshot: Any) -> None:
        self._state = snapshot
