"""Limits of one trading strategy: on its orders, which risk checks, and on its losses, above which it is suspended."""

from __future__ import annotations

from dataclasses import dataclass, fields
from decimal import Decimal

from schemas.errors import BadInput

LOSS_STOP = "LossStop"
"""`error_type` of the suspension of a strategy whose losses exceed its limits."""


@dataclass(frozen=True, kw_only=True)
class StrategyLimits:
    """Limits of one trading strategy, in addition to those of the account. None: no limit. Money in account currency.

    The first group rejects orders, except those that only reduce the strategy's position. The second group is a loss
    stop: above it, the strategy is suspended.

    max_order_notional   [account currency] quantity x price of one order
    max_position_size    [account currency] |quantity| x last price of one symbol, with the strategy's open orders
                         filled
    max_gross_exposure   [account currency] sum of |quantity| x last price, with the strategy's open orders filled
    max_orders_per_day   [orders] approved orders of a trading day, without amendments

    max_daily_loss       [account currency] equity of the strategy at the start of the trading day minus its current
                         equity
    max_drawdown         [fraction] fall of its equity from its highest value, as a fraction of that value
    """

    max_order_notional: Decimal | None = None
    max_position_size: Decimal | None = None
    max_gross_exposure: Decimal | None = None
    max_orders_per_day: Decimal | None = None
    max_daily_loss: Decimal | None = None
    max_drawdown: Decimal | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None and not (value.is_finite() and value >= 0):
                raise BadInput(f"limit {field.name} of a strategy must be a number of at least 0, found {value}")

    @property
    def limits_orders(self) -> bool:
        order_limits = (
            self.max_order_notional,
            self.max_position_size,
            self.max_gross_exposure,
            self.max_orders_per_day,
        )
        return any(limit is not None for limit in order_limits)

    @property
    def limits_losses(self) -> bool:
        return self.max_daily_loss is not None or self.max_drawdown is not None


NO_LIMITS = StrategyLimits()
