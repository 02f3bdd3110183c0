"""Rules for one row of bars: its columns, how its time is parsed, and what makes it bad.

`RowRules.check_row` is the definition, one row at a time, with a reason in words. `RowRules.valid_rows` applies the
same rules to whole columns, for speed. Every row that `valid_rows` rejects is passed to `check_row`.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from operators.bar_completion import FeedSettings
from schemas.errors import BadInput

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

FIELDS = ("open", "high", "low", "close", "volume")
# In order of preference; "" is the unnamed first column that pandas writes for an index.
TIME_NAMES = (
    *("ts_open_utc", "ts_open", "open_time", "timestamp", "datetime", "date_time", "time", "ts"),
    *("date", "t", "__index_level_0__", ""),
)
SYMBOL_NAMES = ("symbol", "ticker")
FIELD_NAMES = (("open", "o"), ("high", "h"), ("low", "l"), ("close", "c"), ("volume", "vol", "v"))

QUARTER_HOUR_NS = 900 * 1_000_000_000
EARLIEST_NS, LATEST_NS = 0, 4_102_444_800 * 1_000_000_000  # 1970 to 2100: a time outside has a wrong unit
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_INTEGER = re.compile(r"[+-]?\d+")
_NANOSECOND_DIGITS = re.compile(r"\.\d{6}(\d{1,3})")


class BarColumns(NamedTuple):
    """Column number of each field; `symbol` is None if the file name holds the symbol."""

    names: tuple[str, ...]
    time: int
    symbol: int | None
    fields: tuple[int, ...]  # in the order of FIELDS


def find_columns(names: Sequence[str], file_label: str) -> BarColumns:
    """Find columns by their common names, ignoring case. Raises BadInput if one is missing."""
    lower = [name.strip().lstrip("\ufeff").lower() for name in names]

    def find(accepted_names: Sequence[str]) -> int | None:
        return next((lower.index(name) for name in accepted_names if name in lower), None)

    time, fields = find(TIME_NAMES), [find(accepted_names) for accepted_names in FIELD_NAMES]
    missing = [field for field, index in zip(("time", *FIELDS), (time, *fields), strict=True) if index is None]
    if time is None or missing:
        raise BadInput(f"{file_label} has no column for {', '.join(missing)}; its columns are {', '.join(names)[:200]}")
    return BarColumns(tuple(names), time, find(SYMBOL_NAMES), tuple(index for index in fields if index is not None))


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
            self._offsets[quarter] = None if seconds is None else seconds * 1_000_000_000
        return self._offsets[quarter]

    def to_utc(self, local_ns: Ints) -> tuple[Ints, Mask]:
        """Convert whole columns. Return `(utc, exists)`."""
        quarters, quarter_index = np.unique(local_ns // QUARTER_HOUR_NS, return_inverse=True)
        offsets = [self.offset_ns(quarter * QUARTER_HOUR_NS) for quarter in quarters.tolist()]
        exists = np.array([offset is not None for offset in offsets], np.bool_)
        return local_ns - np.array([offset or 0 for offset in offsets], np.int64)[quarter_index], exists[quarter_index]


class GoodRow(NamedTuple):
    """A row that passes all rules. `open_ns` is the bar's open, UTC; `values` are in the order of FIELDS."""

    open_ns: int
    symbol: str
    values: tuple[float, ...]


