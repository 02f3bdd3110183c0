"""The local broker's account in a file, so that it is there after a restart as a real one is."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from decimal import Decimal
from pathlib import Path
from typing import Any

from deploy.alpaca_server.order_book import Book, BrokerOrder

_DECIMALS = {"quantity", "limit_price", "stop_price", "trail_price", "trail_percent", "filled", "value", "best"}
ORDERS_KEPT = 500


def save(book: Book, path: Path) -> None:
    """The account as it is now, with the last `ORDERS_KEPT` orders: the file is whole, or the one before."""
    kept = list(book.orders.values())[-ORDERS_KEPT:]
    told = {
        "v": 1,
        "cash": book.cash,
        "positions": book.positions,
        "costs": book.costs,
        "orders": [asdict(order) for order in kept],
        "submits": {order.client_order_id: book.submits[order.client_order_id] for order in kept},
    }
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(told, default=str))
    draft.replace(path)


def load(book: Book, path: Path) -> None:
    """Go on with the account in the file, if there is one."""
    if not path.exists():
        return
    told = json.loads(path.read_text())
    book.cash = Decimal(told["cash"])
    book.positions = {symbol: Decimal(held) for symbol, held in told["positions"].items()}
    book.costs = {symbol: Decimal(cost) for symbol, cost in told["costs"].items()}
    for plain in told["orders"]:
        order = _order(plain)
        book.orders[order.id] = book.by_client[order.client_order_id] = order
    book.submits = dict(told["submits"])


def _order(plain: dict[str, Any]) -> BrokerOrder:
    known: dict[str, Any] = {
        one.name: Decimal(plain[one.name]) if one.name in _DECIMALS and plain[one.name] is not None else plain[one.name]
        for one in fields(BrokerOrder)
    }
    return BrokerOrder(**known)
