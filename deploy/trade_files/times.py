"""Times of trades: ISO, and the notations of the brokers."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from typing import NamedTuple
from zoneinfo import ZoneInfo

YEARS = range(1900, 2200)
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 wall-clock times are counted from a wall-clock epoch
_CLOCK = r"(?P<clock>\d{2}:?\d{2}(?::?\d{2})?)"
_ZONE = r"(?P<zone> UTC)?"
_BROKER_TIMES = (
    # Schwab and Fidelity: 01/31/2024. Schwab: "02/02/2024 as of 01/31/2024", the second date is that of the trade.
    # Robinhood: 1/31/2024.
    re.compile(rf"(?:\d\d/\d\d/\d{{4}} as of )?(?P<m>\d\d?)/(?P<d>\d\d?)/(?P<y>\d{{4}})(?: {_CLOCK})?{_ZONE}"),
    # Interactive Brokers: 20240131, 20240131;093000 and "2024-01-31, 09:30:00".
    re.compile(rf"(?P<y>\d{{4}})(?P<m>\d\d)(?P<d>\d\d)(?:[; ]{_CLOCK})?{_ZONE}"),
    re.compile(rf"(?P<y>\d{{4}})-(?P<m>\d\d)-(?P<d>\d\d), ?{_CLOCK}{_ZONE}"),
    # Coinbase: 2024-01-31 09:30:00 UTC.
    re.compile(rf"(?P<y>\d{{4}})-(?P<m>\d\d)-(?P<d>\d\d) {_CLOCK}(?P<zone> UTC)"),
)
_DATE_LENGTH = len("2024-01-31")


class TradeTime(NamedTuple):
    """A time as ISO text and parsed. `sort_key` orders times; the wall-clock time `wall_ns` sets the trade day."""

    text: str
    stamp: datetime
    wall_ns: int

    @property
    def sort_key(self) -> datetime:
        return self.stamp if self.stamp.tzinfo is None else self.stamp.astimezone(UTC)

    @property
    def has_zone(self) -> bool:
        return self.stamp.tzinfo is not None

    def in_zone(self, zone: ZoneInfo) -> TradeTime:
        """A time without a zone, read in `zone`; a time with a zone is unchanged."""
        return self if self.has_zone else self._replace(stamp=self.stamp.replace(tzinfo=zone))

    @property
    def is_date(self) -> bool:
        """Whether the text is a date without a time of day."""
        return len(self.text) <= _DATE_LENGTH

    @property
    def day(self) -> date:
        """The trade date: that of the wall clock in the time zone of the market."""
        return date.fromordinal(_EPOCH.toordinal() + self.wall_ns // (86_400 * 10**9))


def parse_time(text: str, zone: ZoneInfo) -> TradeTime | None:
    """Parse a time; None if it is malformed or outside the years 1900 to 2199.

    >>> str(parse_time("20240131;093000", ZoneInfo("America/New_York")).stamp)
    '2024-01-31 09:30:00'
    """
    text = _to_iso(text) or text
    stamp = _parse_iso(text)
    if stamp is None or stamp.year not in YEARS:
        return None
    wall = stamp if stamp.tzinfo is None else stamp.astimezone(zone).replace(tzinfo=None)
    elapsed = wall - _EPOCH
    return TradeTime(text, stamp, (elapsed.days * 86_400 + elapsed.seconds) * 10**9 + elapsed.microseconds * 1_000)


def _parse_iso(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def _to_iso(text: str) -> str:
    """Convert a broker's notation to ISO; "" if it is malformed."""
    match = next((found for pattern in _BROKER_TIMES if (found := pattern.fullmatch(text))), None)
    if match is None:
        return ""
    day = f"{match['y']}-{match['m']:0>2}-{match['d']:0>2}"
    if match["clock"] is None:
        return day
    digits = match["clock"].replace(":", "").ljust(6, "0")
    return f"{day}T{digits[:2]}:{digits[2:4]}:{digits[4:]}{'Z' if match['zone'] else ''}"
