"""Risk limits and their usage, order checks, and orders that risk rejected."""

from __future__ import annotations

from dataclasses import asdict
from decimal import Decimal
from typing import Annotated

from fastapi import APIRouter, Depends
from sqlalchemy import desc, func, select

from api.access import Caller, Reader, caller_with
from api.json_types import Amount, ApiModel, TextLine, json_value, utc
from api.order_responses import OrderCheck
from api.pagination import Before, Limit, newest_page
from api.problems import problem_responses
from api.resources import Db, PrimaryDb, ResourcesDep
from api.risk_preview import rebuild_risk_state, run_checks
from api.roles import Permission
from api.routers import PREFIX
from api.routers.order_entry import OrderTicket
from operators.manual_orders import bracket_exits, parse_proposal
from operators.risk.order_rules import check_exits
from operators.risk.usage import limit_utilization
from operators.risk.verdict import Refusal
from schemas.records import ACTIVE, SUBMIT_ORDER, Command, OrderProposal, OrderRefusal, RiskUsage, Side
from sinks.record_tables import record_of
from sinks.tables import bars, order_refusals, risk_fences, risk_usage

router = APIRouter(prefix=f"{PREFIX}/risk", tags=["risk"], responses=problem_responses(400, 401, 403, 422, 429, 503))


class RiskLimits(ApiModel):
    """The limits, and whether trading is halted.

    A limit is a number, "unlimited", or null. A limit of null is not set and rejects every order. Money is in account
    currency.
    """

    state: str  # ACTIVE or HALTED
    epoch: int
    reason: str | None
    since: str | None  # None while nothing was ever halted
    limits: dict[str, bool | int | float | str | None]


class OrderPreview(ApiModel):
    """The results of the risk checks on the books as of `as_of`, up to the first check that rejects the order."""

    approved: bool
    message: str | None  # why a check rejected the order
    checks: list[OrderCheck]
    reference_price: Amount | None  # the last close
    notional: Amount | None
    as_of: str | None


class LimitUsage(ApiModel):
    """Usage of one limit; `share` = used / limit. `scope_key` is a symbol, or "" for the portfolio."""

    measure: str
    scope_key: str
    used: Amount
    limit: Amount | None
    share: float | None
    timestamp: str


class RefusedOrder(ApiModel):
    seq: int
    timestamp: str
    cause_id: str
    symbol: str
    side: Side
    quantity: Amount
    check: str
    found: str
    limit: str
    message: str


class RefusalPage(ApiModel):
    """Newest first. `next` is the value of `before` for the next page, null on the last page."""

    refusals: list[RefusedOrder]
    next: int | None


@router.get("/limits")
def get_limits(caller: Reader, db: Db, resources: ResourcesDep) -> RiskLimits:
    """Current risk limits and the state of the kill switch."""
    fence = db.execute(select(risk_fences).order_by(desc(risk_fences.c.seq)).limit(1)).mappings().first()
    configured = asdict(resources.settings_in_force.risk())
    limits = {
        name: json_value(value) for name, value in configured.items() if not isinstance(value, dict | list | tuple)
    }
    return RiskLimits(
        state=ACTIVE if fence is None else fence["state"],
        epoch=0 if fence is None else fence["epoch"],
        reason=None if fence is None else fence["reason"],
        since=None if fence is None else utc(fence["ts_ns"]),
        limits=limits,
    )


@router.get("/usage")
def get_usage(caller: Reader, db: Db, resources: ResourcesDep) -> list[LimitUsage]:
    """Usage of each limit, highest share first. Returns the usage that risk last recorded. If `usage_interval_s` is 0,
    risk records none and the usage is computed from the books in PostgreSQL.
    """
    limits = resources.settings_in_force.risk()
    if limits.usage_interval_s:
        records = [record_of(RiskUsage, row) for row in db.execute(select(risk_usage)).mappings()]
        usages = [
            LimitUsage(
                timestamp=utc(one.ts_ns), **{k: v for k, v in one._asdict().items() if k in LimitUsage.model_fields}
            )
            for one in records
        ]
    else:
        # The bars of any symbol determine the trading day.
        risk_state = rebuild_risk_state(db, limits, db.execute(select(func.min(bars.c.symbol))).scalar() or "")
        as_of = utc(risk_state.ts_ns)
        measured = limit_utilization(risk_state.book, risk_state.history, limits) if risk_state.ts_ns else ()
        usages = [LimitUsage(timestamp=as_of, share=one.share, **one._asdict()) for one in measured]
    return sorted(usages, key=lambda one: (one.share is None, -(one.share or 0.0), one.measure, one.scope_key))


@router.post("/validate")
def validate_order(
    ticket: OrderTicket,
    caller: Annotated[Caller, Depends(caller_with(Permission.VALIDATE))],
    db: PrimaryDb,
    resources: ResourcesDep,
) -> OrderPreview:
    """Check an order against the risk checks without sending it."""
    risk_state = rebuild_risk_state(db, resources.settings_in_force.risk(), ticket.symbol)
    command = Command(
        command_id="cmd-validate",
        ts_ns=risk_state.ts_ns,
        kind=SUBMIT_ORDER,
        actor=caller.username,
        reason="",
        arguments=ticket.arguments(),
    )
    proposal = parse_proposal(command, risk_state.ts_ns)
    assert isinstance(proposal, OrderProposal), f"expected a valid order from the ticket, found {proposal}"
    verdicts = run_checks(risk_state, proposal)
    if not isinstance(verdicts[-1], Refusal):
        exits = [one.terms for one in bracket_exits(command, proposal)]
        refusal = check_exits(proposal.terms, exits, risk_state.book.price(ticket.symbol))
        verdicts += [refusal] if refusal is not None else []
    last = verdicts[-1]
    price = risk_state.book.price(ticket.symbol)
    notional = None if price is None else ticket.quantity * price * risk_state.book.multiplier(ticket.symbol)
    return OrderPreview(
        approved=not isinstance(last, Refusal),
        message=last.message if isinstance(last, Refusal) else None,
        checks=[OrderCheck(check=verdict.check, found=verdict.found, limit=verdict.limit) for verdict in verdicts],
        reference_price=price,
        notional=None if notional is None else notional.quantize(Decimal("0.01")),
        as_of=utc(risk_state.ts_ns) if risk_state.ts_ns else None,
    )


@router.get("/refusals")
def get_refusals(
    caller: Reader,
    db: Db,
    symbol: TextLine | None = None,
    before: Before = None,
    limit: Limit = 100,
) -> RefusalPage:
    """Orders that risk rejected, with the reason, newest first. Includes manual orders."""
    rows, next_before = newest_page(
        db, select(order_refusals), order_refusals, before=before, limit=limit, symbol=symbol
    )
    page = [
        RefusedOrder(timestamp=utc(one.ts_ns), **{k: v for k, v in one._asdict().items() if k != "ts_ns"})
        for one in (record_of(OrderRefusal, row) for row in rows)
    ]
    return RefusalPage(refusals=page, next=next_before)
