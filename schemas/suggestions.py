"""Suggest the known name that an unknown one was probably meant to be, for error messages."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

_SIMILARITY_MIN = 0.6


def did_you_mean(name: str, candidates: Iterable[str], *, quote: str = "") -> str:
    """Return "; did you mean X?" for the most similar of the `candidates`, or "" if none is similar.

    Upper and lower case count as equal. `quote` goes before and after X. Append the result to an error message:

    >>> print("unknown setting max_dayly_loss" + did_you_mean("max_dayly_loss", ["max_position", "max_daily_loss"]))
    unknown setting max_dayly_loss; did you mean max_daily_loss?
    >>> did_you_mean("aapl", ["AAPL", "MSFT"])
    '; did you mean AAPL?'
    >>> did_you_mean("colour", ["max_position"])
    ''
    """
    names_by_lower_case = {candidate.lower(): candidate for candidate in sorted(candidates)}
    matches = get_close_matches(name.lower(), names_by_lower_case, n=1, cutoff=_SIMILARITY_MIN)
    return f"; did you mean {quote}{names_by_lower_case[matches[0]]}{quote}?" if matches else ""
