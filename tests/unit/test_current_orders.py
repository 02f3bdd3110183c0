"""The terms of open orders as risk and the tables derive them, against the book of the simulated venue."""

from __future__ import annotations

import pickle
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.current_orders import CurrentOrder, CurrentOrders
from operators.venue import VenueSettings, VenueStage
from operators.venue.venue_order import VenueOrder
from schemas.records import BUY, GTC, SELL, SPLIT, CorporateAction, Execution, Order, Record
from tests.builders import corporate_action, order, order_cancel
from tests.builders.market import MINUTE_NS
from tests.unit.venue_runs import NO_FEE, minute_bar

SHARE = VenueSettings(**NO_FEE, max_volume_share=Decimal(1))
D = Decimal


def add(current: CurrentOrders, one: Order, filled: Decimal) -> None:
    current.add(CurrentOrder(one.order_id, one.cause_id, one.terms, filled, replaces=one.replaces))


def run(slices: list[list[Record]], *, restart: bool = False) -> None:
    """Compare the terms after every time slice. As in a run, orders are known before they reach the venue."""
    stage, current = VenueStage(SHARE), CurrentOrders()
    known: dict[str, Decimal] = {}
    for number, records in enumerate(slices, 1):
        for one in records:
            if isinstance(one, Order):
                add(current, one, known.get(one.replaces, D(0)))
        for one in records:
            if isinstance(one, CorporateAction) and one.ratio is not None:
                current.split("AAPL", one.ratio, D(1))
        for report in stage.on_slice(number * MINUTE_NS, records):
            assert isinstance(report, Execution)
            current.fold_execution(report)
            known[report.order_id] = report.cum_quantity
        if restart:
            restored = CurrentOrders()
            restored.restore(pickle.loads(pickle.dumps(current.snapshot())))  # noqa: S301 - our own snapshot
            current = restored
        for values in stage.snapshot()[4]:
            expected = VenueOrder.from_tuple(values)
            found = current.get(expected.order_id)
            assert found is not None, f"{expected.order_id} is open at the venue"
            assert found.terms == expected.terms, f"slice {number}, {expected.order_id}"
            assert (found.filled, found.held) == (expected.cum_quantity, expected.held_back)
        open_ids = {VenueOrder.from_tuple(values).order_id for values in stage.snapshot()[4]}
        assert {one[0] for one in current.snapshot()} == open_ids, "ended orders have left"


def exits(quantity: int = 100, group: str = "exit", parent: str = "prop-1") -> list[Order]:
    terms: dict[str, Any] = {"parent_id": parent, "group_id": group, "reduce_only": True, "time_in_force": GTC}
    return [order(2, SELL, quantity, limit_price=110, **terms), order(3, SELL, quantity, stop_price=90, **terms)]


ENTRY = order(1, quantity=100, limit_price=100, time_in_force=GTC)
HALF_OF_SHARES = corporate_action("s", SPLIT, "AAPL", ratio=2)
SCRIPTS: dict[str, list[list[Record]]] = {
    "exits close what a cancelled entry has filled": [
        [ENTRY, *exits(), minute_bar(1, volume=40.0)],
        [order_cancel(9, "ord-1"), minute_bar(2, 101.0, 101.0, 101.0)],
        [minute_bar(3, 110.0, 110.0, 110.0, volume=15.0)],
    ],
    "a partial fill reduces the other exit, while the entry still works": [
        [ENTRY, *exits(), minute_bar(1, volume=40.0)],
        [minute_bar(2, 111.0, 111.0, 111.0, volume=30.0)],
        [minute_bar(3, volume=20.0)],
        [order_cancel(9, "ord-1"), minute_bar(4)],
    ],
    "exits follow an amended entry": [
        [ENTRY, *exits(), minute_bar(1, volume=40.0)],
        [order(4, quantity=70, limit_price=99, time_in_force=GTC, replaces="ord-1"), minute_bar(2, volume=10.0)],
        [minute_bar(3, 111.0, 111.0, 111.0, volume=5.0)],
    ],
    "an exit for a part of the entry": [
        [ENTRY, *exits(60), minute_bar(1, volume=40.0)],
        [order_cancel(9, "ord-1"), minute_bar(2, 101.0, 101.0, 101.0)],
    ],
    "a split converts quantities and prices": [
        [ENTRY, *exits(), minute_bar(1, volume=40.0)],
        [HALF_OF_SHARES, minute_bar(2, 50.0, 49.0, 51.0, volume=20.0)],
        [minute_bar(3, 55.0, 55.0, 55.0, volume=7.0)],
    ],
    "an amended exit of a partly filled entry": [
        [ENTRY, *exits(), minute_bar(1, volume=40.0)],
        [order(5, SELL, 80, stop_price=91, reduce_only=True, group_id="exit", replaces="ord-3"), minute_bar(2, 101.0)],
        [minute_bar(3, 101.0, 100.0, 102.0, volume=30.0)],
    ],
}


