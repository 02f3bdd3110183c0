"""What risk allows. A limit that is not set refuses every order; that there is no limit has to be said."""

from __future__ import annotations

from dataclasses import dataclass, fields
from decimal import Decimal
from typing import Any, Literal

from schemas.errors import BadInput

UNLIMITED: Literal["unlimited"] = "unlimited"
Limit = Decimal | Literal["unlimited"] | None
"""A number, or "unlimited", or None: not set, which refuses (fail closed)."""


@dataclass(frozen=True, kw_only=True)
class RiskSettings:
    """Limits of one portfolio. Money in account currency, quantities in units of the instrument.

    Every limit is checked before an order is sent, with all approved but unfilled orders counted as if filled.

    initial_capital            cash before the first execution
    max_order_notional         quantity x price of one order
    max_position               |quantity| of one symbol
    max_position_size          |quantity| x last price of one symbol (environment MAX_POSITION_SIZE)
    max_portfolio_leverage     (sum of |quantity| x last price) / equity
    max_daily_loss             equity at the start of the trading day less equity now; beyond it only reducing orders
    stale_price_s              seconds of event time since the symbol's last bar. A no-trade bar counts: it says that
                               the feed lives and that nothing traded
    buying_power_multiple      opening orders may cost this many times the cash that is free (1: no borrowing)
    reserve_bps                what a market order sets aside above the last price, in basis points
    """

    initial_capital: Decimal = Decimal(1_000_000)
    max_order_notional: Limit = None
    max_position: Limit = None
    max_position_size: Limit = None
    max_portfolio_leverage: Limit = None
    max_daily_loss: Limit = None
    stale_price_s: Limit = None
    buying_power_multiple: Limit = Decimal(1)
    reserve_bps: Decimal = Decimal(0)

    def __post_init__(self) -> None:
        if not (self.initial_capital.is_finite() and self.initial_capital >= 0):
            raise BadInput(f"risk setting initial_capital must be a number of at least 0, found {self.initial_capital}")
        for field in fields(self):
            value = getattr(self, field.name)
            if value is None or value == UNLIMITED:
                continue
            if not isinstance(value, Decimal) or not value.is_finite() or value < 0:
                raise BadInput(
                    f'risk setting {field.name} must be a Decimal of at least 0, "{UNLIMITED}" or None, found {value!r}'
                )

    @classmethod
    def unlimited(cls, **limits: Any) -> RiskSettings:
        """Settings with every limit that is not named switched off in so many words: for research and tests."""
        off = {f.name: UNLIMITED for f in fields(cls) if f.default is None or f.name == "buying_power_multiple"}
        return cls(**{**off, **limits})
