"""The API computes the remaining quantity of an open order from its present terms, not from the approved ones."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from decimal import Decimal
from typing import Any

from sqlalchemy import create_engine

from api.current_orders import open_orders
from operators.instruments import NO_INSTRUMENTS
from operators.portfolio import PortfolioStage
from schemas.records import BUY, GTC, LIMIT, NEW, REPLACED, SELL, SPLIT, CashFlow, Execution, Order, Record
from sinks.database import sqlalchemy_url
from sinks.postgres import PostgresWriter
from tests.builders import bar, corporate_action, execution, order

LIMIT_GTC: dict[str, Any] = {"order_type": LIMIT, "time_in_force": GTC}


def accepted(seq: int, of: Order) -> Execution:
    return report(seq, of, exec_type=NEW, quantity=Decimal(0))


def report(seq: int, of: Order, **fields: Any) -> Execution:
    signed_quantity = of.terms.quantity if of.terms.side == BUY else -of.terms.quantity
    made = execution(seq, seq, of.terms.symbol, signed_quantity, 100, order_id=of.order_id, cause_id=of.cause_id)
    return made._replace(**fields)


def partial_fill(seq: int, of: Order, quantity: int, *, total: int, leaves: int) -> Execution:
    amounts = {"quantity": quantity, "cum_quantity": total, "leaves_quantity": leaves}
    return report(seq, of, **{name: Decimal(value) for name, value in amounts.items()})


def present(make_database: Callable[[], str], *records: Record) -> dict[str, tuple[float, float, float]]:
    """Return quantity, remaining quantity and limit of the open orders, after the records are in the tables."""
    url = make_database()
    with closing(PostgresWriter(url, name="test")) as writer:
        writer.write(list(records))
    engine = create_engine(sqlalchemy_url(url))
    try:
        with engine.connect() as db:
            return {
                order.order_id: (float(order.terms.quantity), float(remaining), float(order.terms.limit_price or 0))
                for order, remaining in open_orders(db, NO_INSTRUMENTS)
            }
    finally:
        engine.dispose()


def test_a_fill_reduces_the_other_orders_of_its_group(make_database: Callable[[], str]) -> None:
    profit = order(1, SELL, 10, ts_ns=1, limit_price=110, group_id="g", **LIMIT_GTC)
    other = order(2, SELL, 10, ts_ns=1, limit_price=105, group_id="g", **LIMIT_GTC)
    found = present(
        make_database,
        profit,
        other,
        accepted(2, profit),
        accepted(3, other),
        partial_fill(4, profit, 4, total=4, leaves=6),
    )
    assert found == {"ord-1": (10, 6, 110), "ord-2": (6, 6, 105)}


def test_an_amended_order_has_what_its_predecessor_left(make_database: Callable[[], str]) -> None:
    entry = order(1, BUY, 10, ts_ns=1, limit_price=100, **LIMIT_GTC)
    amended = order(2, BUY, 12, ts_ns=5, limit_price=101, replaces="ord-1", **LIMIT_GTC)
    found = present(
        make_database,
        entry,
        accepted(2, entry),
        partial_fill(3, entry, 4, total=4, leaves=6),
        amended,
        report(6, entry, exec_type=REPLACED, quantity=Decimal(0)),
        accepted(7, amended),
    )
    assert found == {"ord-2": (12, 8, 101)}


def test_a_split_converts_a_partly_filled_order(make_database: Callable[[], str]) -> None:
    entry = order(1, BUY, 10, ts_ns=1, limit_price=100, **LIMIT_GTC)
    found = present(
        make_database,
        entry,
        accepted(2, entry),
        partial_fill(3, entry, 4, total=4, leaves=6),
        corporate_action("s", SPLIT, "AAPL", ts_ns=4, ex_date=20240103, ratio=2),
        bar("AAPL", 1, 5, day=20240102),
        bar("AAPL", 2, 10, day=20240103),
    )
    assert found == {"ord-1": (20, 12, 50)}


def test_a_split_that_was_loaded_late_converts_the_orders_from_then_on(make_database: Callable[[], str]) -> None:
    """The bars of the ex-date begin at 10, and the split arrives at 20. The order of 15 was decided in old shares.

    The order of 25 came afterwards, in new shares. The portfolio has recorded the time slice of the split.
    """
    early = order(1, BUY, 10, ts_ns=15, limit_price=100, **LIMIT_GTC)
    late = order(2, BUY, 10, ts_ns=25, limit_price=50, **LIMIT_GTC)
    split = corporate_action("s", SPLIT, "AAPL", ts_ns=4, ex_date=20240103, ratio=2)
    stage = PortfolioStage()
    recorded = stage.on_slice(20, [split, bar("AAPL", 2, 20, day=20240103)])
    effects = [record for record in recorded if isinstance(record, CashFlow)]
    assert [(one.kind, one.cause_id, one.ts_ns, one.amount) for one in effects] == [(SPLIT, "s", 20, Decimal(0))]
    bars = bar("AAPL", 1, 10, day=20240103), bar("AAPL", 2, 20, day=20240103)
    records: list[Record] = [split, *bars, *effects]
    found = present(make_database, early, accepted(16, early), late, accepted(26, late), *records)
    assert found == {"ord-1": (20, 20, 50), "ord-2": (10, 10, 50)}
