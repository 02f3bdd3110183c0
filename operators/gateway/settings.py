"""What the gateway knows of its broker."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal

from operators.instruments import NO_INSTRUMENTS, Instruments
from schemas.errors import BadInput

_BPS_MAX = Decimal(1000)


@dataclass(frozen=True, kw_only=True)
class GatewaySettings:
    """Which broker, and what is done here because it does not do it.

    broker             its name in the records
    extended_hours     trade in pre- and post-market too: there the broker takes day limit orders only, so market orders
                       become limit orders `collar_bps` beyond the last price, and stops are watched here
    collar_bps         how far beyond the last price a market order's limit is set
    foreign_positions  symbol -> signed units on the account that are not this platform's
    instruments        asset classes: a crypto pair has no stops, no day orders and no short sales at the broker
    """

    broker: str = "alpaca"
    extended_hours: bool = False
    collar_bps: Decimal = Decimal(50)
    foreign_positions: dict[str, Decimal] = field(default_factory=dict)
    instruments: Instruments = NO_INSTRUMENTS

    def __post_init__(self) -> None:
        if not (self.collar_bps.is_finite() and 0 < self.collar_bps <= _BPS_MAX):
            raise BadInput(f"gateway setting collar_bps must be above 0 and at most 1000, found {self.collar_bps}")
        for symbol, quantity in self.foreign_positions.items():
            if not quantity.is_finite():
                raise BadInput(f"gateway setting foreign_positions.{symbol} must be a number, found {quantity}")
