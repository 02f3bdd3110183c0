"""Compute the total fees of an order for all its fills so far.

Each fill pays the increase of the total, so the minimum and the rounding count once per order.

Sources: the per_share model follows Interactive Brokers' fixed schedule (0.005 per share, at least 1.00, at most 1 % of
the value). The alpaca models follow Alpaca's brokerage fee schedule for stocks (no commission; regulatory fees on
sells, each rounded up to the cent) and for crypto (15/25 bps maker/taker in the lowest tier). The regulatory rates are
those of May 2024 to May 2025: SEC section 31 at 27.80 USD per million sold, FINRA TAF at 0.000166 USD per share sold,
at most 8.30 per trade.
"""

from __future__ import annotations

from decimal import ROUND_CEILING, Decimal

from operators.money import ZERO, divide, multiply
from operators.venue.settings import BPS, VenueSettings
from schemas.records import SELL, Side

_CENT = Decimal("0.01")
_SEC_RATE = Decimal("0.0000278")
_TAF_RATE, _TAF_MAX = Decimal("0.000166"), Decimal("8.30")
_MAKER_BPS, _TAKER_BPS = Decimal(15), Decimal(25)


def total_fees(settings: VenueSettings, side: Side, quantity: Decimal, value: Decimal, taker_value: Decimal) -> Decimal:
    """Return the fee in account currency for `quantity` units with the total value `value`.

    `taker_value` is the part of `value` that took liquidity.

    >>> from schemas.records import BUY
    >>> capped = VenueSettings(fee_max_share=Decimal("0.01"))
    >>> [str(total_fees(capped, BUY, Decimal(q), Decimal(q) * 20, Decimal(0)).normalize()) for q in (1, 100, 1000)]
    ['0.2', '1', '5']
    """
    model = settings.fee_model
    if model == "per_share":
        fee = max(multiply(settings.fee_per_share, quantity), settings.fee_min)
        return fee if settings.fee_max_share is None else min(fee, multiply(settings.fee_max_share, value))
    if model == "per_notional":
        return max(divide(multiply(settings.fee_bps, value), BPS), settings.fee_min)
    if model == "alpaca_equity":
        return _regulatory_fees(quantity, value) if side == SELL else ZERO
    if model == "alpaca_crypto":
        return divide(multiply(_TAKER_BPS, taker_value) + multiply(_MAKER_BPS, value - taker_value), BPS)
    return ZERO


def _regulatory_fees(quantity: Decimal, value: Decimal) -> Decimal:
    sec = multiply(_SEC_RATE, value).quantize(_CENT, ROUND_CEILING)
    taf = multiply(_TAF_RATE, quantity).quantize(_CENT, ROUND_CEILING)
    return sec + min(taf, _TAF_MAX)
