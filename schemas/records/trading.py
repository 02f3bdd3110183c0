"""Records of trading: from an order proposal to its executions, with risk and gateway records."""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

from schemas.records.constants import (
    BreakerScope,
    ExecType,
    GatewayState,
    IntentKind,
    OrderType,
    Side,
    StrategyActionKind,
    StrategyState,
    TimeInForce,
    TradingState,
)


class OrderTerms(NamedTuple):
    """What an order asks for: the same type in a proposal, an approved order and a request to the broker.

    Outside Python, the terms stand among the fields of their record (`schemas/records/flat.py`).
    """

    symbol: str
    side: Side
    quantity: Decimal
    order_type: OrderType
    time_in_force: TimeInForce
    limit_price: Decimal | None = None  # LIMIT and STOP_LIMIT: the worst price
    stop_price: Decimal | None = None  # STOP and STOP_LIMIT: trigger price
    trail_amount: Decimal | None = None  # TRAILING_STOP: distance from the best price, in money
    trail_percent: Decimal | None = None  # TRAILING_STOP: the same in percent of the best price
    expires_ns: int | None = None  # GTD: cancelled by the venue from this event time on
    reduce_only: bool = False  # never opens or enlarges a position; reduced to the quantity it may close
    group_id: str = ""  # OCO: the first of a group that trades cancels the others; "": no group
    parent_id: str = ""  # OTO: works once the order with this cause_id is filled; "": no parent


class StrategyAction(NamedTuple):
    """An action of a trading strategy: an order, an amendment, a cancel, a target or a note.

    `arguments` by kind, all as text:

    * SUBMIT_ORDER, AMEND_ORDER, CANCEL_ORDER: those of the command of the same kind (`operators/manual_orders.py`)
    * TARGET_QUANTITY: `quantity`, signed units
    * TARGET_WEIGHT: `weight`, signed share of the account's equity x the strategy's `capital`
    * TARGET_VIEW: `direction` (-1, 0 or 1) and `strength` in [0, 1]
    * NOTE: `text`
    * UNIVERSE_ADDED, UNIVERSE_REMOVED (the strategy's rule): `rank` and `dollar_volume`, or the `filter` that
      the symbol does not pass
    * SUSPENDED, RESUMED (the strategy itself): `error_type`, `message`, `file`, `line` and `on_error`, as in a
      `StrategySuspension`

    `source_sha256` is as in a `Signal`.
    """

    seq: int  # counts the actions of all trading strategies
    ts_ns: int
    action_id: str  # "act-<strategy>-<n>"; n counts the actions of the strategy
    strategy: str
    kind: StrategyActionKind
    symbol: str  # "" for a note or a suspension
    arguments: dict[str, str]
    reason: str  # the strategy's tag, or the reason of a resume; "" for none
    cause_ids: list[str]  # ids of the records behind it: executions, feature rows, bars, commands
    source_sha256: list[str] = []  # noqa: RUF012  (never changed)


class StrategyAccount(NamedTuple):
    """The sub-account of a trading strategy at the last closes, after a time slice that changed it.

    Money in account currency:

    equity = cash + accrued dividends + value of the positions
           = capital + realized_pnl + unrealized_pnl - fees.
    """

    seq: int  # counts on with the actions
    ts_ns: int
    strategy: str
    state: StrategyState  # WARMING_UP: no symbol of the universe has the declared bars yet; REMOVED: from the settings
    capital: Decimal  # share of the initial capital, and of deposits minus withdrawals
    equity: Decimal
    cash: Decimal
    realized_pnl: Decimal  # gross of fees, with dividends and other income, since inception
    unrealized_pnl: Decimal
    fees: Decimal  # since inception
    open_positions: int


class StrategyPosition(NamedTuple):
    """One symbol of a trading strategy, after a time slice that changed it: in its universe, or traded by it before."""

    seq: int  # counts on with the actions
    ts_ns: int
    strategy: str
    symbol: str
    in_universe: bool
    quantity: Decimal  # signed units
    avg_price: Decimal  # 0 without a position
    cost_basis: Decimal  # in account currency, negative for a short position
    realized_pnl: Decimal  # gross of fees, since inception
    fees: Decimal  # since inception


class OrderProposal(NamedTuple):
    """An order that the portfolio proposes; it is sent only after risk approves it."""

    seq: int
    ts_ns: int
    proposal_id: str
    terms: OrderTerms
    strategy: str
    reference_price: Decimal
    sizing: str  # the sizing arithmetic, human-readable
    signal_ids: list[str]  # then, if present, the command with the target weights
    # Signed change of the position by strategy, as decimal text. The order trades their sum; opposite changes trade as
    # `InternalCross`. {}: the order is for one strategy.
    changes: dict[str, str] = {}  # noqa: RUF012  (never changed)


