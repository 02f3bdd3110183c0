"""Reconcile positions, open orders and cash with the broker's. Until they match, risk rejects orders."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from operators.money import ZERO, plain
from schemas.records import DOWN, READY, RECONCILING, BrokerAccount, GatewayState

DIFFERENCES_SHOWN_MAX = 10
"""Maximum number of differences in a reason. The others are only counted."""


class BrokerReconciliation:
    """READY while the broker is connected, no order's status is unknown, and the account snapshot matches.

    Account snapshots and execution reports arrive by different paths. In state READY, a difference therefore counts
    only if two consecutive account snapshots show it.
    """

    def __init__(self) -> None:
        self.connected = False
        self.matched = False
        self.reason = "no connection to the broker yet"
        self._unconfirmed = ""  # the difference in the last account snapshot
        self._last_account = ""
        self._uncertain: dict[str, str] = {}  # client_order_id -> why its status is unknown
        # Quantities of the last account snapshot in text; None if there is none since the last connect.
        self._account_positions: dict[str, str] | None = None

    def connect(self) -> None:
        self.connected, self.matched, self._account_positions = True, False, None
        self.reason = "waiting for the broker's account snapshot"

    def disconnect(self, reason: str) -> None:
        self.connected, self.matched, self._account_positions = False, False, None
        self.reason = reason or "the broker is unreachable"

    def set_uncertain(self, client_order_id: str, reason: str) -> None:
        self._uncertain[client_order_id] = reason

    def clear_uncertain(self, client_order_id: str) -> None:
        """The broker has reported a definite status of this order."""
        self._uncertain.pop(client_order_id, None)

    def compare(
        self,
        account: BrokerAccount,
        positions: Mapping[str, Decimal],
        open_orders: Mapping[str, bool],
        cash_difference: str = "",
    ) -> None:
        """Compare an account snapshot with the expected state. A repeated snapshot is ignored.

        `positions` are the expected signed units. `open_orders` maps the expected orders to True once acknowledged.
        `cash_difference` describes a difference of cash, "" if there is none.
        """
        if account.update_id == self._last_account:
            return
        self._last_account, self._account_positions = account.update_id, dict(account.positions)
        texts = (describe_differences(account, positions, open_orders), cash_difference)
        difference = "; ".join(text for text in texts if text)
        if not difference:
            self.matched, self._unconfirmed, self.reason = True, "", "positions and open orders match"
        elif not self.matched or difference == self._unconfirmed:
            self.matched, self.reason = False, difference
        self._unconfirmed = difference

    def broker_quantity(self, symbol: str) -> Decimal | None:
        """Return the signed quantity of the last account snapshot; None if it is unknown or no number."""
        if self._account_positions is None or not self.connected:
            return None
        return _parse_amount(self._account_positions.get(symbol, "0"))

    def status(self) -> tuple[GatewayState, str]:
        """Return state and reason for a GatewayStatus record."""
        if not self.connected:
            return (DOWN if self._last_account else RECONCILING), self.reason
        if self._uncertain:
            name, reason = next(iter(self._uncertain.items()))
            more = f" and {len(self._uncertain) - 1} more" if len(self._uncertain) > 1 else ""
            return RECONCILING, f"status of order {name} is unknown: {reason}{more}"
        return (READY if self.matched else RECONCILING), self.reason

    def snapshot(self) -> tuple[Any, ...]:
        account = None if self._account_positions is None else dict(self._account_positions)
        pending = (self._unconfirmed, self._last_account, dict(self._uncertain), account)
        return (self.connected, self.matched, self.reason, *pending)

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        """Restore a snapshot. Those of release 0.2.0 and earlier contain no positions of the account."""
        self.connected, self.matched, self.reason, self._unconfirmed, self._last_account, uncertain, *account = snapshot
        self._uncertain = dict(uncertain)
        self._account_positions = dict(account[0]) if account and account[0] is not None else None


def describe_differences(
    account: BrokerAccount, positions: Mapping[str, Decimal], open_orders: Mapping[str, bool]
) -> str:
    """Describe the differences; "" if there are none. An unacknowledged order may or may not be at the broker yet."""
    mismatches: list[str] = []
    broker_positions = {symbol: _parse_amount(text) for symbol, text in account.positions.items()}
    for symbol in sorted({*positions, *broker_positions}):
        expected, actual = positions.get(symbol, ZERO), broker_positions.get(symbol, ZERO)
        if actual is None:
            mismatches.append(f"{symbol}: quantity {account.positions[symbol][:32]!r} at the broker is not a number")
        elif expected != actual:
            mismatches.append(f"{symbol}: position is {plain(expected)} here, {plain(actual)} at the broker")
    for name in sorted({*open_orders, *account.open_orders}):
        if name not in open_orders:
            mismatches.append(f"order {name} is open at the broker but not here")
        elif open_orders[name] and name not in account.open_orders:
            mismatches.append(f"order {name} is open here but not at the broker")
    more = len(mismatches) - DIFFERENCES_SHOWN_MAX
    return "; ".join(mismatches[:DIFFERENCES_SHOWN_MAX]) + (f"; and {more} more" if more > 0 else "")


def _parse_amount(text: str) -> Decimal | None:
    try:
        amount = Decimal(text)
    except InvalidOperation:
        return None
    return amount if amount.is_finite() else None
