"""The gateway's stage, the edge behind it and the local broker, run together without topics: ticks come by hand."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from dataflows.broker.broker_client import BrokerEdge, EdgeSettings
from dataflows.broker.http_api import AlpacaApi
from dataflows.broker.stream import UpdatesStream
from dataflows.broker.updates import Named
from deploy.alpaca_server import Server
from operators.gateway import GatewaySettings, GatewayStage
from operators.money import ZERO
from schemas.records import BUY, READY, TRADE, Execution, GatewayStatus, OrderIntent, Record

QUICK = EdgeSettings(settle_s=0.6, refetch_s=0.1, poll_s=0.4, reconcile_s=0.4, retry_books_s=0.1, away_s=0.5)
PREFIX = "p-"


class Session:
    """`kill` loses what a killed process would: the edge, its queue and its socket. `intents` are on record."""

    def __init__(self, server: Server, *, timeout_s: float = 0.5, edge: EdgeSettings = QUICK) -> None:
        self.server, self._timeout_s, self._edge_settings = server, timeout_s, edge
        self.stage = GatewayStage(GatewaySettings())
        self.intents: list[OrderIntent] = []
        self.executions: list[Execution] = []
        self.statuses: list[GatewayStatus] = []
        self._told: list[Record] = []
        self._lock = threading.Lock()
        self.open()

    def open(self) -> None:
        api = AlpacaApi("local", "local", paper=True, url=self.server.url, timeout_s=self._timeout_s)
        self.edge = BrokerEdge(api, Named(PREFIX), self._edge_settings, self._tell)
        self._stream = UpdatesStream(
            "local",
            "local",
            paper=True,
            url=self.server.url,
            on_state=self.edge.on_state,
            on_update=self.edge.on_update,
        )
        ended = {one.order_id for one in self.executions if one.exec_type != "NEW" and not one.leaves_quantity}
        self.edge.take([(intent, True) for intent in self.intents if intent.order_id not in ended])
        self.edge.start()
        self._stream.start()

    def kill(self) -> None:
        self._stream.end()
        self.edge.end()

    def _tell(self, record: Any) -> None:
        with self._lock:
            self._told.append(record)

    def tick(self, *records: Record) -> None:
        with self._lock:
            told, self._told = self._told, []
        made = self.stage.on_tick(time.time_ns(), [*records, *told])
        asked = [record for record in made if isinstance(record, OrderIntent)]
        self.intents += asked
        self.executions += [record for record in made if isinstance(record, Execution)]
        for record in made:
            if isinstance(record, GatewayStatus):
                self.statuses.append(record)
                self.edge.ready = record.state == READY
        self.edge.take([(intent, False) for intent in asked])
        assert not self.edge.dead

    def until(self, condition: Callable[[], bool], what: str, within_s: float = 15.0) -> None:
        deadline = time.monotonic() + within_s
        while not condition():
            assert time.monotonic() < deadline, f"{what} did not happen: {self.statuses[-2:]} {self.executions[-3:]}"
            self.tick()
            time.sleep(0.02)

    def until_ready(self) -> None:
        self.until(lambda: bool(self.statuses) and self.statuses[-1].state == READY, "READY")

    def trades(self, order_id: str) -> list[Any]:
        return [(t.quantity, t.price) for t in self.executions if t.order_id == order_id and t.exec_type == TRADE]

    def ended(self, order_id: str) -> str | None:
        """The exec_type that ended the order."""
        for one in self.executions:
            if one.order_id == order_id and one.exec_type != "NEW" and not one.leaves_quantity:
                return one.exec_type
        return None

    def position(self, symbol: str) -> Decimal:
        mine = [one for one in self.executions if one.symbol == symbol and one.exec_type == TRADE]
        return sum((one.quantity if one.side == BUY else -one.quantity for one in mine), ZERO)
