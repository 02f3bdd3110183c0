"""The local broker's account survives a restart, also from a file that an earlier release wrote."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

from deploy.alpaca_server import account_store
from deploy.alpaca_server.order_book import BrokerBook
from tests.unit.alpaca_requests import STOCK, group, terms

NOW = "2026-03-02T15:00:00.000000000Z"


def new_book() -> BrokerBook:
    book = BrokerBook(lambda *_: None, lambda: NOW)
    book.list_asset(STOCK, Decimal(100))
    return book


def test_groups_settings_fills_and_day_trades_survive_a_restart(tmp_path: Path) -> None:
    file, book = tmp_path / "account.json", new_book()
    book.submit(group("bracket", "110", "90", qty="2"))
    book.set_price(STOCK, Decimal(100))
    book.set_price(STOCK, Decimal(111))
    book.submit(terms(qty=None, notional="50"))
    book.submit(group("oto", stop_loss="90"))
    book.configuration.change({"no_shorting": True, "pdt_check": "entry"})
    account_store.save_account(book, file)
    restored = new_book()
    account_store.load_account(restored, file)
    assert restored.orders == book.orders and restored.fills == book.fills
    assert (restored.cash, restored.configuration) == (book.cash, book.configuration)
    assert restored.day_trades.count() == 1
    restored.set_price(STOCK, Decimal(100))
    assert [order.status for order in restored.orders.values()][-2:] == ["filled", "new"], "entry and exit"
    assert not restored.day_trades.would_add_one("MSFT") and restored.day_trades.would_add_one(STOCK)


def test_a_file_of_an_earlier_release_is_read(tmp_path: Path) -> None:
    """Release 0.2 had OCO orders only, and neither settings nor fills in the file."""
    common: dict[str, Any] = {
        "symbol": STOCK,
        "side": "sell",
        "time_in_force": "gtc",
        "quantity": "3",
        "trail_price": None,
        "trail_percent": None,
        "extended_hours": False,
        "created_at": NOW,
        "filled": "0",
        "value": "0",
        "triggered": False,
        "best": None,
        "ended_at": None,
        "replaced_by": None,
        "replaces": None,
        "order_class": "oco",
    }
    target = {"id": "t", "client_order_id": "ct", "type": "limit", "limit_price": "110", "stop_price": None}
    stop = {"id": "s", "client_order_id": "cs", "type": "stop", "limit_price": None, "stop_price": "90"}
    document = {
        "v": 1,
        "cash": "1000",
        "positions": {STOCK: "3"},
        "costs": {STOCK: "300"},
        "activities": [],
        "orders": [
            common | target | {"status": "new", "partner_id": "s", "is_attached": False},
            common | stop | {"status": "held", "partner_id": "t", "is_attached": True},
        ],
        "submits": {"ct": 1},
    }
    file, book = tmp_path / "account.json", new_book()
    file.write_text(json.dumps(document))
    account_store.load_account(book, file)
    assert [leg.id for leg in book.legs(book.find("t"))] == ["s"]
    book.set_price(STOCK, Decimal(89))
    assert [order.status for order in book.orders.values()] == ["canceled", "filled"] and book.positions == {}
