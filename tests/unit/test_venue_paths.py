"""Fills inside a bar against an enumeration of price paths: entry type x exit types x bar shape x order of entry."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.venue import VenueSettings
from schemas.records import BUY, GTC, SELL, TRADE, Execution, Order, Record
from schemas.records.constants import Side
from tests.builders import order
from tests.builders.trading import Terms
from tests.unit.price_paths import PathOrder, Shape, outcome
from tests.unit.venue_runs import FREE, NO_FEE, minute_bar, run

# Entries that buy, and exits that sell. The tests mirror them at 100 for the other side.
ENTRIES: dict[str, PathOrder | None] = {
    "held": None,
    "market": PathOrder("entry", True, "market"),
    "limit 98": PathOrder("entry", True, "limit", limit=98),
    "limit 101": PathOrder("entry", True, "limit", limit=101),
    "stop 102": PathOrder("entry", True, "stop", stop=102),
    "stop-limit 102 at 101": PathOrder("entry", True, "stop_limit", stop=102, limit=101),
    "trailing 3": PathOrder("entry", True, "trailing", trail=3),
}
EXITS: dict[str, list[PathOrder]] = {
    "profit 104": [PathOrder("profit", False, "limit", limit=104)],
    "loss 96": [PathOrder("loss", False, "stop", stop=96)],
    "profit 104, loss 96": [PathOrder("profit", False, "limit", limit=104), PathOrder("loss", False, "stop", stop=96)],
    "profit 100, loss 97": [PathOrder("profit", False, "limit", limit=100), PathOrder("loss", False, "stop", stop=97)],
    "trailing 4": [PathOrder("loss", False, "trailing", trail=4)],
    "stop-limit 97 at 96": [PathOrder("loss", False, "stop_limit", stop=97, limit=96)],
    "stop-limit 97 at 99": [PathOrder("loss", False, "stop_limit", stop=97, limit=99)],
}
SHAPES: dict[str, Shape] = {
    "quiet": Shape(100, 99, 101, 100),
    "both ends": Shape(100, 94, 106, 100),
    "up": Shape(100, 99, 106, 105),
    "down": Shape(100, 94, 101, 95),
    "up after a dip": Shape(100, 95, 106, 105),
    "down after a peak": Shape(100, 94, 105, 96),
    "gap up": Shape(106, 101, 107, 103),
    "gap up, falls": Shape(106, 97.5, 107, 98.5),
    "gap down": Shape(95, 94, 99, 98),
    "gap down, rises": Shape(95, 95, 106, 104.5),
    "closes at the high": Shape(100, 97, 104, 104),
    "closes at the low": Shape(101, 96, 102, 96),
}
ROWS = [
    pytest.param(entry, exits, shape, id=f"{entry} | {exits} | {shape}")
    for entry in ENTRIES
    for exits in EXITS
    for shape in SHAPES
    # A trailing entry trades at another price on every path, so what its exits meet depends on the path.
    if not entry.startswith("trailing") or exits == "profit 104"
]
NUMBERS = {"entry": 10, "profit": 11, "loss": 12}


def mirrored(price: float, mirror: bool) -> float:
    return 200.0 - price if mirror else price


def venue_order(one: PathOrder, number: int, *, mirror: bool, grouped: bool) -> Order:
    """Return the order of the venue for an order of the reference, on the other side if `mirror`."""
    terms: Terms = {"time_in_force": GTC}
    if one.kind in ("limit", "stop_limit"):
        terms["limit_price"] = mirrored(one.limit, mirror)
    if one.kind in ("stop", "stop_limit"):
        terms["stop_price"] = mirrored(one.stop, mirror)
    if one.kind == "trailing":
        terms["trail_amount"] = one.trail
    if one.name != "entry":
        terms["reduce_only"] = True
        terms["group_id"] = "exit" if grouped else ""
        terms["parent_id"] = "entry" if one.parent == "entry" else ""
    side: Side = BUY if one.buying != mirror else SELL
    return order(number, side, order_id=f"ord-{one.name}", cause_id=one.name, **terms)


def shape_bar(seq: int, shape: Shape, mirror: bool) -> Any:
    low, high = sorted((mirrored(shape.low, mirror), mirrored(shape.high, mirror)))
    return minute_bar(seq, mirrored(shape.open, mirror), low, high, mirrored(shape.close, mirror))


def fills(executions: list[Execution], mirror: bool) -> dict[str, float]:
    return {
        e.order_id[4:]: mirrored(float(e.price), mirror)
        for e in executions
        if e.exec_type == TRADE and e.order_id != "ord-held"
    }


def venue_fills(
    entry: PathOrder | None, exits: list[PathOrder], shape: Shape, *, mirror: bool, exits_reversed: bool
) -> dict[str, float]:
    """Run the orders on the venue; an entry that is None has filled in the bar before."""
    orders: list[Record] = []
    first: list[Record] = [minute_bar(1, 100.0, 100.0, 100.0)]
    if entry is None:
        first = [order(1, SELL if mirror else BUY, order_id="ord-held"), *first]
    else:
        orders.append(venue_order(entry, 10, mirror=mirror, grouped=False))
    for number, one in enumerate(reversed(exits) if exits_reversed else exits, 11):
        orders.append(venue_order(one, number, mirror=mirror, grouped=len(exits) > 1))
    return fills(run(FREE, first, [*orders, shape_bar(2, shape, mirror)]), mirror)


@pytest.mark.parametrize(("entry_name", "exits_name", "shape_name"), ROWS)
def test_a_bar_fills_what_every_path_proves_at_the_worst_price(
    entry_name: str, exits_name: str, shape_name: str
) -> None:
    entry, shape = ENTRIES[entry_name], SHAPES[shape_name]
    parent = "held" if entry is None else "entry"
    exits = [PathOrder(**{**vars(one), "parent": parent}) for one in EXITS[exits_name]]
    expected = outcome(shape, [*([] if entry is None else [entry]), *exits])
    for mirror in (False, True):
        for exits_reversed in (False, True):
            found = venue_fills(entry, exits, shape, mirror=mirror, exits_reversed=exits_reversed)
            assert found == expected, f"mirror {mirror}, exits reversed {exits_reversed}"


PRICES = st.integers(94, 106)
SHAPE = st.tuples(PRICES, PRICES, PRICES, PRICES).map(lambda p: Shape(p[0], min(p), max(p), p[1]))
LEVEL = st.integers(94, 106)


@settings(max_examples=150, deadline=None)
@given(
    SHAPE,
    st.sampled_from(["held", "market", "limit", "stop"]),
    LEVEL,
    st.integers(95, 106),
    st.integers(1, 8),
    st.booleans(),
)
def test_any_bracket_fills_what_every_path_proves(
    shape: Shape, kind: str, level: int, profit: int, distance: int, mirror: bool
) -> None:
    entry = None if kind == "held" else PathOrder("entry", True, kind, limit=level, stop=level)
    parent = "held" if entry is None else "entry"
    exits = [
        PathOrder("profit", False, "limit", limit=profit, parent=parent),
        PathOrder("loss", False, "stop", stop=profit - distance, parent=parent),
    ]
    expected = outcome(shape, [*([] if entry is None else [entry]), *exits])
    found = [venue_fills(entry, exits, shape, mirror=mirror, exits_reversed=swap) for swap in (False, True)]
    # Both exits may be marketable at the same price: which one trades makes no difference to the owner.
    assert [sorted(one.values()) for one in found] == [sorted(expected.values())] * 2
    assert found[0] == found[1], "the order of entry has no effect"


ANY_ORDER = st.tuples(
    st.sampled_from(["market", "limit", "stop", "stop_limit", "trailing"]),
    st.sampled_from([BUY, SELL]),
    st.integers(94, 106),
    st.integers(94, 106),
    st.integers(1, 20),
    st.booleans(),  # reduce-only
    st.sampled_from(["", "", "a", "b"]),  # group
    st.integers(0, 5),  # parent: the order with this number, if there is one before it
)


def any_orders(rows: list[Any]) -> list[Order]:
    orders = []
    for number, (kind, side, limit, stop, quantity, reduce_only, group, parent) in enumerate(rows, 1):
        terms: Terms = {"time_in_force": GTC, "reduce_only": reduce_only, "group_id": group}
        if kind in ("limit", "stop_limit"):
            terms["limit_price"] = limit
        if kind in ("stop", "stop_limit"):
            terms["stop_price"] = stop
        if kind == "trailing":
            terms["trail_amount"] = 3
        if 0 < parent < number:
            terms["parent_id"] = f"prop-{parent}"
        orders.append(order(number, side, quantity, **terms))
    return orders


@settings(max_examples=200, deadline=None)
@given(st.lists(ANY_ORDER, min_size=1, max_size=6), st.lists(SHAPE, min_size=1, max_size=4), st.booleans())
def test_fills_lie_in_their_bar_and_a_reduce_only_order_never_opens_a_position(
    rows: list[Any], shapes: list[Shape], share: bool
) -> None:
    venue = VenueSettings(**NO_FEE, max_volume_share=Decimal("0.02") if share else None)
    orders = any_orders(rows)
    bars = [shape_bar(number, shape, mirror=False) for number, shape in enumerate(shapes, 1)]
    executions = run(venue, [*orders, bars[0]], *([bar] for bar in bars[1:]))
    terms_of = {one.order_id: one.terms for one in orders}
    position, traded = Decimal(0), dict.fromkeys(terms_of, Decimal(0))
    for one in executions:
        if one.exec_type != TRADE:
            continue
        shape = shapes[one.bar_seq - 1]
        assert shape.low <= one.price <= shape.high, "a fill price lies in its bar"
        terms, before = terms_of[one.order_id], position
        position += one.quantity if one.side == BUY else -one.quantity
        traded[one.order_id] += one.quantity
        assert traded[one.order_id] <= terms.quantity
        if terms.reduce_only:
            assert before * position >= 0 and abs(position) < abs(before), "reduce-only only reduces"
        if terms.limit_price is not None:
            assert one.price <= terms.limit_price if one.side == BUY else one.price >= terms.limit_price
        if terms.parent_id:
            assert traded[f"ord-{terms.parent_id[5:]}"] > 0, "an exit trades after its entry"


@settings(max_examples=200, deadline=None)
@given(st.lists(ANY_ORDER, min_size=2, max_size=5), SHAPE, st.randoms(use_true_random=False))
def test_the_order_of_entry_has_no_effect(rows: list[Any], shape: Shape, random: Any) -> None:
    """Independent orders and groups of entries, entered in another sequence: the same orders trade at the same prices.

    Quantities tell the orders apart, because their numbers change.
    """
    rows = [(*row[:4], number, row[5], row[6], 0) for number, row in enumerate(rows, 1)]
    shuffled = random.sample(rows, len(rows))
    held = order(90, BUY, 30, time_in_force=GTC)
    results = []
    for sequence in (rows, shuffled):
        slices: list[list[Record]] = [
            [held, minute_bar(1, 100.0, 100.0, 100.0)],
            [*any_orders(sequence), shape_bar(2, shape, mirror=False)],
        ]
        quantity_of = {f"ord-{number}": row[4] for number, row in enumerate(sequence, 1)}
        results.append(
            sorted(
                (quantity_of.get(one.order_id, 0), one.quantity, one.price)
                for one in run(FREE, *slices)
                if one.exec_type == TRADE
            )
        )
    assert results[0] == results[1]
