"""How news are judged."""

from __future__ import annotations

from dataclasses import dataclass

from schemas.errors import BadInput


@dataclass(frozen=True, kw_only=True)
class SentimentSettings:
    """`remembered` news ids are kept to drop repeats of a headline."""

    remembered: int = 10_000

    def __post_init__(self) -> None:
        if self.remembered < 1:
            raise BadInput(f"sentiment.remembered must be >= 1, found {self.remembered}")
