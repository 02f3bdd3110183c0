"""Convert Alpaca's orders and trade updates to BrokerUpdates. Ids derive from the content: a repeat has the same id."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple

from dataflows.broker.alpaca_api import AccountSnapshot, parse_decimal
from operators.gateway.activities import LISTED
from operators.money import ZERO, quantize
from schemas.records import (
    CANCELED,
    EXPIRED,
    NEW,
    ORDER_TOTAL,
    PENDING,
    REJECTED,
    REPLACED,
    TRADE,
    UNKNOWN,
    BrokerAccount,
    BrokerActivity,
    BrokerEvent,
    BrokerUpdate,
)

BROKER = "alpaca"
FINAL_STATUSES = frozenset({"filled", "canceled", "expired", "rejected", "replaced"})
"""Order statuses that never change again."""
_EVENT_TYPES: dict[str, BrokerEvent] = {
    "new": NEW,
    "accepted": NEW,
    "fill": TRADE,
    "partial_fill": TRADE,
    "canceled": CANCELED,
    "expired": EXPIRED,
    "rejected": REJECTED,
    "replaced": REPLACED,
}
_CORRECTION_EVENTS = ("trade_bust", "trade_correct")


class OrderIdPrefix(NamedTuple):
    """Marks this platform's orders in the account: their ids have a prefix at the broker."""

    prefix: str

    def add_to(self, client_order_id: str) -> str:
        return self.prefix + client_order_id

    def strip_from(self, client_order_id: Any) -> str | None:
        """Return the id without the prefix, or None if the order is not of this platform."""
        return (
            client_order_id[len(self.prefix) :]
            if isinstance(client_order_id, str) and client_order_id.startswith(self.prefix)
            else None
        )


def update_from_stream(data: dict[str, Any], client_order_id: str, now_ns: int) -> BrokerUpdate:
    """Convert a trade update of this platform's order. Raises BrokerUncertain if a number is malformed."""
    order, event = data["order"], str(data.get("event"))
    cum_quantity = parse_decimal(order.get("filled_qty"))
    event_type = _EVENT_TYPES.get(event, UNKNOWN if event in _CORRECTION_EVENTS else PENDING)
    quantity, price = parse_decimal(order.get("qty")), ZERO
    if event_type == TRADE:
        quantity, price = parse_decimal(data.get("qty")), parse_decimal(data.get("price"))
    fingerprint = data.get("execution_id") or f"{event}:{cum_quantity:f}"
    happened_ns = timestamp_ns(data.get("timestamp") or data.get("at"), now_ns)
    text = f"the broker corrected a trade ({event})" if event_type == UNKNOWN else event
    return _build_update(
        order, client_order_id, event_type, f"{fingerprint}", (quantity, price, cum_quantity), now_ns, happened_ns, text
    )


def update_from_order(order: dict[str, Any], client_order_id: str, now_ns: int) -> BrokerUpdate:
    """Convert an order as the broker returned it: quantities are totals over all its fills."""
    cum_quantity, average_price = parse_decimal(order.get("filled_qty")), parse_decimal(order.get("filled_avg_price"))
    status = str(order.get("status"))
    happened_ns = timestamp_ns(order.get("updated_at"), now_ns)
    fingerprint = f"{status}:{cum_quantity:f}:{average_price:f}"
    return _build_update(
        order,
        client_order_id,
        ORDER_TOTAL,
        fingerprint,
        (parse_decimal(order.get("qty")), average_price, cum_quantity),
        now_ns,
        happened_ns,
        status,
    )


def gateway_update(
    event: BrokerEvent, now_ns: int, text: str, client_order_id: str = "", symbol: str = "", side: str = ""
) -> BrokerUpdate:
    """Build an update of the gateway itself: CONNECTED, DISCONNECTED, UNKNOWN, or REJECTED for an unsent order."""
    key = f"{client_order_id or 'gateway'}:{event}:{now_ns}"
    return BrokerUpdate(
        update_id=key,
        ts_ns=now_ns,
        broker=BROKER,
        client_order_id=client_order_id,
        broker_order_id="",
        event=event,
        symbol=symbol,
        side=side,
        quantity=ZERO,
        price=ZERO,
        cum_quantity=ZERO,
        happened_ns=now_ns,
        text=text,
    )


