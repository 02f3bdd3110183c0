"""What a check found."""

from __future__ import annotations

from typing import NamedTuple


class Comparison(NamedTuple):
    """One comparison: how many records agree, and the first difference as a sentence, None when there is none.

    `note` says what is no difference and still worth knowing: repeats after a restart, what was not compared and why.
    """

    name: str
    records: int
    difference: str | None
    note: str = ""


class Verdict(NamedTuple):
    """All comparisons, and the hash of what was decided up to them; "" where the books were not looked at."""

    checks: list[Comparison]
    decision_hash: str

    @property
    def agrees(self) -> bool:
        return all(check.difference is None for check in self.checks)
