"""Points in event time as people write them on the command line."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from schemas.errors import BadInput

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def nanoseconds(option: str, text: str | None) -> int | None:
    """`2013-10-08T14:30`, with or without a zone (then it is UTC), or nanoseconds since 1970. None for None.

    Raises BadInput naming the option.

    >>> nanoseconds("--at", "1970-01-01T00:01:00"), nanoseconds("--at", "60000000000")
    (60000000000, 60000000000)
    """
    if text is None:
        return None
    if text.isdecimal() and len(text) > 8:
        return int(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise BadInput(f"{option} must be a time such as 2024-01-15T14:30:00Z, found {text!r}") from error
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    return (moment - _EPOCH) // timedelta(microseconds=1) * 1000


def written(ts_ns: int) -> str:
    """
    >>> written(60_000_000_000)
    '1970-01-01T00:01:00Z'
    """
    return (_EPOCH + timedelta(microseconds=ts_ns // 1000)).isoformat().replace("+00:00", "Z")


def since_seconds(option: str, text: str | None, *, now: Callable[[], float] = time.time) -> float:
    """Seconds since 1970 of `15m` (so long before now) or of a time; 0.0 for None. Raises BadInput naming the option.

    >>> since_seconds("--since", "15m", now=lambda: 1000.0), since_seconds("--since", "1970-01-01T00:01:00Z")
    (100.0, 60.0)
    """
    if text is None:
        return 0.0
    ago = re.fullmatch(r"(\d+)([smhd])", text.strip())
    if ago is not None:
        return now() - int(ago[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86_400}[ago[2]]
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise BadInput(
            f"{option} must be 90s, 15m, 1h, 1d or a time such as 2024-01-15T14:30Z, found {text!r}"
        ) from error
    return (moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment).timestamp()
