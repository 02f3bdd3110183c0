"""The layout `compact` with a broker: the gateway has a process of its own, and works while the others hang."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from dataflows.runtime.topology import COMPACT
from deploy.supervisor.layout import dataflow_names
from tests.e2e.broker_platform import BROKER_OPTIONS, BrokerPlatform, started_broker_platform, stopped
from tests.e2e.operator_actions import wait_for

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerPlatform]:
    with started_broker_platform(tmp_path_factory.mktemp("compact") / "home", "--layout", "compact") as platform:
        yield platform


def test_1_a_hung_compact_process_does_not_delay_the_confirmation_of_a_halt(platform: BrokerPlatform) -> None:
    platform.rest_order()
    with stopped(platform.pids(COMPACT)):
        outcome = platform.halt()
        assert outcome["gateway"] == "CONFIRMED" and outcome["cancelled"] >= 1
        status = platform.status()
        assert (status.state, status.gateway, status.risk) == ("HALTED", "CONFIRMED", "PENDING")
    platform.release()


def test_2_a_crash_of_either_process_loses_no_order(platform: BrokerPlatform) -> None:
    for process in (COMPACT, "execution"):
        platform.rest_order()
        [pid] = platform.pids(process)
        os.kill(pid, signal.SIGKILL)
        platform.rest_order()
    names = [str(order["client_order_id"]) for order in platform.orders()]
    assert len(names) == len(set(names))
    verified = platform.verify()
    assert verified["agrees"], verified


def test_3_a_checkpoint_has_the_state_of_both_processes(platform: BrokerPlatform) -> None:
    first = platform.run_json("checkpoint", "create")["checkpoint"]
    assert "after the checkpoint of" in platform.run("rebuild", COMPACT)
    platform.rest_order()
    second = platform.run_json("checkpoint", "create")["checkpoint"]
    report = platform.run_json("replay-check", "--from", str(first["slice_ns"] + 1))
    assert (report["equal"], report["from_checkpoint"]) == (True, first["checkpoint_id"])
    assert report["checkpoints"] == [second["checkpoint_id"]]


@pytest.mark.long
def test_4_a_change_of_layout_in_both_directions_continues_the_orders(platform: BrokerPlatform) -> None:
    before = set(platform.open_orders())
    assert before
    platform.run("stop")
    platform.run("start", *BROKER_OPTIONS, "--layout", "services")
    platform.rest_order()
    platform.run("stop", "--drain")
    platform.run("start", *BROKER_OPTIONS, "--layout", "compact")
    assert {"execution", COMPACT} < set(dataflow_names(platform.home))
    platform.rest_order()
    wait_for(platform.is_reconciled, "the gateway is reconciled")
    assert before < set(platform.open_orders())
    replayed = platform.run_json("replay-check")
    assert replayed["equal"], replayed
