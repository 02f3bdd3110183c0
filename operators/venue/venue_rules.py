"""The venue's rules: whether it accepts an order, and whether the order can trade in a given bar."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from hashlib import sha256

from operators.exchange_halts import ExchangeHalts
from operators.money import ZERO, floor_to
from operators.venue.bar_path import trades_at_any_price
from operators.venue.settings import TradingHalt, VenueSettings
from operators.venue.venue_order import VenueOrder
from schemas.records import OPG, Bar

_DRAW_RANGE = 1 << 64


class VenueRules:
    """Random rejections, borrow limits, sessions and halts. Deterministic: every run gives the same result."""

    def __init__(self, settings: VenueSettings, exchange_halts: ExchangeHalts) -> None:
        self._settings, self._exchange_halts = settings, exchange_halts
        self._reject_below = int(settings.reject_share * _DRAW_RANGE)
        self._halts: dict[str, list[TradingHalt]] = {}
        for halt in settings.halts:
            self._halts.setdefault(halt.symbol, []).append(halt)

    def rejection_reason(self, order: VenueOrder, position: Decimal, open_orders: Iterable[VenueOrder]) -> str:
        """Return why an order is rejected on arrival, or "" if it is accepted."""
        if self._reject_below and self._draw(order.order_id) < self._reject_below:
            return "random rejection (venue setting reject_share)"
        instrument = self._settings.instruments.get(order.terms.symbol)
        if instrument is None or instrument.borrowable is None or order.buying or order.terms.reduce_only:
            return ""
        sell_quantity = sum(
            (
                other.remaining
                for other in open_orders
                if not other.buying and order.replaces not in (other.order_id, *other.former_ids)
            ),
            ZERO,
        )
        short_quantity = sell_quantity + order.remaining - position
        if short_quantity <= instrument.borrowable:
            return ""
        return f"would be {short_quantity.normalize():f} units short, borrowable {instrument.borrowable.normalize():f}"

    def _draw(self, order_id: str) -> int:
        """Return a pseudorandom number below 2^64 that depends only on the seed and the order id."""
        return int.from_bytes(sha256(f"{self._settings.seed}:{order_id}".encode()).digest()[:8], "big")

    def can_trade(self, order: VenueOrder, bar: Bar) -> bool:
        """Whether the order may trade in this bar or at this quote: its source of fills, latency, session and halts."""
        settings, terms = self._settings, order.terms
        from_quote = not bar.seq
        if terms.time_in_force != OPG and settings.fills_from_quotes(terms.order_type) is not from_quote:
            return False
        if settings.latency_ns and bar.open_ns < order.ts_ns + settings.latency_ns:
            return False
        if not self.is_open_session(order, bar):
            return False
        if self._exchange_halts and self._exchange_halts.contains(bar.symbol, bar.open_ns):
            return False
        halts = self._halts.get(bar.symbol)
        return halts is None or not any(halt.from_ns <= bar.open_ns < halt.until_ns for halt in halts)

    def is_open_session(self, order: VenueOrder, bar: Bar) -> bool:
        """Whether orders of this type trade in the bar's session."""
        if bar.session not in self._settings.sessions:
            return False
        return bar.session in self._settings.market_sessions or not trades_at_any_price(order.terms)

    def whole_lots(self, symbol: str, quantity: Decimal) -> Decimal:
        """Round `quantity` down to whole lots."""
        return floor_to(quantity, self._settings.instruments.lot_size_of(symbol))
