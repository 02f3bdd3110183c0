"""What closing one position, closing all positions or cancelling all orders does: orders, values and risk's forecast.

A plan changes nothing. The caller confirms it, and `api/routers/exits.py` sends exactly what was confirmed.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple

from sqlalchemy import Connection, desc, exists, select

from api.current_orders import open_orders
from api.json_types import Amount, ApiModel
from api.risk_preview import rebuild_risk_state, run_checks
from operators.manual_orders import InvalidTerms, order_id_of, parse_proposal
from operators.money import plain
from operators.risk.settings import RiskSettings
from operators.risk.verdict import Refusal
from schemas.records import BUY, MARKET, SELL, SUBMIT_ORDER, Command, OrderTerms, Side
from sinks.accounts import command_of, submissions
from sinks.tables import bars, commands, positions

PLAN_MAX = 500
"""Orders and positions in one plan. A larger plan is confirmed in parts."""
_CENT = Decimal("0.01")


class ExitAction(StrEnum):
    CLOSE = "CLOSE"
    FLATTEN_ALL = "FLATTEN_ALL"
    CANCEL_ALL = "CANCEL_ALL"


class PlannedCancel(ApiModel):
    """An open order that is cancelled. `notional` is the value of `remaining` at its limit, stop or last price."""

    order_id: str
    symbol: str
    side: Side
    remaining: Amount
    order_type: str
    price: Amount | None
    notional: Amount | None


class PlannedOrder(ApiModel):
    """A reduce-only market order that closes a position. `notional` is its value at `reference_price`, the last close.

    `quantity_text` has every digit of the quantity. `approved` and `message` are the forecast of the risk checks, with
    the open orders that the plan cancels still open.
    """

    symbol: str
    side: Side
    quantity: Amount
    quantity_text: str
    reference_price: Amount | None
    notional: Amount | None
    approved: bool
    message: str | None


class ExitPlan(ApiModel):
    """The cancels come first. `left_out` counts orders and positions beyond the first 500."""

    action: ExitAction
    symbol: str | None
    cancels: list[PlannedCancel]
    orders: list[PlannedOrder]
    cancel_notional: Amount
    order_notional: Amount
    left_out: int


class _Working(NamedTuple):
    """An open order, or a manual order that risk has not decided on."""

    order_id: str
    terms: OrderTerms
    remaining: Decimal


def make_plan(db: Connection, limits: RiskSettings, action: ExitAction, symbol: str | None) -> ExitPlan:
    """Return what the action would do now. `symbol` restricts it to one symbol."""
    approved = open_orders(db, limits.instruments)
    working = [*_undecided(db), *(_Working(one.order_id, one.terms, remaining) for one, remaining in approved)]
    cancels = [one for one in working if symbol in (None, one.terms.symbol)]
    held = [] if action is ExitAction.CANCEL_ALL else _positions(db, symbol)
    planned_cancels = [_planned_cancel(db, limits, one) for one in cancels[:PLAN_MAX]]
    planned_orders = _planned_orders(db, limits, held[:PLAN_MAX])
    return ExitPlan(
        action=action,
        symbol=symbol,
        cancels=planned_cancels,
        orders=planned_orders,
        cancel_notional=sum((one.notional or Decimal(0) for one in planned_cancels), Decimal(0)),
        order_notional=sum((one.notional or Decimal(0) for one in planned_orders), Decimal(0)),
        left_out=max(0, len(cancels) - PLAN_MAX) + max(0, len(held) - PLAN_MAX),
    )


def closing_arguments(symbol: str, side: Side, quantity: str) -> dict[str, str]:
    """Return the arguments of the command that closes a position: a reduce-only market order."""
    arguments = {"symbol": symbol, "side": side, "quantity": quantity, "order_type": MARKET}
    return arguments | {"time_in_force": "DAY", "reduce_only": "true"}


def _undecided(db: Connection) -> list[_Working]:
    """Return the manual orders that the log has and risk has not processed, newest first. They are cancelled too."""
    is_processed = exists().where(commands.c.command_id == submissions.c.command_id)
    query = select(submissions).where(submissions.c.kind == SUBMIT_ORDER, submissions.c.acknowledged, ~is_processed)
    rows = db.execute(query.order_by(desc(submissions.c.ts_ns)).limit(PLAN_MAX)).mappings()
    working = []
    for command in map(command_of, rows):
        proposal = parse_proposal(command, command.ts_ns)
        if not isinstance(proposal, InvalidTerms):
            working.append(_Working(order_id_of(command.command_id), proposal.terms, proposal.terms.quantity))
    return working


def _positions(db: Connection, symbol: str | None) -> list[tuple[str, Decimal]]:
    query = select(positions.c.symbol, positions.c.quantity).where(positions.c.quantity != 0)
    query = query if symbol is None else query.where(positions.c.symbol == symbol)
    return [(row.symbol, row.quantity) for row in db.execute(query.order_by(positions.c.symbol))]


def _planned_cancel(db: Connection, limits: RiskSettings, working: _Working) -> PlannedCancel:
    terms = working.terms
    price = terms.limit_price if terms.limit_price is not None else terms.stop_price
    value_price = _last_close(db, terms.symbol) if price is None else price
    return PlannedCancel(
        order_id=working.order_id,
        symbol=terms.symbol,
        side=terms.side,
        remaining=working.remaining,
        order_type=terms.order_type,
        price=price,
        notional=_notional(limits, terms.symbol, working.remaining, value_price),
    )


def _planned_orders(db: Connection, limits: RiskSettings, held: Sequence[tuple[str, Decimal]]) -> list[PlannedOrder]:
    """Check each closing order after those before it, because limits of the order rate count them together."""
    planned: list[PlannedOrder] = []
    approved: list[OrderTerms] = []
    for symbol, position in held:
        side: Side = SELL if position > 0 else BUY
        quantity = abs(position)
        state = rebuild_risk_state(db, limits, symbol)
        for earlier in approved:
            state.history.record_approval(earlier, state.ts_ns)
        command = Command(
            command_id=f"cmd-exit-{symbol}",
            ts_ns=state.ts_ns,
            kind=SUBMIT_ORDER,
            actor="",
            reason="",
            arguments=closing_arguments(symbol, side, plain(quantity)),
        )
        proposal = parse_proposal(command, state.ts_ns)
        assert not isinstance(proposal, InvalidTerms), f"a position is a valid quantity, found {proposal}"
        verdict = run_checks(state, proposal)[-1]
        message = verdict.message if isinstance(verdict, Refusal) else None
        if message is None:
            approved.append(proposal.terms)
        price = state.book.price(symbol)
        planned.append(
            PlannedOrder(
                symbol=symbol,
                side=side,
                quantity=quantity,
                quantity_text=plain(quantity),
                reference_price=price,
                notional=None if price is None else (quantity * price * state.book.multiplier(symbol)).quantize(_CENT),
                approved=message is None,
                message=message,
            )
        )
    return planned


def _last_close(db: Connection, symbol: str) -> Decimal | None:
    query = select(bars.c.close).where(bars.c.symbol == symbol).order_by(desc(bars.c.ts_ns)).limit(1)
    close: float | None = db.execute(query).scalar()
    return None if close is None else Decimal(str(close))


def _notional(limits: RiskSettings, symbol: str, quantity: Decimal, price: Decimal | None) -> Decimal | None:
    if price is None:
        return None
    instrument = limits.instruments.get(symbol)
    multiplier = Decimal(1) if instrument is None else instrument.multiplier
    return (quantity * price * multiplier).quantize(_CENT)
