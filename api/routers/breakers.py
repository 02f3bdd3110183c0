"""The kill switch and the circuit breakers: their states, and commands that set them manually."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import Field
from sqlalchemy import Connection, desc, select
from sqlalchemy.dialects.postgresql import distinct_on

from api.access import Caller, Reader, RiskOfficer
from api.host_halt import halt_on_host, release_on_host
from api.json_types import Amount, ApiModel, TextLine, utc
from api.problems import NotFound, problem_responses
from api.release_approvals import or_request
from api.resources import Db, Resources, ResourcesDep
from api.routers import PREFIX
from api.submissions import submit
from operators.approvals import RELEASE_REQUESTED
from operators.exchange_halts import EXCHANGE_HALT
from operators.money import ZERO
from operators.risk.commands import SET_BREAKER, parse_breaker_command
from schemas.errors import BadInput
from schemas.records import (
    ACTIVE,
    HALTED,
    PORTFOLIO,
    REDUCING,
    RELEASE,
    BreakerScope,
    CommandKind,
    RiskEvent,
)
from schemas.suggestions import did_you_mean
from sinks.commands import new_command
from sinks.host_kill_switch import new_halt_command
from sinks.record_tables import record_of
from sinks.tables import risk_events

STATE_OF = {"halt": HALTED, "reduce": REDUCING, "release": ACTIVE}

router = APIRouter(
    prefix=f"{PREFIX}/risk", tags=["risk"], responses=problem_responses(400, 401, 403, 404, 422, 429, 503)
)

Action = Literal["halt", "reduce", "release"]


class BreakerCommand(ApiModel):
    """Sets the kill switch (halt or release), or with `measure` a circuit breaker of the settings.

    `key` is the strategy for scope STRATEGY and the symbol for scope SYMBOL.
    """

    action: Action
    reason: TextLine
    measure: TextLine | None = None
    scope: BreakerScope = PORTFOLIO
    key: Annotated[str, Field(pattern=r"^[!-~]{0,64}$")] = ""


class BreakerReceipt(ApiModel):
    """PENDING: the command is stored in the log and takes effect in the next time slice. `/risk/limits` and
    `/risk/breakers` show the new state. APPROVAL_REQUIRED: another user must approve the release with
    `POST /risk/releases/{command_id}/approve`.

    For a halt by the kill switch, `gateway` is CONFIRMED if the gateway has confirmed that no order works at the broker
    any more, PENDING if it has not, and null if it does not run on this host. `published` is false if Kafka did not
    respond: the gateway of this host publishes the command later.
    """

    command_id: str
    action: Action
    status: Literal["PENDING", "APPROVAL_REQUIRED"]
    submitted_at: str
    gateway: Literal["CONFIRMED", "PENDING"] | None = None
    published: bool = True


class BreakerState(ApiModel):
    """One circuit breaker of the settings. For scope STRATEGY or SYMBOL, each key that ever tripped has an entry.

    The measure `exchange_halt` is a halt of a symbol by its exchange. It has no threshold and cannot be set.
    """

    measure: str
    scope: str
    key: str
    state: str  # ACTIVE, REDUCING or HALTED
    threshold: Amount
    found: str | None
    since: str | None
    actor: str | None
    reason: str | None


@router.get("/breakers")
def get_breakers(caller: Reader, db: Db, resources: ResourcesDep) -> list[BreakerState]:
    """The circuit breakers in the state of their last event, and the symbols that an exchange has halted."""
    events = _last_events(db)
    states: list[BreakerState] = []
    for breaker in resources.settings_in_force.risk().all_breakers():
        matching = [event for event in events if (event.breaker, event.scope) == (breaker.measure, breaker.scope)]
        states += [_state(breaker.threshold, event) for event in matching]
        if not matching and breaker.scope == PORTFOLIO:
            states.append(_never_tripped(breaker.measure, breaker.threshold))
    return states + [_state(ZERO, event) for event in events if event.breaker == EXCHANGE_HALT]


@router.post("/circuit-breaker", status_code=202)
def set_breaker(
    body: BreakerCommand,
    caller: RiskOfficer,
    resources: ResourcesDep,
) -> BreakerReceipt:
    """Halt or release trading. A halt by the kill switch requires the gateway on this host or Kafka; a breaker requires
    Kafka. A release also requires a verified session (Redis and PostgreSQL available).
    """
    if body.action == "release":
        caller.require_verified()
    kind: CommandKind = SET_BREAKER
    arguments: dict[str, str] = {}
    if body.measure is None:
        if body.action == "reduce":
            raise BadInput(
                "The kill switch accepts only halt and release. To reduce, set `measure` to a circuit breaker."
            )
        if body.action == "halt":
            return _halt(caller, body, resources)
        kind = RELEASE
    else:
        arguments = {"measure": body.measure, "scope": body.scope, "key": body.key, "state": STATE_OF[body.action]}
    command = new_command(kind, actor=caller.username, reason=body.reason, arguments=arguments)
    if kind == SET_BREAKER:
        requested = parse_breaker_command(command)
        configured = {(breaker.measure, breaker.scope) for breaker in resources.settings_in_force.risk().all_breakers()}
        if (requested.measure, requested.scope) not in configured:
            known = sorted(f"{measure} {scope}" for measure, scope in configured)
            suggestion = did_you_mean(f"{requested.measure} {requested.scope}", known) or "."
            raise NotFound(
                f"No circuit breaker {requested.measure} of scope {requested.scope} in the settings{suggestion}"
                f" Configured circuit breakers: {', '.join(known) or 'none'}"
            )
    request = or_request(command, resources.settings_in_force.risk().approvals)
    if request is command:
        release_on_host(resources, command)
    else:
        caller.require_verified()
        # Stored before it is sent, so that a second person finds it at once.
        request = submit(
            resources, RELEASE_REQUESTED, actor=request.actor, reason=request.reason, arguments=request.arguments
        )
    return BreakerReceipt(
        command_id=request.command_id,
        action=body.action,
        status="PENDING" if request is command else "APPROVAL_REQUIRED",
        submitted_at=utc(request.ts_ns),
    )


def _halt(caller: Caller, body: BreakerCommand, resources: Resources) -> BreakerReceipt:
    command = new_halt_command(caller.username, body.reason)
    halt = halt_on_host(resources, command)
    return BreakerReceipt(
        command_id=command.command_id,
        action=body.action,
        status="PENDING",
        submitted_at=utc(command.ts_ns),
        gateway=halt.gateway,
        published=halt.published,
    )


def _last_events(db: Connection) -> list[RiskEvent]:
    key = (risk_events.c.breaker, risk_events.c.scope, risk_events.c.scope_key)
    query = select(risk_events).ext(distinct_on(*key)).order_by(*key, desc(risk_events.c.seq))
    return [record_of(RiskEvent, row) for row in db.execute(query).mappings()]


def _state(threshold: Decimal, event: RiskEvent) -> BreakerState:
    return BreakerState(
        measure=event.breaker,
        scope=event.scope,
        key=event.scope_key,
        state=event.state,
        threshold=threshold,
        found=event.found,
        since=utc(event.ts_ns),
        actor=event.actor,
        reason=event.reason,
    )


def _never_tripped(measure: str, threshold: Decimal) -> BreakerState:
    fields = {"measure": measure, "scope": PORTFOLIO, "key": "", "state": ACTIVE, "threshold": threshold}
    return BreakerState.model_validate({**fields, "found": None, "since": None, "actor": None, "reason": None})
