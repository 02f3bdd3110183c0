"""Points in event time as people write them on the command line."""

from __future__ import annotations

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
