"""Settings of the gateway."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal

from operators.instruments import NO_INSTRUMENTS, Instruments
from operators.money import is_not_negative
from schemas.errors import BadInput

_BPS_MAX = Decimal(1000)


@dataclass(frozen=True, kw_only=True)
class GatewaySettings:
    """The broker and the features that the gateway emulates. Raises BadInput for a value out of range.

    broker             the broker's name in the records
    extended_hours     also trade in pre- and post-market. The broker accepts only day limit orders there, so market
                       orders become limit orders near the last price (`collar_bps`), and the gateway triggers stops
    collar_bps         how far such a limit price is above (buy) or below (sell) the last price, in basis points
    foreign_positions  symbol -> signed units on the account that do not belong to this platform
    approvals          actions that need a second person, as in `RiskSettings`
    instruments        asset classes: the broker supports no stops, day orders and short sales for crypto
    currency           account currency, of cash transfers
    initial_cash       the books' cash before the first valuation
    cash_tolerance     difference between the broker's and the books' cash that is accepted; None: not compared
    foreign_cash       cash on the account that does not belong to this platform
    """

    broker: str = "alpaca"
    extended_hours: bool = False
    collar_bps: Decimal = Decimal(50)
    foreign_positions: dict[str, Decimal] = field(default_factory=dict)
    approvals: tuple[str, ...] = ()
    instruments: Instruments = NO_INSTRUMENTS
    currency: str = "USD"
    initial_cash: Decimal = Decimal(1_000_000)
    cash_tolerance: Decimal | None = None
    foreign_cash: Decimal = Decimal(0)

    def __post_init__(self) -> None:
        if not (self.collar_bps.is_finite() and 0 < self.collar_bps <= _BPS_MAX):
            raise BadInput(f"gateway setting collar_bps must be above 0 and at most 1000, found {self.collar_bps}")
        if self.cash_tolerance is not None and not is_not_negative(self.cash_tolerance):
            raise BadInput(f"gateway setting cash_tolerance must be at least 0, found {self.cash_tolerance}")
        if not self.foreign_cash.is_finite():
            raise BadInput(f"gateway setting foreign_cash must be a number, found {self.foreign_cash}")
        for symbol, quantity in self.foreign_positions.items():
            if not quantity.is_finite():
                raise BadInput(f"gateway setting foreign_positions.{symbol} must be a number, found {quantity}")
