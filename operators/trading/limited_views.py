"""View strategies with limits. They run in the signals service; the strategies service books their sub-accounts."""

from __future__ import annotations

from typing import Protocol

from schemas.records import strategy_action_id


class Suspendable(Protocol):
    """A strategy that a loss stop can suspend."""

    @property
    def name(self) -> str: ...

    def next_action_id(self) -> str:
        """Return the id of the next action of the platform on behalf of the strategy."""

    def reset(self) -> None:
        """Start afresh after a suspension or resume."""


class LimitedView:
    """A view strategy with limits on its sub-account. The portfolio ignores its signals while it is suspended."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.action_count = 0

    def next_action_id(self) -> str:
        self.action_count += 1
        return strategy_action_id(self.name, self.action_count)

    def reset(self) -> None:
        """Nothing: its state is in the signals service."""
