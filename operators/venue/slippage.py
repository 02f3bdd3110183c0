"""Slippage of a taker from the price of the bar, as a fraction of the price.

fixed         slippage_bps / 10,000
volume_share  impact x (quantity / bar volume)^2, as zipline's VolumeShareSlippage
square_root   impact_bps / 10,000 x sqrt(quantity / bar volume): the square-root law, Toth et al., "Anomalous price
              impact and the critical nature of liquidity" (2011)
"""

from __future__ import annotations

from decimal import Decimal

from operators.money import ONE, divide, multiply, quantize, to_decimal
from operators.venue.settings import BPS, VenueSettings


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
