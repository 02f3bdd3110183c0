"""What people ask of risk beside orders and cancels, read from the arguments of a `Command`.

`AMEND_ORDER` has order_id and any of quantity (the new total), limit_price, stop_price, trail_amount, trail_percent.
`SET_BREAKER` has measure, scope, key (the strategy or symbol, none for the portfolio) and state.
"""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

from operators.manual_orders import amount_of
from operators.risk.breakers import PORTFOLIO, SCOPES_OF, SEVERITY
from schemas.errors import BadInput
from schemas.records import Command, OrderProposal

AMEND_ORDER, SET_BREAKER = "AMEND_ORDER", "SET_BREAKER"
RECONCILING, RECONCILED = "RECONCILING", "RECONCILED"
"""Of the gateway: it does not know what its broker has, and it knows again."""

_AMENDABLE = ("quantity", "limit_price", "stop_price", "trail_amount", "trail_percent")


class BreakerOrder(NamedTuple):
    """Which breakers to set to which state by hand."""

    measure: str
    scope: str
    key: str
    state: str


def breaker_of(command: Command) -> BreakerOrder:
    """Raises `BadInput` for a measure, scope or state that there is not."""
    given = command.arguments
    asked = BreakerOrder(
        given.get("measure", ""), given.get("scope", PORTFOLIO), given.get("key", ""), given.get("state", "")
    )
    if asked.scope not in SCOPES_OF.get(asked.measure, ()):
        raise BadInput(f"there is no breaker {asked.measure!r} of scope {asked.scope!r}")
    if asked.state not in SEVERITY:
        raise BadInput(f"state must be one of {', '.join(SEVERITY)}, found {asked.state!r}")
    return asked


def amended(command: Command, old: OrderProposal) -> OrderProposal:
    """`old` with what the command changes; `quantity` is the new total. Raises `BadInput`."""
    changes = {name: value for name, value in command.arguments.items() if name != "order_id"}
    unknown = sorted(set(changes) - set(_AMENDABLE))
    if unknown:
        raise BadInput(f"argument {unknown[0][:64]} cannot be amended")
    if not changes:
        raise BadInput("nothing to amend")
    numbers = {name: _number(name, value) for name, value in changes.items()}
    return old._replace(proposal_id=command.command_id, ts_ns=command.ts_ns, **numbers)  # type: ignore[arg-type]


def _number(name: str, value: str) -> Decimal:
    amount = amount_of(value)
    if amount is None:
        raise BadInput(f"{name} must be a number, found {ascii(value)[:64]}")
    return amount
