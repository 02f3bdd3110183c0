"""How the simulated venue fills and what it charges."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from schemas.errors import BadInput

BPS = Decimal(10_000)


@dataclass(frozen=True, kw_only=True)
class VenueSettings:
    """Money in account currency.

    fee_per_share    for each unit traded
    fee_min          for each order that trades at all, however many fills it takes
    slippage_bps     how much worse than the open a taker trades, in basis points of the price
    tick_size        prices after slippage are rounded to it, against the taker; None: nine decimal places
    """

    fee_per_share: Decimal = Decimal("0.005")
    fee_min: Decimal = Decimal(1)
    slippage_bps: Decimal = Decimal(1)
    tick_size: Decimal | None = None

    def __post_init__(self) -> None:
        for field in ("fee_per_share", "fee_min", "slippage_bps"):
            value = getattr(self, field)
            if not (isinstance(value, Decimal) and value.is_finite() and value >= 0):
                raise BadInput(f"venue setting {field} must be a Decimal of at least 0, found {value!r}")
        if self.slippage_bps >= BPS:
            raise BadInput(f"venue setting slippage_bps must be below 10000, found {self.slippage_bps}")
        if self.tick_size is not None and not (self.tick_size.is_finite() and self.tick_size > 0):
            raise BadInput(f"venue setting tick_size must be above 0 or None, found {self.tick_size}")
