"""Cash at the broker: its account activities as transfers, and the comparison with the books' cash.

Sources: Alpaca's documentation of account activities (activity types) and of regulatory fees (SEC, TAF, CAT), which it
charges at the end of the day.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, NamedTuple

from operators.cash_transfers import CashTransfers
from operators.gateway.settings import GatewaySettings
from operators.money import ZERO, multiply, plain, quantize
from schemas.records import (
    DEPOSIT,
    FEE,
    INTEREST,
    WITHDRAWAL,
    BrokerAccount,
    BrokerActivity,
    CashTransfer,
    CashTransferKind,
    Command,
    Valuation,
)

LISTED = "LISTED"
"""Type of the record that the broker client writes after the first complete list of activities. Activities before the
first one belong to the time before the platform: its initial capital includes them."""
_FLOW_TYPES = frozenset({"CSD", "CSW", "CSR", "JNLC", "ACATC", "TRANS"})
"""Deposits, withdrawals, receipts, journals between accounts and account transfers: external flows by their sign."""
_INTEREST_TYPES = frozenset({"INT", "INTNRA", "INTTW"})
_FEE_TYPES = frozenset({"FEE", "CFEE", "PTC", "PTR", "DIVFEE"})
_ESTIMATED_FEES = ("REG", "TAF", "SEC", "CAT", "ORF")
"""First words of the fees that the gateway books with each execution, from the broker's schedule."""


class PlannedTransfer(NamedTuple):
    """What an activity adds to the books. `amount` is positive into the account."""

    kind: CashTransferKind
    amount: Decimal


class GatewayCash:
    """Turns commands and activities into cash transfers, and compares the broker's cash with the books'.

    The broker does not report the regulatory fees of a fill with the fill. The gateway books an estimate with each
    execution, and the broker charges the fees at the end of the day. Such a charge first settles the estimates; only
    the remainder is a transfer. So no fee is booked twice.
    """

    def __init__(self, settings: GatewaySettings) -> None:
        self._settings, self._currency = settings, settings.currency
        self._transfers = CashTransfers(settings.currency, settings.approvals)
        self.unsettled_fees = ZERO  # booked with executions, not yet charged by the broker
        self._listed = False  # whether the activities from before the platform are known
        self._books_cash = quantize(settings.initial_cash)  # of the portfolio, with the changes of this time slice
        self.difference = ZERO
        """Cash at the broker minus the books' cash in the last account snapshot; 0 within the tolerance."""

    # -- the books' cash -----------------------------------------------------------------------------------------------

    def record_books(self, valuation: Valuation) -> None:
        """Record the books' cash after the previous time slice."""
        self._books_cash = valuation.cash

    def add_fill(self, signed_quantity: Decimal, price: Decimal, fee: Decimal) -> None:
        """Record a fill of this time slice, which the books apply with this fee."""
        self.unsettled_fees += fee
        self._books_cash -= multiply(signed_quantity, price) + fee

    def compare(self, account: BrokerAccount) -> str:
        """Compare the broker's cash with the books'. Return the difference as a sentence, "" within the tolerance.

        The broker may not have charged the estimated fees yet, so it may have up to their sum more than the books. The
        sentence names the difference only, which is the same in two snapshots although both sides trade.
        """
        tolerance = self._settings.cash_tolerance
        if tolerance is None:
            self.difference = ZERO
            return ""
        more = account.cash - self._settings.foreign_cash - self._books_cash
        excess = more - min(self.unsettled_fees, max(ZERO, more))
        self.difference = excess if abs(excess) > tolerance else ZERO
        if not self.difference:
            return ""
        direction = "more" if self.difference > 0 else "less"
        return f"cash: {plain(abs(self.difference))} {self._currency} {direction} at the broker than here"

    # -- transfers -----------------------------------------------------------------------------------------------------

    def from_command(self, ts_ns: int, seq: int, command: Command) -> CashTransfer | None:
        """Return the transfer of a `CASH_TRANSFER` command. None for another, a repeated or an invalid command."""
        return self._booked(self._transfers.from_command(ts_ns, seq, command))

    def from_activity(self, ts_ns: int, seq: int, activity: BrokerActivity) -> CashTransfer | None:
        """Return the transfer of an activity. None if it is a repeat, adds nothing to the books, or is from before."""
        if activity.activity_type == LISTED:
            self._listed = True
            return None
        if not self._transfers.is_new_activity(activity) or not self._listed:
            return None
        planned = self._plan(activity)
        if planned is None:
            return None
        return self._booked(self._transfers.from_activity(ts_ns, seq, activity, planned.kind, planned.amount))

    def _booked(self, transfer: CashTransfer | None) -> CashTransfer | None:
        """Record a transfer of this time slice, which the books apply."""
        if transfer is not None:
            self._books_cash += transfer.amount
        return transfer

    def _plan(self, activity: BrokerActivity) -> PlannedTransfer | None:
        """Return what an activity adds to the books.

        Trades and dividends add nothing: the books have them from executions and corporate actions. An activity in
        another currency adds nothing either; the comparison of cash reports its difference.
        """
        amount, kind = quantize(activity.amount), activity.activity_type
        if not amount or activity.currency != self._currency:
            return None
        if kind in _FLOW_TYPES:
            return PlannedTransfer(DEPOSIT if amount > 0 else WITHDRAWAL, amount)
        if kind in _INTEREST_TYPES:
            return PlannedTransfer(INTEREST, amount)
        if kind not in _FEE_TYPES:
            return None
        if activity.text.upper().startswith(_ESTIMATED_FEES):
            settled = min(self.unsettled_fees, max(ZERO, -amount))
            self.unsettled_fees -= settled
            amount += settled
        return PlannedTransfer(FEE, amount) if amount else None

    def snapshot(self) -> tuple[Any, ...]:
        amounts = (self.unsettled_fees, self._books_cash, self.difference)
        return (self._transfers.snapshot(), self._listed, amounts)

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        transfers, self._listed, amounts = snapshot
        self.unsettled_fees, self._books_cash, self.difference = amounts
        self._transfers.restore(transfers)
