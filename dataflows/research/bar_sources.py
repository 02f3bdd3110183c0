"""The places from which a backtest reads bars: files and folders, the catalogue, or the recorded topics."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from schemas.errors import BadInput

RECORDED_PREFIXES = ("topics:", "archive:")
"""Both read the archive and the topics as one log."""


def recorded_symbols(bars: Iterable[str | Path]) -> list[str] | None:
    """Return the symbols of `topics:A,B`, an empty list for `topics:`, and None for other bars. Raises BadInput for
    both.

    >>> recorded_symbols(["topics:SPY,AAPL"]), recorded_symbols(["topics:"]), recorded_symbols(["bars/"])
    (['SPY', 'AAPL'], [], None)
    """
    texts = [str(entry) for entry in bars]
    recorded = next((text for text in texts if text.startswith(RECORDED_PREFIXES)), None)
    if recorded is None:
        return None
    source, _, names = recorded.partition(":")
    if len(texts) > 1:
        raise BadInput(f"bars {source}: cannot be combined with other bars, found {' '.join(texts)}")
    return [name.strip() for name in names.split(",") if name.strip()]


def selected_symbols(recorded: Sequence[str], symbols: Sequence[str] | None) -> tuple[str, ...] | None:
    """Return the symbols of `topics:A,B` or of the argument `symbols`; None means all. Raises BadInput for both."""
    if recorded and symbols is not None:
        raise BadInput(f"symbols are set twice, found {', '.join(recorded)} in the bars and {', '.join(symbols)}")
    return tuple(recorded) or (None if symbols is None else tuple(symbols))
