"""What people ask of risk beside orders and cancels, read from the arguments of a `Command`.

`AMEND_ORDER` has order_id and any of quantity (the new total), limit_price, stop_price, trail_amount, trail_percent.
`SET_BREAKER` has measure, scope, key (the strategy or symbol, none for the portfolio) and state.
"""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

from operators.manual_orders import parse_amount
from operators.risk.breakers import PORTFOLIO, SCOPES_OF_MEASURE, SEVERITY
from schemas.errors import BadInput
from schemas.records import Command, OrderProposal

AMEND_ORDER, SET_BREAKER = "AMEND_ORDER", "SET_BREAKER"
RECONCILING, RECONCILED = "RECONCILING", "RECONCILED"
"""Of the gateway: it does not know what its broker has, and it knows again."""

_AMENDABLE_ARGUMENTS = ("quantity", "limit_price", "stop_price", "trail_amount", "trail_percent")


class BreakerSetting(NamedTuple):
    """Which breakers to set to which state by hand."""

    measure: str
    scope: str
    key: str
    state: str


def parse_breaker_command(command: Command) -> BreakerSetting:
    """Raises `BadInput` for a measure, scope or state that there is not."""
    arguments = command.arguments
    parsed = BreakerSetting(
        arguments.get("measure", ""),
        arguments.get("scope", PORTFOLIO),
        arguments.get("key", ""),
        arguments.get("state", ""),
    )
    if parsed.scope not in SCOPES_OF_MEASURE.get(parsed.measure, ()):
        raise BadInput(f"there is no breaker {parsed.measure!r} of scope {parsed.scope!r}")
    if parsed.state not in SEVERITY:
        raise BadInput(f"state must be one of {', '.join(SEVERITY)}, found {parsed.state!r}")
    return parsed


def amend_proposal(command: Command, old: OrderProposal) -> OrderProposal:
    """`old` with what the command changes; `quantity` is the new total. Raises `BadInput`."""
    changes = {name: value for name, value in command.arguments.items() if name != "order_id"}
    unknown = sorted(set(changes) - set(_AMENDABLE_ARGUMENTS))
    if unknown:
        raise BadInput(f"argument {unknown[0][:64]} cannot be amended")
    if not changes:
        raise BadInput("nothing to amend")
    numbers = {name: _parse_amount(name, value) for name, value in changes.items()}
    return old._replace(proposal_id=command.command_id, ts_ns=command.ts_ns, **numbers)  # type: ignore[arg-type]


def _parse_amount(name: str, value: str) -> Decimal:
    amount = parse_amount(value)
    if amount is None:
        raise BadInput(f"{name} must be a number, found {ascii(value)[:64]}")
    return amount
