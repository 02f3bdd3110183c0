"""Warn about a run whose orders fill from quotes, but that has no quotes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from operators.venue import VenueSettings
from schemas.records import OrderType, Quote, Record


class QuoteCheck:
    """Looks for quotes among the records of a run, if any order type fills from them."""

    def __init__(self, venue: VenueSettings) -> None:
        self._types = [name for name in get_args(OrderType) if venue.fills_from_quotes(name)]
        self._found = False

    @property
    def is_needed(self) -> bool:
        """Whether any order type fills from quotes."""
        return bool(self._types)

    def observe(self, records: Sequence[Record]) -> None:
        """Receive the records of a time slice."""
        self._found = self._found or any(type(record) is Quote for record in records)

    def warnings(self) -> list[str]:
        """Return a warning after the run, or nothing."""
        if self._found or not self._types:
            return []
        return [
            f"the run had no quotes, so no order of the types {', '.join(self._types)} could fill: "
            "pass --quotes, or set execution.venue.fills_from: bars"
        ]
