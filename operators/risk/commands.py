"""Parse the amend and circuit-breaker commands from the arguments of a `Command`.

`AMEND_ORDER` takes order_id and any of quantity (the new total), limit_price, stop_price, trail_amount, trail_percent.
`SET_BREAKER` takes measure, scope, key (the strategy or symbol, empty for the portfolio) and state.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final, NamedTuple, cast

from operators.approvals import SET_BREAKER as SET_BREAKER
from operators.manual_orders import OrderRequest, parse_amount
from operators.risk.breakers import SCOPES_OF_MEASURE, SEVERITY
from schemas.errors import BadInput
from schemas.records import PORTFOLIO, BreakerScope, Command, OrderTerms, TradingState

RECONCILING: Final = "RECONCILING"
RECONCILED: Final = "RECONCILED"
"""Commands that block new orders until reconciliation with the broker is complete, and unblock them."""

AMENDABLE_ARGUMENTS = ("quantity", "limit_price", "stop_price", "trail_amount", "trail_percent")


class BreakerSetting(NamedTuple):
    """The breakers to set manually, and their new state."""

    measure: str
    scope: BreakerScope
    key: str
    state: TradingState


def parse_breaker_command(command: Command) -> BreakerSetting:
    """Parse a `SET_BREAKER` command. Raises `BadInput` for an unknown measure, scope or state."""
    arguments = command.arguments
    measure, scope, state = arguments.get("measure", ""), arguments.get("scope", PORTFOLIO), arguments.get("state", "")
    if scope not in SCOPES_OF_MEASURE.get(measure, ()):
        raise BadInput(f"unknown breaker measure {measure!r} of scope {scope!r}")
    if state not in SEVERITY:
        raise BadInput(f"state must be one of {', '.join(SEVERITY)}, found {state!r}")
    return BreakerSetting(
        measure=measure,
        scope=scope,
        key=arguments.get("key", ""),
        state=cast(TradingState, state),
    )


def amend_terms(request: OrderRequest, old: OrderTerms) -> OrderTerms:
    """Return `old` with the request's changes applied. `quantity` is the new total.

    Raises `BadInput` if the request changes nothing, names an argument that cannot be amended, or has a bad number.
    """
    changes = {name: value for name, value in request.arguments.items() if name != "order_id"}
    unknown = sorted(set(changes) - set(AMENDABLE_ARGUMENTS))
    if unknown:
        raise BadInput(f"{unknown[0][:64]} cannot be amended, expected any of {', '.join(AMENDABLE_ARGUMENTS)}")
    if not changes:
        raise BadInput(f"amendment changes nothing, expected any of {', '.join(AMENDABLE_ARGUMENTS)}")
    numbers = {name: _parse_amount(name, value) for name, value in changes.items()}
    return old._replace(
        quantity=numbers.get("quantity", old.quantity),
        limit_price=numbers.get("limit_price", old.limit_price),
        stop_price=numbers.get("stop_price", old.stop_price),
        trail_amount=numbers.get("trail_amount", old.trail_amount),
        trail_percent=numbers.get("trail_percent", old.trail_percent),
    )


def _parse_amount(name: str, value: str) -> Decimal:
    amount = parse_amount(value)
    if amount is None:
        raise BadInput(f"{name} must be a number, found {ascii(value)[:64]}")
    return amount
