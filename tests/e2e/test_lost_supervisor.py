"""The supervisor is killed: monitoring notices, and the next one takes over what still runs."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from deploy.supervisor.state import PlatformState, read_state
from tests import http
from tests.e2e.cli_platform import CliPlatform

pytestmark = pytest.mark.timeout(600)

POLL_S = 1.0
"""The API collects a whole page of metrics for each poll, and the test parses it."""


def state_of(platform: CliPlatform) -> PlatformState:
    state = read_state(platform.home)
    assert state is not None
    return state


def eventually(condition: Callable[[], object], expectation: str, timeout_s: float = 300.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"{expectation} did not happen within {timeout_s:.0f} s"
        time.sleep(POLL_S)


def kill(pid: int | None) -> None:
    assert pid is not None
    os.kill(pid, signal.SIGKILL)


def report(platform: CliPlatform, service: str) -> Any:
    return json.loads((platform.home.stats / f"{service}.json").read_text())


def metric(platform: CliPlatform, name: str, **labels: str) -> float | None:
    token = (platform.home.secrets / "metrics-token").read_text().strip()
    page = http.get(f"{platform.api_url}/metrics", headers={"Authorization": f"Bearer {token}"}).text
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            if sample.name == name and labels.items() <= sample.labels.items():
                return sample.value
    return None


def test_next_supervisor_takes_over_the_processes_of_a_killed_one(services_platform: CliPlatform) -> None:
    platform = services_platform
    before = state_of(platform)
    pids = {child.name: child.pid for child in before.children}
    risk = report(platform, "risk")
    assert metric(platform, "platform_supervisor_up") == 1.0

    kill(before.supervisor_pid)
    kill(pids["features"])
    eventually(lambda: metric(platform, "platform_supervisor_up") == 0.0, "the lost supervisor on the metrics page")
    # Nobody restarts it, and nobody reports it any more: its own report is old.
    eventually(lambda: metric(platform, "platform_service_up", service="features") == 0.0, "the dead dataflow")
    assert metric(platform, "platform_service_up", service="risk") == 1.0
    health = http.get(f"{platform.api_url}/health")
    assert health.status_code == 503
    assert health.json()["parts"]["supervisor"]["status"].startswith("unknown: last report ")
    assert "still run; take them over with `python cli.py start`" in platform.run("status", status=3)
    eventually(
        lambda: "service_downtime/supervisor" in (platform.home.run / "alerts.json").read_text(), "the critical alert"
    )

    platform.run("start")
    after = state_of(platform)
    assert after.supervisor_pid != before.supervisor_pid
    assert {child.name: child.pid for child in after.children if child.name != "features"} == {
        name: pid for name, pid in pids.items() if name != "features"
    }
    assert report(platform, "risk")["started_at"] == risk["started_at"]
    eventually(lambda: report(platform, "risk")["records_in"] > risk["records_in"], "new records in risk")
    eventually(lambda: http.get(f"{platform.api_url}/health").status_code == 200, "a healthy platform")
    assert metric(platform, "platform_supervisor_up") == 1.0
    assert platform.run_json("status")["alerts"] is not None

    kill(pids["sentiment"])
    eventually(
        lambda: (child := state_of(platform).child("sentiment")) and child.restarts and child.status == "healthy",
        "the restart of an adopted process",
    )
    assert platform.verify()["agrees"]
