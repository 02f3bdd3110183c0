"""Ranks and z-scores of the symbols of a universe by one number of each."""

from __future__ import annotations

from collections.abc import Mapping
from math import fsum, isfinite, sqrt


def ranks(values: Mapping[str, float | None]) -> dict[str, float | None]:
    """Return the rank of each symbol: 1 for the smallest number. Equal numbers share the mean of their ranks.

    A symbol without a number has no rank. Equals pandas' `rank`.

    >>> ranks({"KO": 5.0, "PEP": 3.0, "MNST": None, "KDP": 5.0})
    {'KO': 2.5, 'PEP': 1.0, 'MNST': None, 'KDP': 2.5}
    """
    rank_by_symbol: dict[str, float | None] = dict.fromkeys(values)
    ordered = sorted(_known(values).items(), key=lambda item: item[1])
    start = 0
    while start < len(ordered):
        end = start + 1
        while end < len(ordered) and ordered[end][1] == ordered[start][1]:
            end += 1
        for symbol, _ in ordered[start:end]:
            rank_by_symbol[symbol] = (start + 1 + end) / 2
        start = end
    return rank_by_symbol


def z_scores(values: Mapping[str, float | None]) -> dict[str, float | None]:
    """Return the distance of each number from the mean of all, in population standard deviations.

    A symbol without a number has none, and if all numbers are equal, no symbol has one.

    >>> z_scores({"KO": 1.0, "PEP": 3.0, "MNST": None})
    {'KO': -1.0, 'PEP': 1.0, 'MNST': None}
    """
    score_by_symbol: dict[str, float | None] = dict.fromkeys(values)
    known = _known(values)
    if len(set(known.values())) < 2:
        return score_by_symbol
    mean = fsum(known.values()) / len(known)
    deviation = sqrt(fsum([(value - mean) ** 2 for value in known.values()]) / len(known))
    if deviation:
        score_by_symbol.update((symbol, (value - mean) / deviation) for symbol, value in known.items())
    return score_by_symbol


def _known(values: Mapping[str, float | None]) -> dict[str, float]:
    return {symbol: value for symbol, value in values.items() if value is not None and isfinite(value)}
