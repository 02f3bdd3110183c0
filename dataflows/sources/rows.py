"""Rules for one row of bars: what makes it bad.

`RowRules.check_row` is the definition, one row at a time, with a reason in words. `RowRules.valid_rows` applies the
same rules to whole columns, for speed. Every row that `valid_rows` rejects is passed to `check_row`.
"""

from __future__ import annotations

import csv
import math
import re
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dataflows.sources.bar_grid import BarGrid
from dataflows.sources.bar_layouts import FIELDS
from dataflows.sources.row_times import DAY_NS, EARLIEST_NS, Ints, Mask, RowTimes, iso
from operators.bar_completion import DateOrder, FeedSettings

Floats = npt.NDArray[np.float64]

_THOUSANDS = re.compile(r"\d{1,3},\d{3}")
_NO_VOLUME_HINT = "; if -1 stands for no volume, set market_data.files.volume (--volume) to none"
PRICE_MIN = 1e-9
"""Prices have nine decimal places. A smaller price would become 0."""


class GoodRow(NamedTuple):
    """A row that passes all rules. `open_ns` is the bar's open, UTC; `values` are in the order of FIELDS."""

    open_ns: int
    symbol: str
    values: tuple[float, ...]


class RowRules:
    """The rules for one feed's rows, from its settings. Without a set interval, bars have a minute."""

    def __init__(self, settings: FeedSettings) -> None:
        self._settings = settings
        self.times = RowTimes(settings.timezone, settings.date_order)
        self.zone = self.times.zone
        self.grid = BarGrid(settings, self.zone)
        self.decimal = settings.decimal
        self.has_volume = settings.volume == "reported"
        self.latest_ns = (time.time_ns() // DAY_NS + 2) * DAY_NS  # the end of tomorrow

    def with_date_order(self, order: DateOrder) -> RowRules:
        """Return the rules of a file whose rows prove the order of its dates."""
        return RowRules(replace(self._settings, date_order=order))

    def check_row(self, time: str | int | None, symbol: str, fields: Sequence[str | float | None]) -> GoodRow | str:
        """Return the row, or the reason why it is bad. `time` is text, or nanoseconds UTC in a typed file."""
        time_ns = self.parse_time(time) if isinstance(time, str) else time
        if time_ns is None:
            return f"field time {self.times.problem(time if isinstance(time, str) else None)}"
        if not EARLIEST_NS <= time_ns < self.latest_ns:
            return f"field time must lie between 1980 and tomorrow, found {_describe(time)}"
        open_ns, problem = self.grid.open_ns(time_ns)
        if problem:
            return f"field time must be {problem}, found {iso(time_ns)}"
        if not symbol or not symbol.isprintable():
            return f"field symbol must be a printable name, found {_describe(symbol)}"
        values = [_number(field, self.decimal) for field in fields]
        for name, field, value in zip(FIELDS, fields, values, strict=True):
            if value is None:
                return f"field {name} must be a number, found {_describe(field)}{self._decimal_hint(field)}"
            if not math.isfinite(value):
                return f"field {name} must be finite, found {value}"
            if value <= 0 and name != "volume":
                return f"field {name} must be > 0, found {value}"
            if value < PRICE_MIN and name != "volume":
                return f"field {name} must be at least {PRICE_MIN}, found {value}"
        open_price, high, low, close, volume = (value for value in values if value is not None)
        if volume < 0:
            return f"field volume must be >= 0, found {volume}{_NO_VOLUME_HINT if volume == -1 else ''}"
        if high < low:
            return f"field high must be >= low {low}, found {high}"
        for name, value in (("open", open_price), ("close", close)):
            if not low <= value <= high:
                return f"field {name} must lie in [low, high] = [{low}, {high}], found {value}"
        return GoodRow(open_ns, symbol, (open_price, high, low, close, volume))

    def valid_rows(self, times_ns: Ints, values: Floats) -> tuple[Mask, Ints]:
        """Return which rows `check_row` would pass, apart from their symbols, and the opens of their bars.

        `values` has FIELDS as columns.
        """
        open_price, high, low, close, volume = values.T
        good = np.isfinite(values).all(axis=1) & (low >= PRICE_MIN) & (volume >= 0)
        good &= (low <= open_price) & (open_price <= high) & (low <= close) & (close <= high)
        good &= self.usable_times(times_ns)
        if not good.any():
            return np.asarray(good), times_ns
        opens, on_grid = self.grid.opens_ns(times_ns if good.all() else np.where(good, times_ns, times_ns[good][0]))
        return np.asarray(good & on_grid), opens

    def usable_times(self, times_ns: Ints) -> Mask:
        """Return which times lie between 1980 and the end of tomorrow."""
        return np.asarray((times_ns >= EARLIEST_NS) & (times_ns < self.latest_ns))

    def parse_time(self, text: str) -> int | None:
        """Convert the text of a time to nanoseconds UTC; None if it is not a time or is ambiguous."""
        return self.times.parse(text)

    def _decimal_hint(self, field: object) -> str:
        if self.decimal == "." and isinstance(field, str) and _number(field, ",") is not None:
            return "; for a decimal comma, set market_data.files.decimal (--decimal) to ','" + (
                "; remove commas between thousands" if _THOUSANDS.fullmatch(field.strip()) else ""
            )
        return ""


def split_line(line: bytes, delimiter: str, columns: int) -> list[str] | str:
    """Return the fields of one CSV line, or the reason why it is malformed. Quoted line breaks are not supported."""
    text = line.decode("utf-8", errors="surrogateescape")
    try:
        fields = next(csv.reader([text], delimiter=delimiter), [])
    except csv.Error as error:
        return f"row must be CSV: {error}"
    if len(fields) != columns:
        hint = "; a row must be one line, without line breaks in quotes" if text.count('"') % 2 else ""
        return f"row must have {columns} columns, found {len(fields)}{hint}"
    return fields


def _number(field: str | float | None, decimal: str) -> float | None:
    if not isinstance(field, str):
        return field
    text = field.strip()
    if decimal == ",":
        if "." in text:
            return None
        text = text.replace(",", ".")
    if "_" in text or not text.isascii():  # float() accepts 1_000 and digits of other scripts
        return None
    try:
        return float(text)
    except ValueError:
        return None


def _describe(value: object) -> str:
    return "nothing" if value is None or value == "" else ascii(value)[:80]
