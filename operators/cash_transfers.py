"""Convert users' commands and the broker's activities to cash transfers, each exactly once.

`CASH_TRANSFER` takes the arguments kind (DEPOSIT, WITHDRAWAL, FEE, INTEREST or ADJUSTMENT), amount (signed text,
positive into the account), and optionally currency and reference. All arguments are unvalidated text, because any
client with write access to the topic `commands` can publish them.

The stage that owns the executions (the simulated venue or the gateway) writes the transfer, so that all books apply it
in the same time slice.
"""

from __future__ import annotations

from collections.abc import Container
from decimal import Decimal
from typing import NamedTuple, get_args

from operators.approvals import REQUEST_ID, lacks_approval
from operators.manual_orders import parse_amount
from operators.money import plain, quantize
from schemas.errors import BadInput
from schemas.records import (
    CASH_TRANSFER,
    DEPOSIT,
    FROM_BROKER,
    FROM_COMMAND,
    WITHDRAWAL,
    BrokerActivity,
    CashTransfer,
    CashTransferKind,
    CashTransferSource,
    Command,
)

KINDS: tuple[CashTransferKind, ...] = get_args(CashTransferKind)
CAUSE_IDS_MAX = 10_000
"""Number of recent causes remembered to discard duplicates. The broker client reads activities of a few days again."""
TEXT_MAX = 200
AMOUNT_MAX = 10**12


class TransferTerms(NamedTuple):
    """What a user or the broker asks to book. `amount` is positive into the account."""

    kind: CashTransferKind
    amount: Decimal
    reference: str


def parse_transfer(command: Command, currency: str) -> TransferTerms:
    """Parse a `CASH_TRANSFER` command for an account in `currency`.

    Raises BadInput for an unknown kind, an amount that is zero, malformed or has the wrong sign for its kind, and for
    another currency.

    >>> parse_transfer(Command("c", 0, "CASH_TRANSFER", "ann", "r", {"kind": "DEPOSIT", "amount": "-5"}), "USD")
    Traceback (most recent call last):
    schemas.errors.BadInput: amount must be above 0 for DEPOSIT, found -5
    """
    arguments = command.arguments
    kind, text = arguments.get("kind", ""), arguments.get("amount", "")
    if kind not in KINDS:
        raise BadInput(f"kind must be one of {', '.join(KINDS)}, found {ascii(kind)[:64]}")
    amount = parse_amount(text.removeprefix("-"))
    if amount is None or not amount:
        raise BadInput(f"amount must be a number other than 0, found {ascii(text)[:64]}")
    if (kind == DEPOSIT and text.startswith("-")) or (kind == WITHDRAWAL and not text.startswith("-")):
        raise BadInput(f"amount must be {'above' if kind == DEPOSIT else 'below'} 0 for {kind}, found {text}")
    if arguments.get("currency", currency) != currency:
        raise BadInput(f"currency must be {currency}, found {ascii(arguments['currency'])[:64]}")
    return TransferTerms(
        kind=kind,
        amount=-amount if text.startswith("-") else amount,
        reference=arguments.get("reference", "")[:TEXT_MAX],
    )


def transfer_arguments(kind: CashTransferKind, amount: Decimal, currency: str, reference: str) -> dict[str, str]:
    """Return the arguments of a `CASH_TRANSFER` command. The amount of a withdrawal is given as a positive number.

    Raises BadInput for an amount that is not a number or is above `AMOUNT_MAX`.

    >>> transfer_arguments("WITHDRAWAL", Decimal("250.50"), "USD", "")
    {'kind': 'WITHDRAWAL', 'amount': '-250.5', 'currency': 'USD'}
    """
    if not amount.is_finite() or abs(amount) > AMOUNT_MAX:
        raise BadInput(f"amount must be a number of at most {AMOUNT_MAX}, found {amount}")
    signed_amount = -amount if kind == WITHDRAWAL else amount
    arguments = {"kind": kind, "amount": plain(quantize(signed_amount)), "currency": currency}
    return arguments | ({"reference": reference} if reference else {})


class CashTransfers:
    """Builds the transfers of one account in `currency`. The caller supplies the `seq` of the topic `executions`.

    With `approvals` (as in `RiskSettings`), an adjustment of cash needs two persons.
    """

    def __init__(self, currency: str = "USD", approvals: Container[str] = ()) -> None:
        self._currency, self._approvals = currency, approvals
        self._cause_ids: dict[str, None] = {}  # of commands and activities already processed, oldest first

    def from_command(self, ts_ns: int, seq: int, command: Command) -> CashTransfer | None:
        """Return the transfer of a `CASH_TRANSFER` command; None for another command, a repeated one or an invalid one.

        The API validates a command before it publishes it, so an invalid one here is discarded. So is an adjustment
        without the second person that `approvals` requires. Of several approvals of one request, the first counts.
        """
        if command.kind != CASH_TRANSFER or not self._is_new(command.command_id):
            return None
        if lacks_approval(command, self._approvals):
            return None
        request_id = command.arguments.get(REQUEST_ID, "")
        if request_id and not self._is_new(request_id):
            return None
        try:
            terms = parse_transfer(command, self._currency)
        except BadInput:
            return None
        origin = (command.actor, command.reason, command.ts_ns, command.command_id)
        return self._transfer(ts_ns, seq, terms, FROM_COMMAND, origin)

    def from_activity(
        self, ts_ns: int, seq: int, activity: BrokerActivity, kind: CashTransferKind, amount: Decimal
    ) -> CashTransfer:
        """Return the transfer of an activity. `is_new_activity` must have accepted it."""
        terms = TransferTerms(kind=kind, amount=amount, reference=activity.activity_id)
        text = f"{activity.activity_type} {activity.text}".strip()[:TEXT_MAX]
        origin = (activity.broker, text, activity.happened_ns, activity.update_id)
        return self._transfer(ts_ns, seq, terms, FROM_BROKER, origin)

    def is_new_activity(self, activity: BrokerActivity) -> bool:
        """Whether the activity was not received before. A second call returns False."""
        return self._is_new(activity.update_id)

    def _is_new(self, cause_id: str) -> bool:
        if cause_id in self._cause_ids:
            return False
        self._cause_ids[cause_id] = None
        if len(self._cause_ids) > CAUSE_IDS_MAX:
            del self._cause_ids[next(iter(self._cause_ids))]
        return True

    def _transfer(
        self,
        ts_ns: int,
        seq: int,
        terms: TransferTerms,
        source: CashTransferSource,
        origin: tuple[str, str, int, str],
    ) -> CashTransfer:
        actor, reason, happened_ns, cause_id = origin
        return CashTransfer(
            seq=seq,
            ts_ns=ts_ns,
            transfer_id=f"transfer-{seq}",
            kind=terms.kind,
            amount=quantize(terms.amount),
            currency=self._currency,
            source=source,
            reference=terms.reference,
            reason=reason,
            actor=actor,
            happened_ns=happened_ns,
            cause_id=cause_id,
        )

    def snapshot(self) -> list[str]:
        return list(self._cause_ids)

    def restore(self, snapshot: list[str]) -> None:
        self._cause_ids = dict.fromkeys(snapshot)
