"""Base class of the sections of the settings, and durations."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

_UNIT_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}

Seconds = Annotated[float, Field(gt=0)]


class Section(BaseModel):
    """A frozen section that rejects unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def in_seconds(value: Any) -> Any:
    """Return a whole number unchanged and parse anything else with `parse_seconds`."""
    return value if isinstance(value, int) else parse_seconds(value)


def parse_seconds(duration: Any) -> int | None:
    """Convert a duration to seconds. Raises ValueError if the text is not a duration.

    >>> parse_seconds("1h"), parse_seconds("90s"), parse_seconds(None)
    (3600, 90, None)
    """
    if duration is None:
        return None
    match = re.fullmatch(r"(\d+)\s*([smhd])", str(duration).strip())
    if match is None:
        raise ValueError(f'must be a duration such as "30s", "15m", "1h" or "1d", found {duration!r}')
    return int(match[1]) * _UNIT_S[match[2]]


Duration = Annotated[int, BeforeValidator(in_seconds), Field(ge=1)]
"""Seconds, written as a whole number or as a duration such as "30s"."""