def account_record(account: AccountSnapshot, order_ids: OrderIdPrefix, now_ns: int) -> BrokerAccount:
    working = {
        client_order_id: str(order.get("status"))
        for order in account.orders
        if (client_order_id := order_ids.strip_from(order.get("client_order_id"))) is not None
    }
    return BrokerAccount(
        update_id=f"books:{now_ns}",
        ts_ns=now_ns,
        broker=BROKER,
        cash=quantize(account.cash),
        equity=quantize(account.equity),
        positions=dict(sorted(account.positions.items())),
        open_orders=working,
        average_prices=dict(sorted(account.average_prices.items())),
    )


def activity_record(activity: dict[str, Any], now_ns: int) -> BrokerActivity:
    """Convert an account activity other than a fill. Raises BrokerUncertain if the amount is malformed."""
    activity_id = str(activity.get("id", ""))
    happened = activity.get("transaction_time") or activity.get("created_at") or f"{activity.get('date')}T00:00:00Z"
    return BrokerActivity(
        update_id=f"activity:{activity_id}",
        ts_ns=now_ns,
        broker=BROKER,
        activity_id=activity_id,
        activity_type=str(activity.get("activity_type", "")),
        amount=quantize(parse_decimal(activity.get("net_amount"))),
        currency=str(activity.get("currency") or "USD"),
        happened_ns=timestamp_ns(happened, now_ns),
        text=str(activity.get("description") or activity.get("symbol") or ""),
    )


def activities_listed(now_ns: int) -> BrokerActivity:
    """Build the record after the first complete list of activities of a process."""
    return BrokerActivity(
        update_id=f"activities:{now_ns}",
        ts_ns=now_ns,
        broker=BROKER,
        activity_id="",
        activity_type=LISTED,
        amount=ZERO,
        currency="",
        happened_ns=now_ns,
        text="all activities of the account were listed",
    )


def timestamp_ns(text: Any, default_ns: int) -> int:
    """Convert an RFC 3339 time to nanoseconds since 1970, or return `default_ns` if it is not one.

    >>> timestamp_ns("2024-01-02T14:30:00.5Z", 0)
    1704205800500000000
    """
    if not isinstance(text, str):
        return default_ns
    try:
        parsed = datetime.fromisoformat(_truncate_to_microseconds(text))
    except ValueError:
        return default_ns
    elapsed = (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)) - datetime(1970, 1, 1, tzinfo=UTC)
    return ((elapsed.days * 86_400 + elapsed.seconds) * 1_000_000 + elapsed.microseconds) * 1000


def _truncate_to_microseconds(text: str) -> str:
    """Python parses at most six digits of a second's fraction."""
    head, dot, rest = text.replace("Z", "+00:00").partition(".")
    if not dot:
        return head
    digits = len(rest) - len(rest.lstrip("0123456789"))
    return f"{head}.{rest[:digits][:6]:0<6}{rest[digits:]}"


def _build_update(
    order: dict[str, Any],
    client_order_id: str,
    event: BrokerEvent,
    fingerprint: str,
    amounts: tuple[Decimal, Decimal, Decimal],
    now_ns: int,
    happened_ns: int,
    text: str,
) -> BrokerUpdate:
    quantity, price, cum_quantity = map(quantize, amounts)
    return BrokerUpdate(
        update_id=f"{client_order_id}:{event}:{fingerprint}",
        ts_ns=now_ns,
        broker=BROKER,
        client_order_id=client_order_id,
        broker_order_id=str(order.get("id", "")),
        event=event,
        symbol=str(order.get("symbol", "")),
        side=str(order.get("side", "")).upper(),
        quantity=quantity,
        price=price,
        cum_quantity=cum_quantity,
        happened_ns=happened_ns,
        text=text,
    )
