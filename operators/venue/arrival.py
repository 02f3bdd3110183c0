"""What the venue's own rules say about an order: taken at all, and trading in a given bar."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from hashlib import sha256

from operators.money import ZERO, floor_to
from operators.venue.matching import without_limit
from operators.venue.settings import Halt, VenueSettings
from operators.venue.working import WorkingOrder
from schemas.records import Bar

_RANGE = 1 << 64


class Arrival:
    """Rejects, borrow, sessions and halts. Pure: the same order fares the same in every run."""

    def __init__(self, settings: VenueSettings) -> None:
        self._settings = settings
        self._bound = int(settings.reject_share * _RANGE)
        self._halts: dict[str, list[Halt]] = {}
        for halt in settings.halts:
            self._halts.setdefault(halt.symbol, []).append(halt)

    def why_not(self, order: WorkingOrder, position: Decimal, working: Iterable[WorkingOrder]) -> str:
        """Why an order is rejected on arrival, "" when it is not."""
        if self._bound and self._drawn(order.order_id) < self._bound:
            return "rejected at random"
        one = self._settings.instruments.get(order.symbol)
        if one is None or one.borrowable is None or order.buying or order.reduce_only:
            return ""
        selling = sum((o.leaves for o in working if not o.buying and o.order_id != order.replaces), ZERO)
        short = selling + order.leaves - position
        if short <= one.borrowable:
            return ""
        return f"{short.normalize():f} short in all, {one.borrowable.normalize():f} can be borrowed"

    def _drawn(self, order_id: str) -> int:
        """A number below 2^64 that depends on seed and order only."""
        return int.from_bytes(sha256(f"{self._settings.seed}:{order_id}".encode()).digest()[:8], "big")

    def trades(self, order: WorkingOrder, bar: Bar) -> bool:
        """Whether the order may trade in this bar at all: session and halts."""
        if bar.session not in self._settings.sessions:
            return False
        if bar.session not in self._settings.market_sessions and without_limit(order):
            return False
        halts = self._halts.get(bar.symbol)
        return halts is None or not any(halt.from_ns <= bar.open_ns < halt.until_ns for halt in halts)

    def lots(self, symbol: str, room: Decimal) -> Decimal:
        """What of `room` is whole lots."""
        return floor_to(room, self._settings.instruments.lot_of(symbol))
