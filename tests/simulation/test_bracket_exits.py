"""A bracket at a broker whose reports are late, doubled and out of order, with restarts, cancels and amendments."""

from __future__ import annotations

import random
from decimal import Decimal
from typing import Any

import pytest

from dataflows.broker.alpaca_api import order_body
from dataflows.broker.updates import update_from_order, update_from_stream
from deploy.alpaca_server.broker_order import OPEN_STATES, BrokerApiError, BrokerOrder
from deploy.alpaca_server.order_book import BrokerBook
from operators.gateway import GatewaySettings, GatewayStage
from schemas.records import BUY, GTC, REJECTED, SELL, SUBMIT, BrokerUpdate, OrderIntent, Record
from tests.builders import broker_account, broker_update, order, order_cancel

EXITS: dict[str, Any] = {"group_id": "g", "parent_id": "prop-1", "reduce_only": True, "time_in_force": GTC}


class BracketRun:
    """The gateway and the broker's book. Each step delivers a random part of the reports that are on their way."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.stage, self.now = GatewayStage(GatewaySettings()), 0
        self.book = BrokerBook(self._report, lambda: "2024-01-02T00:00:00Z")
        self.names: dict[str, str] = {}  # the broker's id -> client order id
        self.reports: list[BrokerUpdate] = []
        self.stops: dict[str, str] = {}  # take profit -> attached stop
        self.cancelled_stop = False  # by a person
        self.book.list_asset("AAPL", Decimal(100))
        self.step(broker_update("", "CONNECTED"), broker_account(0))

    def _report(self, event: str, one: BrokerOrder, fields: dict[str, Any]) -> None:
        self._name(one)
        if one.id in self.names:
            update = update_from_stream({"event": event, "order": one.as_json(), **fields}, self.names[one.id], 0)
            self.reports += [update] * self.random.choice((1, 1, 2))

    def _name(self, one: BrokerOrder) -> None:
        if one.is_attached and one.partner_id in self.names:
            self.names[one.id] = self.stops[self.names[one.partner_id]]
        elif not one.is_attached:
            self.names[one.id] = one.client_order_id

    def step(self, *records: Record) -> None:
        self.random.shuffle(self.reports)
        count = self.random.randint(0, len(self.reports))
        delivered, self.reports = self.reports[:count], self.reports[count:]
        if self.random.random() < 0.2:
            restored = GatewayStage(GatewaySettings())
            restored.restore(self.stage.snapshot())
            self.stage = restored
        self.now += 10**9
        for record in self.stage.on_slice(self.now, [*records, *delivered]):
            if isinstance(record, OrderIntent):
                self._send(record)
        assert self.book.positions.get("AAPL", Decimal(0)) >= 0, "exits never exceed the position"

    def _send(self, intent: OrderIntent) -> None:
        if intent.kind != SUBMIT:
            found = next((key for key, name in self.names.items() if name == intent.client_order_id), "")
            if found and self.book.orders[found].status in OPEN_STATES:
                self.book.cancel(found)
            return
        names = [name for name in (intent.client_order_id, intent.stop_client_order_id) if name]
        self.stops[intent.client_order_id] = intent.stop_client_order_id
        try:
            self.book.submit(order_body(intent, intent.client_order_id))
        except BrokerApiError as error:
            self.reports += [broker_update(name, REJECTED, text=error.message) for name in names]

    def settle(self) -> None:
        """Deliver every report, then the totals of every order, as the broker client looks them up."""
        for _ in range(60):
            self.step()
        self.reports += [update_from_order(one.as_json(), self.names[key], 0) for key, one in self.book.orders.items()]
        for _ in range(60):
            self.step()
        assert not self.reports, "all reports were delivered"

    def act(self, number: int) -> None:
        """Move the price, or let a person cancel or amend an exit."""
        action = self.random.randint(0, 9)
        open_exits = [
            name for name, one in self.stage.open_orders.items() if one.terms.side == SELL and not one.end_reason
        ]
        if action == 0 and open_exits:
            name = self.random.choice(open_exits)
            self.cancelled_stop |= self.stage.open_orders[name].has_stop
            self.step(order_cancel(number, name))
        elif action == 1 and open_exits:
            name = self.random.choice(open_exits)
            terms = self.stage.open_orders[name].terms
            prices: dict[str, Any] = {"limit_price": 112} if terms.stop_price is None else {"stop_price": 92}
            self.step(order(number, SELL, 10, replaces=name, **prices, **EXITS))
        else:
            self.book.fill_quantity_max = self.random.choice((None, Decimal(3)))
            self.book.set_price("AAPL", Decimal(self.random.choice((91, 97, 100, 104, 111, 113, 89))))
            self.step()


@pytest.mark.parametrize("seed", range(150))
def test_books_agree_and_the_stop_protects_what_is_left(seed: int) -> None:
    run = BracketRun(seed)
    entry = order(1, BUY, 10, limit_price=100) if seed % 3 else order(1, BUY, 10)
    run.step(entry, order(2, SELL, 10, limit_price=110, **EXITS), order(3, SELL, 10, stop_price=90, **EXITS))
    for number in range(10, 30):
        run.act(number)
    run.settle()
    assert run.stage.positions == {symbol: quantity for symbol, quantity in run.book.positions.items() if quantity}
    working = {run.names[key] for key, one in run.book.orders.items() if one.status in OPEN_STATES}
    for one in run.stage.open_orders.values():
        is_at_broker = one.leg is not None and one.leg.client_order_id in working
        assert is_at_broker or one.leg is None, f"{one.order_id}: the broker does not have what the gateway expects"
        assert is_at_broker or not one.has_stop or one.waits_for_parent or one.stop_held, "a stop is lost"
    bought = run.book.by_client["ord-1"].filled
    if bought and run.book.positions.get("AAPL") == bought and not run.cancelled_stop:
        assert any(one.has_stop for one in run.stage.open_orders.values()), "only a person or a trade ends the stop"
    expected = {one.leg.client_order_id for one in run.stage.open_orders.values() if one.leg is not None}
    assert working == expected, "the broker has no order that the gateway has forgotten"
