"""Does the broker have what the gateway believes it has? Until it does, risk refuses orders."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from operators.money import ZERO, plain
from schemas.records import DOWN, READY, RECONCILING, BrokerAccount

DIFFERENCES_SHOWN_MAX = 10
"""So many differences are named; the others are counted."""


class Reconciliation:
    """READY once the broker is connected, no order is in doubt and its books agree with ours.

    A broker's books and its reports come by different ways, so while READY one set of books that differs is only noted;
    the same difference a second time means what it says.
    """

    def __init__(self) -> None:
        self.connected = False
        self.matched = False
        self.reason = "the broker has not been asked yet"
        self._unconfirmed = ""  # a difference that was seen once
        self._last_account = ""
        self._uncertain: dict[str, str] = {}  # client_order_id -> what is not known of it

    def connect(self) -> None:
        self.connected, self.matched = True, False
        self.reason = "waiting for the broker's books"

    def disconnect(self, reason: str) -> None:
        self.connected, self.matched = False, False
        self.reason = reason or "the broker does not answer"

    def mark_uncertain(self, client_order_id: str, reason: str) -> None:
        self._uncertain[client_order_id] = reason

    def mark_certain(self, client_order_id: str) -> None:
        """The broker has said something definite about this order."""
        self._uncertain.pop(client_order_id, None)

    def compare(
        self, account: BrokerAccount, positions: Mapping[str, Decimal], open_orders: Mapping[str, bool]
    ) -> None:
        """`positions` are what we believe is on the account; `open_orders` our orders there, True once acknowledged."""
        if account.update_id == self._last_account:
            return
        self._last_account = account.update_id
        difference = describe_differences(account, positions, open_orders)
        if not difference:
            self.matched, self._unconfirmed, self.reason = True, "", "positions and open orders agree"
        elif not self.matched or difference == self._unconfirmed:
            self.matched, self.reason = False, difference
        self._unconfirmed = difference

    def status(self) -> tuple[str, str]:
        """State and reason, as GatewayStatus says them."""
        if not self.connected:
            return (DOWN if self._last_account else RECONCILING), self.reason
        if self._uncertain:
            name, reason = next(iter(self._uncertain.items()))
            more = f" and {len(self._uncertain) - 1} more" if len(self._uncertain) > 1 else ""
            return RECONCILING, f"{name} is in doubt: {reason}{more}"
        return (READY if self.matched else RECONCILING), self.reason

    def snapshot(self) -> tuple[Any, ...]:
        pending = (self._unconfirmed, self._last_account, dict(self._uncertain))
        return (self.connected, self.matched, self.reason, *pending)

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        self.connected, self.matched, self.reason, self._unconfirmed, self._last_account, uncertain = snapshot
        self._uncertain = dict(uncertain)


def describe_differences(
    account: BrokerAccount, positions: Mapping[str, Decimal], open_orders: Mapping[str, bool]
) -> str:
    """What does not agree, in words; "" where all does. An order on its way may or may not be at the broker yet."""
    mismatches: list[str] = []
    broker_positions = {symbol: _parse_amount(text) for symbol, text in account.positions.items()}
    for symbol in sorted({*positions, *broker_positions}):
        expected, actual = positions.get(symbol, ZERO), broker_positions.get(symbol, ZERO)
        if actual is None:
            mismatches.append(f"{symbol}: the broker's quantity {account.positions[symbol][:32]!r} is no number")
        elif expected != actual:
            mismatches.append(f"{symbol}: {plain(expected)} here, {plain(actual)} at the broker")
    for name in sorted({*open_orders, *account.open_orders}):
        if name not in open_orders:
            mismatches.append(f"order {name} works at the broker and not here")
        elif open_orders[name] and name not in account.open_orders:
            mismatches.append(f"order {name} works here and not at the broker")
    more = len(mismatches) - DIFFERENCES_SHOWN_MAX
    return "; ".join(mismatches[:DIFFERENCES_SHOWN_MAX]) + (f"; and {more} more" if more > 0 else "")


def _parse_amount(text: str) -> Decimal | None:
    try:
        amount = Decimal(text)
    except InvalidOperation:
        return None
    return amount if amount.is_finite() else None
