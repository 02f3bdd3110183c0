"""The broker is lost: its server is killed and starts again with its account, or it does not respond for a while.

The gateway must reconcile with it before its next order. Each order must be at the broker once.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from deploy.chaos.fault import Fault, FaultRun, PlannedFault, RunEvidence
from deploy.chaos.faults.operators import stopped
from deploy.chaos.faults.processes import kill_child
from operators.money import ZERO, plain
from schemas.records import READY, TRADE, Execution, OrderIntent, Record

SERVER: Final = "alpaca_server"
_READY_TIMEOUT_S = 120.0
_LEG: Final = re.compile(r"\.\d+$")
"""The number of an order's leg at the broker, from the second one on (`operators/gateway/leg_sender.py`)."""
_STATES_QUERY = "SELECT state FROM gateway_statuses ORDER BY seq DESC LIMIT 1"


def _broker(run: FaultRun, fault: PlannedFault) -> str:
    stack = run.stack
    if fault.draw < 0.5:
        kill_child(stack, SERVER)
        effect = "SIGKILL to the broker's server"
    else:
        seconds = 2.0 + 6.0 * (fault.draw * 7 % 1)
        with stopped([stack.wait_for_pid(SERVER)]):
            time.sleep(seconds)
        effect = f"the broker did not respond for {seconds:.1f} s"
    stack.wait_until_healthy(SERVER)
    run.pace.advance(2)
    wait_until_ready(run)
    return effect


def wait_until_ready(run: FaultRun) -> None:
    """Wait until the gateway is reconciled with the broker. Raises DeployError."""
    run.stack.wait_for_rows(_STATES_QUERY, [(READY,)], "the gateway is reconciled", _READY_TIMEOUT_S)


def orders_at_broker(port: int) -> list[dict[str, Any]]:
    """Return all orders that the local broker has received."""
    import httpx

    response = httpx.get(f"http://127.0.0.1:{port}/control/state", timeout=30).raise_for_status()
    orders: list[dict[str, Any]] = response.json()["orders"]
    return orders


def _broker_problem(evidence: RunEvidence) -> str | None:
    orders = evidence.run.orders_at_broker
    return broker_problem(orders, evidence.records["order-intents"], evidence.records["executions"])


def broker_problem(
    orders: Sequence[Mapping[str, Any]], intents: Sequence[Record], executions: Sequence[Record]
) -> str | None:
    """Return the first order that is at the broker twice or that nobody sent, or a fill that the broker does not have.

    `orders` are the broker's. Its last fills may be missing in `executions`, because the feed has stopped.
    """
    counts = Counter(str(order["client_order_id"]) for order in orders)
    requests = [intent for intent in intents if type(intent) is OrderIntent]
    sent = {intent.client_order_id: intent.order_id for intent in requests}
    # The broker names the stop of an OCO order itself; the platform knows it by the name of the take profit.
    stops = {
        one.client_order_id: _LEG.sub("", one.stop_client_order_id) for one in requests if one.stop_client_order_id
    }
    filled: dict[str, Decimal] = {}
    for order in orders:
        name = str(order["client_order_id"])
        if counts[name] != 1:
            return f"order {name} is at the broker {counts[name]} times, expected once"
        # The platform's id precedes its own id of the order.
        known, key = (stops, str(order["attached_to"])) if order["attached_to"] else (sent, name)
        order_id = known.get(key.partition("-")[2])
        if order_id is None:
            return f"order {name} is at the broker, but topic order-intents does not hold it"
        filled[order_id] = filled.get(order_id, ZERO) + Decimal(str(order["filled_qty"]))
    booked: dict[str, Decimal] = {}
    for record in executions:
        if type(record) is Execution and record.exec_type == TRADE:
            booked[record.order_id] = booked.get(record.order_id, ZERO) + record.quantity
    for order_id, quantity in booked.items():
        if quantity > filled.get(order_id, ZERO):
            at_broker = plain(filled.get(order_id, ZERO))
            return f"order {order_id}: {plain(quantity)} units are booked, {at_broker} were filled"
    return None


BROKER = Fault((SERVER,), _broker, _broker_problem)
