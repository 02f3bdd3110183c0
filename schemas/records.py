"""One typed record per Avro schema in `schemas/avsc`; field order is the schema's field order.

Conventions that hold for every record:

* `ts_ns` is event time, nanoseconds since 1970-01-01 UTC: the moment from which the platform could know the record.
* `seq` counts 1, 2, 3 ... within the record's key (see `key_of`), in the state of the stage that writes it. A repeated
  delivery therefore carries a `seq` that was seen before, and a gap means loss.
* Money and quantities are `Decimal` with at most 9 decimal places; market data and statistics are `float`.
* An id is a function of its cause: `bar_id("AAPL", 7)` names the same bar in every run.
"""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

BUY, SELL = "BUY", "SELL"
MARKET, LIMIT = "MARKET", "LIMIT"
STOP, STOP_LIMIT, TRAILING_STOP = "STOP", "STOP_LIMIT", "TRAILING_STOP"
DAY, GTC = "DAY", "GTC"
# FIX tag 59: till a date, immediate or cancel, fill or kill, at the opening, at the close.
GTD, IOC, FOK, OPG, CLS = "GTD", "IOC", "FOK", "OPG", "CLS"
# FIX tag 150, ExecType, by name.
NEW, TRADE, CANCELED, EXPIRED, REJECTED = "NEW", "TRADE", "CANCELED", "EXPIRED", "REJECTED"
REPLACED = "REPLACED"
KILL_SWITCH, RELEASE = "KILL_SWITCH", "RELEASE"
ACTIVE, HALTED = "ACTIVE", "HALTED"
REDUCING = "REDUCING"
PRE, REGULAR, POST, CONTINUOUS = "PRE", "REGULAR", "POST", "CONTINUOUS"


class Clock(NamedTuple):
    """Everything of this log up to `ts_ns` stands above. Written behind the records it covers, by the log's one
    writer.
    """

    ts_ns: int
    writer: str  # "<service>@<version>": who made the records of this tick


class Bar(NamedTuple):
    """Trades of one symbol in `[open_ns, ts_ns)`. Prices in the instrument's currency, volume in units.

    `traded` is False for a bar that fills a minute without a trade: all four prices are the last close, volume is 0.
    `trading_day` is the session's date as yyyymmdd.
    """

    symbol: str
    seq: int
    ts_ns: int
    open_ns: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    session: str  # PRE REGULAR POST CONTINUOUS
    trading_day: int
    traded: bool


class FeatureRow(NamedTuple):
    """Indicator values of one symbol as of one bar. An indicator that has not warmed up is absent from `values`."""

    symbol: str
    seq: int
    ts_ns: int
    bar_seq: int
    close: float
    values: dict[str, float]


class Signal(NamedTuple):
    """A change of one strategy's view of one symbol. `direction` is -1, 0 or 1; `strength` and `confidence` in [0,
    1].
    """

    symbol: str
    seq: int
    ts_ns: int
    strategy: str
    direction: int
    strength: float
    confidence: float
    price: float  # the close that the view was formed on
    feature_id: str
    parts: dict[str, float]  # the values that the view rests on


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
    signal_ids: list[str]
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


class Position(NamedTuple):
    """One symbol's holding after an execution. Short holdings have a negative `quantity` and `cost_basis`."""

    seq: int
    ts_ns: int
    symbol: str
    quantity: Decimal
    avg_price: Decimal
    cost_basis: Decimal
    realized_pnl: Decimal  # gross of fees, since inception
    fees: Decimal  # since inception
    execution_id: str


class Lot(NamedTuple):
    """An open tax lot after an execution touched it; `quantity` 0 means closed. Short lots are negative."""

    seq: int
    ts_ns: int
    lot_id: str
    symbol: str
    opened_ns: int
    quantity: Decimal
    price: Decimal
    execution_id: str  # the one that opened it


class LotMatch(NamedTuple):
    """A closing execution matched against one lot. `pnl` is gross; `fees` is the share of both fees."""

    seq: int
    ts_ns: int
    match_id: str
    symbol: str
    direction: str  # LONG or SHORT
    quantity: Decimal
    entry_price: Decimal
    exit_price: Decimal
    pnl: Decimal
    fees: Decimal
    opened_ns: int
    closed_ns: int
    lot_id: str
    open_execution_id: str
    close_execution_id: str


class Valuation(NamedTuple):
    """The portfolio marked to the last closes, after the executions of the tick. All in account currency.

    equity = cash + net_exposure = initial capital + realized_pnl + unrealized_pnl - fees.
    """

    seq: int
    ts_ns: int
    equity: Decimal
    cash: Decimal
    gross_exposure: Decimal
    net_exposure: Decimal
    unrealized_pnl: Decimal
    realized_pnl: Decimal
    fees: Decimal
    open_positions: int


class Command(NamedTuple):
    """What a person asked for. Takes effect at the first clock behind it in the log; `ts_ns` is the asker's wall
    clock.
    """

    command_id: str
    ts_ns: int
    kind: str
    actor: str
    reason: str
    arguments: dict[str, str]


class DeadLetter(NamedTuple):
    """What could not be taken in, and why. `topic` is `file:NAME` for a row of a file, `offset` then its line."""

    topic: str
    partition: int
    offset: int
    stage: str
    ts_ns: int  # the last clock that the reader had passed
    reason: str
    schema_id: int | None
    raw: bytes


Record = (
    Bar
    | FeatureRow
    | Signal
    | OrderProposal
    | Order
    | OrderCancel
    | RiskFence
    | RiskEvent
    | RiskUsage
    | OrderRefusal
    | Execution
    | Position
    | Lot
    | LotMatch
    | Valuation
    | Command
    | DeadLetter
)

TOPIC_OF: dict[type, str] = {
    Bar: "market-bars",
    FeatureRow: "features",
    Signal: "signals",
    OrderProposal: "order-proposals",
    Order: "orders",
    OrderCancel: "orders",
    RiskFence: "orders",
    RiskEvent: "risk-events",
    RiskUsage: "risk-events",
    OrderRefusal: "order-refusals",
    Execution: "executions",
    Position: "positions",
    Lot: "positions",
    LotMatch: "positions",
    Valuation: "valuations",
    Command: "commands",
    DeadLetter: "dead-letters",
}
BY_SYMBOL: frozenset[type] = frozenset({Bar, FeatureRow, Signal})
"""Record types whose topic is partitioned by symbol; all others live in partition 0 of theirs."""


def key_of(record: Record) -> str | None:
    """Within what `seq` counts: the symbol on a topic by symbol, "" (the whole log) on the others, None without a
    seq.
    """
    if type(record) in BY_SYMBOL:
        return record.symbol  # type: ignore[union-attr]
    return None if type(record) in (Command, DeadLetter) else ""


def bar_id(symbol: str, seq: int) -> str:
    return f"bar-{symbol}-{seq}"


def feature_id(symbol: str, seq: int) -> str:
    return f"feat-{symbol}-{seq}"


def signal_id(symbol: str, seq: int) -> str:
    return f"sig-{symbol}-{seq}"


def proposal_id(seq: int) -> str:
    return f"prop-{seq}"


def order_id(seq: int) -> str:
    return f"ord-{seq}"


def execution_id(seq: int) -> str:
    return f"exe-{seq}"
