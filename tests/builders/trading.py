"""Builders of orders, proposals, executions and the other records of trading."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict, Unpack

from schemas import records
from schemas.records import (
    BUY,
    DAY,
    HALTED,
    LIMIT,
    MARKET,
    NEW,
    SELL,
    STOP,
    STOP_LIMIT,
    TRADE,
    TRAILING_STOP,
    CheckResult,
    Execution,
    Order,
    OrderCancel,
    OrderProposal,
    OrderRefusal,
    RiskFence,
    StrategyAction,
)
from schemas.records.constants import ExecType, OrderType, Side, StrategyActionKind, TimeInForce, TradingState
from schemas.records.trading import OrderTerms
from tests.builders.amounts import ZERO, Amount, optional_decimal, to_decimal


class Terms(TypedDict, total=False):
    """Terms of an order besides side, quantity and symbol. Without `order_type`, the prices determine it."""

    order_type: OrderType
    limit_price: Amount | None
    time_in_force: TimeInForce
    stop_price: Amount | None
    trail_amount: Amount | None
    trail_percent: Amount | None
    expires_ns: int | None
    reduce_only: bool
    group_id: str
    parent_id: str


def order(
    number: int,
    side: Side = BUY,
    quantity: Amount = 10,
    symbol: str = "AAPL",
    *,
    ts_ns: int = 0,
    order_id: str | None = None,
    cause_id: str | None = None,
    risk_epoch: int = 0,
    checks: Sequence[CheckResult] = (),
    replaces: str = "",
    **terms: Unpack[Terms],
) -> Order:
    """Build an approved order `ord-<number>` for the proposal `prop-<number>`: a market order for the day."""
    return Order(
        seq=number,
        ts_ns=ts_ns,
        order_id=order_id or records.order_id(number),
        cause_id=cause_id or records.proposal_id(number),
        terms=_order_terms(symbol, side, quantity, terms),
        risk_epoch=risk_epoch,
        checks=list(checks),
        replaces=replaces,
    )


def strategy_action(
    kind: StrategyActionKind,
    symbol: str = "AAPL",
    /,
    *,
    number: int = 1,
    seq: int | None = None,
    ts_ns: int = 0,
    strategy: str = "test",
    reason: str = "",
    cause_ids: Sequence[str] = (),
    **arguments: Amount,
) -> StrategyAction:
    """Build the action `act-<strategy>-<number>` of a trading strategy. `seq` defaults to `number`."""
    return StrategyAction(
        seq=number if seq is None else seq,
        ts_ns=ts_ns,
        action_id=records.strategy_action_id(strategy, number),
        strategy=strategy,
        kind=kind,
        symbol=symbol,
        arguments={name: str(value) for name, value in arguments.items()},
        reason=reason,
        cause_ids=list(cause_ids),
    )


def proposal(
    side: Side = BUY,
    quantity: Amount = 10,
    symbol: str = "AAPL",
    *,
    seq: int = 1,
    ts_ns: int = 0,
    proposal_id: str | None = None,
    strategy: str = "test",
    reference_price: Amount = 100,
    sizing: str = "",
    signal_ids: Sequence[str] = (),
    **terms: Unpack[Terms],
) -> OrderProposal:
    """Build the proposal `prop-<seq>` of a strategy: a market order for the day."""
    return OrderProposal(
        seq=seq,
        ts_ns=ts_ns,
        proposal_id=proposal_id or records.proposal_id(seq),
        terms=_order_terms(symbol, side, quantity, terms),
        strategy=strategy,
        reference_price=to_decimal(reference_price),
        sizing=sizing,
        signal_ids=list(signal_ids),
    )


def approved(proposal: OrderProposal, *, order_id: str | None = None) -> Order:
    """Build the order that risk creates from a proposal, with the same number and time."""
    return Order(
        seq=proposal.seq,
        ts_ns=proposal.ts_ns,
        order_id=order_id or records.order_id(proposal.seq),
        cause_id=proposal.proposal_id,
        terms=proposal.terms,
        risk_epoch=0,
        checks=[],
    )


def _order_terms(symbol: str, side: Side, quantity: Amount, terms: Terms) -> OrderTerms:
    return OrderTerms(
        symbol=symbol,
        side=side,
        quantity=to_decimal(quantity),
        order_type=terms.get("order_type") or _order_type_of(terms),
        time_in_force=terms.get("time_in_force", DAY),
        limit_price=optional_decimal(terms.get("limit_price")),
        stop_price=optional_decimal(terms.get("stop_price")),
        trail_amount=optional_decimal(terms.get("trail_amount")),
        trail_percent=optional_decimal(terms.get("trail_percent")),
        expires_ns=terms.get("expires_ns"),
        reduce_only=terms.get("reduce_only", False),
        group_id=terms.get("group_id", ""),
        parent_id=terms.get("parent_id", ""),
    )


def _order_type_of(terms: Terms) -> OrderType:
    if terms.get("trail_amount") is not None or terms.get("trail_percent") is not None:
        return TRAILING_STOP
    if terms.get("stop_price") is not None:
        return STOP if terms.get("limit_price") is None else STOP_LIMIT
    return MARKET if terms.get("limit_price") is None else LIMIT


def execution(
    seq: int,
    ts_ns: int,
    symbol: str,
    quantity: Amount,
    price: Amount,
    fee: Amount = 0,
    *,
    order_id: str | None = None,
    cause_id: str = "",
    bar_seq: int = 0,
    text: str = "",
) -> Execution:
    """Build a fill that completes its order. A negative `quantity` is a sale."""
    signed_quantity = to_decimal(quantity)
    filled_quantity = abs(signed_quantity)
    return Execution(
        seq=seq,
        ts_ns=ts_ns,
        execution_id=records.execution_id(seq),
        order_id=order_id or records.order_id(seq),
        symbol=symbol,
        side=BUY if signed_quantity > 0 else SELL,
        exec_type=TRADE,
        quantity=filled_quantity,
        price=to_decimal(price),
        fee=to_decimal(fee),
        leaves_quantity=ZERO,
        cum_quantity=filled_quantity,
        filled_at_ns=ts_ns,
        bar_seq=bar_seq,
        text=text,
        cause_id=cause_id,
    )


def report(
    seq: int,
    order: Order,
    exec_type: ExecType,
    quantity: Amount = 0,
    price: Amount = 0,
    *,
    remaining: Amount | None = None,
    filled: Amount | None = None,
    fee: Amount = 0,
    ts_ns: int = 0,
    filled_at_ns: int | None = None,
) -> Execution:
    """Build a report on `order`. `remaining` and `filled` default to those of an order without earlier fills."""
    traded = to_decimal(quantity)
    is_open = exec_type in (NEW, TRADE)
    if remaining is None:
        remaining = order.terms.quantity - traded if is_open else ZERO
    if filled is None:
        filled = order.terms.quantity - to_decimal(remaining) if is_open else ZERO
    return Execution(
        seq=seq,
        ts_ns=ts_ns,
        execution_id=records.execution_id(seq),
        order_id=order.order_id,
        symbol=order.terms.symbol,
        side=order.terms.side,
        exec_type=exec_type,
        quantity=traded,
        price=to_decimal(price),
        fee=to_decimal(fee),
        leaves_quantity=to_decimal(remaining),
        cum_quantity=to_decimal(filled),
        filled_at_ns=ts_ns if filled_at_ns is None else filled_at_ns,
        bar_seq=0,
        text="",
        cause_id=order.cause_id,
    )


def refusal(
    seq: int,
    ts_ns: int,
    symbol: str,
    check: str = "cash",
    *,
    cause_id: str | None = None,
    side: Side = BUY,
    quantity: Amount = 1,
    found: str = "2",
    limit: str = "1",
    message: str = "refused",
) -> OrderRefusal:
    return OrderRefusal(
        seq=seq,
        ts_ns=ts_ns,
        cause_id=cause_id or records.proposal_id(seq),
        symbol=symbol,
        side=side,
        quantity=to_decimal(quantity),
        check=check,
        found=found,
        limit=limit,
        message=message,
    )


def fence(
    seq: int,
    epoch: int,
    state: TradingState = HALTED,
    *,
    ts_ns: int = 0,
    reason: str = "drill",
    cause_id: str = "cmd-1",
) -> RiskFence:
    return RiskFence(seq=seq, ts_ns=ts_ns, epoch=epoch, state=state, reason=reason, cause_id=cause_id)


def order_cancel(seq: int, order_id: str, symbol: str = "AAPL", *, ts_ns: int = 0) -> OrderCancel:
    return OrderCancel(seq=seq, ts_ns=ts_ns, order_id=order_id, symbol=symbol, reason="by hand", cause_id="cmd-1")
