"""Exits larger than the position, and orders of one moment (OPG, CLS, IOC, FOK), against all price paths of a bar."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import pytest

from operators.venue import VenueStage
from schemas.records import (
    BUY,
    CANCELED,
    CLS,
    EXPIRED,
    FOK,
    GTC,
    IOC,
    OPG,
    SELL,
    TRADE,
    Execution,
    Order,
    Record,
    TimeInForce,
)
from schemas.records.constants import Side
from tests.builders import order
from tests.builders.market import MINUTE_NS
from tests.builders.trading import Terms
from tests.unit.price_paths import HELD, PathFill, PathOrder, closing_outcome, outcome
from tests.unit.test_venue_paths import SHAPES, fills, mirrored, shape_bar
from tests.unit.venue_runs import FREE, minute_bar, run_slices

SESSION_END_NS = 2 * MINUTE_NS
TIMES_IN_FORCE: dict[str, TimeInForce] = {"": GTC, "open": OPG, "close": CLS}


def limit(name: str, price: float, quantity: int, when: str = "") -> PathOrder:
    return PathOrder(name, False, "limit", limit=price, quantity=quantity, is_grouped=False, when=when)


def stop(name: str, price: float, quantity: int) -> PathOrder:
    return PathOrder(name, False, "stop", stop=price, quantity=quantity, is_grouped=False)


def market(name: str, quantity: int, when: str = "") -> PathOrder:
    return PathOrder(name, False, "market", quantity=quantity, is_grouped=False, when=when)


# Exits that sell, of a position of 10 units.
EXITS: dict[str, list[PathOrder]] = {
    "profit 104 of 15": [limit("profit", 104, 15)],
    "loss 96 of 15": [stop("loss", 96, 15)],
    "trailing 4 of 15": [PathOrder("loss", False, "trailing", trail=4, quantity=15, is_grouped=False)],
    "profit 104 of 10, loss 96 of 10": [limit("profit", 104, 10), stop("loss", 96, 10)],
    "profit 104 of 6, loss 96 of 6": [limit("profit", 104, 6), stop("loss", 96, 6)],
    "profit 104 of 3, loss 96 of 6": [limit("profit", 104, 3), stop("loss", 96, 6)],
    "profits 103 and 105 of 7": [limit("profit", 103, 7), limit("more", 105, 7)],
    "losses 97 and 95 of 7": [stop("loss", 97, 7), stop("more", 95, 7)],
    "profit 104 of 4, losses 97 and 95 of 7": [limit("profit", 104, 4), stop("loss", 97, 7), stop("more", 95, 7)],
    "market of 4, loss 96 of 10": [market("now", 4), stop("loss", 96, 10)],
    "at the open 6, loss 96 of 10": [market("now", 6, "open"), stop("loss", 96, 10)],
    "at the open from 101 6, loss 96 of 10": [limit("now", 101, 6, "open"), stop("loss", 96, 10)],
    "at the close 15, loss 96 of 6": [market("end", 15, "close"), stop("loss", 96, 6)],
    "at the close from 99 15, profit 104 of 6": [limit("end", 99, 15, "close"), limit("profit", 104, 6)],
}
EXITS |= {
    "profit 104, loss 96 of 15 as a group": [
        PathOrder("profit", False, "limit", limit=104, quantity=15),
        PathOrder("loss", False, "stop", stop=96, quantity=15),
    ],
    "profit 100, loss 97 of 15 as a group": [
        PathOrder("profit", False, "limit", limit=100, quantity=15),
        PathOrder("loss", False, "stop", stop=97, quantity=15),
    ],
}
POSITIONS: dict[str, PathOrder | None] = {
    "held": None,
    "market": PathOrder("entry", True, "market"),
    "limit 98": PathOrder("entry", True, "limit", limit=98),
    "stop 102": PathOrder("entry", True, "stop", stop=102),
}
CLOSING_ROWS = [
    pytest.param(position, exits, shape, id=f"{position} | {exits} | {shape}")
    for position in POSITIONS
    for exits in EXITS
    for shape in SHAPES
    # Of an entry inside the bar, exits of which each is free may close different quantities on each path.
    if position in ("held", "market") or "of 15" in exits
]
# Entries that buy 10 units at one moment or not at all, and their exits.
ENTRIES: dict[str, tuple[PathOrder, tuple[TimeInForce, ...]]] = {
    "market at the open": (PathOrder("entry", True, "market", when="open"), (OPG, IOC, FOK)),
    "limit 101 at the open": (PathOrder("entry", True, "limit", limit=101, when="open"), (OPG, IOC, FOK)),
    "limit 98 at the open": (PathOrder("entry", True, "limit", limit=98, when="open"), (OPG, IOC, FOK)),
    "market at the close": (PathOrder("entry", True, "market", when="close"), (CLS,)),
    "limit 101 at the close": (PathOrder("entry", True, "limit", limit=101, when="close"), (CLS,)),
    "limit 98 at the close": (PathOrder("entry", True, "limit", limit=98, when="close"), (CLS,)),
}
ENTRY_ROWS = [pytest.param(entry, shape, id=f"{entry} | {shape}") for entry in ENTRIES for shape in SHAPES]


def venue_order(one: PathOrder, number: int, time_in_force: TimeInForce, *, mirror: bool) -> Order:
    terms: Terms = {"time_in_force": time_in_force}
    if one.kind == "limit":
        terms["limit_price"] = mirrored(one.limit, mirror)
    if one.kind == "stop":
        terms["stop_price"] = mirrored(one.stop, mirror)
    if one.kind == "trailing":
        terms["trail_amount"] = one.trail
    if one.name != "entry":
        terms["reduce_only"] = True
        terms["group_id"] = "exit" if one.is_grouped else ""
        terms["parent_id"] = "entry" if one.parent == "entry" else ""
    side: Side = BUY if one.buying != mirror else SELL
    return order(number, side, one.quantity, order_id=f"ord-{one.name}", cause_id=one.name, **terms)


def run_bar(orders: Sequence[Record], shape_name: str, *, held: Side | None, mirror: bool) -> list[Execution]:
    """Run the orders over the last bar of a session, after a bar in which `held` may open a position of 10 units."""
    before: list[Record] = [minute_bar(1, 100.0, 100.0, 100.0, day=20240101)]
    opening: list[Record] = [] if held is None else [order(1, held, HELD, order_id="ord-held")]
    stage = VenueStage(FREE, session_end=lambda day: SESSION_END_NS if day == 20240102 else MINUTE_NS)
    return run_slices(stage, [*opening, *before], [*orders, shape_bar(2, SHAPES[shape_name], mirror)])


@pytest.mark.parametrize(("position", "exits_name", "shape_name"), CLOSING_ROWS)
def test_exits_close_no_more_than_is_held(position: str, exits_name: str, shape_name: str) -> None:
    entry = POSITIONS[position]
    parent = "held" if entry is None else "entry"
    exits = [PathOrder(**{**vars(one), "parent": parent}) for one in EXITS[exits_name]]
    entries = [] if entry is None else [entry]
    expected = closing_outcome(SHAPES[shape_name], [*entries, *exits])
    for mirror in (False, True):
        for sequence in (exits, exits[::-1]):
            opening: Side = SELL if mirror else BUY
            orders: list[Record] = [venue_order(one, 10, GTC, mirror=mirror) for one in entries]
            for number, one in enumerate(sequence, 11):
                orders.append(venue_order(one, number, TIMES_IN_FORCE[one.when], mirror=mirror))
            executions = run_bar(orders, shape_name, held=opening if entry is None else None, mirror=mirror)
            sold: dict[float, int] = {}
            for report in executions:
                if report.exec_type == TRADE and report.order_id not in ("ord-held", "ord-entry"):
                    price = mirrored(float(report.price), mirror)
                    sold[price] = sold.get(price, 0) + int(report.quantity)
            found = [PathFill(sold[price], price) for price in sorted(sold)]
            assert found == expected, f"mirror {mirror}, {[one.name for one in sequence]}"
            if sum(sold.values()) == HELD:
                ended = {one.order_id for one in executions if one.exec_type in (CANCELED, EXPIRED)}
                ended |= {one.order_id for one in executions if one.exec_type == TRADE and not one.leaves_quantity}
                assert {f"ord-{one.name}" for one in exits} <= ended, "no exit outlives its position"


@pytest.mark.parametrize(("entry_name", "shape_name"), ENTRY_ROWS)
def test_auction_and_immediate_orders_trade_at_their_time_or_end(entry_name: str, shape_name: str) -> None:
    entry, times_in_force = ENTRIES[entry_name]
    exits = [
        PathOrder("profit", False, "limit", limit=104, parent="entry"),
        PathOrder("loss", False, "stop", stop=96, parent="entry"),
    ]
    expected = outcome(SHAPES[shape_name], [entry, *exits])
    for time_in_force in times_in_force:
        for mirror in (False, True):
            orders: list[Record] = [venue_order(entry, 10, time_in_force, mirror=mirror)]
            orders += [venue_order(one, number, GTC, mirror=mirror) for number, one in enumerate(exits, 11)]
            executions = run_bar(orders, shape_name, held=None, mirror=mirror)
            assert fills(executions, mirror) == expected, f"{time_in_force}, mirror {mirror}"
            ended = [one.order_id for one in executions if one.exec_type in (CANCELED, EXPIRED)]
            assert ("ord-entry" in ended) == ("entry" not in expected)
            bought = sum(one.quantity for one in executions if one.exec_type == TRADE and one.order_id == "ord-entry")
            assert bought in (Decimal(0), Decimal(HELD))
