"""Time from the flag of the kill switch to the gateway's confirmation that no order works at the broker."""

from __future__ import annotations

import statistics
from pathlib import Path

from alpaca.trading.enums import OrderSide, TimeInForce
from alpaca.trading.requests import LimitOrderRequest

from dataflows.broker.alpaca_api import AlpacaApi
from dataflows.broker.alpaca_halt import AlpacaWorkingOrders
from dataflows.broker.halt_guard import HaltGuard
from dataflows.broker.submission_gate import SubmissionGate
from dataflows.broker.updates import OrderIdPrefix
from schemas.records import Command
from sinks.host_kill_switch import HostKillSwitch, is_confirmed, new_halt_command
from tests.performance.conftest import RecordFigure
from tests.unit.alpaca_broker import client, local_broker

HALTS = 8
ORDERS = 10


def test_the_gateway_confirms_every_halt(tmp_path: Path, figure: RecordFigure) -> None:
    switch = HostKillSwitch(tmp_path)
    seconds: list[float] = []
    with local_broker() as server:
        api = AlpacaApi("local", "local", paper=True, url=server.url, timeout_s=5.0)
        guard = HaltGuard(
            switch,
            AlpacaWorkingOrders(api, OrderIdPrefix("p-")),
            SubmissionGate(switch.halt),
            list[Command]().append,
            broker="alpaca",
            order_id_prefix="p-",
        )
        guard.start()
        for number in range(HALTS):
            terms = {"symbol": "MSFT", "qty": 1, "side": OrderSide.BUY, "time_in_force": TimeInForce.DAY}
            for order in range(ORDERS):
                name = f"p-{number}-{order}"
                client(server).submit_order(LimitOrderRequest(**terms, limit_price=5, client_order_id=name))
            halt_command = new_halt_command("ann", "test")
            switch.engage(halt_command)
            report = switch.wait_for_gateway(halt_command.command_id, 60.0)
            assert report is not None and is_confirmed(report, halt_command.command_id)
            assert report.cancelled == ORDERS
            seconds.append((report.at_ns - halt_command.ts_ns) / 1e9)
            switch.clear()
            assert _is_active(switch)
        guard.stop()
    middle, slowest = statistics.median(seconds), max(seconds)
    figure(f"kill switch to confirmation, {ORDERS} orders", f"p50 {middle:.3f} s, slowest of {HALTS} {slowest:.3f} s")


def _is_active(switch: HostKillSwitch) -> bool:
    """Wait until the guard has noticed the release, so that the next halt counts its own orders."""
    report = switch.wait_for_gateway("", 0.5)
    while report is None or report.state != "ACTIVE":
        report = switch.wait_for_gateway("", 0.1)
    return True
