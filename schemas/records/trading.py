"""From a proposed order to its executions, and what risk and the gateway say on the way."""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple


class OrderProposal(NamedTuple):
    """What the portfolio wants to trade; nothing is sent before risk approves it."""

    seq: int
    ts_ns: int
    proposal_id: str
    symbol: str
    side: str
    quantity: Decimal
    order_type: str
    limit_price: Decimal | None
    time_in_force: str
    strategy: str
    reference_price: Decimal
    sizing: str  # the arithmetic, for a reader
    signal_ids: list[str]  # behind them the command whose target weights it was sized by
    stop_price: Decimal | None = None  # STOP and STOP_LIMIT: where it is triggered
    trail_amount: Decimal | None = None  # TRAILING_STOP: distance from the best price, in money
    trail_percent: Decimal | None = None  # TRAILING_STOP: the same in percent of the best price
    expires_ns: int | None = None  # GTD: cancelled by the venue from this event time on
    reduce_only: bool = False  # never opens or enlarges a position; cut to what it may close
    group_id: str = ""  # OCO: the first of a group that trades cancels the others; "" is no group
    parent_id: str = ""  # OTO: works once the order with this cause_id is filled; "" is none


class CheckResult(NamedTuple):
    """One risk check's outcome: what was found against which limit, both as text in the check's own unit."""

    check: str
    found: str
    limit: str


class Order(NamedTuple):
    """An approved order. `cause_id` is the proposal (or command) it came from."""

    seq: int
    ts_ns: int
    order_id: str
    cause_id: str
    symbol: str
    side: str
    quantity: Decimal
    order_type: str
    limit_price: Decimal | None
    time_in_force: str
    risk_epoch: int
    checks: list[CheckResult]
    stop_price: Decimal | None = None  # STOP and STOP_LIMIT: where it is triggered
    trail_amount: Decimal | None = None  # TRAILING_STOP: distance from the best price, in money
    trail_percent: Decimal | None = None  # TRAILING_STOP: the same in percent of the best price
    expires_ns: int | None = None  # GTD: cancelled by the venue from this event time on
    reduce_only: bool = False  # never opens or enlarges a position; cut to what it may close
    group_id: str = ""  # OCO: the first of a group that trades cancels the others; "" is no group
    parent_id: str = ""  # OTO: works once the order with this cause_id is filled; "" is none
    replaces: str = ""  # amend: the order that this one takes the place of; its fills count in `quantity`


class OrderCancel(NamedTuple):
    """The venue shall cancel an order. Never held back by a risk check."""

    seq: int
    ts_ns: int
    order_id: str
    symbol: str
    reason: str
    cause_id: str


class RiskFence(NamedTuple):
    """From here on the gateway refuses every order whose `risk_epoch` is older; HALTED also cancels what is working."""

    seq: int
    ts_ns: int
    epoch: int
    state: str
    reason: str
    cause_id: str


class OrderRefusal(NamedTuple):
    """A proposal that risk refused, with the check, its limit and what it found."""

    seq: int
    ts_ns: int
    cause_id: str
    symbol: str
    side: str
    quantity: Decimal
    check: str
    found: str
    limit: str
    message: str


class RiskEvent(NamedTuple):
    """A circuit breaker or a margin call changed its state: what was found against which limit, and who did it."""

    seq: int
    ts_ns: int
    breaker: str
    scope: str  # PORTFOLIO STRATEGY SYMBOL
    scope_key: str  # the strategy or symbol, "" for the portfolio
    state: str  # ACTIVE REDUCING HALTED
    found: str
    limit: str
    actor: str  # a person, or "automatic"
    reason: str
    cause_id: str


class RiskUsage(NamedTuple):
    """How much of one limit is used. `share` = used / limit, None without a limit."""

    seq: int
    ts_ns: int
    measure: str
    scope_key: str  # symbol, "" for the portfolio
    used: Decimal
    limit: Decimal | None
    share: float | None


class Execution(NamedTuple):
    """One report on an order (FIX ExecutionReport). Only `exec_type` TRADE moves money: `quantity` at `price` less
    `fee`.
    """

    seq: int
    ts_ns: int
    execution_id: str
    order_id: str
    symbol: str
    side: str
    exec_type: str
    quantity: Decimal
    price: Decimal
    fee: Decimal
    leaves_quantity: Decimal
    cum_quantity: Decimal
    filled_at_ns: int  # when the venue traded, at or before ts_ns
    bar_seq: int  # bar that the simulated venue filled against, 0 where there is none
    text: str
    cause_id: str = ""  # of the order: the proposal or command that it came from


class GatewayStatus(NamedTuple):
    """Whether the gateway knows what its broker holds. Risk refuses orders while it is not READY."""

    seq: int
    ts_ns: int
    state: str  # RECONCILING READY DOWN
    broker: str
    reason: str
    cause_id: str


class OrderIntent(NamedTuple):
    """What the gateway is about to ask of the broker, on record before it asks."""

    seq: int
    ts_ns: int
    intent_id: str
    kind: str  # SUBMIT CANCEL REPLACE
    order_id: str
    client_order_id: str  # the broker's key against doubles, a function of order_id
    symbol: str
    side: str
    quantity: Decimal
    order_type: str
    limit_price: Decimal | None
    stop_price: Decimal | None
    trail_amount: Decimal | None
    trail_percent: Decimal | None
    time_in_force: str
    extended_hours: bool
    emulated: str  # what the gateway does itself because the broker lacks it, "" for nothing
    risk_epoch: int
