"""Store the local broker's account in a file, so that it survives a restart as a real account does."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from decimal import Decimal
from pathlib import Path
from typing import Any

from deploy.alpaca_server.order_book import BrokerBook, BrokerOrder

_DECIMALS = {"quantity", "limit_price", "stop_price", "trail_price", "trail_percent", "filled", "value", "best"}
ORDERS_STORED_MAX = 500


def save_account(book: BrokerBook, path: Path) -> None:
    """Write the account, with the last `ORDERS_STORED_MAX` orders. The file is replaced in one step."""
    orders = list(book.orders.values())[-ORDERS_STORED_MAX:]
    document = {
        "v": 1,
        "cash": book.cash,
        "positions": book.positions,
        "costs": book.costs,
        "orders": [asdict(order) for order in orders],
        "submits": {order.client_order_id: book.submission_counts[order.client_order_id] for order in orders},
    }
    temporary = path.with_suffix(".draft")
    temporary.write_text(json.dumps(document, default=str))
    temporary.replace(path)


def load_account(book: BrokerBook, path: Path) -> None:
    """Restore the account from the file, if it exists."""
    if not path.exists():
        return
    document = json.loads(path.read_text())
    book.cash = Decimal(document["cash"])
    book.positions = {symbol: Decimal(quantity) for symbol, quantity in document["positions"].items()}
    book.costs = {symbol: Decimal(cost) for symbol, cost in document["costs"].items()}
    for row in document["orders"]:
        order = _order(row)
        book.orders[order.id] = book.by_client[order.client_order_id] = order
    book.submission_counts = dict(document["submits"])


def _order(row: dict[str, Any]) -> BrokerOrder:
    values: dict[str, Any] = {
        field.name: Decimal(row[field.name])
        if field.name in _DECIMALS and row[field.name] is not None
        else row[field.name]
        for field in fields(BrokerOrder)
    }
    return BrokerOrder(**values)
