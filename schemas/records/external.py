"""Records from outside the platform, other than market data: no `seq`; the first field is an id of the content."""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple


class NewsItem(NamedTuple):
    """A headline or social post. `news_id` depends only on its content, so a duplicate has the same id."""

    news_id: str
    ts_ns: int  # when the platform received it
    published_ns: int  # as the source reports it
    source: str  # "alpaca", "rss:<feed>", "file:<name>", "simulator", "social:<network>"
    headline: str
    summary: str
    url: str
    symbols: list[str]


class LlmAnswer(NamedTuple):
    """A language model's answer to an LlmRequest, recorded so that a replay sends no request.

    With an `error` the answer is empty.
    """

    answer_id: str
    ts_ns: int  # when the platform received the answer
    request_id: str
    news_id: str
    model: str
    prompt: str
    answer: str
    tokens_in: int
    tokens_out: int
    error: str


class Fundamentals(NamedTuple):
    """A company's figures as of one filing, point in time: known from `ts_ns` on and never restated backwards."""

    fundamentals_id: str
    ts_ns: int  # when the platform received it
    symbol: str
    period_end: int  # yyyymmdd
    filed: int  # yyyymmdd
    form: str  # 10-K, 10-Q ...
    source: str
    facts: dict[str, float]  # as reported: revenue, net_income, equity, shares, eps ...; money in `currency`
    ratios: dict[str, float]  # those that need no price
    currency: str


class CorporateAction(NamedTuple):
    """A corporate action. It takes effect at the first bar of `ex_date` or later that follows it in the log, before the
    executions of that time slice; with `ex_date` 0 it takes effect at once.
    """

    action_id: str
    ts_ns: int
    kind: str  # SPLIT STOCK_DIVIDEND CASH_DIVIDEND SYMBOL_CHANGE DELISTING
    symbol: str
    ex_date: int  # yyyymmdd of the first trading day without the entitlement; 0: at once
    pay_date: int  # CASH_DIVIDEND: yyyymmdd; 0: when it takes effect
    ratio: Decimal | None  # SPLIT: new shares per old share; STOCK_DIVIDEND: additional shares per share
    # Money per share. CASH_DIVIDEND, DELISTING: paid; SPLIT, STOCK_DIVIDEND: in lieu of a fraction.
    amount: Decimal | None
    currency: str
    new_symbol: str  # SYMBOL_CHANGE
    source: str


class ExchangeRate(NamedTuple):
    """One unit of `base` costs `rate` units of `quote`, from the next clock in the log on."""

    rate_id: str
    ts_ns: int
    base: str
    quote: str
    rate: Decimal
    source: str


class BrokerUpdate(NamedTuple):
    """One report of the broker as the broker client received it. Duplicates have the same `update_id`."""

    update_id: str
    ts_ns: int
    broker: str
    client_order_id: str
    broker_order_id: str
    event: str  # NEW TRADE CANCELED REPLACED EXPIRED REJECTED PENDING UNKNOWN ORDER CONNECTED DISCONNECTED
    symbol: str
    side: str
    quantity: Decimal  # TRADE: of this trade; otherwise of the order
    price: Decimal
    cum_quantity: Decimal
    happened_ns: int  # by the broker's clock
    text: str


class BrokerAccount(NamedTuple):
    """The broker's account, for reconciliation: positions as signed quantities in text, by symbol."""

    update_id: str
    ts_ns: int
    broker: str
    cash: Decimal
    equity: Decimal
    positions: dict[str, str]
    open_orders: dict[str, str]  # client_order_id -> the broker's status


class Command(NamedTuple):
    """A user's command. It takes effect at the next clock in the log; `ts_ns` is the sender's wall clock."""

    command_id: str
    ts_ns: int
    kind: str
    actor: str
    reason: str
    arguments: dict[str, str]
