"""Builders of records for tests. Fields that a test does not set have simple defaults."""

from __future__ import annotations

from decimal import Decimal

from schemas.records import (
    BUY,
    KILL_SWITCH,
    REGULAR,
    SELL,
    TRADE,
    Bar,
    Command,
    Execution,
    OrderRefusal,
    Signal,
    execution_id,
    feature_id,
    order_id,
    proposal_id,
)


def bar(symbol: str, seq: int, ts_ns: int, price: float = 100.0, *, traded: bool = True, day: int = 20240102) -> Bar:
    return Bar(symbol, seq, ts_ns, ts_ns - 60, price, price, price, price, 1000.0, REGULAR, day, traded)


def signal(symbol: str, seq: int, ts_ns: int, strength: float = 1.0, direction: int = 1) -> Signal:
    return Signal(symbol, seq, ts_ns, "test", direction, strength, 1.0, 100.0, feature_id(symbol, seq), {})


def execution(seq: int, ts_ns: int, symbol: str, quantity: int, price: float, fee: str = "0") -> Execution:
    """Build a fill. A negative quantity keeps its sign and has side SELL."""
    side = BUY if quantity > 0 else SELL
    signed_quantity, fill_price = Decimal(quantity), Decimal(repr(price))
    ids = (execution_id(seq), order_id(seq))
    zero = Decimal(0)
    return Execution(
        seq,
        ts_ns,
        *ids,
        symbol,
        side,
        TRADE,
        signed_quantity,
        fill_price,
        Decimal(fee),
        zero,
        signed_quantity,
        ts_ns,
        seq,
        "",
    )


def refusal(seq: int, ts_ns: int, symbol: str, check: str = "cash") -> OrderRefusal:
    return OrderRefusal(seq, ts_ns, proposal_id(seq), symbol, BUY, Decimal(1), check, "2", "1", "refused")


def command(name: str, ts_ns: int, kind: str = KILL_SWITCH) -> Command:
    return Command(name, ts_ns, kind, "tester", "because", {})
