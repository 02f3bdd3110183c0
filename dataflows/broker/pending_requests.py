"""What the broker client still has to do for an order, and when it tries again."""

from __future__ import annotations

from dataclasses import dataclass

from schemas.records import OrderIntent

BACKOFF_S = (0.25, 8.0)
"""The first and the longest wait before a request is repeated."""


@dataclass
class PendingSubmit:
    """An order without a definite response. `uncertain`: it must be looked up, because the broker may have it.

    `was_sent`: a request of this order may have reached the broker before the current one.
    """

    intent: OrderIntent
    uncertain: bool
    attempted_s: float
    was_sent: bool
    due_s: float = 0.0
    attempts: int = 0


@dataclass
class PendingCancel:
    intent: OrderIntent
    due_s: float = 0.0
    attempts: int = 0


def backoff_s(attempts: int) -> float:
    """Return the wait before the next attempt, which doubles with each one."""
    first, longest = BACKOFF_S
    return min(longest, first * 2.0 ** min(attempts, 8))
