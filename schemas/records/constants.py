"""Constants of record fields (sides, order types, times in force, states, kinds) and the types of these closed sets."""

from __future__ import annotations

from typing import Final, Literal

Side = Literal["BUY", "SELL"]
BUY: Final = "BUY"
SELL: Final = "SELL"

OrderType = Literal["MARKET", "LIMIT", "STOP", "STOP_LIMIT", "TRAILING_STOP"]
MARKET: Final = "MARKET"
LIMIT: Final = "LIMIT"
STOP: Final = "STOP"
STOP_LIMIT: Final = "STOP_LIMIT"
TRAILING_STOP: Final = "TRAILING_STOP"

TimeInForce = Literal["DAY", "GTC", "GTD", "IOC", "FOK", "OPG", "CLS"]
"""FIX tag 59."""
DAY: Final = "DAY"
GTC: Final = "GTC"  # good till cancelled
GTD: Final = "GTD"  # good till a date
IOC: Final = "IOC"  # immediate or cancel
FOK: Final = "FOK"  # fill or kill
OPG: Final = "OPG"  # at the opening
CLS: Final = "CLS"  # at the close

ExecType = Literal["NEW", "TRADE", "CANCELED", "EXPIRED", "REJECTED", "REPLACED"]
"""FIX tag 150, by name."""
NEW: Final = "NEW"
TRADE: Final = "TRADE"
CANCELED: Final = "CANCELED"
EXPIRED: Final = "EXPIRED"
REJECTED: Final = "REJECTED"
REPLACED: Final = "REPLACED"

IntentKind = Literal["SUBMIT", "CANCEL", "REPLACE"]
"""The kinds of the schema. The gateway never sends REPLACE: it amends an order by a cancel and a new order."""
SUBMIT: Final = "SUBMIT"
CANCEL: Final = "CANCEL"

TradingState = Literal["ACTIVE", "REDUCING", "HALTED"]
"""How far trading is allowed: without limits, only orders that reduce a position, not at all."""
ACTIVE: Final = "ACTIVE"
REDUCING: Final = "REDUCING"
HALTED: Final = "HALTED"

SymbolState = Literal["HALTED", "TRADING"]
"""Whether an exchange has halted a symbol."""
TRADING: Final = "TRADING"
TRADING_HALT: Final = "TRADING_HALT"  # kind of the event and of the row of a file
TRADING_RESUMED: Final = "TRADING_RESUMED"

BreakerScope = Literal["PORTFOLIO", "STRATEGY", "SYMBOL"]
PORTFOLIO: Final = "PORTFOLIO"
STRATEGY: Final = "STRATEGY"
SYMBOL: Final = "SYMBOL"

GatewayState = Literal["RECONCILING", "READY", "DOWN"]
RECONCILING: Final = "RECONCILING"
READY: Final = "READY"
DOWN: Final = "DOWN"

SessionPhase = Literal["PRE", "REGULAR", "POST", "CONTINUOUS"]
PRE: Final = "PRE"
REGULAR: Final = "REGULAR"
POST: Final = "POST"
CONTINUOUS: Final = "CONTINUOUS"

TimeMeasure = Literal["PROCESSOR_TIME", "WAITING_TIME"]
PROCESSOR_TIME: Final = "PROCESSOR_TIME"
WAITING_TIME: Final = "WAITING_TIME"

SuspensionState = Literal["SUSPENDED", "RESUMED"]
SUSPENDED: Final = "SUSPENDED"
RESUMED: Final = "RESUMED"

StrategyState = Literal["WARMING_UP", "RUNNING", "SUSPENDED", "REMOVED"]
WARMING_UP: Final = "WARMING_UP"
RUNNING: Final = "RUNNING"
REMOVED: Final = "REMOVED"  # the settings no longer name it, but it has a sub-account

StrategyActionKind = Literal[
    "SUBMIT_ORDER",
    "AMEND_ORDER",
    "CANCEL_ORDER",
    "TARGET_QUANTITY",
    "TARGET_WEIGHT",
    "TARGET_VIEW",
    "NOTE",
    "UNIVERSE_ADDED",
    "UNIVERSE_REMOVED",
    SuspensionState,
]
SUBMIT_ORDER: Final = "SUBMIT_ORDER"
AMEND_ORDER: Final = "AMEND_ORDER"
CANCEL_ORDER: Final = "CANCEL_ORDER"
TARGET_QUANTITY: Final = "TARGET_QUANTITY"  # signed units
TARGET_WEIGHT: Final = "TARGET_WEIGHT"  # signed share of the account's equity x the strategy's `capital`
TARGET_VIEW: Final = "TARGET_VIEW"  # direction and strength, sized by the portfolio
NOTE: Final = "NOTE"
UNIVERSE_ADDED: Final = "UNIVERSE_ADDED"  # the strategy's rule has selected the symbol
UNIVERSE_REMOVED: Final = "UNIVERSE_REMOVED"  # the strategy's rule no longer selects the symbol

