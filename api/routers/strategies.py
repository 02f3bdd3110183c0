"""Strategies: their state, sub-accounts, positions, equity and actions; commands that resume and flatten one."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query
from pydantic import ConfigDict
from sqlalchemy import select

from api.access import Caller, Reader, RiskOfficer
from api.json_types import ApiModel, TextLine, nanoseconds, utc
from api.order_acceptance import is_repeated_submission
from api.pagination import Before, Limit, newest_page
from api.problems import Conflict, NotFound, problem_responses
from api.release_approvals import or_request
from api.resources import Db, Resources, ResourcesDep
from api.routers import PREFIX
from api.routers.order_entry import IdempotencyKey
from api.strategy_accounts import (
    StrategyDetail,
    StrategyEquityPoint,
    StrategyOverview,
    flatten_obstacle,
    strategy_equity,
    strategy_overviews,
    strategy_positions_of,
)
from api.submissions import submit
from operators.approvals import RELEASE_REQUESTED
from schemas.records import FLATTEN_STRATEGY, RESUME_STRATEGY, CommandKind, StrategyAction, StrategyActionKind
from schemas.suggestions import did_you_mean
from sinks.commands import new_command
from sinks.record_tables import record_of
from sinks.tables import strategy_actions

POINTS_MAX = 2000
StrategyName = Annotated[str, Path(pattern=r"^[!-~]{1,64}$", description="name of a strategy")]

router = APIRouter(
    prefix=PREFIX,
    tags=["strategies and models"],
    responses=problem_responses(400, 401, 403, 404, 409, 422, 429, 503),
)


class StrategyActionOut(ApiModel):
    """One action of a trading strategy. `arguments` depend on `kind`. An order has the id `ord-` plus `action_id`.

    `reason` is the strategy's tag. `cause_ids` are the ids of the records that the action is based on;
    `GET /lineage/{record_id}` explains the action and each of them.
    """

    seq: int
    timestamp: str
    action_id: str
    strategy: str
    kind: StrategyActionKind
    symbol: str
    arguments: dict[str, str]
    reason: str
    cause_ids: list[str]


class StrategyActionPage(ApiModel):
    """Newest first. `next` is the value of `before` for the next page, null on the last page."""

    actions: list[StrategyActionOut]
    next: int | None


class ResumeCommand(ApiModel):
    """Resumes a suspended strategy. `reason` is stored with the command and with the resume."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"reason": "fixed the division by zero"}})

    reason: TextLine


