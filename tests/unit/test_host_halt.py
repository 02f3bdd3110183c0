"""`kill-switch on` and the API's halt with every server dead, and what the status and the metrics then show."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import psutil
import pytest
from alpaca.trading.enums import OrderSide, TimeInForce
from alpaca.trading.requests import LimitOrderRequest

from api.host_halt import halt_on_host, release_on_host
from api.metrics.kill_switch import kill_switch_metrics
from api.resources import Resources
from deploy.alpaca_server import AlpacaServer
from deploy.halt_status import read_halt_status
from deploy.home import Home
from deploy.host_halt import halt
from schemas.errors import Unavailable
from schemas.records import RELEASE, Command
from sinks.commands import new_command
from sinks.host_kill_switch import GatewayHaltState, GatewayReport, HostKillSwitch, new_halt_command
from tests.unit.alpaca_broker import client, local_broker

CLOSED_PORT = "127.0.0.1:1"
TIMEOUT_S = 5.0


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A state folder whose Kafka, PostgreSQL and Redis do not respond."""
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", CLOSED_PORT)
    monkeypatch.setenv("DATABASE_URL", f"postgresql://nobody@{CLOSED_PORT}/none")
    monkeypatch.setenv("REDIS_URL", f"redis://{CLOSED_PORT}")
    home = Home(tmp_path)
    home.create_folders()
    return home


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[AlpacaServer]:
    """A broker with one order of the platform `p` and one of somebody else."""
    with local_broker() as running:
        monkeypatch.setenv("EXECUTION__BROKER", "alpaca")
        monkeypatch.setenv("EXECUTION__ALPACA__PLATFORM_ID", "p")
        monkeypatch.setenv("ALPACA__URL", running.url)
        for name in ("p-ord-1", "other-1"):
            terms = {"symbol": "MSFT", "qty": 7, "side": OrderSide.BUY, "time_in_force": TimeInForce.DAY}
            client(running).submit_order(LimitOrderRequest(**terms, limit_price=5, client_order_id=name))
        yield running


def statuses(server: AlpacaServer) -> dict[str, str]:
    return {name: order.status for name, order in server.broker.book.by_client.items()}


def report_of(pid: int, state: GatewayHaltState, command_id: str = "", broker: str = "alpaca") -> GatewayReport:
    return GatewayReport(
        state=state,
        command_id=command_id,
        cancelled=0,
        open_orders=-1,
        error="",
        at_ns=0,
        pid=pid,
        process_started_at=psutil.Process().create_time() if pid == os.getpid() else 0.0,
        broker=broker,
        order_id_prefix="p-" if broker == "alpaca" else "",
    )


def test_without_any_process_the_command_cancels_at_the_broker_and_sets_the_flag(
    home: Home, server: AlpacaServer
) -> None:
    halt_command = new_halt_command("ann", "test")
    outcome = halt(home, halt_command, TIMEOUT_S)
    assert (outcome.gateway, outcome.cancelled, outcome.safe, outcome.published) == ("NOT_RUNNING", 1, True, False)
    assert statuses(server) == {"p-ord-1": "canceled", "other-1": "new"}
    assert any("not in the log yet" in problem for problem in outcome.problems)
    flag = HostKillSwitch(home.run).halt()
    assert flag is not None and flag.as_command() == halt_command


def test_a_hanging_gateway_is_no_confirmation_but_its_orders_are_cancelled(home: Home, server: AlpacaServer) -> None:
    """The report names a live process (this one), which does not act on the flag."""
    HostKillSwitch(home.run).write_report(report_of(os.getpid(), "ACTIVE"))
    outcome = halt(home, new_halt_command("ann", "test"), 1.0)
    assert (outcome.gateway, outcome.safe, outcome.cancelled) == ("PENDING", False, 1)
    assert statuses(server)["p-ord-1"] == "canceled"
    assert any("did not confirm within 1 s" in problem for problem in outcome.problems)


