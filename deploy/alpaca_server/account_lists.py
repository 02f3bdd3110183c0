"""The lists of the account: orders with filters and nesting, and activities with filters and pages.

Source: Alpaca's API reference of "Get All Orders" and "Get Account Activities".
"""

from __future__ import annotations

from typing import Any

from deploy.alpaca_server import request_query
from deploy.alpaca_server.broker_order import BrokerOrder, unprocessable
from deploy.alpaca_server.order_book import BrokerBook
from deploy.alpaca_server.request_query import QueryFields

_ORDERS_DEFAULT, ORDERS_MAX = 50, 500
ACTIVITIES_MAX = 100
FILL = "FILL"


def list_orders(book: BrokerBook, query: QueryFields) -> list[dict[str, Any]]:
    """Return the orders that match status, symbols, side, after and until. `nested=true` puts exits under their entry.

    Raises BrokerApiError for an invalid filter.
    """
    status = request_query.choice(query, "status", ("open", "closed", "all"), "open")
    direction = request_query.choice(query, "direction", ("asc", "desc"), "desc")
    side = request_query.choice(query, "side", ("buy", "sell"), "")
    nested = request_query.flag(query, "nested")
    limit = request_query.whole_number(query, "limit", _ORDERS_DEFAULT, ORDERS_MAX)
    symbols = {symbol.replace("/", "") for symbol in request_query.names(query, "symbols")}
    after, until = request_query.timestamp(query, "after"), request_query.timestamp(query, "until")

    def matches(order: BrokerOrder) -> bool:
        return (
            (status == "all" or order.is_open == (status == "open"))
            and (not symbols or order.symbol.replace("/", "") in symbols)
            and side in ("", order.side)
            and (not after or order.created_at > after)
            and (not until or order.created_at <= until)
        )

    orders = [order for order in book.orders.values() if matches(order)]
    if direction == "desc":
        orders.reverse()
    if not nested:
        return [order.as_json() for order in orders[:limit]]
    listed = {order.id for order in orders}
    return [order.as_json(legs) for order, legs in _roots(book, orders, listed)[:limit]]


def _roots(
    book: BrokerBook, orders: list[BrokerOrder], listed: set[str]
) -> list[tuple[BrokerOrder, list[BrokerOrder]]]:
    """Return the orders that are nested under no other listed one, each with its legs.

    A stop loss whose entry is not listed is nested under its take profit.
    """
    roots = []
    for order in orders:
        beside_target = order.is_attached and order.type != "limit" and order.partner_id in listed
        if order.parent_id in listed or beside_target:
            continue
        legs = book.legs(order)
        partner = book.open_partner(order)
        if not legs and order.type == "limit" and partner is not None:
            legs = [partner]
        roots.append((order, legs))
    return roots


def list_activities(book: BrokerBook, query: QueryFields, only_type: str = "") -> list[dict[str, Any]]:
    """Return a page of activities, newest first unless `direction=asc`. `page_token` is the id of the last one seen.

    Raises BrokerApiError for an invalid filter.
    """
    category = request_query.choice(query, "category", ("trade_activity", "non_trade_activity"), "")
    types = {only_type} if only_type else request_query.names(query, "activity_types")
    if category and types:
        raise unprocessable("only one of category or activity_types is accepted")
    direction = request_query.choice(query, "direction", ("asc", "desc"), "desc")
    page_size = request_query.whole_number(query, "page_size", ACTIVITIES_MAX, ACTIVITIES_MAX)
    day = request_query.day(query, "date")
    after, until = request_query.timestamp(query, "after"), request_query.timestamp(query, "until")
    if day is not None and (after or until):
        raise unprocessable("date cannot be combined with after or until")

    def matches(row: dict[str, Any]) -> bool:
        at = str(row.get("transaction_time") or row["date"])
        is_trade = row["activity_type"] == FILL
        return (
            (not types or row["activity_type"] in types)
            and (not category or is_trade == (category == "trade_activity"))
            and (day is None or at[:10] == day.isoformat())
            and (not after or at > after[: len(at)])
            and (not until or at <= until[: len(at)])
        )

    rows = [row for row in [*map(_fill_activity, book.fills), *book.activities] if matches(row)]
    rows.sort(key=lambda row: str(row["id"]), reverse=direction == "desc")
    token = query.get("page_token", "")
    if token:
        rows = [row for row in rows if (row["id"] > token if direction == "asc" else row["id"] < token)]
    return rows[:page_size]


def _fill_activity(fill: dict[str, Any]) -> dict[str, Any]:
    moment = "".join(character for character in fill["timestamp"][:23] if character.isdigit())
    names = ("symbol", "side", "order_id", "order_status", "qty", "cum_qty", "leaves_qty", "price")
    return {
        "id": f"{moment}::{fill['execution_id']}",
        "activity_type": FILL,
        "transaction_time": fill["timestamp"],
        "type": "fill" if fill["leaves_qty"] == "0" else "partial_fill",
        **{name: fill[name] for name in names},
    }
