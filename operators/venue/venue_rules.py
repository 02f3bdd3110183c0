"""The venue's rules: whether it accepts an order, and whether the order can trade in a given bar."""

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
    """Random rejections, borrow limits, sessions and halts. Deterministic: every run gives the same result."""

    def __init__(self, settings: VenueSettings) -> None:
        self._settings = settings
        self._reject_below = int(settings.reject_share * _DRAW_RANGE)
        self._halts: dict[str, list[TradingHalt]] = {}
        for halt in settings.halts:
            self._halts.setdefault(halt.symbol, []).append(halt)

    def rejection_reason(self, order: VenueOrder, position: Decimal, open_orders: Iterable[VenueOrder]) -> str:
        """Return why an order is rejected on arrival, or "" if it is accepted."""
        if self._reject_below and self._draw(order.order_id) < self._reject_below:
            return "random rejection (venue setting reject_share)"
        instrument = self._settings.instruments.get(order.symbol)
        if instrument is None or instrument.borrowable is None or order.buying or order.reduce_only:
            return ""
        sell_quantity = sum(
            (other.leaves for other in open_orders if not other.buying and other.order_id != order.replaces), ZERO
        )
        short_quantity = sell_quantity + order.leaves - position
        if short_quantity <= instrument.borrowable:
            return ""
        return f"would be {short_quantity.normalize():f} units short, borrowable {instrument.borrowable.normalize():f}"

    def _draw(self, order_id: str) -> int:
        """Return a pseudorandom number below 2^64 that depends only on the seed and the order id."""
        return int.from_bytes(sha256(f"{self._settings.seed}:{order_id}".encode()).digest()[:8], "big")

    def can_trade(self, order: VenueOrder, bar: Bar) -> bool:
        """Whether the session and the halts allow the order to trade in this bar."""
        if bar.session not in self._settings.sessions:
            return False
        if bar.session not in self._settings.market_sessions and trades_at_any_price(order):
            return False
        halts = self._halts.get(bar.symbol)
        return halts is None or not any(halt.from_ns <= bar.open_ns < halt.until_ns for halt in halts)

    def whole_lots(self, symbol: str, quantity: Decimal) -> Decimal:
        """Round `quantity` down to whole lots."""
        return floor_to(quantity, self._settings.instruments.lot_size_of(symbol))
