"""Records from outside the platform, other than market data: no `seq`; the first field is an id of the content."""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple, final

from schemas.records.constants import (
    HALTED,
    TRADING_HALT,
    TRADING_RESUMED,
    BrokerEvent,
    CorporateActionKind,
    SymbolState,
)


@final
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

    @property
    def kind(self) -> str:
        """The kind of the event for `on_event`."""
        return "NEWS"


@final
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


@final
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

    @property
    def kind(self) -> str:
        """The kind of the event for `on_event`."""
        return "FILING"


@final
class CorporateAction(NamedTuple):
    """A corporate action. It takes effect at the first bar of `ex_date` or later that follows it in the log, before the
    executions of that time slice; with `ex_date` 0 it takes effect at once.
    """

    action_id: str
    ts_ns: int
    kind: CorporateActionKind
    symbol: str
    ex_date: int  # yyyymmdd of the first trading day without the entitlement; 0: at once
    pay_date: int  # CASH_DIVIDEND: yyyymmdd; 0: when it takes effect
    # SPLIT, STOCK_MERGER: new shares per old share; STOCK_DIVIDEND: additional shares per share;
    # SPIN_OFF, RIGHTS: shares of `new_symbol` per share.
    ratio: Decimal | None
    # Money per share. CASH_DIVIDEND, DELISTING, CASH_MERGER: paid; with a ratio: in lieu of a fraction of a new share.
    amount: Decimal | None
    currency: str
    new_symbol: str  # SYMBOL_CHANGE, STOCK_MERGER, SPIN_OFF, RIGHTS
    source: str
    cost_share: Decimal | None = None  # SPIN_OFF, RIGHTS: share of the cost basis that moves to the new shares
    # STOCK_MERGER: money per old share, besides the new shares, of which each has the value `amount`.
    cash_per_share: Decimal | None = None


@final
class ExchangeRate(NamedTuple):
    """One unit of `base` costs `rate` units of `quote`, from the next clock in the log on."""

    rate_id: str
    ts_ns: int
    base: str
    quote: str
    rate: Decimal
    source: str


@final
class TradingSession(NamedTuple):
    """The regular trading hours of an exchange on one day, published at the open of the session before.

    A record with the same day replaces the earlier one, as after an unscheduled early close.
    """

    session_id: str  # "session-<calendar>-<day>"
    ts_ns: int
    calendar: str  # "XNYS", "24/7"
    day: int  # yyyymmdd
    open_ns: int
    close_ns: int
    utc_offset_s: int  # of the exchange's local time
    early_close: bool


@final
class TradingStatus(NamedTuple):
    """An exchange halts a symbol or resumes its trading. It takes effect at the next clock in the log.

    `ts_ns` is the exchange's time. A repeat has the same `status_id`.
    """

    status_id: str
    ts_ns: int
    symbol: str
    state: SymbolState
    code: str  # of the exchange, such as T1 (news pending) or LUDP (volatility pause); "" if unknown
    reason: str
    source: str

    @property
    def kind(self) -> str:
        """The kind of the event for `on_event`."""
        return TRADING_HALT if self.state == HALTED else TRADING_RESUMED


@final
class DataRow(NamedTuple):
    """A row of the user's own data. Trading strategies that declare its `name` see it from `ts_ns` on."""

    row_id: str
    ts_ns: int  # time from which it is available
    name: str  # of the data, such as "vix"
    symbol: str  # "" if the row concerns no symbol
    values: dict[str, float]  # by column
    source: str

    @property
    def kind(self) -> str:
        """The kind of the event for `on_event`."""
        return "DATA"


@final
class BrokerUpdate(NamedTuple):
    """One report of the broker as the broker client received it. Duplicates have the same `update_id`."""

    update_id: str
    ts_ns: int
    broker: str
    client_order_id: str
    broker_order_id: str
    event: BrokerEvent
    symbol: str
    side: str
    quantity: Decimal  # TRADE: of this trade; otherwise of the order
    price: Decimal
    cum_quantity: Decimal
    happened_ns: int  # by the broker's clock
    text: str


@final
class BrokerAccount(NamedTuple):
    """The broker's account, for reconciliation: positions as signed quantities and average entry prices in text, by
    symbol.
    """

    update_id: str
    ts_ns: int
    broker: str
    cash: Decimal
    equity: Decimal
    positions: dict[str, str]
    open_orders: dict[str, str]  # client_order_id -> the broker's status
    average_prices: dict[str, str] = {}  # noqa: RUF012  (never changed; empty in records of earlier releases)


@final
class BrokerActivity(NamedTuple):
    """Money that the broker moved on the account without a trade, as the broker client received it.

    A repeat has the same `update_id`. The gateway decides whether it is a `CashTransfer`.
    """

    update_id: str
    ts_ns: int
    broker: str
    activity_id: str  # the broker's id
    activity_type: str  # the broker's code, such as CSD, CSW, JNLC, FEE, INT or DIV
    amount: Decimal  # signed: positive into the account
    currency: str
    happened_ns: int  # by the broker's clock; the start of the day if it reports only a day
    text: str


@final
class Command(NamedTuple):
    """A user's command. It takes effect at the next clock in the log; `ts_ns` is the sender's wall clock.

    `signature` is an Ed25519 signature in base64 by the key `key_id` (`operators/command_signatures.py`). Both are
    empty in a command without a signature.
    """

    command_id: str
    ts_ns: int
    kind: str
    actor: str
    reason: str
    arguments: dict[str, str]
    key_id: str = ""
    signature: str = ""


@final
class Configuration(NamedTuple):
    """The settings that are in force from the next clock in the log on, and the source code of the user's own files.

    `number` counts the configurations of a platform from 1. Two concurrent changes have the same number, and the first
    one in the log takes effect. `settings` is canonical JSON without secrets (`configs/recorded_settings.py`).
    `overrides` are the changes at run time: JSON by setting, on top of the settings file. `signers` are the public
    keys, in base64 by key id, that may sign the next configuration. `signature` is as in `Command`.

    `requested_by` is the person who requested a change that `actor` approved; it is empty for a change by one person.
    `request_id` is the id of the request, empty without one. `dropped` are the overrides that a start dropped because
    the settings file had made them invalid: the reason by setting.
    """

    configuration_id: str  # "config-" and the number
    ts_ns: int  # the sender's wall clock
    number: int
    actor: str
    reason: str
    release: str
    settings: str
    sha256: str  # of `settings` and `source_sha256`
    overrides: dict[str, str]
    sources: dict[str, str]  # text of each strategy and indicator file outside the platform, by path
    source_sha256: dict[str, str]  # of the same files
    signers: dict[str, str] = {}  # noqa: RUF012  (never changed)
    key_id: str = ""
    signature: str = ""
    requested_by: str = ""
    request_id: str = ""
    dropped: dict[str, str] = {}  # noqa: RUF012  (never changed)


@final
class CheckpointMarker(NamedTuple):
    """Every service saves its state right after the time slice with this record (`docs/decisions/0020-checkpoints.md`).

    It changes no decision, so it has no signature.
    """

    checkpoint_id: str
    ts_ns: int  # the sender's wall clock
    actor: str
    reason: str