CommandKind = Literal[
    "SUBMIT_ORDER",
    "CANCEL_ORDER",
    "AMEND_ORDER",
    "SET_BREAKER",
    "KILL_SWITCH",
    "RELEASE",
    "HEARTBEAT",
    "RECONCILING",
    "RECONCILED",
    "TARGET_WEIGHTS",
    "FEED_SWITCHED",
    "RESUME_STRATEGY",
    "FLATTEN_STRATEGY",
    "USER_ADDED",
    "USER_CHANGED",
    "USER_PASSWORD_RESET",
    "USER_TOTP_ENABLED",
    "USER_TOTP_DISABLED",
    "USER_TOTP_RESET",
    "RELEASE_REQUESTED",
    "REQUEST_REJECTED",
    "CASH_TRANSFER",
    "ACCEPT_POSITION",
    "SIGNING_ROOT",
    "SIGNING_KEY",
    "SIGNING_KEY_REVOKED",
]
"""The commands that the platform publishes. A command in the log may have any kind; unknown kinds have no effect."""
KILL_SWITCH: Final = "KILL_SWITCH"
RELEASE: Final = "RELEASE"
HEARTBEAT: Final = "HEARTBEAT"
RESUME_STRATEGY: Final = "RESUME_STRATEGY"
FLATTEN_STRATEGY: Final = "FLATTEN_STRATEGY"
CASH_TRANSFER: Final = "CASH_TRANSFER"
ACCEPT_POSITION: Final = "ACCEPT_POSITION"
SIGNING_ROOT: Final = "SIGNING_ROOT"
SIGNING_KEY: Final = "SIGNING_KEY"
SIGNING_KEY_REVOKED: Final = "SIGNING_KEY_REVOKED"

CorporateActionKind = Literal[
    "SPLIT",
    "STOCK_DIVIDEND",
    "CASH_DIVIDEND",
    "SYMBOL_CHANGE",
    "DELISTING",
    "CASH_MERGER",
    "STOCK_MERGER",
    "SPIN_OFF",
    "RIGHTS",
    "MERGER_CASH",
]
SPLIT: Final = "SPLIT"
STOCK_DIVIDEND: Final = "STOCK_DIVIDEND"
CASH_DIVIDEND: Final = "CASH_DIVIDEND"
SYMBOL_CHANGE: Final = "SYMBOL_CHANGE"
DELISTING: Final = "DELISTING"
CASH_MERGER: Final = "CASH_MERGER"  # every share is paid out
STOCK_MERGER: Final = "STOCK_MERGER"  # every share becomes shares of another company, and may be paid cash besides
MERGER_CASH: Final = "MERGER_CASH"  # the cash part of a STOCK_MERGER; not published by itself
SPIN_OFF: Final = "SPIN_OFF"  # shares of another company are distributed, with a share of the cost basis
RIGHTS: Final = "RIGHTS"  # subscription rights are distributed, with a share of the cost basis, which may be 0

CashTransferKind = Literal["DEPOSIT", "WITHDRAWAL", "FEE", "INTEREST", "ADJUSTMENT"]
DEPOSIT: Final = "DEPOSIT"
WITHDRAWAL: Final = "WITHDRAWAL"
FEE: Final = "FEE"  # a fee that no execution includes; positive for a refund
INTEREST: Final = "INTEREST"  # of the broker; negative for a charge
ADJUSTMENT: Final = "ADJUSTMENT"  # takes over a difference from the broker's cash
EXTERNAL_FLOWS: frozenset[str] = frozenset({DEPOSIT, WITHDRAWAL, ADJUSTMENT})
"""Kinds that change the capital and are neither profit nor loss. Fees and interest are part of the performance."""

CashTransferSource = Literal["BROKER", "COMMAND"]
FROM_BROKER: Final = "BROKER"
FROM_COMMAND: Final = "COMMAND"

ChargeKind = Literal["DIVIDEND", "SHORT_DIVIDEND", "BORROW_FEE", "MARGIN_INTEREST", CashTransferKind]
DIVIDEND: Final = "DIVIDEND"
SHORT_DIVIDEND: Final = "SHORT_DIVIDEND"
BORROW_FEE: Final = "BORROW_FEE"
MARGIN_INTEREST: Final = "MARGIN_INTEREST"

CashFlowKind = Literal[ChargeKind, CorporateActionKind, "EXCHANGE_RATE"]
EXCHANGE_RATE: Final = "EXCHANGE_RATE"

LotDirection = Literal["LONG", "SHORT"]
LONG: Final = "LONG"
SHORT: Final = "SHORT"

SentimentMethod = Literal["lexicon", "llm"]
BY_LEXICON: Final = "lexicon"
BY_LLM: Final = "llm"

BrokerEvent = Literal[ExecType, "PENDING", "UNKNOWN", "ORDER", "CONNECTED", "DISCONNECTED"]
"""An execution type, or one of the following."""
PENDING: Final = "PENDING"  # the order has a status that changes nothing
UNKNOWN: Final = "UNKNOWN"  # the order's status must be requested
ORDER_TOTAL: Final = "ORDER"  # the order's totals: `price` is the average price, `text` the status
CONNECTED: Final = "CONNECTED"
DISCONNECTED: Final = "DISCONNECTED"
