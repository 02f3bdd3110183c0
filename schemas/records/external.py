"""What edges other than the feed learn: without a `seq`, each with an id of its content as first field."""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple


class NewsItem(NamedTuple):
    """A headline or social post as an edge learnt it. `news_id` is a function of its content: a repeat has the same."""

    news_id: str
    ts_ns: int  # when the edge learnt it
    published_ns: int  # what the source says
    source: str  # "alpaca", "rss:<feed>", "file:<name>", "simulator", "social:<network>"
    headline: str
    summary: str
    url: str
    symbols: list[str]


class LlmAnswer(NamedTuple):
    """What a language model answered to an LlmRequest, recorded so that a replay never asks again. With an `error`
    the answer is empty.
    """

    answer_id: str
    ts_ns: int  # when the answer was learnt
    request_id: str
    news_id: str
    model: str
    prompt: str
    answer: str
    tokens_in: int
    tokens_out: int
    error: str


class Fundamentals(NamedTuple):
    """A company's figures as of one filing, point in time: known from `ts_ns` on, never restated backwards."""

    fundamentals_id: str
    ts_ns: int  # when the edge learnt it
    symbol: str
    period_end: int  # yyyymmdd
    filed: int  # yyyymmdd
    form: str  # 10-K, 10-Q ...
    source: str
    facts: dict[str, float]  # as reported: revenue, net_income, equity, shares, eps ...; money in `currency`
    ratios: dict[str, float]  # those that need no price
    currency: str


class CorporateAction(NamedTuple):
    """What a company does to its shares. Takes effect with the first bar of `ex_date` or later that comes behind it in
    the log, before that tick's executions; with `ex_date` 0 at once.
    """

    action_id: str
    ts_ns: int
    kind: str  # SPLIT STOCK_DIVIDEND CASH_DIVIDEND SYMBOL_CHANGE DELISTING
    symbol: str
    ex_date: int  # yyyymmdd of the trading day that opens without the right to it; 0: at once
    pay_date: int  # CASH_DIVIDEND: yyyymmdd; 0: when it takes effect
    ratio: Decimal | None  # SPLIT: new shares for one old; STOCK_DIVIDEND: new shares a share
    amount: (
        Decimal | None
    )  # money a share. CASH_DIVIDEND, DELISTING: paid; SPLIT, STOCK_DIVIDEND: in lieu of a fraction
    currency: str
    new_symbol: str  # SYMBOL_CHANGE
    source: str


class ExchangeRate(NamedTuple):
    """One unit of `base` costs `rate` units of `quote`, from the first clock behind it in the log."""

    rate_id: str
    ts_ns: int
    base: str
    quote: str
    rate: Decimal
    source: str


class BrokerUpdate(NamedTuple):
    """One report of the broker, as the gateway's edge learnt it. Repeats carry the same `update_id`."""

    update_id: str
    ts_ns: int
    broker: str
    client_order_id: str
    broker_order_id: str
    event: str  # NEW TRADE CANCELED REPLACED EXPIRED REJECTED PENDING UNKNOWN ORDER CONNECTED DISCONNECTED
    symbol: str
    side: str
    quantity: Decimal  # of this trade; of the order otherwise
    price: Decimal
    cum_quantity: Decimal
    happened_ns: int  # by the broker's clock
    text: str


class BrokerAccount(NamedTuple):
    """The broker's own books, for reconciliation: positions as signed quantities in text, by symbol."""

    update_id: str
    ts_ns: int
    broker: str
    cash: Decimal
    equity: Decimal
    positions: dict[str, str]
    open_orders: dict[str, str]  # client_order_id -> the broker's state of it


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
