"""Check the command `ACCEPT_POSITION` against the gateway's own position and the broker's last account snapshot."""

from __future__ import annotations

from collections.abc import Container, Iterable
from decimal import Decimal

from operators.adjustments import PositionDifference, parse_difference
from operators.approvals import lacks_approval
from operators.gateway.gateway_order import GatewayOrder
from operators.gateway.reconciliation import BrokerReconciliation
from operators.money import plain
from schemas.errors import BadInput
from schemas.records import Command

COMMAND_IDS_MAX = 1000
"""Number of command ids that are retained to discard duplicates."""


class PositionAcceptance:
    """Decides on each command once. A difference that has changed since a person accepted it is not taken over."""

    def __init__(self, approvals: Container[str]) -> None:
        self._approvals = approvals
        self._command_ids: dict[str, None] = {}

    def is_new(self, command: Command) -> bool:
        """Return whether the command is new, that is, not a duplicate. Record its id."""
        if command.command_id in self._command_ids:
            return False
        self._command_ids[command.command_id] = None
        if len(self._command_ids) > COMMAND_IDS_MAX:
            del self._command_ids[next(iter(self._command_ids))]
        return True

    def check(
        self,
        command: Command,
        expected: Decimal,
        reconciliation: BrokerReconciliation,
        open_orders: Iterable[GatewayOrder],
    ) -> PositionDifference:
        """Return the difference to take over. Raises BadInput with the reason if it must not be taken over.

        `expected` is the signed quantity that the account should have by the gateway's books.
        """
        if lacks_approval(command, self._approvals):
            raise BadInput("a second person must approve it (risk_manager.approvals)")
        accepted = parse_difference(command.arguments)
        symbol = accepted.symbol
        if accepted.platform_quantity != expected:
            found, given = plain(expected), plain(accepted.platform_quantity)
            raise BadInput(f"the position of {symbol} is {found} here now, {given} when it was accepted")
        reported = reconciliation.broker_quantity(symbol)
        if reported is None:
            raise BadInput("no account snapshot of the broker since the last connect")
        if accepted.broker_quantity != reported:
            found, given = plain(reported), plain(accepted.broker_quantity)
            raise BadInput(f"the position of {symbol} is {found} at the broker now, {given} when it was accepted")
        for order in open_orders:
            if order.leg is not None and order.terms.symbol == symbol:
                # Its fill may be on the way: the difference could be booked twice.
                raise BadInput(f"order {order.order_id} of {symbol} works at the broker: cancel it first")
        return accepted

    def snapshot(self) -> list[str]:
        return list(self._command_ids)

    def restore(self, snapshot: list[str]) -> None:
        self._command_ids = dict.fromkeys(snapshot)
