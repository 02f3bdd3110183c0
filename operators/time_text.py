"""Format event times for readers."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

SECOND_NS: Final = 1_000_000_000


def iso(ns: int) -> str:
    """Format nanoseconds since 1970 as ISO time in UTC, with a fraction of a second only if there is one.

    >>> iso(1_704_205_800_000_000_000), iso(1_500_000_000)
    ('2024-01-02T14:30:00Z', '1970-01-01T00:00:01.5Z')
    """
    seconds, rest = divmod(ns, SECOND_NS)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{rest:09d}".rstrip("0") + "Z" if rest else f"{text}Z"
