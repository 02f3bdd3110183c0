"""Price paths through a bar, and what orders do on one of them: a slow reference for the venue, without its code.

A path is a list of turning points from the open to the close, through high and low. The price moves between them
without a gap, so that each order trades where the price first reaches its level. `outcome` combines the paths: what
trades on every path trades, at the worst price of all of them. `closing_outcome` does the same for exits that may be
larger than the position, so that quantities matter.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import combinations_with_replacement, product
from typing import NamedTuple

HELD = 10
"""Units that the entry buys, or that are held before the bar."""


class PathFill(NamedTuple):
    """A fill on one path."""

    quantity: int
    price: float


class Shape(NamedTuple):
    """The prices of a bar."""

    open: float
    low: float
    high: float
    close: float


@dataclass
class PathOrder:
    """An order. `kind` is market, limit, stop, stop_limit or trailing; `trail` is a distance in money.

    `when` is "" for an order that waits, "open" for one that trades at the first price or never (OPG, IOC and FOK in
    the bar after their arrival), "close" for one that trades at the last price or never (CLS).

    An order with a parent is an exit: reduce-only, for `quantity` units of a position of `HELD` units. Grouped exits
    cancel each other.
    """

    name: str
    buying: bool
    kind: str
    limit: float = 0.0
    stop: float = 0.0
    trail: float = 0.0
    parent: str = ""
    quantity: int = 10
    is_grouped: bool = True
    when: str = ""
    best: float | None = None
    triggered: bool = field(default=False)

    def level(self, price: float) -> float | None:
        """Return the price at which the order acts next, given the current price; None: at once."""
        sign = 1.0 if self.buying else -1.0
        if self.kind == "market":
            return None
        if self.kind == "limit" or self.triggered:
            return None if sign * price <= sign * self.limit else self.limit
        stop = self.stop
        if self.kind == "trailing":
            assert self.best is not None
            stop = self.best + sign * self.trail
        return None if sign * price >= sign * stop else stop


def paths(shape: Shape, levels: set[float]) -> Iterator[list[float]]:
    """Yield paths with up to two turns more than high and low, at prices that matter to the orders."""
    turns = sorted(level for level in levels if shape.low <= level <= shape.high)
    for first, second in ((shape.high, shape.low), (shape.low, shape.high)):
        for extra in (0, 1, 2):
            for prices in product(turns, repeat=extra):
                for gaps in combinations_with_replacement(range(3), extra):
                    path: list[float] = [shape.open]
                    for gap, corner in enumerate((first, second, shape.close)):
                        path += [price for price, place in zip(prices, gaps, strict=True) if place == gap]
                        path.append(corner)
                    yield path


def walk(path: list[float], orders: list[PathOrder]) -> dict[str, PathFill]:
    """Return the fills on one path. Orders with a parent work from its fill on, and those of an auction from the next
    one on, so that nothing follows a fill at the last price.

    An exit closes no more than is held. Once nothing is held, all exits end.
    """
    fills: dict[str, PathFill] = {}
    held = HELD if any(order.parent == "held" for order in orders) else 0
    working = [order for order in orders if (not order.parent or order.parent == "held") and order.when != "close"]
    price = path[0]

    def fill(order: PathOrder, price: float) -> None:
        nonlocal held
        quantity = min(order.quantity, held) if order.parent else HELD
        held += -quantity if order.parent else quantity
        fills[order.name] = PathFill(quantity, price)
        cancels = order.parent and order.is_grouped
        working[:] = [one for one in working if one is not order and not (cancels and one.is_grouped and one.parent)]
        if not held:
            working[:] = [one for one in working if not one.parent]
        working.extend(one for one in orders if one.parent == order.name and not one.when)

    def act(price: float) -> None:
        """Let every order act that may act at this price, stops first."""
        acted = True
        while acted:
            acted = False
            for order in working:
                if order.kind == "trailing":
                    best = price if order.best is None else order.best
                    order.best = min(best, price) if order.buying else max(best, price)
            for order in sorted(working, key=lambda one: one.kind == "limit" or one.triggered):
                if order.level(price) is not None:
                    continue
                acted = True
                if order.kind == "stop_limit" and not order.triggered:
                    order.triggered = True
                    break
                fill(order, price)
                break

    act(price)
    working[:] = [order for order in working if order.when != "open"]
    for corner in path[1:]:
        while price != corner:
            for order in working:
                if order.kind == "trailing" and order.best is not None and (corner < price) == order.buying:
                    # Moving in favour of the trailing stop: the best price follows.
                    order.best = min(order.best, corner) if order.buying else max(order.best, corner)
            levels = [level for order in working if (level := order.level(price)) is not None]
            ahead = [level for level in levels if min(price, corner) <= level <= max(price, corner)]
            price = min(ahead, key=lambda level: abs(level - price)) if ahead else corner
            act(price)
    before_close = {"", "held", *fills}
    for order in orders:
        # An order of the closing auction, unless its position has ended or is not open yet.
        is_due = order.parent in before_close and (held or not order.parent)
        if order.when == "close" and is_due and order.level(price) is None:
            fill(order, price)
    return fills


def outcome(shape: Shape, orders: list[PathOrder]) -> dict[str, float]:
    """Return the fills that every path proves, at the worst price. The exits of a position count as one."""
    results = every_path(shape, orders)
    proved: dict[str, float] = {}
    for order in orders:
        if not order.parent and all(order.name in fills for fills in results):
            prices = [fills[order.name].price for fills in results]
            proved[order.name] = max(prices) if order.buying else min(prices)
    exits = [order for order in orders if order.parent and (order.parent == "held" or order.parent in proved)]
    exit_fills = [[(fills[one.name].price, one.name) for one in exits if one.name in fills] for fills in results]
    if exits and all(exit_fills):
        every = [fill for fills in exit_fills for fill in fills]
        price, name = max(every) if exits[0].buying else min(every)
        proved[name] = price
    return proved


def closing_outcome(shape: Shape, orders: list[PathOrder]) -> list[PathFill]:
    """Return what the exits sell on the path that is worst for the owner, by price.

    That is the path that closes the fewest units, and of several such paths the one with the lowest proceeds.
    """
    exits = [order for order in orders if order.parent]
    sold: set[tuple[int, float, tuple[PathFill, ...]]] = set()
    for fills in every_path(shape, orders):
        at_price: dict[float, int] = {}
        for one in exits:
            if one.name in fills:
                quantity, price = fills[one.name]
                at_price[price] = at_price.get(price, 0) + quantity
        rows = tuple(PathFill(at_price[price], price) for price in sorted(at_price))
        units, proceeds = sum(one.quantity for one in rows), sum(one.quantity * one.price for one in rows)
        sold.add((units, proceeds, rows))
    return list(min(sold)[2])


def every_path(shape: Shape, orders: list[PathOrder]) -> list[dict[str, PathFill]]:
    """Return the fills on each path that matters to the orders."""
    levels = {shape.open, shape.close, (shape.open + shape.close) / 2}
    for order in orders:
        levels |= {order.limit, order.stop}
        if order.kind == "trailing":
            levels |= {shape.low + order.trail, shape.high - order.trail, shape.open + order.trail / 2}
            levels |= {shape.open - order.trail / 2, shape.open - order.trail, shape.open + order.trail}
            levels |= {shape.close + order.trail, shape.close - order.trail}
    return [walk(path, [PathOrder(**vars(order)) for order in orders]) for path in paths(shape, levels)]
