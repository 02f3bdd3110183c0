"""The kill switch of a host: its flag, the guard at the broker, and the stages that apply its command."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dataflows.broker.alpaca_api import AlpacaApi
from dataflows.broker.alpaca_halt import AlpacaWorkingOrders
from dataflows.broker.broker_errors import BrokerUncertain
from dataflows.broker.halt_guard import SWEEP_S, HaltGuard, NoWorkingOrders
from dataflows.broker.request_budget import RESERVED_FOR_CANCELS, RequestBudget
from dataflows.broker.submission_gate import SubmissionGate
from dataflows.broker.updates import OrderIdPrefix
from deploy.alpaca_server import AlpacaServer
from operators.gateway import GatewaySettings, GatewayStage
from operators.kill_switch import AT_ONCE
from operators.venue import VenueSettings, VenueStage
from schemas.errors import Unavailable
from schemas.records import CANCELED, NEW, REJECTED, TRADE, Command, Execution, OrderIntent, Record
from sinks.host_kill_switch import FLAG_FILE, HostKillSwitch, is_confirmed, new_halt_command
from tests.builders import bar, command, fence, order
from tests.unit.alpaca_broker import local_broker, wait_for
from tests.unit.gateway_session import FAST_EDGE_SETTINGS, PREFIX, GatewaySession


class WorkingOrdersStub:
    """Orders at a broker that end as soon as they are cancelled, unless they `stay_open`. `failures` requests get no
    response.
    """

    def __init__(self, *broker_ids: str, failures: int = 0, stay_open: bool = False) -> None:
        self.open, self.cancelled, self.failures = list(broker_ids), list[str](), failures
        self.stay_open, self.listed = stay_open, 0

    def broker_ids(self) -> dict[str, bool]:
        self.listed += 1
        if self.failures:
            self.failures -= 1
            raise BrokerUncertain("timeout")
        return dict.fromkeys(self.open, False)

    def cancel(self, broker_id: str) -> None:
        if not self.stay_open:
            self.open.remove(broker_id)
        self.cancelled.append(broker_id)


@pytest.fixture
def switch(tmp_path: Path) -> HostKillSwitch:
    return HostKillSwitch(tmp_path)


def make_guard(
    switch: HostKillSwitch, orders: WorkingOrdersStub | NoWorkingOrders, published: list[Command] | None = None
) -> HaltGuard:
    gate = SubmissionGate(switch.halt)
    publish = ([] if published is None else published).append
    return HaltGuard(switch, orders, gate, publish, broker="alpaca", order_id_prefix=PREFIX)


# -- the flag ----------------------------------------------------------------------------------------------------------


def test_the_flag_survives_and_names_its_command(switch: HostKillSwitch, tmp_path: Path) -> None:
    assert switch.halt() is None
    halt_command = new_halt_command("ann", "test")
    switch.engage(halt_command)
    halt = HostKillSwitch(tmp_path).halt()
    assert halt is not None and halt.as_command() == halt_command
    assert os.stat(tmp_path / FLAG_FILE).st_mode & 0o077 == 0, "only the owner reads the reason"
    switch.clear()
    assert switch.halt() is None and HostKillSwitch(tmp_path).halt() is None


@pytest.mark.parametrize("content", ["", "{", "[]", '{"state": "ACTIVE"}'])
def test_a_flag_that_cannot_be_read_halts(switch: HostKillSwitch, tmp_path: Path, content: str) -> None:
    (tmp_path / FLAG_FILE).write_text(content)
    halt = switch.halt()
    assert halt is not None and "cannot read" in halt.reason and not switch.can_publish(halt)


def test_a_second_halt_replaces_the_first_one(switch: HostKillSwitch) -> None:
    switch.engage(new_halt_command("ann", "first"))
    first = switch.halt()
    switch.engage(new_halt_command("bob", "second"))
    second = switch.halt()
    assert first is not None and second is not None
    assert (first.reason, second.reason) == ("first", "second")


# -- the guard ---------------------------------------------------------------------------------------------------------


def test_the_guard_cancels_every_order_and_then_confirms(switch: HostKillSwitch) -> None:
    orders = WorkingOrdersStub("b-1", "b-2")
    guard = make_guard(switch, orders)
    guard.step(0.0)
    assert switch.read_report() is None and not orders.cancelled
    halt_command = new_halt_command("ann", "test")
    switch.engage(halt_command)
    guard.step(0.1)
    assert orders.cancelled == ["b-1", "b-2"]
    assert not is_confirmed(switch.read_report(), halt_command.command_id), "the orders were still listed"
    guard.step(0.2)
    report = switch.read_report()
    assert is_confirmed(report, halt_command.command_id)
    assert report is not None and (report.cancelled, report.open_orders) == (2, 0)
    switch.clear()
    guard.step(0.3)
    report = switch.read_report()
    assert report is not None and report.state == "ACTIVE"


def test_the_guard_confirms_each_halt_separately(switch: HostKillSwitch) -> None:
    guard = make_guard(switch, WorkingOrdersStub())
    switch.engage(new_halt_command("ann", "first"))
    guard.step(0.0)
    second = new_halt_command("ann", "second")
    switch.engage(second)
    assert not is_confirmed(switch.read_report(), second.command_id)
    guard.step(0.1)
    assert is_confirmed(switch.read_report(), second.command_id)


def test_no_response_from_the_broker_is_no_confirmation(switch: HostKillSwitch) -> None:
    guard = make_guard(switch, WorkingOrdersStub("b-1", failures=1))
    halt_command = new_halt_command("ann", "test")
    switch.engage(halt_command)
    guard.step(0.0)
    report = switch.read_report()
    assert report is not None and report.state == "PENDING" and "no response" in report.error
    guard.step(0.1)
    guard.step(0.2)
    assert is_confirmed(switch.read_report(), halt_command.command_id)


def test_orders_that_stay_open_do_not_use_up_the_requests_of_a_minute(switch: HostKillSwitch) -> None:
    orders = WorkingOrdersStub("b-1", stay_open=True)
    guard = make_guard(switch, orders)
    switch.engage(new_halt_command("ann", "test"))
    for tenths in range(600):
        guard.step(tenths / 10)
    assert 30 <= orders.listed <= 40, "every two seconds, and more often at first"


def test_requests_of_the_guard_count_for_the_other_requests(server: AlpacaServer) -> None:
    budget, start_s = (
        RequestBudget(RESERVED_FOR_CANCELS + 2),
        time.monotonic(),
    )  # at the start, no request is a minute old
    api = AlpacaApi("local", "local", paper=True, url=server.url, timeout_s=2.0)
    orders = AlpacaWorkingOrders(api, OrderIdPrefix(PREFIX), budget)
    for _ in range(2):
        assert budget.allows(start_s)
        orders.broker_ids()
    assert not budget.allows(start_s), "the rest is reserved for cancels"
    assert budget.allows(start_s, cancel=True)


def test_an_order_in_transit_delays_the_confirmation(switch: HostKillSwitch) -> None:
    orders, gate = WorkingOrdersStub(), SubmissionGate(switch.halt)
    guard = HaltGuard(switch, orders, gate, list[Command]().append, broker="alpaca", order_id_prefix=PREFIX)
    halt_command = new_halt_command("ann", "test")
    with gate.submission():
        switch.engage(halt_command)
        guard.step(0.0)
        assert not is_confirmed(switch.read_report(), halt_command.command_id)
        orders.open.append("b-1")
    guard.step(0.1)
    guard.step(0.4)
    assert orders.cancelled == ["b-1"] and is_confirmed(switch.read_report(), halt_command.command_id)


def test_an_order_that_reaches_the_broker_later_is_cancelled(switch: HostKillSwitch) -> None:
    orders = WorkingOrdersStub()
    guard = make_guard(switch, orders)
    switch.engage(new_halt_command("ann", "test"))
    guard.step(0.0)
    orders.open.append("late")
    guard.step(SWEEP_S)
    assert orders.cancelled == ["late"]


def test_a_halt_without_kafka_is_published_later_and_once(switch: HostKillSwitch) -> None:
    published: list[Command] = []
    guard = make_guard(switch, NoWorkingOrders(), published)
    halt_command = new_halt_command("ann", "test")
    switch.engage(halt_command)
    guard.publish_missing(halt_command.ts_ns)
    assert not published, "the command that set the flag has time to publish it"
    for seconds in (10, 20):
        guard.publish_missing(halt_command.ts_ns + seconds * 1_000_000_000)
    assert published == [halt_command]


def test_a_failed_publication_is_repeated(switch: HostKillSwitch) -> None:
    attempts: list[Command] = []

    def publish(halt_command: Command) -> None:
        attempts.append(halt_command)
        if len(attempts) == 1:
            raise Unavailable("Kafka does not respond")

    gate = SubmissionGate(switch.halt)
    guard = HaltGuard(switch, NoWorkingOrders(), gate, publish, broker="simulated", order_id_prefix="")
    halt_command = new_halt_command("ann", "test")
    switch.engage(halt_command)
    for seconds in (10, 20, 30):
        guard.publish_missing(halt_command.ts_ns + seconds * 1_000_000_000)
    assert attempts == [halt_command, halt_command]


# -- the broker client and a real server -------------------------------------------------------------------------------


@pytest.fixture
def server() -> Iterator[AlpacaServer]:
    with local_broker() as running:
        yield running


class GuardedSession(GatewaySession):
    """A gateway session whose broker client and guard follow a flag. The stage receives no command and no fence."""

    def __init__(self, server: AlpacaServer, switch: HostKillSwitch) -> None:
        self.switch = switch
        super().__init__(server, edge=FAST_EDGE_SETTINGS)

    def open(self) -> None:
        gate = SubmissionGate(self.switch.halt)
        order_ids = OrderIdPrefix(PREFIX)
        guard_api = AlpacaApi("local", "local", paper=True, url=self.server.url, timeout_s=2.0)
        self.guard = HaltGuard(
            self.switch,
            AlpacaWorkingOrders(guard_api, order_ids),
            gate,
            list[Command]().append,
            broker="alpaca",
            order_id_prefix=PREFIX,
        )
        self.guard.start()
        super().open()
        self.edge._closed_reason = gate.closed_reason
        self.edge._api._submission = gate.submission

    def kill(self) -> None:
        self.guard.stop()
        super().kill()

    def halt(self) -> Command:
        halt_command = new_halt_command("ann", "test")
        self.switch.engage(halt_command)
        return halt_command


@pytest.fixture
def session(server: AlpacaServer, switch: HostKillSwitch) -> Iterator[GuardedSession]:
    guarded = GuardedSession(server, switch)
    guarded.run_until_ready()
    yield guarded
    guarded.kill()


def test_the_flag_cancels_at_the_broker_and_blocks_new_orders_without_any_record(
    server: AlpacaServer, session: GuardedSession
) -> None:
    session.step(order(1, limit_price=50), order(2, limit_price=50))
    session.run_until(lambda: len(server.broker.book.by_client) == 2, "both orders arrive")
    halt_command = session.halt()
    report = session.switch.wait_for_gateway(halt_command.command_id, 60.0)
    assert is_confirmed(report, halt_command.command_id), report
    assert [o.status for o in server.broker.book.orders.values()] == ["canceled", "canceled"]
    session.step(order(3))
    session.run_until(lambda: session.final_exec_type("ord-3") == REJECTED, "the new order is rejected")
    assert "the kill switch is on (ann): test" in session.executions[-1].text
    session.run_until(lambda: session.final_exec_type("ord-2") == CANCELED, "the cancels reach the books")
    assert session.final_exec_type("ord-1") == CANCELED
    assert PREFIX + "ord-3" not in server.broker.book.by_client

    # A restarted gateway is blocked before its first request.
    session.kill()
    session.step(order(4))
    session.open()
    session.run_until_ready()
    session.run_until(lambda: session.final_exec_type("ord-4") == REJECTED, "the order of the restart is rejected")
    assert set(server.broker.book.submission_counts) == {PREFIX + "ord-1", PREFIX + "ord-2"}

    session.switch.clear()
    session.step(order(5))
    session.run_until(lambda: PREFIX + "ord-5" in server.broker.book.by_client, "orders are sent after the release")


def test_an_order_without_a_response_is_cancelled_when_it_arrives(
    server: AlpacaServer, session: GuardedSession
) -> None:
    server.broker.plan_fault("submit", "lost_answer", 1, delay_s=1.0)
    session.step(order(1, limit_price=50))
    session.run_until(lambda: PREFIX + "ord-1" in server.broker.book.by_client, "the order arrives")
    session.halt()
    session.run_until(lambda: session.final_exec_type("ord-1") == CANCELED, "the order is cancelled")
    assert server.broker.book.submission_counts == {PREFIX + "ord-1": 1}


def test_orders_of_others_on_the_account_stay(server: AlpacaServer, session: GuardedSession) -> None:
    from alpaca.trading.enums import OrderSide, TimeInForce
    from alpaca.trading.requests import LimitOrderRequest

    from tests.unit.alpaca_broker import client

    terms = {"symbol": "MSFT", "qty": 7, "side": OrderSide.BUY, "time_in_force": TimeInForce.DAY, "limit_price": 5}
    client(server).submit_order(LimitOrderRequest(**terms))
    halt_command = session.halt()
    report = session.switch.wait_for_gateway(halt_command.command_id, 60.0)
    assert is_confirmed(report, halt_command.command_id), report
    [foreign] = server.broker.book.orders.values()
    assert foreign.status == "new"


def test_the_guard_acts_while_the_broker_client_is_blocked(server: AlpacaServer, session: GuardedSession) -> None:
    """The lease check of an order waits for PostgreSQL. It must not delay the halt."""
    session.step(order(1, limit_price=50))
    session.run_until(lambda: PREFIX + "ord-1" in server.broker.book.by_client, "the order arrives")
    released: list[bool] = []

    def blocked() -> bool:
        wait_for(lambda: bool(released), "the end of the block")
        return True

    session.edge._api._may_submit = blocked
    session.step(order(2, limit_price=50))
    time.sleep(0.1)
    halt_command = session.halt()
    report = session.switch.wait_for_gateway(halt_command.command_id, 60.0)
    assert is_confirmed(report, halt_command.command_id), report
    assert server.broker.book.by_client[PREFIX + "ord-1"].status == "canceled"
    released.append(True)
    session.run_until(lambda: session.final_exec_type("ord-2") == REJECTED, "the blocked order is rejected")


# -- the stages --------------------------------------------------------------------------------------------------------


def executions(records: list[Record]) -> list[tuple[str, str]]:
    return [(record.order_id, record.exec_type) for record in records if isinstance(record, Execution)]


def test_the_venue_cancels_in_the_slice_of_the_command_before_its_bars() -> None:
    venue = VenueStage(VenueSettings(fee_model="none"))
    halt = command("cmd-1", arguments=AT_ONCE)
    assert executions(venue.on_slice(1, [order(1), halt, bar("AAPL", 1, 1)])) == [("ord-1", NEW), ("ord-1", CANCELED)]
    assert executions(venue.on_slice(2, [fence(2, epoch=1), bar("AAPL", 2, 2)])) == []


def test_a_command_of_an_earlier_release_takes_effect_with_the_fence() -> None:
    venue = VenueStage(VenueSettings(fee_model="none"))
    records: list[Record] = [order(1), command("cmd-1"), bar("AAPL", 1, 1)]
    assert executions(venue.on_slice(1, records)) == [("ord-1", NEW), ("ord-1", TRADE)]


def test_the_gateway_cancels_in_the_slice_of_the_command() -> None:
    gateway = GatewayStage(GatewaySettings())
    first = [record for record in gateway.on_slice(1, [order(1)]) if isinstance(record, OrderIntent)]
    assert [intent.kind for intent in first] == ["SUBMIT"]
    second = gateway.on_slice(2, [command("cmd-1", arguments=AT_ONCE)])
    assert [intent.kind for intent in second if isinstance(intent, OrderIntent)] == ["CANCEL"]
