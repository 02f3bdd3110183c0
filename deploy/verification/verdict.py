"""Results of the checks."""

from __future__ import annotations

from typing import NamedTuple


class Comparison(NamedTuple):
    """One comparison: the number of records that agree, and the first difference as a sentence, None if there is none.

    `note` is information that is not a difference: repeated records after a restart, or what was not compared and why.
    """

    name: str
    records: int
    difference: str | None
    note: str = ""


class Verdict(NamedTuple):
    """All comparisons, and the hash of the decisions that they cover; "" if the books were not checked."""

    checks: list[Comparison]
    decision_hash: str

    @property
    def agrees(self) -> bool:
        return all(check.difference is None for check in self.checks)
