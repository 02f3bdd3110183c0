"""Slippage of a taker from the price of the bar, as a fraction of the price.

fixed         slippage_bps / 10,000
volume_share  impact x (quantity / bar volume)^2, as zipline's VolumeShareSlippage
square_root   impact_bps / 10,000 x sqrt(quantity / bar volume): the square-root law, Toth et al., "Anomalous price
              impact and the critical nature of liquidity" (2011)
"""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from operators.money import ONE, divide, multiply, quantize, to_decimal
from operators.venue.bar_path import trades_at_any_price
from operators.venue.settings import BPS, VenueSettings
from operators.venue.venue_order import VenueOrder


def slippage_fraction(settings: VenueSettings, quantity: Decimal, volume: float) -> Decimal:
    """Return the slippage as a fraction of the price, below 1. The volume share is capped at 1.

    >>> root = VenueSettings(slippage_model="square_root", impact_bps=Decimal(100))
    >>> slippage_fraction(root, Decimal(25), 100.0)
    Decimal('0.005000000')
    """
    if settings.slippage_model == "fixed":
        return settings.slippage_bps / BPS
    share = ONE if volume <= 0.0 else min(ONE, divide(quantity, to_decimal(volume)))
    if settings.slippage_model == "volume_share":
        return multiply(settings.impact, multiply(share, share))
    return quantize(settings.impact_bps / BPS * share.sqrt())


def slipped_price(
    settings: VenueSettings, order: VenueOrder, price: Decimal, quantity: Decimal, volume: float
) -> Decimal:
    """Return the price of a taker with slippage, on the tick grid and not beyond the order's limit."""
    rate = slippage_fraction(settings, quantity, volume)
    slipped = multiply(price, ONE + rate if order.buying else ONE - rate)
    tick = settings.tick_size
    if tick is not None:
        ticks = (slipped / tick).to_integral_value(ROUND_CEILING if order.buying else ROUND_FLOOR)
        slipped = quantize(max(ticks, ONE) * tick)
    limit = order.terms.limit_price
    if trades_at_any_price(order.terms) or limit is None:
        return slipped
    return min(slipped, limit) if order.buying else max(slipped, limit)
