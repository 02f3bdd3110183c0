"""Parse the amend and circuit-breaker commands from the arguments of a `Command`.

`AMEND_ORDER` takes order_id and any of quantity (the new total), limit_price, stop_price, trail_amount, trail_percent.
`SET_BREAKER` takes measure, scope, key (the strategy or symbol, empty for the portfolio) and state.
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
"""Commands that block new orders until reconciliation with the broker is complete, and unblock them."""

_AMENDABLE_ARGUMENTS = ("quantity", "limit_price", "stop_price", "trail_amount", "trail_percent")


class BreakerSetting(NamedTuple):
    """The breakers to set manually, and their new state."""

    measure: str
    scope: str
    key: str
    state: str


def parse_breaker_command(command: Command) -> BreakerSetting:
    """Parse a `SET_BREAKER` command. Raises `BadInput` for an unknown measure, scope or state."""
    arguments = command.arguments
    parsed = BreakerSetting(
        arguments.get("measure", ""),
        arguments.get("scope", PORTFOLIO),
        arguments.get("key", ""),
        arguments.get("state", ""),
    )
    if parsed.scope not in SCOPES_OF_MEASURE.get(parsed.measure, ()):
        raise BadInput(f"unknown breaker measure {parsed.measure!r} of scope {parsed.scope!r}")
    if parsed.state not in SEVERITY:
        raise BadInput(f"state must be one of {', '.join(SEVERITY)}, found {parsed.state!r}")
    return parsed


def amend_proposal(command: Command, old: OrderProposal) -> OrderProposal:
    """Return `old` with the command's changes applied. `quantity` is the new total.

    Raises `BadInput` if the command changes nothing, names an argument that cannot be amended, or has a bad number.
    """
    changes = {name: value for name, value in command.arguments.items() if name != "order_id"}
    unknown = sorted(set(changes) - set(_AMENDABLE_ARGUMENTS))
    if unknown:
        raise BadInput(f"{unknown[0][:64]} cannot be amended, expected any of {', '.join(_AMENDABLE_ARGUMENTS)}")
    if not changes:
        raise BadInput(f"amendment changes nothing, expected any of {', '.join(_AMENDABLE_ARGUMENTS)}")
    numbers = {name: _parse_amount(name, value) for name, value in changes.items()}
    return old._replace(proposal_id=command.command_id, ts_ns=command.ts_ns, **numbers)  # type: ignore[arg-type]


def _parse_amount(name: str, value: str) -> Decimal:
    amount = parse_amount(value)
    if amount is None:
        raise BadInput(f"{name} must be a number, found {ascii(value)[:64]}")
    return amount
