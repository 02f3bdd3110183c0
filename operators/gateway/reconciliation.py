"""Does the broker have what the gateway believes it has? Until it does, risk refuses orders."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from operators.money import ZERO, plain
from schemas.records import DOWN, READY, RECONCILING, BrokerAccount

NAMED_MAX = 10
"""So many differences are named; the others are counted."""


class Reconciliation:
    """READY once the broker is connected, no order is in doubt and its books agree with ours.

    A broker's books and its reports come by different ways, so while READY one set of books that differs is only noted;
    the same difference a second time means what it says.
    """

    def __init__(self) -> None:
        self.connected = False
        self.agreed = False
        self.reason = "the broker has not been asked yet"
        self._noted = ""  # a difference that was seen once
        self._last_account = ""
        self._doubts: dict[str, str] = {}  # client_order_id -> what is not known of it

    def connect(self) -> None:
        self.connected, self.agreed = True, False
        self.reason = "waiting for the broker's books"

    def disconnect(self, reason: str) -> None:
        self.connected, self.agreed = False, False
        self.reason = reason or "the broker does not answer"

    def doubt(self, client_order_id: str, reason: str) -> None:
        self._doubts[client_order_id] = reason

    def settle(self, client_order_id: str) -> None:
        """The broker has said something definite about this order."""
        self._doubts.pop(client_order_id, None)

    def compare(self, account: BrokerAccount, positions: Mapping[str, Decimal], working: Mapping[str, bool]) -> None:
        """`positions` are what we believe is on the account; `working` our orders there, True once acknowledged."""
        if account.update_id == self._last_account:
            return
        self._last_account = account.update_id
        found = differences(account, positions, working)
        if not found:
            self.agreed, self._noted, self.reason = True, "", "positions and open orders agree"
        elif not self.agreed or found == self._noted:
            self.agreed, self.reason = False, found
        self._noted = found

    def status(self) -> tuple[str, str]:
        """State and reason, as GatewayStatus says them."""
        if not self.connected:
            return (DOWN if self._last_account else RECONCILING), self.reason
        if self._doubts:
            name, reason = next(iter(self._doubts.items()))
            more = f" and {len(self._doubts) - 1} more" if len(self._doubts) > 1 else ""
            return RECONCILING, f"{name} is in doubt: {reason}{more}"
        return (READY if self.agreed else RECONCILING), self.reason

    def snapshot(self) -> tuple[Any, ...]:
        known = (self._noted, self._last_account, dict(self._doubts))
        return (self.connected, self.agreed, self.reason, *known)

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        self.connected, self.agreed, self.reason, self._noted, self._last_account, doubts = snapshot
        self._doubts = dict(doubts)


def differences(account: BrokerAccount, positions: Mapping[str, Decimal], working: Mapping[str, bool]) -> str:
    """What does not agree, in words; "" where all does. An order on its way may or may not be at the broker yet."""
    found: list[str] = []
    theirs = {symbol: _amount(text) for symbol, text in account.positions.items()}
    for symbol in sorted({*positions, *theirs}):
        here, there = positions.get(symbol, ZERO), theirs.get(symbol, ZERO)
        if there is None:
            found.append(f"{symbol}: the broker's quantity {account.positions[symbol][:32]!r} is no number")
        elif here != there:
            found.append(f"{symbol}: {plain(here)} here, {plain(there)} at the broker")
    for name in sorted({*working, *account.open_orders}):
        if name not in working:
            found.append(f"order {name} works at the broker and not here")
        elif working[name] and name not in account.open_orders:
            found.append(f"order {name} works here and not at the broker")
    more = len(found) - NAMED_MAX
    return "; ".join(found[:NAMED_MAX]) + (f"; and {more} more" if more > 0 else "")


def _amount(text: str) -> Decimal | None:
    try:
        amount = Decimal(text)
    except InvalidOperation:
        return None
    return amount if amount.is_finite() else None