@pytest.mark.parametrize("restart", [False, True], ids=["straight", "restarted"])
@pytest.mark.parametrize("name", SCRIPTS)
def test_the_terms_of_open_orders_are_those_of_the_venue(name: str, restart: bool) -> None:
    run(SCRIPTS[name], restart=restart)


ROWS = st.tuples(
    st.sampled_from(["market", "limit", "stop"]),
    st.sampled_from([BUY, SELL]),
    st.integers(95, 105),
    st.integers(1, 40),
    st.booleans(),  # reduce-only
    st.sampled_from(["", "a", "b"]),  # group
    st.integers(0, 6),  # parent: the order with this number, if it was entered before
    st.integers(1, 6),  # the time slice in which it arrives
    st.integers(0, 12),  # amends the order with this number, if it is open
)
BARS = st.tuples(st.integers(94, 106), st.integers(1, 60), st.booleans())


@settings(max_examples=400, deadline=None)
@given(st.lists(ROWS, min_size=1, max_size=9), st.lists(BARS, min_size=6, max_size=6), st.integers(0, 6), st.booleans())
def test_any_orders_have_the_terms_of_the_venue(rows: Any, bars: Any, split_at: int, restart: bool) -> None:
    slices: list[list[Record]] = [[] for _ in bars]
    placed: dict[int, int] = {}
    latest: dict[int, int] = {}
    for number, (kind, side, price, quantity, reduce_only, group, parent, arrives, amends) in enumerate(
        sorted(rows, key=lambda one: one[7]), 1
    ):
        terms: dict[str, Any] = {"time_in_force": GTC, "reduce_only": reduce_only, "group_id": group}
        if kind != "market":
            terms["limit_price" if kind == "limit" else "stop_price"] = price
        if placed.get(parent, 99) <= arrives and parent < number:
            terms["parent_id"] = f"prop-{parent}"
        if 0 < amends < number and not terms.get("parent_id"):
            # Risk names the last amendment of an order, which may be on its way.
            replaced = latest.get(amends, amends)
            terms["replaces"] = f"ord-{replaced}"
            latest |= {one: number for one, last in latest.items() if last == replaced}
            latest[amends] = latest[replaced] = number
        placed[number] = arrives
        slices[arrives - 1].append(order(number, side, quantity, **terms))
    for index, (price, volume, wide) in enumerate(bars):
        if index + 1 == split_at:
            slices[index].append(HALF_OF_SHARES)
        low, high = (price - 5.0, price + 5.0) if wide else (float(price), float(price))
        slices[index].append(minute_bar(index + 1, float(price), low, high, volume=float(volume)))
    run(slices, restart=restart)


def test_reports_of_unknown_orders_change_nothing() -> None:
    assert CurrentOrders().fold_execution(Execution._make([0] * len(Execution._fields))) == []
