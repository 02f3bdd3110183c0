"""Build the records that the ledger returns. `seq` is their common number."""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

from operators.ledger.lots import ClosedLot
from operators.ledger.open_lot import OpenLot
from operators.ledger.position import LedgerPosition
from operators.money import ONE, ZERO, divide, quantize
from schemas.records import CashFlow, CashFlowKind, Lot, LotDirection, LotMatch, Position


class BookingOrigin(NamedTuple):
    """The origin of a booking: the suffix of the ids of its records, its times, and the id of its cause.

    `strategy` is that of the order, for the lot that it opens.
    """

    tag: str
    ts_ns: int
    filled_at_ns: int
    cause_id: str
    strategy: str = ""


def cash_flow_record(
    seq: int,
    ts_ns: int,
    kind: CashFlowKind,
    symbol: str,
    quantity: Decimal,
    cause_id: str,
    amount: Decimal = ZERO,
    accrued: Decimal = ZERO,
) -> CashFlow:
    """Build the record of a charge, a transfer, a corporate action or a new exchange rate."""
    return CashFlow(
        seq=seq,
        ts_ns=ts_ns,
        cash_flow_id=f"cash-{seq}",
        kind=kind,
        symbol=symbol,
        amount=quantize(amount),
        quantity=quantity,
        cause_id=cause_id,
        accrued=quantize(accrued),
    )


def lot_record(seq: int, ts_ns: int, symbol: str, lot: OpenLot) -> Lot:
    return Lot(
        seq=seq,
        ts_ns=ts_ns,
        lot_id=lot.lot_id,
        symbol=symbol,
        opened_ns=lot.opened_ns,
        quantity=lot.quantity,
        price=lot.price,
        execution_id=lot.execution_id,
    )


def match_record(
    seq: int,
    symbol: str,
    closed_lot: ClosedLot,
    number: int,
    price: Decimal,
    direction: LotDirection,
    origin: BookingOrigin,
) -> LotMatch:
    """Build the record of a closed lot, the `number`-th of its booking."""
    return LotMatch(
        seq=seq,
        ts_ns=origin.ts_ns,
        match_id=f"match-{origin.tag}-{number}",
        symbol=symbol,
        direction=direction,
        quantity=abs(closed_lot.quantity),
        entry_price=closed_lot.entry_price,
        exit_price=price,
        pnl=closed_lot.pnl,
        fees=closed_lot.entry_fees + closed_lot.exit_fees,
        opened_ns=closed_lot.lot.opened_ns,
        closed_ns=origin.filled_at_ns,
        lot_id=closed_lot.lot.lot_id,
        open_execution_id=closed_lot.lot.execution_id,
        close_execution_id=origin.cause_id,
        strategy=closed_lot.lot.strategy,
    )


def position_record(seq: int, ts_ns: int, position: LedgerPosition, multiplier: Decimal, cause_id: str) -> Position:
    """Build the record of a position. `multiplier` is the value of one unit in the symbol's currency."""
    quantity, cost = position.book.quantity, position.book.cost
    if not quantity:
        assert not position.book.lots and not cost, f"{position.symbol}: flat position has a cost of {cost}"
        average = ZERO
    elif position.unit_value is ONE:
        average = divide(cost, quantity)
    else:
        average = divide(cost, quantity * multiplier)
    return Position(
        seq=seq,
        ts_ns=ts_ns,
        symbol=position.symbol,
        quantity=quantity,
        avg_price=average,
        cost_basis=cost,
        realized_pnl=position.realized_pnl,
        fees=position.fees,
        execution_id=cause_id,
    )
