"""Times of rows: how their text and numbers are converted to nanoseconds UTC.

A time is never guessed. The shape of a text decides how it is read, and a text that two rules could read is refused,
such as 01/02/2024 without the setting `date_order`. Numbers are epochs in s, ms, us or ns, or the digits of a date. No
number is both: read as an epoch, the digits of a date from 1980 to 2100 lie before 1980.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import numpy.typing as npt

from operators.bar_completion import DateOrder
from operators.time_text import SECOND_NS as SECOND_NS  # exported: the unit of all row times
from operators.time_text import iso as iso

Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

DAY_NS = 86_400 * SECOND_NS
QUARTER_HOUR_NS = 900 * SECOND_NS
EARLIEST_NS, LATEST_NS = 315_532_800 * SECOND_NS, 4_102_444_800 * SECOND_NS  # 1980 to 2100
"""A time outside has a wrong unit."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_INTEGER = re.compile(r"[+-]?\d{1,19}")
_FRACTION = re.compile(r"[+-]?\d{1,25}(\.\d{0,25})?([eE][+-]?\d{1,2})?")
_NANOSECOND_DIGITS = re.compile(r"\.\d{6}(\d{1,3})")
_SPREADSHEET_DAY = re.compile(r"\d{5}(\.\d+)?")
_AMBIGUOUS_DATE = re.compile(r"(\d{1,2})([/-])(\d{1,2})\2(\d{4})")
_DAY_FIRST = re.compile(r"(\d{1,2})\.(\d{1,2})\.(\d{4})")
_YEAR_FIRST = re.compile(r"(\d{4})[./-]?(\d{1,2})[./-]?(\d{1,2})")
_MONTH_NAME = re.compile(r"(?:(\d{1,2})[ -])?([A-Za-z]{3})[a-z]*\.?(?:[ -](\d{1,2}))?,?[ -](\d{4})")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_TIME_OF_DAY = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2})(?:\.(\d{1,9}))?)?(?: ?([AaPp])[Mm])?")
_DIGITS_OF_TIME = re.compile(r"(\d{2})(\d{2})(\d{2})?")
_DATE_DIGITS = {8: "%Y%m%d", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S", 17: "%Y%m%d%H%M%S%f"}
_ZONE_OFFSETS_H = {"Z": 0, "UTC": 0, "GMT": 0, "EST": -5, "EDT": -4, "CST": -6, "CDT": -5, "PST": -8, "PDT": -7}
_SPLIT = re.compile(r"(?P<date>.*?\d{4}|\d{4}[./-]\d{1,2}[./-]\d{1,2}|\d{8})(?:[T ]+(?P<rest>.*))?")


class LocalTimeZone:
    """Converts local times to UTC. A repeated hour counts as its first pass; a skipped hour does not exist."""

    def __init__(self, name: str) -> None:
        self._zone = ZoneInfo(name)
        self._offsets: dict[int, int | None] = {}  # by quarter hour, because clock changes are on quarter hours

    def offset_ns(self, local_ns: int) -> int | None:
        """Return the UTC offset to subtract from `local_ns`, or None if that local time does not exist."""
        quarter = local_ns // QUARTER_HOUR_NS
        if quarter not in self._offsets:
            if len(self._offsets) > 100_000:
                self._offsets.clear()
            local = _EPOCH.replace(tzinfo=None) + timedelta(minutes=15 * quarter)
            zoned = local.replace(tzinfo=self._zone)
            exists = zoned.astimezone(UTC).astimezone(self._zone).replace(tzinfo=None) == local
            offset = zoned.utcoffset()
            seconds = None if offset is None or not exists else round(offset.total_seconds())
            self._offsets[quarter] = None if seconds is None else seconds * SECOND_NS
        return self._offsets[quarter]

    def to_utc(self, local_ns: Ints) -> tuple[Ints, Mask]:
        """Convert whole columns. Return `(utc, exists)`."""
        quarters, quarter_index = np.unique(local_ns // QUARTER_HOUR_NS, return_inverse=True)
        offsets = [self.offset_ns(quarter * QUARTER_HOUR_NS) for quarter in quarters.tolist()]
        exists = np.array([offset is not None for offset in offsets], np.bool_)
        return local_ns - np.array([offset or 0 for offset in offsets], np.int64)[quarter_index], exists[quarter_index]

    def from_utc(self, utc_ns: Ints) -> Ints:
        """Convert whole columns to local times."""
        quarters, quarter_index = np.unique(utc_ns // QUARTER_HOUR_NS, return_inverse=True)
        moments = [_EPOCH + timedelta(minutes=15 * quarter) for quarter in quarters.tolist()]
        offsets = [
            round((moment.astimezone(self._zone).utcoffset() or timedelta()).total_seconds()) for moment in moments
        ]
        return utc_ns + np.array(offsets, np.int64)[quarter_index] * SECOND_NS


class RowTimes:
    """Converts the times of a feed's rows. `timezone` is the zone of times without one."""

    def __init__(self, timezone: str = "UTC", date_order: DateOrder = "auto") -> None:
        self.zone = LocalTimeZone(timezone)
        self.date_order = date_order
        self.has_local_times = False
        """Whether a time without a zone was read."""
        self._zones: dict[str, LocalTimeZone] = {}

    def parse(self, text: str) -> int | None:
        """Convert a text to nanoseconds UTC; None for anything that is not a time or is ambiguous."""
        text = " ".join(text.split())
        if _INTEGER.fullmatch(text):
            return self._from_digits(text)
        if _FRACTION.fullmatch(text):
            return self._from_fraction(text)
        zoned = f"{text[:-4]}+00:00" if text[-4:].upper() == " UTC" else text
        try:
            parsed = datetime.fromisoformat(zoned)
        except ValueError:
            return self._from_vendor_format(text)
        nanosecond_digits = _NANOSECOND_DIGITS.search(text)
        rest_ns = int(nanosecond_digits[1].ljust(3, "0")) if nanosecond_digits else 0
        offset_s = None if parsed.tzinfo is None else round((parsed.utcoffset() or timedelta()).total_seconds())
        return self._to_utc(parsed.replace(tzinfo=None), rest_ns, offset_s)

    def problem(self, text: str | None) -> str:
        """Return why a text is not a time, as the end of a sentence about the field."""
        found = "nothing" if text is None or not text.strip() else ascii(text)[:80]
        if text is not None and _SPREADSHEET_DAY.fullmatch(text.strip()):
            return f"must be a time, found the day number of a spreadsheet {found}; export times as 2024-01-31 09:30"
        date_text = "" if text is None else text.split()[0] if text.split() else ""
        if self.date_order == "auto" and _AMBIGUOUS_DATE.fullmatch(date_text):
            return (
                f"must have an unambiguous date, found {found}; set market_data.files.date_order (--date-order) to mdy "
                "or dmy"
            )
        if text is not None and is_time_of_day(text.strip()):
            return f"must have a date, found {found}; write the date before it, or in a column date"
        return f"must be an ISO time or an epoch number, found {found}"

    def _from_digits(self, text: str) -> int | None:
        date_format = _DATE_DIGITS.get(len(text))
        if date_format is not None:
            try:
                parsed = datetime.strptime(text, date_format)  # noqa: DTZ007
            except ValueError:
                parsed = None
            if parsed is not None and 1980 <= parsed.year < 2100:
                return self._to_utc(parsed, 0, None)
        return None if _SPREADSHEET_DAY.fullmatch(text) else epoch_ns(int(text))

    def _from_fraction(self, text: str) -> int | None:
        """Convert a number with a fraction or an exponent, as pandas and spreadsheets write epochs."""
        if _SPREADSHEET_DAY.fullmatch(text):
            return None
        try:
            number = Decimal(text)
        except InvalidOperation:
            return None
        if abs(number) >= 10**19:
            return None
        whole = int(number)
        if number == whole:
            return self._from_digits(str(whole))
        return int(number * (epoch_ns(whole) // whole)) if whole else None

    def _from_vendor_format(self, text: str) -> int | None:
        """Convert the formats of vendors that ISO does not know. Source: the layouts in `bar_layouts.py`."""
        match = _SPLIT.fullmatch(text)
        day = None if match is None else self._day(match["date"].rstrip(","))
        if match is None or day is None:
            return None
        time_text, zone_text = _without_zone(match["rest"] or "")
        clock = time_of_day(time_text) if time_text else (time(0), 0)
        if clock is None:
            return None
        local = datetime.combine(day, clock[0])
        if not zone_text:
            return self._to_utc(local, clock[1], None)
        if zone_text.upper() in _ZONE_OFFSETS_H:
            return self._to_utc(local, clock[1], _ZONE_OFFSETS_H[zone_text.upper()] * 3600)
        if "/" not in zone_text:
            return None
        if zone_text not in self._zones:
            try:
                self._zones[zone_text] = LocalTimeZone(zone_text)
            except (ZoneInfoNotFoundError, ValueError):
                return None
        zone = self._zones[zone_text]
        local_ns = _since_epoch_ns(local) + clock[1]
        offset_ns = zone.offset_ns(local_ns)
        return None if offset_ns is None else local_ns - offset_ns

    def _day(self, text: str) -> date | None:
        if match := _YEAR_FIRST.fullmatch(text):
            year, month, day = match[1], match[2], match[3]
        elif match := _DAY_FIRST.fullmatch(text):
            day, month, year = match[1], match[2], match[3]
        elif (match := _AMBIGUOUS_DATE.fullmatch(text)) and self.date_order != "auto":
            first, second, year = match[1], match[3], match[4]
            month, day = (first, second) if self.date_order == "mdy" else (second, first)
        elif (
            (match := _MONTH_NAME.fullmatch(text)) and match[2].lower() in _MONTHS and bool(match[1]) != bool(match[3])
        ):
            day, month, year = match[1] or match[3], str(_MONTHS.index(match[2].lower()) + 1), match[4]
        else:
            return None
        try:
            return date(int(year), int(month), int(day))
        except ValueError:
            return None

    def _to_utc(self, local: datetime, rest_ns: int, offset_s: int | None) -> int | None:
        local_ns = _since_epoch_ns(local) + rest_ns
        self.has_local_times |= offset_s is None
        offset_ns = self.zone.offset_ns(local_ns) if offset_s is None else offset_s * SECOND_NS
        return None if offset_ns is None else local_ns - offset_ns


def join_date_and_time(day: str, clock: str, digits: int) -> str:
    """Return one text from a date column and a column with the time of day. A lost leading zero is restored.

    >>> join_date_and_time("20240220", "93000", 6), join_date_and_time("2024.01.02", "18:49", 6)
    ('20240220 093000', '2024.01.02 18:49')
    """
    clock = clock.strip()
    return f"{day.strip()} {clock.zfill(digits) if clock.isdigit() else clock}"


def clock_digits(texts: Iterable[str]) -> int:
    """Return the digits of the times of day in a column of integers: 6 if they have seconds, 4 if not."""
    return 6 if any(len(text.strip()) > 4 for text in texts) else 4


def day_text(yyyymmdd: int) -> str:
    """Return a day as ISO text.

    >>> day_text(20240307)
    '2024-03-07'
    """
    return date.fromisoformat(str(yyyymmdd)).isoformat()


def is_time_of_day(text: str) -> bool:
    """Whether a text is a time of day without a date."""
    text = text.strip()
    return time_of_day(text) is not None or (text.isdigit() and len(text) <= 6)


def time_of_day(text: str) -> tuple[time, int] | None:
    """Return the time of day and its nanoseconds below a microsecond, or None.

    >>> time_of_day("9:30 AM"), time_of_day("093001")
    ((datetime.time(9, 30), 0), (datetime.time(9, 30, 1), 0))
    """
    match = _TIME_OF_DAY.fullmatch(text)
    half, fraction = (match[5] or "", match[4] or "") if match else ("", "")
    match = match or _DIGITS_OF_TIME.fullmatch(text)
    if match is None:
        return None
    hour, minute, second = int(match[1]), int(match[2]), int(match[3] or 0)
    if half:
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + (12 if half in "Pp" else 0)
    nanoseconds = int(fraction.ljust(9, "0")) if fraction else 0
    try:
        return time(hour, minute, second, nanoseconds // 1000), nanoseconds % 1000
    except ValueError:
        return None


def date_order_of(texts: Iterable[str]) -> set[DateOrder]:
    """Return the orders that these dates prove: a number above 12 is a day. Empty: no such date, or each has both.

    >>> sorted(date_order_of(["01/02/2024", "01/13/2024"]))
    ['mdy']
    """
    orders: set[DateOrder] = set()
    for text in texts:
        match = _AMBIGUOUS_DATE.match(text.strip())
        if match is not None:
            orders |= {"mdy"} if int(match[3]) > 12 else {"dmy"} if int(match[1]) > 12 else set()
    return orders


def is_ambiguous_date(text: str) -> bool:
    """Whether the text starts with a date such as 01/02/2024, whatever its numbers."""
    return _AMBIGUOUS_DATE.match(text.strip()) is not None


def epoch_ns(count: int) -> int:
    """Convert an epoch number to ns. Its size decides the unit: s below 1e11, ms below 1e14, us below 1e17, else ns."""
    magnitude = abs(count)
    return count * (
        10**9 if magnitude < 10**11 else 10**6 if magnitude < 10**14 else 10**3 if magnitude < 10**17 else 1
    )


def epochs_ns(counts: Ints) -> Ints:
    """Apply `epoch_ns` to a whole column. A value beyond 64 bits becomes -1, which no rule passes."""
    magnitude = np.abs(counts)
    scale = np.select([magnitude < 10**11, magnitude < 10**14, magnitude < 10**17], [10**9, 10**6, 10**3], 1)
    fits = (magnitude >= 0) & (magnitude < 9 * 10**18 // scale)
    return np.where(fits, counts * np.where(fits, scale, 1), -1).astype(np.int64)


def _since_epoch_ns(local: datetime) -> int:
    since = local.replace(tzinfo=UTC) - _EPOCH
    return (since.days * 86_400 + since.seconds) * SECOND_NS + since.microseconds * 1000


def _without_zone(text: str) -> tuple[str, str]:
    """Split `09:30:00 US/Eastern` into the time of day and the zone."""
    head, _, last = text.rpartition(" ")
    if head and (last.upper() in _ZONE_OFFSETS_H or "/" in last):
        return head, last
    return text, ""
