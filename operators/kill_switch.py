"""The kill switch at the venue and the gateway: a halt cancels all working orders in the time slice of its command.

Risk halts in the same time slice, so that no order is approved from then on, and its fence follows one time slice
later. Halts of earlier releases lack the argument and take effect with the fence, so that their logs replay as before.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from schemas.records import KILL_SWITCH, Command

AT_ONCE: Final[Mapping[str, str]] = MappingProxyType({"effective": "at_once"})
"""The argument of a KILL_SWITCH that the venue and the gateway apply in its own time slice."""


def halts_at_once(command: Command) -> bool:
    """Whether the venue and the gateway must cancel all working orders now.

    >>> halts_at_once(Command("cmd-1", 0, "KILL_SWITCH", "ann", "", dict(AT_ONCE)))
    True
    >>> halts_at_once(Command("cmd-1", 0, "KILL_SWITCH", "ann", "", {}))
    False
    """
    return command.kind == KILL_SWITCH and AT_ONCE.items() <= command.arguments.items()


def halt_text(command: Command) -> str:
    """Return the text of the cancelled orders' reports."""
    return f"kill switch by {command.actor}: {command.reason}".replace("\0", "")
