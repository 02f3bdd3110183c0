"""Random orders, prices and changes at the local broker: its books equal a recount of the fills after every step."""

from __future__ import annotations

import random
from collections import defaultdict
from decimal import Decimal
from typing import Any

import pytest

from deploy.alpaca_server.broker_order import BrokerApiError, BrokerOrder
from deploy.alpaca_server.order_book import CLOSED, EXTENDED, REGULAR, BrokerBook
from tests.unit.alpaca_order_cases import ACCEPTED
from tests.unit.alpaca_requests import COIN, STOCK, group

SYMBOLS = (STOCK, STOCK, STOCK, "MSFT", COIN)
PRICES = ("80", "89", "91", "99", "100", "101", "109", "111", "120")
OCO = group("oco", "120", "80", side="sell", type="limit")


class BookRun:
    """A book, and a recount of cash and positions from the fills that it reports."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.book = BrokerBook(self._count, lambda: "2026-03-02T15:00:00.000000000Z")
        self.cash, self.held = Decimal(1_000_000), defaultdict[str, Decimal](Decimal)
        for symbol in ("AAPL", "MSFT", COIN):
            self.book.list_asset(symbol, Decimal(100))

    def _count(self, event: str, order: BrokerOrder, fields: dict[str, Any]) -> None:
        if event not in ("fill", "partial_fill"):
            return
        units = Decimal(fields["qty"]) * (1 if order.is_buy else -1)
        before = self.held[order.symbol]
        assert units and before * (before + units) >= 0, "an order fills, and never takes a position through zero"
        self.held[order.symbol] += units
        self.cash -= units * Decimal(fields["price"])

    def step(self) -> None:
        try:
            self._act()
        except BrokerApiError as error:
            assert 400 <= error.status < 500 and error.message

    def _act(self) -> None:
        pick, book = self.random.choice, self.book
        action = self.random.randint(0, 19)
        order_id = pick([*book.orders, "none"])
        if action < 5:
            order = dict(pick([*ACCEPTED.values(), OCO]), symbol=pick(SYMBOLS))
            if "qty" in order:
                order["qty"] = pick(("1", "2", "5", "0.5"))
            if self.random.random() < 0.3:
                order["side"] = pick(("buy", "sell"))
            book.submit(order)
        elif action < 7:
            side, target, stop = pick((("buy", "110", "90"), ("sell", "90", "110")))
            book.submit(group("bracket", target, stop, side=side, qty="5", time_in_force="gtc"))
        elif action < 14:
            book.set_price(pick(SYMBOLS), Decimal(pick(PRICES)))
        elif action == 14:
            book.fill_quantity_max = pick((None, Decimal(1), Decimal(2)))
        elif action == 15:
            book.set_session(pick((REGULAR, REGULAR, REGULAR, EXTENDED, CLOSED)))
        elif action == 16:
            book.cancel(order_id)
        elif action == 17:
            name = pick(("qty", "limit_price", "stop_price", "trail"))
            book.replace(order_id, {name: pick(("1", "3", "7", "85", "95", "105", "115"))})
        elif action == 18:
            book.close_position(pick(SYMBOLS), pick(({}, {"qty": "1"}, {"percentage": "50"})))
        else:
            book.set_price(STOCK, Decimal(100))

    def check(self) -> None:
        book = self.book
        assert book.cash == self.cash
        assert book.positions == {symbol: units for symbol, units in self.held.items() if units}
        assert book.positions.keys() == book.costs.keys()
        for symbol, units in book.positions.items():
            assert book.costs[symbol] * units > 0, "the average entry price is positive"
            assert book.held_quantity(symbol, "sell" if units > 0 else "buy") <= abs(units), "exits exceed the position"
            assert units > 0 or symbol != COIN, "crypto is not sold short"
        for order in book.orders.values():
            assert 0 <= order.filled <= order.quantity or order.notional is not None
            assert order.status != "filled" or not order.remaining
            partner = book.open_partner(order)
            assert partner is None or not (order.triggered or order.status == "filled"), "one exit ends the other"
            if order.is_open and partner is not None and not order.waits_for_parent:
                assert order.remaining == partner.remaining, "two exits are for the same units"


@pytest.mark.parametrize("seed", range(150))
def test_the_books_of_the_local_broker_agree_after_every_step(seed: int) -> None:
    run = BookRun(seed)
    for _ in range(120):
        run.step()
        run.check()


def test_the_random_runs_reach_every_kind_of_order() -> None:
    seen: set[str] = set()
    for seed in range(20):
        run = BookRun(seed)
        for _ in range(120):
            run.step()
        for order in run.book.orders.values():
            seen |= {order.status, f"class {order.order_class}", f"type {order.type}"}
    statuses = {"new", "held", "partially_filled", "filled", "canceled", "expired", "replaced"}
    classes = {f"class {name}" for name in ("", "bracket", "oto", "oco")}
    types = {f"type {name}" for name in ("market", "limit", "stop", "stop_limit", "trailing_stop")}
    assert statuses | classes | types == seen