class RowRules:
    """The rules for one feed's rows, from its settings."""

    def __init__(self, settings: FeedSettings) -> None:
        self.zone = LocalTimeZone(settings.timezone)
        self.interval_ns = settings.interval_ns
        self.shift_ns = settings.interval_ns if settings.time_is == "close" else 0

    def check_row(self, time: str | int | None, symbol: str, fields: Sequence[str | float | None]) -> GoodRow | str:
        """Return the row, or the reason why it is bad. `time` is text, or nanoseconds UTC in a typed file."""
        time_ns = self.parse_time(time) if isinstance(time, str) else time
        if time_ns is None:
            return f"field time must be an ISO time or an epoch number, found {_describe(time)}"
        if not EARLIEST_NS < time_ns - self.shift_ns < LATEST_NS:
            return f"field time must lie between 1970 and 2100, found {_describe(time)}"
        if time_ns % self.interval_ns:
            return f"field time must be a multiple of {self.interval_ns // 1_000_000_000} s, found {iso(time_ns)}"
        if not symbol or not symbol.isprintable():
            return f"field symbol must be a printable name, found {_describe(symbol)}"
        values = [_number(field) for field in fields]
        for name, field, value in zip(FIELDS, fields, values, strict=True):
            if value is None:
                return f"field {name} must be a number, found {_describe(field)}"
            if not math.isfinite(value):
                return f"field {name} must be finite, found {value}"
            if value <= 0 and name != "volume":
                return f"field {name} must be > 0, found {value}"
        open_price, high, low, close, volume = (value for value in values if value is not None)
        if volume < 0:
            return f"field volume must be >= 0, found {volume}"
        if high < low:
            return f"field high must be >= low {low}, found {high}"
        for name, value in (("open", open_price), ("close", close)):
            if not low <= value <= high:
                return f"field {name} must lie in [low, high] = [{low}, {high}], found {value}"
        return GoodRow(time_ns - self.shift_ns, symbol, (open_price, high, low, close, volume))

    def valid_rows(self, times_ns: Ints, values: Floats) -> Mask:
        """Return which rows `check_row` would pass, apart from their symbols. `values` has FIELDS as columns."""
        open_price, high, low, close, volume = values.T
        opens = times_ns - self.shift_ns
        good = np.isfinite(values).all(axis=1) & (low > 0) & (volume >= 0) & (low <= open_price) & (open_price <= high)
        good &= (low <= close) & (close <= high) & (times_ns % self.interval_ns == 0)
        return np.asarray(good & (opens > EARLIEST_NS) & (opens < LATEST_NS))

    def parse_time(self, text: str) -> int | None:
        """Convert an ISO time or an epoch number in s, ms, us or ns to nanoseconds UTC; None for anything else."""
        text = text.strip()
        if _INTEGER.fullmatch(text):
            return epoch_ns(int(text)) if len(text) <= 19 else None
        if text.upper().endswith(" UTC"):
            text = f"{text[:-4]}+00:00"
        try:
            parsed = datetime.fromisoformat(text)
        except ValueError:
            return None
        local = parsed.replace(tzinfo=UTC) - _EPOCH
        ns = (local.days * 86_400 + local.seconds) * 1_000_000_000 + local.microseconds * 1000
        nanosecond_digits = _NANOSECOND_DIGITS.search(text)
        ns += int(nanosecond_digits[1].ljust(3, "0")) if nanosecond_digits else 0
        if parsed.tzinfo is None:
            offset = self.zone.offset_ns(ns)
        else:
            offset = round((parsed.utcoffset() or timedelta()).total_seconds()) * 1_000_000_000
        return None if offset is None else ns - offset


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


def iso(ns: int) -> str:
    """Format a time as ISO UTC, with a fraction of a second only if there is one."""
    seconds, rest = divmod(ns, 1_000_000_000)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{rest:09d}".rstrip("0") + "Z" if rest else f"{text}Z"


def split_line(line: bytes, delimiter: str, columns: int) -> list[str] | str:
    """Return the fields of one CSV line, or the reason why it is malformed. Quoted line breaks are not supported."""
    text = line.decode("utf-8", errors="surrogateescape")
    try:
        fields = next(csv.reader([text], delimiter=delimiter), [])
    except csv.Error as error:
        return f"row must be CSV: {error}"
    if len(fields) != columns:
        return f"row must have {columns} columns, found {len(fields)}"
    return fields


def _number(field: str | float | None) -> float | None:
    if not isinstance(field, str):
        return field
    text = field.strip()
    if "_" in text or not text.isascii():  # float() accepts 1_000 and digits of other scripts
        return None
    try:
        return float(text)
    except ValueError:
        return None


def _describe(value: object) -> str:
    return "nothing" if value is None or value == "" else ascii(value)[:80]