class InternalCross(NamedTuple):
    """A trade between two strategies of the account, whose changes of a position are opposite. It has no fee.

    `price` is that of the first fill of the net order, or the mark of the time slice where no order is needed.
    """

    seq: int  # common with the proposals
    ts_ns: int
    cross_id: str
    symbol: str
    quantity: Decimal  # above 0
    price: Decimal
    buyer: str
    seller: str
    cause_ids: list[str]  # the proposal and the fill, or the signals and actions behind the targets


class TargetReduction(NamedTuple):
    """A target of a trading strategy that the portfolio trades in part or not at all.

    `requested` and `quantity` are the target position before and after, in signed units. `check` is what reduced it
    (`max_position_percentage`, `allow_short`, `free_cash` or `known_price`); `limit` and `found` are in its own unit.
    """

    seq: int  # common with the proposals
    ts_ns: int
    action_id: str
    strategy: str
    symbol: str
    requested: Decimal
    quantity: Decimal
    check: str
    found: str
    limit: str
    message: str


class CheckResult(NamedTuple):
    """One risk check's result: the value found and the limit, both as text in the check's own unit."""

    check: str
    found: str
    limit: str


class Order(NamedTuple):
    """An approved order. `cause_id` is the proposal or command behind it."""

    seq: int
    ts_ns: int
    order_id: str
    cause_id: str
    terms: OrderTerms
    risk_epoch: int
    checks: list[CheckResult]
    replaces: str = ""  # amend: the order that this one replaces; its fills count in `terms.quantity`


class OrderCancel(NamedTuple):
    """A request to cancel an order. No risk check blocks it."""

    seq: int
    ts_ns: int
    order_id: str
    symbol: str
    reason: str
    cause_id: str


class RiskFence(NamedTuple):
    """From here on the gateway rejects every order with an older `risk_epoch`; HALTED also cancels working orders."""

    seq: int
    ts_ns: int
    epoch: int
    state: TradingState
    reason: str
    cause_id: str


class OrderRefusal(NamedTuple):
    """A proposal that risk rejected, with the check, its limit and the value found."""

    seq: int
    ts_ns: int
    cause_id: str
    symbol: str
    side: str  # a `Side`, or of a manual order with invalid terms the text that was found
    quantity: Decimal
    check: str
    found: str
    limit: str
    message: str


class RiskEvent(NamedTuple):
    """A state change of a circuit breaker or margin call, with the value found, the limit and the actor."""

    seq: int
    ts_ns: int
    breaker: str
    scope: BreakerScope
    scope_key: str  # the strategy or symbol, "" for the portfolio
    state: TradingState
    found: str
    limit: str
    actor: str  # a user, or "automatic"
    reason: str
    cause_id: str

    @property
    def kind(self) -> str:
        """The kind of the event for `on_event`: MARGIN_CALL, or the breaker in capital letters."""
        return self.breaker.upper()

    @property
    def symbol(self) -> str:
        """The symbol of a breaker of one symbol, else ""."""
        return self.scope_key if self.scope == "SYMBOL" else ""


class RiskUsage(NamedTuple):
    """The usage of one limit. `share` = used / limit, None without a limit."""

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
    side: Side
    exec_type: ExecType
    quantity: Decimal
    price: Decimal
    fee: Decimal
    leaves_quantity: Decimal
    cum_quantity: Decimal
    filled_at_ns: int  # when the venue traded, at or before ts_ns
    bar_seq: int  # bar against which the simulated venue filled, 0 if there is none
    text: str
    cause_id: str = ""  # the proposal or command behind the order


class GatewayStatus(NamedTuple):
    """Whether the gateway is reconciled with its broker. Risk rejects orders while it is not READY."""

    seq: int
    ts_ns: int
    state: GatewayState
    broker: str
    reason: str
    cause_id: str
    emulated_stops: list[str] = []  # noqa: RUF012  (never changed) orders whose stop works only while the platform runs


class OrderIntent(NamedTuple):
    """A request that the gateway is about to send to the broker, recorded before it is sent.

    The record has no field for `expires_ns`, `reduce_only`, `group_id` and `parent_id`, which the gateway enforces.
    They have their defaults when it is read.
    """

    seq: int
    ts_ns: int
    intent_id: str
    kind: IntentKind
    order_id: str
    client_order_id: str  # the broker's key against duplicates, derived from order_id
    terms: OrderTerms
    extended_hours: bool
    emulated: str  # what the gateway emulates because the broker lacks it, "" for nothing
    risk_epoch: int
    stop_client_order_id: str = ""  # OCO order: the id of its attached stop order; "": a simple order
    stop_loss_price: Decimal | None = None  # OCO order: trigger price of the attached stop
    stop_loss_limit_price: Decimal | None = None  # OCO order: worst price of the attached stop, None: a market order
