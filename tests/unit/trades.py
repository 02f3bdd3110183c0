"""Executions for the tests of the books: written as text tables, or drawn by hypothesis."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import strategies as st

from schemas.records import BUY, SELL, TRADE, Execution, execution_id


def trade(
    seq: int, units: str | int, price: str, fee: str = "0", symbol: str = "X", at_ns: int | None = None
) -> Execution:
    """A whole fill of `units` (negative: sold), one nanosecond after the other unless told."""
    signed, ts_ns = Decimal(units), seq if at_ns is None else at_ns
    side, quantity = (BUY if signed > 0 else SELL), abs(signed)
    ids = (execution_id(seq), f"ord-{seq}")
    zero = Decimal(0)
    return Execution(
        seq, ts_ns, *ids, symbol, side, TRADE, quantity, Decimal(price), Decimal(fee), zero, quantity, ts_ns, 0, ""
    )


def parse_trades(text: str) -> list[Execution]:
    """`"+1000@1.07 +1000@1.08 -1500@1.09/2.5"`: units at price, and a fee behind the slash."""
    executions = []
    for seq, word in enumerate(text.split(), start=1):
        units, _, rest = word.partition("@")
        price, _, fee = rest.partition("/")
        executions.append(trade(seq, units, price, fee or "0"))
    return executions


def decimals(text: str) -> tuple[Decimal, ...]:
    """`"1 2.5"` as a tuple, to compare several amounts at once."""
    return tuple(Decimal(word) for word in text.split())


units = st.integers(-30, 30).filter(bool)
prices = st.integers(1, 500_000).map(lambda cents: Decimal(cents) / 100)
fees = st.integers(0, 1_000_000).map(lambda micros: Decimal(micros) / 1_000_000)
trades = st.lists(st.tuples(units, prices, fees), max_size=25)
