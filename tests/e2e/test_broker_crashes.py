"""A crash of the gateway or of the process that decides loses no order, and a checkpoint has the state of both."""

from __future__ import annotations

import os
import signal

import pytest

from dataflows.runtime.topology import COMPACT
from deploy.supervisor.layout import dataflow_names
from tests.e2e.broker_platform import BROKER_OPTIONS, BrokerPlatform
from tests.e2e.operator_actions import wait_for

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def platform(broker_platform: BrokerPlatform) -> BrokerPlatform:
    return broker_platform


def test_1_a_crash_of_either_process_loses_no_order(platform: BrokerPlatform) -> None:
    for service in ("portfolio", "execution"):
        platform.rest_order()
        [pid] = platform.pids(service)
        os.kill(pid, signal.SIGKILL)
        platform.rest_order()
    names = [str(order["client_order_id"]) for order in platform.orders()]
    assert len(names) == len(set(names))
    verified = platform.verify()
    assert verified["agrees"], verified


def test_2_a_checkpoint_has_the_state_of_both_processes(platform: BrokerPlatform) -> None:
    first = platform.run_json("checkpoint", "create")["checkpoint"]
    assert "after the checkpoint of" in platform.run("rebuild", platform.process_of("portfolio"))
    platform.rest_order()
    second = platform.run_json("checkpoint", "create")["checkpoint"]
    report = platform.run_json("replay-check", "--from", str(first["slice_ns"] + 1))
    assert (report["equal"], report["from_checkpoint"]) == (True, first["checkpoint_id"])
    assert report["checkpoints"] == [second["checkpoint_id"]]


@pytest.mark.long
def test_3_a_change_of_layout_in_both_directions_continues_the_orders(platform: BrokerPlatform) -> None:
    before = set(platform.open_orders())
    assert before
    platform.run("stop")
    platform.run("start", *BROKER_OPTIONS, "--layout", "compact")
    assert {"execution", COMPACT} < set(dataflow_names(platform.home))
    platform.rest_order()
    platform.run("stop", "--drain")
    platform.run("start", *BROKER_OPTIONS, "--layout", "services")
    platform.rest_order()
    wait_for(platform.is_reconciled, "the gateway is reconciled")
    assert before < set(platform.open_orders())
    replayed = platform.run_json("replay-check")
    assert replayed["equal"], replayed
