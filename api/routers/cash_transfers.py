"""Cash transfers: the list of deposits, withdrawals, fees, interest and adjustments, and a command that records one."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Literal

from fastapi import APIRouter, Depends
from pydantic import ConfigDict, Field
from sqlalchemy import select

from api.access import Caller, Reader, caller_with
from api.json_types import Amount, ApiModel, TextLine, utc
from api.pagination import Before, Limit, newest_page
from api.problems import problem_responses
from api.release_approvals import or_request
from api.resources import Db, ResourcesDep
from api.roles import Permission
from api.routers import PREFIX
from api.routers.order_entry import IdempotencyKey
from api.submissions import submit
from operators.approvals import RELEASE_REQUESTED
from operators.cash_transfers import AMOUNT_MAX, parse_transfer, transfer_arguments
from schemas.records import CASH_TRANSFER, CashTransfer, CashTransferKind, CommandKind
from sinks.commands import new_command
from sinks.record_tables import record_of
from sinks.tables import cash_transfers

router = APIRouter(
    prefix=f"{PREFIX}/portfolio/cash-transfers",
    tags=["portfolio"],
    responses=problem_responses(400, 401, 403, 409, 422, 429, 503),
)


class CashTransferOut(ApiModel):
    """One cash transfer. `amount` is positive into the account. `timestamp` is the time slice in which the books
    applied it, `happened_at` the time of the broker or sender. `source` is BROKER or COMMAND.
    """

    seq: int
    transfer_id: str
    timestamp: str
    happened_at: str
    kind: CashTransferKind
    amount: Amount
    currency: str
    source: str
    reference: str
    reason: str
    actor: str
    cause_id: str


class CashTransferPage(ApiModel):
    """Newest first. `next` is the value of `before` for the next page, null on the last page."""

    transfers: list[CashTransferOut]
    next: int | None


class CashTransferCommand(ApiModel):
    """Records money that moved on the account. It moves no money at a broker.

    For a deposit or withdrawal, `amount` is positive. For a fee, interest or adjustment it is signed: positive into the
    account. Decimals may be strings, which preserve every digit.
    """

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"kind": "DEPOSIT", "amount": "25000.00", "reason": "quarterly funding"}},
    )

    kind: CashTransferKind
    amount: Annotated[Decimal, Field(ge=-AMOUNT_MAX, le=AMOUNT_MAX, decimal_places=9)]
    reason: TextLine
    reference: Annotated[str, Field(pattern=r"^[ -~]{0,100}$")] = ""


class CashTransferReceipt(ApiModel):
    """The command is stored in the log. The books apply it in the next time slice.

    APPROVAL_REQUIRED: `command_id` is a request, which another user must approve (`/risk/releases`).
    """

    command_id: str
    kind: CashTransferKind
    amount: Amount
    currency: str
    status: Literal["PENDING", "APPROVAL_REQUIRED"]
    submitted_at: str


@router.get("")
def get_cash_transfers(
    caller: Reader,
    db: Db,
    kind: CashTransferKind | None = None,
    before: Before = None,
    limit: Limit = 100,
) -> CashTransferPage:
    """Cash transfers, newest first, `limit` per page."""
    rows, next_before = newest_page(db, select(cash_transfers), cash_transfers, before=before, limit=limit, kind=kind)
    return CashTransferPage(transfers=[_transfer_out(record_of(CashTransfer, row)) for row in rows], next=next_before)


@router.post("", status_code=202)
def record_cash_transfer(
    body: CashTransferCommand,
    caller: Annotated[Caller, Depends(caller_with(Permission.CASH, "command"))],
    resources: ResourcesDep,
    idempotency_key: IdempotencyKey = None,
) -> CashTransferReceipt:
    """Record a deposit, withdrawal, fee, interest or adjustment. Requires a verified session.

    A retry with the same `Idempotency-Key` records the transfer once. With `risk_manager.approvals`, another user must
    approve an adjustment.
    """
    currency = resources.settings.portfolio_manager.currency
    arguments = transfer_arguments(body.kind, body.amount, currency, body.reference)
    # Raises BadInput for an amount with the wrong sign, before anything is stored.
    transfer = new_command(CASH_TRANSFER, actor=caller.username, reason=body.reason, arguments=arguments)
    terms = parse_transfer(transfer, currency)
    request = or_request(transfer, resources.settings_in_force.risk().approvals)
    kind: CommandKind = CASH_TRANSFER if request is transfer else RELEASE_REQUESTED
    command = submit(
        resources,
        kind,
        actor=caller.username,
        reason=body.reason,
        arguments=request.arguments,
        idempotency_key=idempotency_key,
    )
    return CashTransferReceipt(
        command_id=command.command_id,
        kind=body.kind,
        amount=terms.amount,
        currency=currency,
        status="PENDING" if request is transfer else "APPROVAL_REQUIRED",
        submitted_at=utc(command.ts_ns),
    )


def _transfer_out(transfer: CashTransfer) -> CashTransferOut:
    return CashTransferOut(
        seq=transfer.seq,
        transfer_id=transfer.transfer_id,
        timestamp=utc(transfer.ts_ns),
        happened_at=utc(transfer.happened_ns),
        kind=transfer.kind,
        amount=transfer.amount,
        currency=transfer.currency,
        source=transfer.source,
        reference=transfer.reference,
        reason=transfer.reason,
        actor=transfer.actor,
        cause_id=transfer.cause_id,
    )
