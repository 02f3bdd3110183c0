"""Records of the ledger: positions, tax lots, cash flows, valuations, and P&L by strategy."""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple


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


class LotMatch(NamedTuple):
    """A closing execution matched against one lot. `pnl` is gross; `fees` is the lot's share of both fees."""

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


class CashFlow(NamedTuple):
    """Money received or paid without a trade, signed and in account currency.

    A corporate action or exchange rate that takes effect is recorded here too, with the amount 0; the lots that follow
    hold its shares.
    """

    seq: int
    ts_ns: int
    cash_flow_id: str
    kind: str  # DIVIDEND SHORT_DIVIDEND BORROW_FEE MARGIN_INTEREST, the action's kind, EXCHANGE_RATE
    symbol: str  # "" for the whole account
    amount: Decimal
    quantity: Decimal  # position when it fell due, 0 if it does not apply
    cause_id: str


class Valuation(NamedTuple):
    """The portfolio marked to the last closes, after the executions of the time slice. All in account currency.

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
