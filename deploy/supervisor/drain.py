"""Drain a running platform: stop its feeds, and wait until every service has processed the last time slice."""

from __future__ import annotations

import time
from collections.abc import Callable

from dataflows.runtime.topology import COMPACT, SERVICES, STAGED_SERVICES
from deploy.errors import DeployError
from deploy.home import Home
from deploy.supervisor.control import stop_one
from deploy.supervisor.probes import read_stats
from deploy.supervisor.state import running_state

TIMEOUT_S = 120.0
REPORT_S = 1.5
"""Time after the stop of the feeds from which a report of a service is final. A service reports once a second."""


def drain(home: Home, report: Callable[[str], None], timeout_s: float = TIMEOUT_S) -> None:
    """Stop the feeds of the running platform, and return when all services have processed the last time slice.

    After a stop, all recovery stores are then of the same time slice. Does nothing if no platform runs. Raises
    DeployError if the services do not process the last time slice in time; the platform then runs without its feeds.
    """
    state = running_state(home)
    if state is None:
        return
    names = {child.replica_of for child in state.children if child.replica_of}
    feeds = [name for name in names if name in SERVICES and not SERVICES[name].inputs]
    report("draining: stopping the feeds")
    for feed in sorted(feeds):
        stop_one(home, feed)
    staged = [child.name for child in state.children if child.replica_of in (*STAGED_SERVICES, COMPACT)]
    stopped_at, deadline = time.time(), time.monotonic() + timeout_s
    while True:
        stats = {name: read_stats(home.stats / f"{name}.json") or {} for name in staged}
        final = all(float(str(row.get("updated_at", 0.0))) > stopped_at + REPORT_S for row in stats.values())
        if final and len({row.get("last_tick_ns") for row in stats.values()}) <= 1:
            return
        if time.monotonic() > deadline:
            positions = ", ".join(f"{name} at {row.get('last_tick_ns', 'unknown')}" for name, row in stats.items())
            raise DeployError(
                f"the services did not reach the same time slice within {timeout_s:.0f} s: {positions}; the feeds are "
                "stopped; start a service that is not healthy, or stop the platform with `python cli.py stop`"
            )
        time.sleep(0.2)
