"""Suspend a service whose inputs hold too many records that its reader rejected."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from operators.command_signatures import REASON_PREFIX
from operators.dead_letter_rate import DeadLetterRate, RateLimits
from operators.stage import TimeSlice
from schemas.errors import TooManyDeadLetters
from schemas.records import UNCLOCKED_RECORDS, DeadLetter, LateRecord, Record


def _is_rejected(record: Record) -> bool:
    """Whether a record counts towards the limits. Records without a valid signature do not, so that a forger cannot
    stop a service.
    """
    if type(record) not in UNCLOCKED_RECORDS:
        return False
    return not (type(record) is DeadLetter and record.reason.startswith(REASON_PREFIX))


class RejectionGuard:
    """Checks the time slices of one shard against `limits`. `state` is None or an earlier `snapshot()`.

    `on_suspend` receives the time slice that exceeds them and the reason, before TooManyDeadLetters is raised. Time
    slices up to `read_released_ns()` do not suspend the service.
    """

    def __init__(
        self,
        limits: RateLimits,
        state: Any,
        read_released_ns: Callable[[], int],
        on_suspend: Callable[[int, str], None],
    ) -> None:
        self._rate = DeadLetterRate(limits, state)
        self._read_released_ns, self._on_suspend = read_released_ns, on_suspend

    def check(self, time_slices: Sequence[TimeSlice]) -> None:
        """Suspend the service if too many records were rejected. Raises TooManyDeadLetters.

        Call this before any of these time slices is emitted, so that the last snapshot precedes them.
        """
        for ts_ns, records in time_slices:
            rejected = sum(_is_rejected(record) for record in records) if records else 0
            reason = self._rate.fold(ts_ns, len(records) - rejected, rejected)
            if reason is not None and ts_ns <= (last_released_ns := self._read_released_ns()):
                self._rate.release(last_released_ns)
            elif reason is not None:
                last_rejected = next(
                    record
                    for record in reversed(records)
                    if isinstance(record, DeadLetter | LateRecord) and _is_rejected(record)
                )
                location = f"{last_rejected.topic}/{last_rejected.partition}@{last_rejected.offset}"
                reason = f"{reason}; last rejected record {location}: {last_rejected.reason}"
                self._on_suspend(ts_ns, reason)
                raise TooManyDeadLetters(
                    f"suspended at {ts_ns}: {reason}; to continue, run `python cli.py dead-letters release`"
                )

    def snapshot(self) -> Any:
        return self._rate.snapshot()
