"""What happens when a configuration removes a strategy (`signals.on_remove`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from schemas.records import Configuration, Record

OnRemove = Literal["keep", "flatten"]


def causes_of_removal(records: Sequence[Record]) -> list[str]:
    """Return the id of the configuration that a stage applies in this time slice; none before the first one."""
    return [record.configuration_id for record in records if type(record) is Configuration]
