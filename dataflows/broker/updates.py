"""From Alpaca's orders and trade updates to BrokerUpdates. Ids follow from the content: a repeat has the same."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple

from dataflows.broker.http_api import Books, amount
from operators.gateway.leg import TOTAL
from operators.money import ZERO, quantize
from schemas.records import CANCELED, EXPIRED, NEW, REJECTED, REPLACED, TRADE, BrokerAccount, BrokerUpdate

BROKER = "alpaca"
FINAL = frozenset({"filled", "canceled", "expired", "rejected", "replaced"})
"""Statuses of an order that nothing follows on."""
_EVENTS = {
    "new": NEW,
    "accepted": NEW,
    "fill": TRADE,
    "partial_fill": TRADE,
    "canceled": CANCELED,
    "expired": EXPIRED,
    "rejected": REJECTED,
    "replaced": REPLACED,
}
_CORRECTIONS = ("trade_bust", "trade_correct")


class Named(NamedTuple):
    """This platform's orders among the account's: their ids carry a prefix at the broker."""

    prefix: str

    def out(self, client_order_id: str) -> str:
        return self.prefix + client_order_id

    def ours(self, found: Any) -> str | None:
        """The id without the prefix; None for somebody else's order."""
        return found[len(self.prefix) :] if isinstance(found, str) and found.startswith(self.prefix) else None


def from_stream(data: dict[str, Any], name: str, now_ns: int) -> BrokerUpdate:
    """One trade update of an order of ours, as it came on the stream. Raises Unsure for numbers that are none."""
    order, event = data["order"], str(data.get("event"))
    cum = amount(order.get("filled_qty"))
    kind = _EVENTS.get(event, "UNKNOWN" if event in _CORRECTIONS else "PENDING")
    quantity, price = amount(order.get("qty")), ZERO
    if kind == TRADE:
        quantity, price = amount(data.get("qty")), amount(data.get("price"))
    mark = data.get("execution_id") or f"{event}:{cum:f}"
    happened_ns = moment(data.get("timestamp") or data.get("at"), now_ns)
    text = f"the broker corrected a trade ({event})" if kind == "UNKNOWN" else event
    return _update(order, name, kind, f"{mark}", (quantity, price, cum), now_ns, happened_ns, text)


def from_order(order: dict[str, Any], name: str, now_ns: int) -> BrokerUpdate:
    """How an order of ours stands, as it was asked for: sums over all its fills."""
    cum, average = amount(order.get("filled_qty")), amount(order.get("filled_avg_price"))
    status = str(order.get("status"))
    happened_ns = moment(order.get("updated_at"), now_ns)
    mark = f"{status}:{cum:f}:{average:f}"
    return _update(order, name, TOTAL, mark, (amount(order.get("qty")), average, cum), now_ns, happened_ns, status)


def of_gateway(event: str, now_ns: int, text: str, name: str = "", symbol: str = "", side: str = "") -> BrokerUpdate:
    """What the edge itself has to say: CONNECTED, DISCONNECTED, UNKNOWN, or REJECTED for what was never sent."""
    key = f"{name or 'gateway'}:{event}:{now_ns}"
    return BrokerUpdate(key, now_ns, BROKER, name, "", event, symbol, side, ZERO, ZERO, ZERO, now_ns, text)


def from_books(books: Books, named: Named, now_ns: int) -> BrokerAccount:
    working = {
        name: str(order.get("status"))
        for order in books.orders
        if (name := named.ours(order.get("client_order_id"))) is not None
    }
    money = (quantize(books.cash), quantize(books.equity))
    return BrokerAccount(f"books:{now_ns}", now_ns, BROKER, *money, dict(sorted(books.positions.items())), working)


def moment(text: Any, otherwise_ns: int) -> int:
    """RFC 3339 to nanoseconds.

    >>> moment("2024-01-02T14:30:00.5Z", 0)
    1704205800500000000
    """
    if not isinstance(text, str):
        return otherwise_ns
    try:
        found = datetime.fromisoformat(_microseconds(text))
    except ValueError:
        return otherwise_ns
    since = (found if found.tzinfo else found.replace(tzinfo=UTC)) - datetime(1970, 1, 1, tzinfo=UTC)
    return ((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds) * 1000


def _microseconds(text: str) -> str:
    """Python reads up to six digits of a second."""
    head, dot, rest = text.replace("Z", "+00:00").partition(".")
    if not dot:
        return head
    digits = len(rest) - len(rest.lstrip("0123456789"))
    return f"{head}.{rest[:digits][:6]:0<6}{rest[digits:]}"


def _update(
    order: dict[str, Any],
    name: str,
    event: str,
    mark: str,
    amounts: tuple[Decimal, Decimal, Decimal],
    now_ns: int,
    happened_ns: int,
    text: str,
) -> BrokerUpdate:
    about = (event, str(order.get("symbol", "")), str(order.get("side", "")).upper())
    at_broker = str(order.get("id", ""))
    quantity, price, cum = map(quantize, amounts)
    key = f"{name}:{event}:{mark}"
    return BrokerUpdate(key, now_ns, BROKER, name, at_broker, *about, quantity, price, cum, happened_ns, text)
