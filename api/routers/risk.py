"""What risk allows now, what it would say of an order, and what it refused."""

from __future__ import annotations

from dataclasses import asdict
from decimal import Decimal
from typing import Annotated

from fastapi import APIRouter, Depends
from sqlalchemy import desc, func, select

from api.access import Caller, Reader, allowed
from api.json_types import Amount, Line, Shape, plain, utc
from api.pagination import Before, Limit, newest
from api.problems import documented
from api.resources import CurrentDb, Db, Open
from api.risk_view import judge, rebuild
from api.roles import Permission
from api.routers import PREFIX
from api.routers.order_entry import OrderTicket
from api.routers.orders import Check
from operators.manual_orders import SUBMIT_ORDER, proposal_of
from operators.risk.usage import usage
from operators.risk.verdict import Refusal
from schemas.records import ACTIVE, Command, OrderProposal, OrderRefusal, RiskUsage
from sinks.tables import bars, order_refusals, record_of, risk_fences, risk_usage

router = APIRouter(prefix=f"{PREFIX}/risk", tags=["risk"], responses=documented(400, 401, 403, 422, 429, 503))


class RiskLimits(Shape):
    """The limits and whether trading is halted.

    A limit is a number, "unlimited", or null: not set, which refuses every order. Money in account currency.
    """

    state: str  # ACTIVE or HALTED
    epoch: int
    reason: str | None
    since: str | None  # None while nothing was ever halted
    limits: dict[str, bool | int | float | str | None]


class Forecast(Shape):
    """What the risk service's checks say of the order on the books as of `as_of`, up to the first that refuses."""

    approved: bool
    message: str | None  # the refusal
    checks: list[Check]
    reference_price: Amount | None  # the last close
    notional: Amount | None
    as_of: str | None


class LimitUsage(Shape):
    """How much of one limit is used; `share` = used / limit. `scope_key` is a symbol, "" for the portfolio."""

    measure: str
    scope_key: str
    used: Amount
    limit: Amount | None
    share: float | None
    timestamp: str


class RefusedOrder(Shape):
    seq: int
    timestamp: str
    cause_id: str
    symbol: str
    side: str
    quantity: Amount
    check: str
    found: str
    limit: str
    message: str


class RefusalPage(Shape):
    """Newest first. `next` is the value of `before` for the next page, None on the last one."""

    refusals: list[RefusedOrder]
    next: int | None


@router.get("/limits")
def get_limits(caller: Reader, db: Db, resources: Open) -> RiskLimits:
    """Current risk limits and the state of the kill switch."""
    fence = db.execute(select(risk_fences).order_by(desc(risk_fences.c.seq)).limit(1)).mappings().first()
    given = asdict(resources.settings.risk())
    limits = {name: plain(value) for name, value in given.items() if not isinstance(value, dict | list | tuple)}
    return RiskLimits(
        state=ACTIVE if fence is None else fence["state"],
        epoch=0 if fence is None else fence["epoch"],
        reason=None if fence is None else fence["reason"],
        since=None if fence is None else utc(fence["ts_ns"]),
        limits=limits,
    )


@router.get("/usage")
def get_usage(caller: Reader, db: Db, resources: Open) -> list[LimitUsage]:
    """How much of each limit is used, the fullest first: as risk last recorded it or, where `usage_interval_s` is 0 and
    it records nothing, as it comes out of the books in Postgres now.
    """
    limits = resources.settings.risk()
    if limits.usage_interval_s:
        found = [record_of(RiskUsage, row) for row in db.execute(select(risk_usage)).mappings()]
        shown = [
            LimitUsage(
                timestamp=utc(one.ts_ns), **{k: v for k, v in one._asdict().items() if k in LimitUsage.model_fields}
            )
            for one in found
        ]
    else:
        # Any symbol's bars tell which trading day it is.
        standing = rebuild(db, limits, db.execute(select(func.min(bars.c.symbol))).scalar() or "")
        at = utc(standing.ts_ns)
        reckoned = usage(standing.book, standing.history, limits) if standing.ts_ns else ()
        shown = [LimitUsage(timestamp=at, share=one.share, **one._asdict()) for one in reckoned]
    return sorted(shown, key=lambda one: (one.share is None, -(one.share or 0.0), one.measure, one.scope_key))


@router.post("/validate")
def validate_order(
    ticket: OrderTicket,
    caller: Annotated[Caller, Depends(allowed(Permission.VALIDATE))],
    db: CurrentDb,
    resources: Open,
) -> Forecast:
    """What risk would say of the order now. Nothing is sent."""
    standing = rebuild(db, resources.settings.risk(), ticket.symbol)
    asked = Command("cmd-validate", standing.ts_ns, SUBMIT_ORDER, caller.username, "", ticket.arguments())
    proposal = proposal_of(asked, standing.ts_ns)
    assert isinstance(proposal, OrderProposal), f"a ticket makes an order, found {proposal}"
    verdicts = judge(standing, proposal)
    last = verdicts[-1]
    price = standing.book.price(ticket.symbol)
    worth = None if price is None else ticket.quantity * price * standing.book.multiplier(ticket.symbol)
    return Forecast(
        approved=not isinstance(last, Refusal),
        message=last.message if isinstance(last, Refusal) else None,
        checks=[Check(check=verdict.check, found=verdict.found, limit=verdict.limit) for verdict in verdicts],
        reference_price=price,
        notional=None if worth is None else worth.quantize(Decimal("0.01")),
        as_of=utc(standing.ts_ns) if standing.ts_ns else None,
    )


@router.get("/refusals")
def get_refusals(
    caller: Reader,
    db: Db,
    symbol: Line | None = None,
    before: Before = None,
    limit: Limit = 100,
) -> RefusalPage:
    """Orders that risk refused and why, of strategies and by hand, newest first."""
    rows, following = newest(db, select(order_refusals), order_refusals, before=before, limit=limit, symbol=symbol)
    page = [
        RefusedOrder(timestamp=utc(one.ts_ns), **{k: v for k, v in one._asdict().items() if k != "ts_ns"})
        for one in (record_of(OrderRefusal, row) for row in rows)
    ]
    return RefusalPage(refusals=page, next=following)
