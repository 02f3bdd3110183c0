"""A clock that tests set."""

from __future__ import annotations

SECOND_NS = 10**9


class ManualClock:
    """Returns `now_ns` when called, like `time.time_ns`. The test sets it, or calls `set_to`."""

    def __init__(self, start_ns: int) -> None:
        self._start_ns = self.now_ns = start_ns

    def __call__(self) -> int:
        return self.now_ns

    def set_to(self, seconds: float) -> None:
        """Set the clock to `seconds` after its start."""
        self.now_ns = self._start_ns + round(seconds * SECOND_NS)
