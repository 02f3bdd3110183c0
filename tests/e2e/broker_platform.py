"""A platform on the local broker, whose account the tests read and change directly."""

from __future__ import annotations

import json
import os
import signal
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import psutil

from api.reconciliation import reconciliation_report
from deploy.halt_status import HaltStatus, read_halt_status
from deploy.local.ports import free_ports
from deploy.recovery.recorded_topics import platform_settings
from deploy.supervisor.state import read_state
from sinks.commands import new_command, send
from sinks.database import open_engine
from sinks.signing_keys import COMMAND_LINE, FOLDER, CommandSigner
from tests.e2e.cli_platform import SERVER_VARIABLES, CliPlatform
from tests.e2e.operator_actions import wait_for

# The platform promises two seconds. Other processes on the machine of the tests may need the processors.
TIMEOUT_S = "30"
RESTING_ORDER = {"symbol": "AAPL", "side": "BUY", "quantity": "1", "order_type": "LIMIT", "limit_price": "1"}
BROKER_OPTIONS = ("--broker", "local-alpaca")


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

    def is_reconciled(self) -> bool:
        """Return whether `reconcile show` would exit with 0, without the start of a process for each poll."""
        engine = open_engine(self.database_url, pool_size=1)
        try:
            with closing(engine.connect()) as db:
                report = reconciliation_report(db, {})
        finally:
            engine.dispose()
        return report.state == "READY" and not report.positions and not report.orders

    def pids(self, *services: str) -> list[int]:
        """Return the pids of the processes that run these services."""
        state = read_state(self.home)
        assert state is not None
        names = {self.process_of(service) for service in services}
        found = [child.pid for child in state.children if child.name in names and child.pid is not None]
        assert len(found) == len(names), names
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


@contextmanager
def started_broker_platform(home: Path, *options: str) -> Iterator[BrokerPlatform]:
    """Start a platform on the local broker, wait until its books agree, and discard it at the end of the block.

    `options` are further ones of `start`.
    """
    platform = BrokerPlatform(home)
    platform.broker_port = free_ports(1)[0]
    platform.environment |= {
        "PLATFORM_ALPACA_PORT": str(platform.broker_port),
        # Three requests each: the broker takes 200 a minute, and the gateway sends at most 180.
        "EXECUTION__ALPACA__RECONCILE_S": "2",
        # Only a person trades: the strategy never decides anything.
        "SIGNALS__STRATEGIES": json.dumps([{"name": "fundamental_value"}]),
    }
    try:
        platform.run("start", *BROKER_OPTIONS, *options)
        wait_for(platform.is_reconciled, "the gateway is reconciled")
        yield platform
    finally:
        platform.discard()
