"""The kill switch acts on the host whatever is dead: a dataflow, the supervisor, every server, the gateway itself."""

from __future__ import annotations

import json
import os
import signal

import pytest

from deploy.supervisor.state import read_state
from tests.e2e.broker_platform import BROKER_OPTIONS, BrokerPlatform, stopped
from tests.e2e.operator_actions import wait_for

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def platform(broker_platform: BrokerPlatform) -> BrokerPlatform:
    return broker_platform


def test_1_with_risk_and_the_feed_dead(platform: BrokerPlatform) -> None:
    platform.rest_order()
    with stopped(platform.pids("risk", "market_data")):
        outcome = platform.halt()
        assert outcome["gateway"] == "CONFIRMED" and outcome["cancelled"] >= 1
        status = platform.run_json("kill-switch", "status")
        assert (status["state"], status["gateway"], status["risk"]) == ("HALTED", "CONFIRMED", "PENDING")
    platform.release()


def test_2_with_the_supervisor_dead(platform: BrokerPlatform) -> None:
    platform.rest_order()
    state = read_state(platform.home)
    assert state is not None
    os.kill(state.supervisor_pid, signal.SIGKILL)
    wait_for(lambda: not state.supervisor.alive(), "the supervisor is dead")
    assert platform.halt()["gateway"] == "CONFIRMED"
    platform.release()
    platform.run("verify", "--audit")


def test_3_with_postgres_and_redis_dead(platform: BrokerPlatform) -> None:
    platform.rest_order()
    with stopped(platform.pids("postgres", "redis")):
        assert platform.halt()["gateway"] == "CONFIRMED"
        status = platform.status()
        assert (status.state, status.gateway, status.risk) == ("HALTED", "CONFIRMED", "UNKNOWN")
    platform.release()


def test_4_with_kafka_dead_the_command_is_published_later(platform: BrokerPlatform) -> None:
    platform.rest_order()
    with stopped(platform.pids("kafka")):
        outcome = json.loads(platform.run("kill-switch", "on", "--reason", "outage", "--timeout", "5", "--json"))
        assert (outcome["gateway"], outcome["published"]) == ("CONFIRMED", False) and not platform.open_orders()
        assert "error: nothing has changed" in platform.cli("kill-switch", "off", "--reason", "too early").stderr
        assert platform.status().state == "HALTED"
    platform.release()


def test_5_with_the_gateway_dead_the_command_cancels_and_a_restart_is_blocked(platform: BrokerPlatform) -> None:
    platform.rest_order()
    [pid] = platform.pids("execution")
    os.kill(pid, signal.SIGKILL)
    outcome = platform.halt()
    assert outcome["gateway"] == "NOT_RUNNING" and outcome["cancelled"] >= 1
    # Nothing restarts the gateway, because the supervisor is dead. The next start does.
    platform.run("start", *BROKER_OPTIONS)
    wait_for(lambda: platform.status().gateway == "CONFIRMED", "the new gateway confirms")
    assert not platform.open_orders()
    platform.release()
    platform.rest_order()
