"""Rules that select the universe of a trading strategy: by dollar volume, or from a file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite
from typing import Final, NamedTuple

from schemas.errors import BadInput

SELECTION_INTERVALS: Final = ("1d", "1w", "1mo")
DAYS_MAX = 1_000
_NO_DAY = 99991231


@dataclass(frozen=True, kw_only=True)
class TopDollarVolume:
    """Select the `count` candidates with the highest average daily dollar volume (close times volume).

    The average is that of the last `days` daily bars. A candidate needs a last price of at least `min_price` and
    `min_history` daily bars. `every` is `1d`, `1w` (from Monday) or `1mo`: the rule selects with the first bar of each
    day, week or month, and each day until it has first found a symbol. Equal volumes are ordered by symbol.

    Raises BadInput for a value out of range.
    """

    count: int
    min_price: float = 0.0
    min_history: int = 20
    every: str = "1w"
    days: int = 20

    def __post_init__(self) -> None:
        _check(
            "count", self.count, lambda value: type(value) is int and value >= 1, "a number of symbols of at least 1"
        )
        for name in ("min_history", "days"):
            expected = f"a number of daily bars from 1 to {DAYS_MAX}"
            _check(name, getattr(self, name), lambda value: type(value) is int and 1 <= value <= DAYS_MAX, expected)
        _check(
            "min_price",
            self.min_price,
            lambda value: type(value) in (int, float) and isfinite(value) and value >= 0,
            "a number of at least 0",
        )
        _check(
            "every", self.every, lambda value: value in SELECTION_INTERVALS, f"one of {', '.join(SELECTION_INTERVALS)}"
        )

    def describe(self) -> str:
        """Return a description of the rule in one line.

        >>> TopDollarVolume(count=20, min_price=5).describe()
        'the 20 candidates with the highest dollar volume of 20 days, price at least 5, 20 days of history, every 1w'
        """
        price = f", price at least {self.min_price:g}" if self.min_price else ""
        return (
            f"the {self.count} candidates with the highest dollar volume of {self.days} days{price}, "
            f"{self.min_history} days of history, every {self.every}"
        )


def _check(name: str, value: object, is_valid: Callable[..., bool], expected: str) -> None:
    if not is_valid(value):
        raise BadInput(f"TopDollarVolume: {name} must be {expected}, found {value!r:.64}")


class UniverseMember(NamedTuple):
    """A symbol that belongs to a universe from one day to another (yyyymmdd), both included."""

    symbol: str
    from_day: int = 0
    to_day: int = _NO_DAY

    def contains(self, day: int) -> bool:
        """Whether the symbol belongs to the universe on a day."""
        return self.from_day <= day <= self.to_day


@dataclass(frozen=True)
class UniverseFile:
    """Select the symbols that a CSV file lists for the trading day.

    The file has a column `symbol`, and optionally `from` and `to`: the first and the last day on which the symbol
    belongs to the universe. A relative path starts at the working directory.

    Raises BadInput for an empty path.
    """

    path: str

    def __post_init__(self) -> None:
        if not isinstance(self.path, str) or not self.path:
            raise BadInput(f"UniverseFile: path must be the path of a CSV file, found {self.path!r:.64}")

    def describe(self) -> str:
        """Return a description of the rule in one line.

        >>> UniverseFile("sp500.csv").describe()
        'the symbols that sp500.csv lists for the day'
        """
        return f"the symbols that {self.path} lists for the day"
