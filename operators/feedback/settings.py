"""How signals are judged once their time has passed."""

from __future__ import annotations

from dataclasses import dataclass

from schemas.errors import BadInput


@dataclass(frozen=True, kw_only=True)
class FeedbackSettings:
    """A signal is judged `horizon_bars` bars of its symbol after it was given."""

    horizon_bars: int = 30

    def __post_init__(self) -> None:
        if self.horizon_bars < 1:
            raise BadInput(f"feedback.horizon_bars must be >= 1, found {self.horizon_bars}")
