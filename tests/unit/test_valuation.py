"""Marks that are updated per symbol equal a valuation from scratch."""

from __future__ import annotations

import pickle
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from operators.ledger import Ledger
from operators.valuation import Marks
from tests.builders.trades import trade

symbols = st.sampled_from(["A", "B", "ES"])
cents = st.integers(1, 100_000)
events = st.lists(
    st.one_of(
        st.tuples(st.just("trade"), symbols, st.integers(-30, 30).filter(bool), cents),
        st.tuples(st.just("bar"), symbols, st.just(0), cents),
    ),
    max_size=30,
)
MULTIPLIERS = {"ES": Decimal(50)}


@given(events)
def test_incremental_marks_equal_a_valuation_from_scratch(inputs: list[tuple[str, str, int, int]]) -> None:
    ledger, marks = Ledger(Decimal(1_000_000), multipliers=MULTIPLIERS), Marks()
    last: dict[str, Decimal] = {}
    for seq, (kind, symbol, units, price_cents) in enumerate(inputs, start=1):
        price = Decimal(price_cents) / 100
        if kind == "trade":
            ledger.apply(trade(seq, units, str(price), "0.01", symbol=symbol))
            marks.prices.setdefault(symbol, float(price))
            last.setdefault(symbol, price)
        else:
            marks.prices[symbol] = float(price)
            last[symbol] = price
        marks.revalue(ledger, [symbol])
        restored = Marks()
        restored.restore(pickle.loads(pickle.dumps(marks.snapshot())))  # noqa: S301 our own bytes
        marks = restored

        values = [h.quantity * last[h.symbol] * MULTIPLIERS.get(h.symbol, Decimal(1)) for h in ledger.positions()]
        valuation = marks.to_valuation(ledger, seq, seq)
        assert valuation.net_exposure == sum(values, Decimal(0))
        assert valuation.gross_exposure == sum(map(abs, values), Decimal(0))
        assert marks.short_value == -sum((value for value in values if value < 0), Decimal(0))
        assert valuation.open_positions == sum(1 for h in ledger.positions() if h.quantity)
        assert valuation.equity == valuation.cash + valuation.net_exposure
        gains = valuation.realized_pnl + valuation.unrealized_pnl - valuation.fees
        assert valuation.equity == ledger.initial_cash + gains


def test_a_snapshot_is_not_changed_by_later_prices() -> None:
    ledger, marks = Ledger(Decimal(0)), Marks()
    ledger.apply(trade(1, 10, "5"))
    marks.prices["X"] = 5.0
    marks.revalue(ledger, ["X"])
    snapshot = marks.snapshot()
    before = pickle.dumps(snapshot)
    marks.prices["X"] = 6.0
    marks.revalue(ledger, ["X"])
    assert pickle.dumps(snapshot) == before
