"""Run the gateway stage, its broker client and the local broker without topics. A test runs each time slice itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from configs.settings import AlpacaGatewaySection
from dataflows.broker.alpaca_api import AlpacaApi
from dataflows.broker.broker_client import BrokerClient
from dataflows.broker.trade_updates_stream import TradeUpdatesStream
from dataflows.broker.updates import OrderIdPrefix
from deploy.alpaca_server import AlpacaServer
from operators.gateway import GatewaySettings, GatewayStage
from operators.money import ZERO
from schemas.records import (
    BUY,
    READY,
    REJECTED,
    TRADE,
    BrokerUpdate,
    CashTransfer,
    Execution,
    GatewayStatus,
    OrderIntent,
    Record,
)

FAST_EDGE_SETTINGS = AlpacaGatewaySection(settle_s=0.6, refetch_s=0.1, poll_s=0.4, reconcile_s=0.4)
PREFIX = "p-"


class GatewaySession:
    """A gateway stage and a broker client that are connected to a local broker.

    `kill` drops the broker client, its queue and its socket, as a killed process does. `intents` survive.
    """

    def __init__(
        self,
        server: AlpacaServer,
        *,
        timeout_s: float = 0.5,
        edge: AlpacaGatewaySection = FAST_EDGE_SETTINGS,
        reconcile_first: bool = False,
        cash_tolerance: Decimal | None = None,
    ) -> None:
        self.server, self._timeout_s, self._edge_settings = server, timeout_s, edge
        self._reconcile_first = reconcile_first
        self.stage = GatewayStage(GatewaySettings(cash_tolerance=cash_tolerance))
        self.transfers: list[CashTransfer] = []
        self.intents: list[OrderIntent] = []
        self.executions: list[Execution] = []
        self.statuses: list[GatewayStatus] = []
        self.rejected_client_order_ids: set[str] = set()
        self._edge_records: list[Record] = []
        self._lock = threading.Lock()
        self.open()

    def open(self) -> None:
        api = AlpacaApi("local", "local", paper=True, url=self.server.url, timeout_s=self._timeout_s)
        self.edge = BrokerClient(
            api,
            OrderIdPrefix(PREFIX),
            self._edge_settings,
            self._receive,
            reconcile_retry_s=0.1,
            disconnected_after_s=0.5,
            reconcile_first=self._reconcile_first,
        )
        self._stream = TradeUpdatesStream(
            "local",
            "local",
            paper=True,
            url=self.server.url,
            on_state=self.edge.on_state,
            on_update=self.edge.on_update,
        )
        closed_order_ids = {
            execution.order_id
            for execution in self.executions
            if execution.exec_type != "NEW" and not execution.leaves_quantity
        }
        self.edge.enqueue([(intent, True) for intent in self.intents if intent.order_id not in closed_order_ids])
        self.edge.start()
        self._stream.start()

    def kill(self) -> None:
        self._stream.shut_down()
        self.edge.stop()

    def _receive(self, record: Any) -> None:
        with self._lock:
            self._edge_records.append(record)
            if isinstance(record, BrokerUpdate) and record.event == REJECTED:
                self.rejected_client_order_ids.add(record.client_order_id)

    def step(self, *records: Record) -> None:
        with self._lock:
            edge_records, self._edge_records = self._edge_records, []
        output = self.stage.on_slice(time.time_ns(), [*records, *edge_records])
        new_intents = [record for record in output if isinstance(record, OrderIntent)]
        self.intents += new_intents
        self.executions += [record for record in output if isinstance(record, Execution)]
        self.transfers += [record for record in output if isinstance(record, CashTransfer)]
        for record in output:
            if isinstance(record, GatewayStatus):
                self.statuses.append(record)
                self.edge.on_gateway_status(record)
        self.edge.enqueue([(intent, False) for intent in new_intents])
        assert not self.edge.failed

    def run_until(self, condition: Callable[[], bool], expectation: str, timeout_s: float = 60.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, (
                f"{expectation} did not happen: {self.statuses[-2:]} {self.executions[-3:]}"
            )
            self.step()
            time.sleep(0.02)

    def run_until_ready(self) -> None:
        self.run_until(lambda: bool(self.statuses) and self.statuses[-1].state == READY, "READY")

    def trades(self, order_id: str) -> list[Any]:
        return [(t.quantity, t.price) for t in self.executions if t.order_id == order_id and t.exec_type == TRADE]

    def final_exec_type(self, order_id: str) -> str | None:
        """Return the `exec_type` of the execution that closed the order."""
        for execution in self.executions:
            if execution.order_id == order_id and execution.exec_type != "NEW" and not execution.leaves_quantity:
                return execution.exec_type
        return None

    def position(self, symbol: str) -> Decimal:
        fills = [fill for fill in self.executions if fill.symbol == symbol and fill.exec_type == TRADE]
        return sum((fill.quantity if fill.side == BUY else -fill.quantity for fill in fills), ZERO)
