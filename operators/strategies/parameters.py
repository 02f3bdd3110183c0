"""Checks of the parameters of strategies. Each raises BadInput with the strategy, the parameter and the value found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from schemas.errors import BadInput


def check_bars(strategy: str, **periods: Any) -> None:
    """Check that each period is a whole number of bars of at least 2."""
    for name, value in periods.items():
        if type(value) is not int or value < 2:
            raise BadInput(f"strategy {strategy}: {name} must be a whole number of bars >= 2, found {value!r}")


def check_count(strategy: str, **counts: Any) -> None:
    """Check that each count is a whole number of at least 1."""
    for name, value in counts.items():
        if type(value) is not int or value < 1:
            raise BadInput(f"strategy {strategy}: {name} must be a whole number >= 1, found {value!r}")


def check_positive(strategy: str, **numbers: Any) -> None:
    """Check that each number is above 0."""
    for name, value in numbers.items():
        if type(value) not in (int, float) or not 0 < value < float("inf"):
            raise BadInput(f"strategy {strategy}: {name} must be a number above 0, found {value!r}")


def check_share(strategy: str, **shares: Any) -> None:
    """Check that each share is above 0 and at most 1."""
    for name, value in shares.items():
        if type(value) not in (int, float) or not 0 < value <= 1:
            raise BadInput(f"strategy {strategy}: {name} must be in (0, 1], found {value!r}")


def universe_of(symbols: Sequence[str] | None) -> Sequence[str] | None:
    """Return the symbols of a strategy, a list from the settings as a tuple. None stands for the settings' universe."""
    return tuple(symbols) if isinstance(symbols, list) else symbols
