"""Whether the gateway was reconciled since its process started: live trading sends no new order before."""

from __future__ import annotations

from datetime import UTC, datetime

from schemas.records import READY, GatewayStatus

RESTARTED = "the gateway restarted"
_SECOND_NS = 1_000_000_000


class FirstReconciliation:
    """`text` is the reason of the disconnection that the process publishes when it starts.

    If `required`, the text is unique. A status READY that precedes the status with this text comes from an earlier
    process: a gateway that resumes from a snapshot writes it again. Otherwise, everything counts as reconciled.
    """

    def __init__(self, started_ns: int, *, required: bool) -> None:
        self.text = RESTARTED
        if required:
            self.text += f" at {datetime.fromtimestamp(started_ns / _SECOND_NS, UTC):%Y-%m-%d %H:%M:%S.%f} UTC"
        self.restart_recorded = self.completed = not required
        """Whether the gateway's stage has taken the disconnection; and whether it was READY after that."""

    def on_status(self, status: GatewayStatus) -> None:
        """Receive each status of the gateway's stage, in order."""
        self.restart_recorded |= status.reason == self.text
        self.completed |= status.state == READY and self.restart_recorded
