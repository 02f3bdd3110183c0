"""Differences between the platform's and the broker's positions, and the command that takes over the broker's."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import Field

from api.access import Reader, RiskOfficer
from api.json_types import Amount, ApiModel, Symbol, TextLine, utc
from api.problems import Conflict, problem_responses
from api.reconciliation import ReconciliationReport, accept_differences, describe, reconciliation_report
from api.release_approvals import or_request
from api.resources import Db, PrimaryDb, Resources, ResourcesDep
from api.routers import PREFIX
from api.submissions import submit
from operators.adjustments import PositionDifference
from operators.approvals import RELEASE_REQUESTED
from schemas.records import ACCEPT_POSITION, CommandKind
from sinks.commands import new_command

router = APIRouter(
    prefix=f"{PREFIX}/risk/reconciliation",
    tags=["risk"],
    responses=problem_responses(400, 401, 403, 404, 409, 422, 429, 503),
)


class PositionOnBothSides(ApiModel):
    """Signed units. `platform_quantity` includes `foreign_positions` of the settings. `average_price` is the broker's
    average entry price, null if the broker has no position.
    """

    symbol: str
    platform_quantity: Amount
    broker_quantity: Amount
    average_price: Amount | None


class CashOnBothSides(ApiModel):
    """Cash of the last valuation and of the broker's last account snapshot."""

    platform: Amount
    broker: Amount


class Reconciliation(ApiModel):
    """The gateway's last status, and the differences by the broker's last account snapshot (`account_at`).

    `state` is READY, RECONCILING or DOWN, and null before the gateway's first status and with the simulated venue.
    """

    state: str | None
    reason: str
    since: str | None
    account_at: str | None
    positions: list[PositionOnBothSides]
    orders: list[str]
    cash: CashOnBothSides | None


class Acceptance(ApiModel):
    """Takes over the broker's position of `symbol`, or without it all positions that differ. `price` is the price per
    unit at which the change is booked; the default is the broker's average entry price.
    """

    reason: TextLine
    symbol: Symbol | None = None
    price: Annotated[Decimal, Field(gt=0, max_digits=24, decimal_places=9)] | None = None


class AcceptanceReceipt(ApiModel):
    """PENDING: the command is stored in the log and takes effect in the next time slice; the execution report of the
    order `adj-{command_id}` is its outcome. APPROVAL_REQUIRED: another user must approve it with
    `POST /risk/releases/{command_id}/approve`.
    """

    command_id: str
    symbol: str
    status: Literal["PENDING", "APPROVAL_REQUIRED"]
    submitted_at: str
    description: str


@router.get("")
def get_reconciliation(caller: Reader, db: Db, resources: ResourcesDep) -> Reconciliation:
    """The differences that block new orders, and what each side has."""
    report = reconciliation_report(db, resources.settings.execution.alpaca.foreign_positions)
    return Reconciliation(
        state=report.state,
        reason=report.reason,
        since=utc(report.since_ns) if report.state is not None else None,
        account_at=None if report.account_ns is None else utc(report.account_ns),
        positions=[PositionOnBothSides(**one._asdict()) for one in report.positions],
        orders=list(report.orders),
        cash=None if report.cash is None else CashOnBothSides(**report.cash._asdict()),
    )


@router.post("/accept", status_code=202)
def accept_reconciliation(
    body: Acceptance,
    caller: RiskOfficer,
    db: PrimaryDb,
    resources: ResourcesDep,
) -> list[AcceptanceReceipt]:
    """Take over the broker's position of one symbol or of all that differ. 404 without a difference, 409 with the
    simulated venue. The gateway books it only if neither side has changed since.
    """
    caller.require_verified()
    settings = resources.settings
    if settings.execution.broker == "simulated":
        raise Conflict("The platform trades on the simulated venue, which has no books of its own.")
    report: ReconciliationReport = reconciliation_report(db, settings.execution.alpaca.foreign_positions)
    differences = accept_differences(report, body.symbol, body.price)
    return [_submit(resources, caller.username, body.reason, one) for one in differences]


def _submit(resources: Resources, actor: str, reason: str, difference: PositionDifference) -> AcceptanceReceipt:
    command = new_command(ACCEPT_POSITION, actor=actor, reason=reason, arguments=difference.arguments())
    request = or_request(command, resources.settings_in_force.risk().approvals)
    kind: CommandKind = ACCEPT_POSITION if request is command else RELEASE_REQUESTED
    sent = submit(resources, kind, actor=actor, reason=reason, arguments=request.arguments)
    return AcceptanceReceipt(
        command_id=sent.command_id,
        symbol=difference.symbol,
        status="PENDING" if request is command else "APPROVAL_REQUIRED",
        submitted_at=utc(sent.ts_ns),
        description=describe(difference),
    )