class FlattenCommand(ApiModel):
    """Cancels the orders and closes the positions of a suspended or removed strategy. `reason` is stored with it."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"reason": "strategy retired"}})

    reason: TextLine


class FlattenReceipt(ApiModel):
    """PENDING: the command is stored in the log. From the next time slice on, the strategy's orders are cancelled and
    its positions are closed. APPROVAL_REQUIRED: another user must approve it with
    `POST /risk/releases/{command_id}/approve`.
    """

    command_id: str
    strategy: str
    status: Literal["PENDING", "APPROVAL_REQUIRED"]
    submitted_at: str


class ResumeReceipt(ApiModel):
    """PENDING: the command is stored in the log. The strategy runs again from the next time slice on, without its old
    state. APPROVAL_REQUIRED: another user must approve it with `POST /risk/releases/{command_id}/approve`.
    """

    command_id: str
    strategy: str
    status: Literal["PENDING", "APPROVAL_REQUIRED"]
    submitted_at: str


@router.get("/strategies")
def get_strategies(caller: Reader, db: Db) -> list[StrategyOverview]:
    """All strategies that have run, by name, with the last sub-account of each trading strategy."""
    return strategy_overviews(db)


@router.get("/strategies/{strategy}")
def get_strategy(caller: Reader, strategy: StrategyName, db: Db) -> StrategyDetail:
    """One strategy with its positions. Its orders: `GET /orders?strategy=`; its actions: `GET /strategy-actions`."""
    return StrategyDetail(
        **_find(strategy, strategy_overviews(db)).model_dump(), positions=strategy_positions_of(db, strategy)
    )


@router.get("/strategies/{strategy}/equity")
def get_strategy_equity(
    caller: Reader,
    strategy: StrategyName,
    db: Db,
    since: Annotated[datetime | None, Query(description="first event time")] = None,
    points: Annotated[int, Query(ge=1, le=POINTS_MAX)] = 500,
) -> list[StrategyEquityPoint]:
    """Equity of a trading strategy over time, oldest first. Empty for a view strategy, which has no sub-account."""
    since_ns = 0 if since is None else nanoseconds("since", since)
    return strategy_equity(db, strategy, since_ns, points)


@router.get("/strategy-actions")
def get_strategy_actions(
    caller: Reader,
    db: Db,
    strategy: TextLine | None = None,
    kind: StrategyActionKind | None = None,
    symbol: TextLine | None = None,
    before: Before = None,
    limit: Limit = 100,
) -> StrategyActionPage:
    """Actions of the trading strategies, newest first, `limit` per page."""
    rows, next_before = newest_page(
        db,
        select(strategy_actions),
        strategy_actions,
        before=before,
        limit=limit,
        strategy=strategy,
        kind=kind,
        symbol=symbol,
    )
    return StrategyActionPage(actions=[_action_out(record_of(StrategyAction, row)) for row in rows], next=next_before)


@router.post("/strategies/{strategy}/resume", status_code=202)
def resume_strategy(
    body: ResumeCommand,
    strategy: StrategyName,
    caller: RiskOfficer,
    db: Db,
    resources: ResourcesDep,
    idempotency_key: IdempotencyKey = None,
) -> ResumeReceipt:
    """Resume a suspended strategy from the next time slice on, without its old state. Requires a verified session.

    With `risk_manager.approvals: [releases]`, a second person must approve it. 404 for an unknown strategy, 409 for one
    that is not suspended, and for an idempotency key of a different request.
    """
    caller.require_verified()
    is_new = not is_repeated_submission(db, caller.username, idempotency_key)
    if is_new and _find(strategy, strategy_overviews(db)).suspension is None:
        raise Conflict(f"Strategy {strategy} is not suspended.")
    return ResumeReceipt(**_submit(RESUME_STRATEGY, strategy, body.reason, caller, resources, idempotency_key))


@router.post("/strategies/{strategy}/flatten", status_code=202)
def flatten_strategy(
    body: FlattenCommand,
    strategy: StrategyName,
    caller: RiskOfficer,
    db: Db,
    resources: ResourcesDep,
    idempotency_key: IdempotencyKey = None,
) -> FlattenReceipt:
    """Cancel the orders and close the positions of a strategy that is suspended, or that the settings no longer name.

    Requires a verified session. With `risk_manager.approvals: [releases]`, a second person must approve it. 404 for an
    unknown strategy, 409 for one that runs or has no sub-account, and for an idempotency key of a different request.
    """
    caller.require_verified()
    if not is_repeated_submission(db, caller.username, idempotency_key):
        obstacle = flatten_obstacle(_find(strategy, strategy_overviews(db)))
        if obstacle is not None:
            raise Conflict(obstacle)
    return FlattenReceipt(**_submit(FLATTEN_STRATEGY, strategy, body.reason, caller, resources, idempotency_key))


def _submit(
    kind: CommandKind,
    strategy: str,
    reason: str,
    caller: Caller,
    resources: Resources,
    idempotency_key: str | None,
) -> dict[str, Any]:
    """Submit a command about a strategy, or the request for it. Return the fields of its receipt."""
    release = new_command(kind, actor=caller.username, reason=reason, arguments={"strategy": strategy})
    request = or_request(release, resources.settings_in_force.risk().approvals)
    is_complete = request is release
    command = submit(
        resources,
        kind if is_complete else RELEASE_REQUESTED,
        actor=request.actor,
        reason=request.reason,
        arguments=request.arguments,
        idempotency_key=idempotency_key,
    )
    return {
        "command_id": command.command_id,
        "strategy": strategy,
        "status": "PENDING" if is_complete else "APPROVAL_REQUIRED",
        "submitted_at": utc(command.ts_ns),
    }


def _find(strategy: str, overviews: list[StrategyOverview]) -> StrategyOverview:
    names = [one.strategy for one in overviews]
    if strategy not in names:
        raise NotFound(f"No strategy {strategy} has run{did_you_mean(strategy, names) or '.'}")
    return overviews[names.index(strategy)]


def _action_out(action: StrategyAction) -> StrategyActionOut:
    values = {name: value for name, value in action._asdict().items() if name != "ts_ns"}
    return StrategyActionOut(**values, timestamp=utc(action.ts_ns))
