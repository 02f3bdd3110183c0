"""Price paths through a bar, and what orders do on one of them: a slow reference for the venue, without its code.

A path is a list of turning points from the open to the close, through high and low. The price moves between them
without a gap, so that each order trades where the price first reaches its level. `outcome` combines the paths: what
trades on every path trades, at the worst price of all of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import combinations_with_replacement, product
from typing import NamedTuple


class Shape(NamedTuple):
    """The prices of a bar."""

    open: float
    low: float
    high: float
    close: float


@dataclass
class PathOrder:
    """An order for one unit. `kind` is market, limit, stop, stop_limit or trailing; `trail` is a distance in money."""

    name: str
    buying: bool
    kind: str
    limit: float = 0.0
    stop: float = 0.0
    trail: float = 0.0
    parent: str = ""
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


def walk(path: list[float], orders: list[PathOrder]) -> dict[str, float]:
    """Return the fill prices on one path. Orders with a parent work from its fill on, and cancel each other."""
    fills: dict[str, float] = {}
    working = [order for order in orders if not order.parent or order.parent == "held"]
    price = path[0]

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
                fills[order.name] = price
                working[:] = [one for one in working if one is not order and not (order.parent and one.parent)]
                working.extend(one for one in orders if one.parent == order.name)
                break

    act(price)
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
    return fills


def outcome(shape: Shape, orders: list[PathOrder]) -> dict[str, float]:
    """Return the fills that every path proves, at the worst price. The exits of a position count as one."""
    levels = {shape.open, shape.close, (shape.open + shape.close) / 2}
    for order in orders:
        levels |= {order.limit, order.stop}
        if order.kind == "trailing":
            levels |= {shape.low + order.trail, shape.high - order.trail, shape.open + order.trail / 2}
            levels |= {shape.open - order.trail / 2, shape.open - order.trail, shape.open + order.trail}
            levels |= {shape.close + order.trail, shape.close - order.trail}
    results = [walk(path, [PathOrder(**vars(order)) for order in orders]) for path in paths(shape, levels)]
    proved: dict[str, float] = {}
    for order in orders:
        if not order.parent and all(order.name in fills for fills in results):
            prices = [fills[order.name] for fills in results]
            proved[order.name] = max(prices) if order.buying else min(prices)
    exits = [order for order in orders if order.parent and (order.parent == "held" or order.parent in proved)]
    exit_fills = [[(fills[one.name], one.name) for one in exits if one.name in fills] for fills in results]
    if exits and all(exit_fills):
        every = [fill for fills in exit_fills for fill in fills]
        price, name = max(every) if exits[0].buying else min(every)
        proved[name] = price
    return proved
