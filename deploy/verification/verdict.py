"""Results of the checks."""

from __future__ import annotations

from typing import NamedTuple

FINDINGS_MAX = 20
"""Maximum number of findings reported per check."""


class Comparison(NamedTuple):
    """One comparison: the number of records that agree, and the first difference as a sentence, None if there is none.

    `note` is information that is not a difference: repeated records after a restart, or what was not compared and why.
    `more` are further differences, where the check finds more than the first.
    """

    name: str
    records: int
    difference: str | None
    note: str = ""
    more: tuple[str, ...] = ()

    @property
    def findings(self) -> tuple[str, ...]:
        """All differences, the first one first."""
        return () if self.difference is None else (self.difference, *self.more)


class VerificationResult(NamedTuple):
    """All comparisons, and the hash of all decisions; "" if the books were not checked from the first execution on.

    `from_checkpoint` is the checkpoint from which the checks started, "" without one.
    """

    checks: list[Comparison]
    decision_hash: str
    from_checkpoint: str = ""

    @property
    def agrees(self) -> bool:
        return all(check.difference is None for check in self.checks)