def test_a_dead_broker_is_no_confirmation(home: Home, server: AlpacaServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALPACA__URL", f"http://{CLOSED_PORT}")
    outcome = halt(home, new_halt_command("ann", "test"), 0.5)
    assert not outcome.safe
    assert any("the broker did not respond" in problem for problem in outcome.problems)
    assert HostKillSwitch(home.run).halt() is not None, "new orders are blocked nevertheless"


def test_the_simulated_venue_needs_no_gateway(home: Home) -> None:
    outcome = halt(home, new_halt_command("ann", "test"), 0.5)
    assert (outcome.gateway, outcome.safe, outcome.cancelled) == ("NOT_RUNNING", True, 0)


def test_a_host_without_a_state_folder_confirms_nothing(home: Home, tmp_path: Path) -> None:
    outcome = halt(Home(tmp_path / "elsewhere"), new_halt_command("ann", "test"), 0.5)
    assert (outcome.gateway, outcome.safe) == ("UNKNOWN", False)


def test_the_status_is_reported_without_any_server(home: Home) -> None:
    status = read_halt_status(home)
    assert (status.state, status.gateway, status.risk) == ("UNKNOWN", "NOT_RUNNING", "UNKNOWN")
    switch = HostKillSwitch(home.run)
    halt_command = new_halt_command("ann", "test")
    switch.engage(halt_command)
    switch.write_report(report_of(os.getpid(), "ACTIVE"))
    status = read_halt_status(home)
    assert (status.state, status.gateway, status.risk) == ("HALTED", "PENDING", "UNKNOWN")
    switch.write_report(report_of(os.getpid(), "HALTED", halt_command.command_id))
    assert read_halt_status(home).gateway == "CONFIRMED"


# -- the API -----------------------------------------------------------------------------------------------------------


class CommandLogStub:
    """Stores the commands that it acknowledges."""

    def __init__(self, *, responds: bool = True) -> None:
        self.sent, self.responds = list[Command](), responds

    def send(self, sent: Command) -> None:
        if not self.responds:
            raise Unavailable("Kafka does not respond")
        self.sent.append(sent)


def resources(home: Home, command_log: CommandLogStub) -> Resources:
    return cast(Resources, SimpleNamespace(home=home.root, command_log=command_log))


def metrics(home: Home) -> dict[str, Any]:
    return {sample.name: sample.value for metric in kill_switch_metrics(home.root) for sample in metric.samples}


def test_the_api_sets_the_flag_and_a_release_clears_it(home: Home) -> None:
    switch, log = HostKillSwitch(home.run), CommandLogStub()
    halt_command = new_halt_command("ann", "test")
    result = halt_on_host(resources(home, log), halt_command)
    assert result == (None, True) and log.sent == [halt_command]
    assert switch.halt() is not None
    release = new_command(RELEASE, actor="ann", reason="over")
    release_on_host(resources(home, log), release)
    assert switch.halt() is None and log.sent == [halt_command, release]


def test_the_api_fails_if_nobody_confirms_but_the_flag_stays(home: Home) -> None:
    switch, log = HostKillSwitch(home.run), CommandLogStub(responds=False)
    halt_command = new_halt_command("ann", "test")
    with pytest.raises(Unavailable, match="halted on this host"):
        halt_on_host(resources(home, log), halt_command)
    assert switch.halt() is not None
    with pytest.raises(Unavailable):
        release_on_host(resources(home, log), new_command(RELEASE, actor="ann", reason="over"))
    assert switch.halt() is not None, "without a release in the log, the flag stays"
    # The halt that Kafka missed precedes its release in the log.
    log.responds = True
    release = new_command(RELEASE, actor="ann", reason="over")
    release_on_host(resources(home, log), release)
    assert log.sent == [halt_command, release]


def test_the_metrics_show_an_unconfirmed_halt_after_two_seconds(home: Home) -> None:
    switch = HostKillSwitch(home.run)
    assert metrics(home)["platform_kill_switch_flag"] == 0
    recent = new_halt_command("ann", "test")
    switch.engage(recent)
    assert metrics(home)["platform_kill_switch_unconfirmed"] == 0
    old = recent._replace(ts_ns=recent.ts_ns - 3_000_000_000)
    switch.engage(old)
    assert metrics(home)["platform_kill_switch_unconfirmed"] == 1
    switch.write_report(report_of(os.getpid(), "HALTED", old.command_id))
    switch.mark_published(old.command_id)
    assert set(metrics(home).values()) == {1, 0} and metrics(home)["platform_kill_switch_unconfirmed"] == 0
