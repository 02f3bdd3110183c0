"""Builders of the records of the ledger."""

from __future__ import annotations

from schemas import records
from schemas.records import (
    FROM_COMMAND,
    LONG,
    Attribution,
    CashFlow,
    CashFlowKind,
    CashTransfer,
    CashTransferKind,
    LotMatch,
    Position,
    StrategyAccount,
    StrategyState,
    Valuation,
)
from tests.builders.amounts import ZERO, Amount, to_decimal


def position(
    seq: int,
    ts_ns: int,
    symbol: str,
    quantity: Amount = 1,
    avg_price: Amount = 0,
    *,
    realized_pnl: Amount = 0,
    fees: Amount = 0,
) -> Position:
    """Build the position after the execution `exe-<seq>`. Its cost basis is quantity times average price."""
    return Position(
        seq=seq,
        ts_ns=ts_ns,
        symbol=symbol,
        quantity=to_decimal(quantity),
        avg_price=to_decimal(avg_price),
        cost_basis=to_decimal(quantity) * to_decimal(avg_price),
        realized_pnl=to_decimal(realized_pnl),
        fees=to_decimal(fees),
        execution_id=records.execution_id(seq),
    )


def lot_match(
    seq: int,
    ts_ns: int,
    symbol: str = "AAPL",
    *,
    match_id: str | None = None,
    quantity: Amount = 1,
    entry_price: Amount = 2,
    exit_price: Amount = 3,
    pnl: Amount = 1,
    fees: Amount = 0,
    opened_ns: int | None = None,
    closed_ns: int | None = None,
    strategy: str = "",
) -> LotMatch:
    """Build the close of a long lot, `lot-1`, that `exe-1` opened and `exe-2` closed."""
    return LotMatch(
        seq=seq,
        ts_ns=ts_ns,
        match_id=match_id or f"match-{seq}",
        symbol=symbol,
        direction=LONG,
        quantity=to_decimal(quantity),
        entry_price=to_decimal(entry_price),
        exit_price=to_decimal(exit_price),
        pnl=to_decimal(pnl),
        fees=to_decimal(fees),
        opened_ns=ts_ns if opened_ns is None else opened_ns,
        closed_ns=ts_ns if closed_ns is None else closed_ns,
        lot_id="lot-1",
        open_execution_id="exe-1",
        close_execution_id="exe-2",
        strategy=strategy,
    )


def cash_flow(
    seq: int, kind: CashFlowKind, symbol: str, amount: Amount, *, quantity: Amount = 0, ts_ns: int = 1
) -> CashFlow:
    return CashFlow(
        seq=seq,
        ts_ns=ts_ns,
        cash_flow_id=f"cash-{seq}",
        kind=kind,
        symbol=symbol,
        amount=to_decimal(amount),
        quantity=to_decimal(quantity),
        cause_id="cause-1",
    )


def cash_transfer(
    seq: int, kind: CashTransferKind, amount: Amount, *, ts_ns: int = 1, cause_id: str = "cause-1"
) -> CashTransfer:
    return CashTransfer(
        seq=seq,
        ts_ns=ts_ns,
        transfer_id=f"transfer-{seq}",
        kind=kind,
        amount=to_decimal(amount),
        currency="USD",
        source=FROM_COMMAND,
        reference="",
        reason="test",
        actor="test",
        happened_ns=ts_ns,
        cause_id=cause_id,
    )


def valuation(
    seq: int,
    ts_ns: int,
    equity: Amount,
    *,
    cash: Amount | None = None,
    gross_exposure: Amount = 0,
    net_exposure: Amount | None = None,
    unrealized_pnl: Amount = 0,
    realized_pnl: Amount = 0,
    fees: Amount = 0,
    open_positions: int = 0,
    net_flows: Amount = 0,
) -> Valuation:
    """Build a valuation. Everything is cash unless `cash` is set; exposure is long unless `net_exposure` is set."""
    return Valuation(
        seq=seq,
        ts_ns=ts_ns,
        equity=to_decimal(equity),
        cash=to_decimal(equity if cash is None else cash),
        gross_exposure=to_decimal(gross_exposure),
        net_exposure=to_decimal(gross_exposure if net_exposure is None else net_exposure),
        unrealized_pnl=to_decimal(unrealized_pnl),
        realized_pnl=to_decimal(realized_pnl),
        fees=to_decimal(fees),
        open_positions=open_positions,
        net_flows=to_decimal(net_flows),
    )


def strategy_account(
    seq: int,
    ts_ns: int,
    strategy: str,
    *,
    state: StrategyState = "RUNNING",
    capital: Amount = 1_000_000,
    equity: Amount | None = None,
    open_positions: int = 0,
) -> StrategyAccount:
    """Build the sub-account of a trading strategy whose profit is unrealized. Equity defaults to the capital."""
    value = to_decimal(capital if equity is None else equity)
    return StrategyAccount(
        seq=seq,
        ts_ns=ts_ns,
        strategy=strategy,
        state=state,
        capital=to_decimal(capital),
        equity=value,
        cash=to_decimal(capital),
        realized_pnl=ZERO,
        unrealized_pnl=value - to_decimal(capital),
        fees=ZERO,
        open_positions=open_positions,
    )


def attribution(
    seq: int,
    ts_ns: int,
    strategy: str,
    *,
    realized_pnl: Amount = 0,
    unrealized_pnl: Amount = 0,
    fees: Amount = 0,
    cash_flows: Amount = 0,
    trades: int = 0,
) -> Attribution:
    return Attribution(
        seq=seq,
        ts_ns=ts_ns,
        strategy=strategy,
        realized_pnl=to_decimal(realized_pnl),
        unrealized_pnl=to_decimal(unrealized_pnl),
        fees=to_decimal(fees),
        cash_flows=to_decimal(cash_flows),
        trades=trades,
    )
