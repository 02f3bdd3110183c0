"""Records of the ledger: positions, tax lots, cash flows, valuations, and P&L by strategy."""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple, final

from schemas.records.constants import CashFlowKind, CashTransferKind, CashTransferSource, LotDirection


@final
class Position(NamedTuple):
    """One symbol's position after an execution. Short positions have a negative `quantity` and `cost_basis`."""

    seq: int
    ts_ns: int
    symbol: str
    quantity: Decimal
    avg_price: Decimal
    cost_basis: Decimal
    realized_pnl: Decimal  # gross of fees, since inception
    fees: Decimal  # since inception
    execution_id: str


@final
class Lot(NamedTuple):
    """A tax lot after an execution changed it; `quantity` 0 means closed. Short lots are negative."""

    seq: int
    ts_ns: int
    lot_id: str
    symbol: str
    opened_ns: int
    quantity: Decimal
    price: Decimal
    execution_id: str  # the one that opened it


@final
class LotMatch(NamedTuple):
    """A closing execution matched against one lot. `pnl` is gross; `fees` is the lot's share of both fees.

    `strategy` is that of the order that opened the lot: "a+b" for an order of several strategies, "manual" for a manual
    order or an adjustment. It is "" for a lot that was opened before the release that records it.
    """

    seq: int
    ts_ns: int
    match_id: str
    symbol: str
    direction: LotDirection
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
    strategy: str = ""


@final
class CashFlow(NamedTuple):
    """Money received or paid without a trade, signed and in account currency.

    A corporate action or exchange rate that takes effect is recorded here too, with the amount 0; the lots that follow
    hold its shares. A dividend accrues at its ex-date (`CASH_DIVIDEND`); its payment (`DIVIDEND`, `SHORT_DIVIDEND`)
    ends the accrual. The income is `amount + accrued`.
    """

    seq: int
    ts_ns: int
    cash_flow_id: str
    kind: CashFlowKind
    symbol: str  # "" for the whole account
    amount: Decimal
    quantity: Decimal  # position when it fell due, 0 if it does not apply
    cause_id: str
    accrued: Decimal = Decimal(0)  # change of the income that is due but not paid


@final
class CashTransfer(NamedTuple):
    """Money that moved into or out of the account without a trade, signed: positive into the account.

    `execution` writes it, for an activity that the broker reported or for a user's command. The books apply it in its
    time slice, before the executions. Dividends, borrow fees and margin interest of the platform's own accruals are
    `CashFlow`s only.
    """

    seq: int  # shared with Execution and GatewayStatus
    ts_ns: int
    transfer_id: str
    kind: CashTransferKind
    amount: Decimal
    currency: str  # the account currency
    source: CashTransferSource
    reference: str  # the broker's id of the activity, or the user's own reference
    reason: str
    actor: str  # a user, or the broker's name
    happened_ns: int  # by the broker's or the sender's clock
    cause_id: str  # the BrokerActivity or Command


@final
class Valuation(NamedTuple):
    """The portfolio marked to the last closes, after the executions of the time slice. All in account currency.

    equity = cash + accrued_dividends + net_exposure
           = initial capital + net_flows + realized_pnl + unrealized_pnl - fees.
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
    net_flows: Decimal = Decimal(0)  # deposits minus withdrawals, with adjustments, since inception
    accrued_dividends: Decimal = Decimal(0)  # receivable minus payable, from the ex-date to the pay date


@final
class Attribution(NamedTuple):
    """One strategy's share of the ledger's P&L since inception; the rows of one `ts_ns` sum to the ledger."""

    seq: int
    ts_ns: int
    strategy: str
    realized_pnl: Decimal  # gross of fees
    unrealized_pnl: Decimal
    fees: Decimal
    cash_flows: Decimal
    trades: int
