"""Store the local broker's account in a file, so that it survives a restart as a real account does."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from decimal import Decimal
from pathlib import Path
from typing import Any

from deploy.alpaca_server.broker_order import BrokerOrder
from deploy.alpaca_server.order_book import BrokerBook

_DECIMALS = {
    *("quantity", "limit_price", "stop_price", "trail_price", "trail_percent", "filled", "value", "best", "notional"),
}
ORDERS_STORED_MAX = 500
FILLS_STORED_MAX = 500


def save_account(book: BrokerBook, path: Path) -> None:
    """Write the account, with its last orders and fills and all open orders. The file is replaced in one step."""
    recent = set(list(book.orders)[-ORDERS_STORED_MAX:])
    orders = [order for order in book.orders.values() if order.id in recent or order.is_open]
    stored_ids = {order.client_order_id for order in orders}
    document = {
        "v": 2,
        "cash": book.cash,
        "positions": book.positions,
        "costs": book.costs,
        "activities": book.activities,
        "orders": [asdict(order) for order in orders],
        "submits": {name: count for name, count in book.submission_counts.items() if name in stored_ids},
        "fills": book.fills[-FILLS_STORED_MAX:],
        "configuration": book.configuration.as_json(),
        "day_trades": book.day_trades.trades,
        "opened_units": book.day_trades.opened,
        "counted_symbols": sorted(book.day_trades.counted),
    }
    temporary = path.with_suffix(".draft")
    temporary.write_text(json.dumps(document, default=str))
    temporary.replace(path)


def load_account(book: BrokerBook, path: Path) -> None:
    """Restore the account from the file, if it exists. A file of an earlier release (`v` 1) has fewer items."""
    if not path.exists():
        return
    document = json.loads(path.read_text())
    book.cash = Decimal(document["cash"])
    book.positions = {symbol: Decimal(quantity) for symbol, quantity in document["positions"].items()}
    book.costs = {symbol: Decimal(cost) for symbol, cost in document["costs"].items()}
    for row in document["orders"]:
        order = _order(row)
        book.orders[order.id] = book.by_client[order.client_order_id] = order
    book.activities = list(document.get("activities", []))
    book.submission_counts = dict(document["submits"])
    book.fills = list(document.get("fills", []))
    book.configuration.change(document.get("configuration", {}))
    trades = book.day_trades
    trades.trades = [(day, symbol) for day, symbol in document.get("day_trades", [])]
    trades.opened = {symbol: (day, Decimal(units)) for symbol, (day, units) in document.get("opened_units", {}).items()}
    trades.counted = set(document.get("counted_symbols", []))


def _order(row: dict[str, Any]) -> BrokerOrder:
    values: dict[str, Any] = {
        field.name: Decimal(row[field.name])
        if field.name in _DECIMALS and row[field.name] is not None
        else row[field.name]
        for field in fields(BrokerOrder)
        if field.name in row
    }
    order = BrokerOrder(**values)
    if order.is_attached and order.parent_id is None:
        order.parent_id = order.partner_id  # a file of an earlier release: the stop of an OCO order
    return order
