"""Whatever is requested of the local broker, its cash, positions, orders and fills agree, and no response is a 5xx."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deploy.alpaca_server import AlpacaServer
from tests.unit.alpaca_broker import local_broker
from tests.unit.alpaca_order_cases import ACCEPTED
from tests.unit.alpaca_requests import COIN, STOCK, group, reset_account

HEADERS = {"APCA-API-KEY-ID": "local", "APCA-API-SECRET-KEY": "local"}  # pragma: allowlist secret
SYMBOLS = (STOCK, "MSFT", COIN)
OFTEN = (STOCK, STOCK, STOCK, "MSFT", COIN)
OCO = group("oco", "120", "80", side="sell", type="limit")
PRICES = ("80", "90", "99.5", "100", "110", "120")
JUNK = st.sampled_from(
    ["", "x", "NaN", "-1", "0", "1e30", "1e-30", True, [], {}, 7, 0.1, "100.005", "\u0661", "\ud800", "1_0"]
)


def mostly(values: st.SearchStrategy[Any], exceptions: st.SearchStrategy[Any] = JUNK) -> st.SearchStrategy[Any]:
    """Draw from `values`, and about once in 25 from `exceptions`."""
    return st.integers(0, 24).flatmap(lambda number: exceptions if number == 13 else values)


def level() -> st.SearchStrategy[Any]:
    return mostly(st.sampled_from(PRICES))


def orders() -> st.SearchStrategy[dict[str, Any]]:
    """Draw an order that is accepted in an empty account, sometimes with other values in some of its fields."""
    changes = st.fixed_dictionaries(
        {},
        optional={
            "symbol": mostly(st.sampled_from(SYMBOLS)),
            "qty": mostly(st.sampled_from(["1", "2", "5", "0.5", "2.25", "30000"])),
            "side": mostly(st.sampled_from(["buy", "sell"])),
            "type": mostly(st.sampled_from(["market", "limit", "stop"])),
            "time_in_force": mostly(st.sampled_from(["day", "gtc", "ioc", "fok", "opg", "cls"])),
            "limit_price": level(),
            "stop_price": level(),
            "order_class": mostly(st.sampled_from(["bracket", "oto", "oco", "simple"])),
            "take_profit": mostly(st.fixed_dictionaries({"limit_price": level()})),
            "stop_loss": mostly(st.fixed_dictionaries({"stop_price": level()}, optional={"limit_price": level()})),
            "client_order_id": mostly(st.sampled_from(["a", "b"])),
        },
    )
    accepted = st.sampled_from([*ACCEPTED.values(), OCO])
    resized = st.builds(
        lambda order, qty: order | ({"qty": qty} if "qty" in order else {}), accepted, st.sampled_from("1245")
    )
    return st.one_of(accepted, resized, st.builds(lambda order, other: order | other, accepted, changes))


def steps() -> st.SearchStrategy[tuple[str, Any]]:
    position = st.sampled_from([*SYMBOLS, "BTCUSD", "ZZZZ"])
    changes = st.fixed_dictionaries(
        {},
        optional={
            "qty": mostly(st.sampled_from(["1", "3", "6"])),
            "limit_price": level(),
            "stop_price": level(),
            "trail": level(),
            "time_in_force": mostly(st.sampled_from(["day", "gtc", "ioc"])),
        },
    )
    query = st.dictionaries(
        st.sampled_from(
            ["status", "limit", "after", "until", "nested", "symbols", "direction", "side", "page_size", "date"]
        ),
        st.sampled_from(
            ["all", "open", "1", "true", "desc", "buy", "2026-01-01", "AAPL,MSFT", "x", "2026-99-99T00:00:00Z"]
        ),
        max_size=3,
    )
    number = st.integers(0, 30)
    fill_max = st.sampled_from([None, "1", "2"])
    brackets = st.tuples(st.sampled_from([("buy", "110", "90"), ("sell", "90", "110")]), fill_max)
    return st.one_of(
        *[st.tuples(st.just("submit"), orders())] * 4,
        st.tuples(st.just("bracket"), brackets),
        *[st.tuples(st.just("price"), st.tuples(st.sampled_from(OFTEN), st.sampled_from(PRICES)))] * 7,
        st.tuples(st.just("fill-max"), fill_max),
        st.tuples(st.just("session"), st.sampled_from(["regular", "regular", "extended", "closed"])),
        st.tuples(st.just("cancel"), number),
        st.tuples(st.just("replace"), st.tuples(number, changes)),
        st.tuples(
            st.just("close"),
            st.tuples(position, st.sampled_from([{}, {"qty": "1"}, {"percentage": "50"}, {"qty": "x"}])),
        ),
        st.tuples(st.just("close all"), st.booleans()),
        st.tuples(
            st.just("list"), st.tuples(st.sampled_from(["orders", "account/activities", "calendar", "assets"]), query)
        ),
        st.tuples(st.just("cash"), st.sampled_from(["1000", "-500"])),
    )


class Run:
    """One sequence of requests, and what the broker reports after it."""

    def __init__(self, server: AlpacaServer, session: requests.Session) -> None:
        self.server, self.session = server, session
        self.moved = Decimal(0)

    def call(self, method: str, path: str, body: Any = None, query: Any = None) -> requests.Response:
        response = self.session.request(
            method, f"{self.server.url}{path}", json=body, params=query, headers=HEADERS, timeout=30
        )
        assert response.status_code < 500, (method, path, body, query, response.text)
        if response.status_code >= 400:
            assert {"code", "message"} <= response.json().keys()
        return response

    def order_id(self, number: int) -> str:
        ids = list(self.server.broker.book.orders)
        return ids[number % len(ids)] if ids else "none"

    def step(self, name: str, value: Any) -> None:
        if name == "submit":
            self.call("POST", "/v2/orders", value)
        elif name == "bracket":
            self.open_with_bracket(*value)
        elif name == "price":
            self.call("POST", "/control/price", {"symbol": value[0], "price": value[1]})
        elif name == "fill-max":
            self.call("POST", "/control/fill-max", {"quantity": value})
        elif name == "session":
            self.call("POST", "/control/session", {"session": value})
        elif name == "cancel":
            self.call("DELETE", f"/v2/orders/{self.order_id(value)}")
        elif name == "replace":
            self.call("PATCH", f"/v2/orders/{self.order_id(value[0])}", value[1])
        elif name == "close":
            self.call("DELETE", f"/v2/positions/{value[0]}", query=value[1])
        elif name == "close all":
            self.call("DELETE", "/v2/positions", query={"cancel_orders": str(value)})
        elif name == "list":
            self.call("GET", f"/v2/{value[0]}", query=value[1])
        else:
            self.moved += Decimal(value)
            self.call("POST", "/control/cash", {"amount": value})

    def open_with_bracket(self, terms: tuple[str, str, str], fill_max: str | None) -> None:
        """Close everything, then open a position of 5 shares with both exits, which fill in parts."""
        side, target, stop = terms
        self.step("session", "regular")
        self.step("fill-max", None)
        self.step("close all", True)
        for symbol in SYMBOLS:
            self.step("price", (symbol, "100"))
        self.step("submit", group("bracket", target, stop, side=side, qty="5", time_in_force="gtc"))
        self.step("price", (STOCK, "100"))
        self.step("fill-max", fill_max)

    def fills(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        query: dict[str, Any] = {"category": "trade_activity", "direction": "asc", "page_size": 100}
        while page := self.call("GET", "/v2/account/activities", query=query).json():
            rows += page
            query["page_token"] = page[-1]["id"]
        return rows

    def check(self) -> None:
        """Compare positions, cash and orders with the sum of the fills."""
        held: dict[str, Decimal] = defaultdict(Decimal)
        filled: dict[str, Decimal] = defaultdict(Decimal)
        cash = Decimal(1_000_000) + self.moved
        for fill in self.fills():
            units = Decimal(fill["qty"])
            signed = units if fill["side"] == "buy" else -units
            symbol = fill["symbol"].replace("/", "")
            assert held[symbol] * (held[symbol] + signed) >= 0, "no order takes a position through zero"
            held[symbol] += signed
            filled[fill["order_id"]] += units
            cash -= signed * Decimal(fill["price"])
        account = self.call("GET", "/v2/account").json()
        positions = {row["symbol"]: row for row in self.call("GET", "/v2/positions").json()}
        assert {symbol: Decimal(row["qty"]) for symbol, row in positions.items()} == {
            symbol: units for symbol, units in held.items() if units
        }
        assert Decimal(account["cash"]) == cash
        value = sum(Decimal(row["market_value"]) for row in positions.values())
        assert Decimal(account["equity"]) == cash + value
        assert held["BTCUSD"] >= 0, "crypto is never sold short"
        assert all(held[symbol] % 1 == 0 for symbol in held if held[symbol] < 0), "fractions are never sold short"
        self.check_orders(held, filled)

    def check_orders(self, held: dict[str, Decimal], filled: dict[str, Decimal]) -> None:
        orders = self.call("GET", "/v2/orders", query={"status": "all", "limit": 500}).json()
        replaced = {order["replaces"]: order["id"] for order in orders if order["replaces"]}
        by_id = {order["id"]: order for order in orders}
        for order in orders:
            # A replacement counts the fills of the orders that it replaces.
            total, older = filled[order["id"]], order["replaces"]
            while older:
                total, older = total + filled[older], by_id[older]["replaces"]
            assert Decimal(order["filled_qty"]) == total
            assert order["qty"] is None or total <= Decimal(order["qty"])
            assert (order["status"] == "replaced") == (order["id"] in replaced)
            if order["status"] == "filled" and order["qty"] is not None:
                assert total == Decimal(order["qty"])
        working = [
            order for order in orders if order["status"] in ("new", "partially_filled") and order["qty"] is not None
        ]
        for symbol in SYMBOLS:
            units = held[symbol.replace("/", "")]
            exits_side = "sell" if units > 0 else "buy"
            closing = [order for order in working if order["symbol"] == symbol and order["side"] == exits_side]
            remaining = sum(Decimal(order["qty"]) - Decimal(order["filled_qty"]) for order in closing)
            assert not units or remaining <= abs(units), "exits never exceed the position"


@pytest.fixture(scope="module")
def server() -> Iterator[AlpacaServer]:
    with local_broker(*SYMBOLS, requests_per_minute=10**9) as running:
        yield running


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    with requests.Session() as one:
        yield one


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(requested=st.lists(steps(), min_size=15, max_size=40))
def test_any_sequence_of_requests_keeps_the_books_consistent(
    server: AlpacaServer, session: requests.Session, requested: list[tuple[str, Any]]
) -> None:
    reset_account(server)
    run = Run(server, session)
    for name, value in requested:
        run.step(name, value)
        if name in ("price", "session"):
            run.check()
    run.check()
