"""What the venue's own rules say about an order: taken at all, and trading in a given bar."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from hashlib import sha256

from operators.money import ZERO, floor_to
from operators.venue.matching import trades_at_any_price
from operators.venue.settings import TradingHalt, VenueSettings
from operators.venue.venue_order import VenueOrder
from schemas.records import Bar

_DRAW_RANGE = 1 << 64


class VenueRules:
    """Rejects, borrow, sessions and halts. Pure: the same order fares the same in every run."""

    def __init__(self, settings: VenueSettings) -> None:
        self._settings = settings
        self._reject_below = int(settings.reject_share * _DRAW_RANGE)
        self._halts: dict[str, list[TradingHalt]] = {}
        for halt in settings.halts:
            self._halts.setdefault(halt.symbol, []).append(halt)

    def rejection_reason(self, order: VenueOrder, position: Decimal, open_orders: Iterable[VenueOrder]) -> str:
        """Why an order is rejected on arrival, "" when it is not."""
        if self._reject_below and self._draw(order.order_id) < self._reject_below:
            return "rejected at random"
        instrument = self._settings.instruments.get(order.symbol)
        if instrument is None or instrument.borrowable is None or order.buying or order.reduce_only:
            return ""
        sell_quantity = sum(
            (other.leaves for other in open_orders if not other.buying and other.order_id != order.replaces), ZERO
        )
        short_quantity = sell_quantity + order.leaves - position
        if short_quantity <= instrument.borrowable:
            return ""
        return f"{short_quantity.normalize():f} short in all, {instrument.borrowable.normalize():f} can be borrowed"

    def _draw(self, order_id: str) -> int:
        """A number below 2^64 that depends on seed and order only."""
        return int.from_bytes(sha256(f"{self._settings.seed}:{order_id}".encode()).digest()[:8], "big")

    def can_trade(self, order: VenueOrder, bar: Bar) -> bool:
        """Whether the order may trade in this bar at all: session and halts."""
        if bar.session not in self._settings.sessions:
            return False
        if bar.session not in self._settings.market_sessions and trades_at_any_price(order):
            return False
        halts = self._halts.get(bar.symbol)
        return halts is None or not any(halt.from_ns <= bar.open_ns < halt.until_ns for halt in halts)

    def whole_lots(self, symbol: str, quantity: Decimal) -> Decimal:
        """What of `quantity` is whole lots."""
        return floor_to(quantity, self._settings.instruments.lot_size_of(symbol))
