"""The kill switch acts on the host whatever is dead: a dataflow, the supervisor, every server, the gateway itself."""

from __future__ import annotations

import json
import os
import signal
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import psutil
import pytest

from deploy.halt_status import HaltStatus, read_halt_status
from deploy.local.ports import free_ports
from deploy.recovery.recorded_topics import platform_settings
from deploy.supervisor.state import read_state
from sinks.commands import new_command, send
from sinks.signing_keys import COMMAND_LINE, FOLDER, CommandSigner
from tests.e2e.cli_platform import SERVER_VARIABLES, CliPlatform
from tests.e2e.operator_actions import wait_for

pytestmark = pytest.mark.timeout(900)

# The platform promises two seconds. Other processes on the machine of the tests may need the processors.
TIMEOUT_S = "30"
RESTING_ORDER = {"symbol": "AAPL", "side": "BUY", "quantity": "1", "order_type": "LIMIT", "limit_price": "1"}


class BrokerPlatform(CliPlatform):
    """A platform on the local broker, whose orders the test reads directly."""

    broker_port: int

    def orders(self) -> list[dict[str, Any]]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.broker_port}/control/state", timeout=60) as response:
            found: list[dict[str, Any]] = json.load(response)["orders"]
        return found

    def open_orders(self) -> list[str]:
        ended = ("filled", "canceled", "expired", "rejected", "replaced")
        return [str(order["client_order_id"]) for order in self.orders() if order["status"] not in ended]

    def rest_order(self) -> None:
        """Submit a limit order that rests, and wait until it works at the broker.

        Directly after a start, risk rejects orders until there are prices and the gateway is reconciled. The order is
        then submitted again.
        """
        before = {str(order["client_order_id"]) for order in self.orders()}
        addresses = json.loads((self.home.secrets / "endpoints.json").read_text())
        kafka = platform_settings(self.home, addresses).kafka
        terms = {**RESTING_ORDER, "time_in_force": "GTC"}

        def works_at_broker() -> bool:
            return any("ord-cmd-" in name and name not in before for name in self.open_orders())

        deadline = time.monotonic() + 300
        while not works_at_broker():
            assert time.monotonic() < deadline, "no order works at the broker"
            order = new_command("SUBMIT_ORDER", actor="test", reason="", arguments=terms)
            signer = CommandSigner(self.home.secrets / FOLDER, COMMAND_LINE)
            send(kafka.cluster, order, prefix=kafka.topic_prefix, signer=signer)
            submitted_s = time.monotonic()
            while not works_at_broker() and time.monotonic() < submitted_s + 15:
                time.sleep(0.2)

    def halt(self) -> dict[str, Any]:
        """Turn the kill switch on. It must succeed, and no order may work at the broker afterwards."""
        outcome: dict[str, Any] = json.loads(
            self.run("kill-switch", "on", "--reason", "outage", "--timeout", TIMEOUT_S, "--json")
        )
        assert outcome["safe"] and not self.open_orders(), outcome
        print(
            f"kill-switch on: {outcome['gateway']}, confirmed_s {outcome['confirmed_s']}, {outcome['elapsed_s']:.2f} s"
        )
        return outcome

    def status(self) -> HaltStatus:
        """Read what `kill-switch status` prints, without the start of a process for each poll."""
        with patch.dict(os.environ):
            for name in SERVER_VARIABLES:
                os.environ.pop(name, None)
            return read_halt_status(self.home)

    def release(self) -> None:
        """Wait until risk has followed the flag, then resume trading."""
        wait_for(lambda: self.status().risk == "HALTED", "risk follows")
        self.run("kill-switch", "off", "--reason", "over")
        wait_for(lambda: self.status().state == "ACTIVE", "trading is resumed")

    def pids(self, *services: str) -> list[int]:
        state = read_state(self.home)
        assert state is not None
        found = [child.pid for child in state.children if child.name in services and child.pid is not None]
        assert len(found) == len(services), services
        return found


@contextmanager
def stopped(pids: Sequence[int]) -> Iterator[None]:
    """Stop processes and their children during the block: they respond to nothing, and their ports stay open."""
    processes = [process for pid in pids for process in (psutil.Process(pid), *psutil.Process(pid).children(True))]
    for process in processes:
        process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            if process.is_running():
                process.send_signal(signal.SIGCONT)


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerPlatform]:
    platform = BrokerPlatform(tmp_path_factory.mktemp("halt") / "home")
    platform.broker_port = free_ports(1)[0]
    platform.environment |= {
        "PLATFORM_ALPACA_PORT": str(platform.broker_port),
        # Three requests each: the broker takes 200 a minute, and the gateway sends at most 180.
        "EXECUTION__ALPACA__RECONCILE_S": "2",
    }
    try:
        platform.run("start", "--broker", "local-alpaca")
        yield platform
    finally:
        platform.cli("stop")


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
    platform.run("start", "--broker", "local-alpaca")
    wait_for(lambda: platform.status().gateway == "CONFIRMED", "the new gateway confirms")
    assert not platform.open_orders()
    platform.release()
    platform.rest_order()
