"""Metrics of the kill switch of this host: its flag, and whether the gateway has confirmed it."""

from __future__ import annotations

import time
from pathlib import Path

from prometheus_client.core import Metric

from api.metrics.collector import single
from sinks.host_kill_switch import HostKillSwitch, is_confirmed

CONFIRM_WITHIN_S = 2.0


def kill_switch_metrics(home: Path) -> list[Metric]:
    """Return nothing without a state folder, as in a container of its own."""
    run_dir = home / "run"
    if not run_dir.is_dir():
        return []
    switch = HostKillSwitch(run_dir)
    halt = switch.halt()
    unconfirmed = (
        halt is not None
        and not is_confirmed(switch.read_report(), halt.command_id)
        and time.time() - halt.ts_ns / 1e9 > CONFIRM_WITHIN_S
    )
    unpublished = halt is not None and not switch.is_published(halt)
    return [
        single("platform_kill_switch_flag", "1 while the kill switch of this host is on", halt is not None),
        single("platform_kill_switch_unconfirmed", "1 if the gateway has not confirmed the halt in time", unconfirmed),
        single("platform_kill_switch_unpublished", "1 if the halt of this host is not in the log", unpublished),
    ]
