"""Symbols of which one lot costs more than the largest position, so that every size is rounded down to 0 units."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from configs.settings import Settings
from operators.money import ONE, multiply, plain, to_decimal


def lot_warnings(settings: Settings, equity: Decimal, closes: Mapping[str, float]) -> list[str]:
    """Return one sentence per symbol, from the last close of each. Symbols in other currencies are left out."""
    portfolio, instruments = settings.portfolio_manager, settings.traded_instruments()
    sizing, share = portfolio.sizing, portfolio.max_position_percentage
    if sizing.method in ("fixed_fraction", "target_percent"):
        share = min(share, sizing.fraction)
    largest, warnings = multiply(equity, share), []
    for symbol, close in closes.items():
        instrument = instruments.get(symbol)
        if instrument is None or instrument.currency != portfolio.currency:
            continue
        lot_size = instrument.lot_size
        if instrument.symbol != symbol and sizing.lot_size != ONE:  # as the portfolio: set for unlisted symbols
            lot_size = sizing.lot_size
        cost = instrument.notional(lot_size, to_decimal(close))
        if cost > largest > 0:
            warnings.append(
                f"{symbol}: one lot of {plain(lot_size)} costs {plain(cost)}, more than the largest position of "
                f"{plain(largest)} ({plain(share)} of the equity), so that sizes come to 0 units; list the symbol in "
                "instruments with a smaller lot_size, or raise the size"
            )
    return warnings
