"""Settings of the portfolio."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal

from operators.ledger.cash import AccrualSettings
from operators.sizing import SizingSettings
from schemas.errors import BadInput
from schemas.records import DAY, GTC, LIMIT, MARKET


@dataclass(frozen=True, kw_only=True)
class PortfolioSettings:
    """Settings of one portfolio. Money in `currency`, percentages as fractions (0.05 is 5 %).

    * `max_position_percentage`: maximum value of a symbol as a share of equity.
    * `cash_buffer`: share added to the reference price of a buy to check its cost (the fill is later, with a fee).
    * `limit_offset_bps`: distance of a LIMIT price from the reference price in the direction of a fill, in basis
      points. The price is rounded to the nearest `tick_size`.
    * `rebalance_interval_s`: interval in seconds of event time at which positions of the methods in
      `sizing.REBALANCED` are traded back to target. None: only at a signal.
    * `settled_cash_only`: cash account. Buys use settled cash only; proceeds of a sale settle `settlement_days`
      sessions later. A session starts with the first bar of a new trading day.
    * `strategies`: the strategies whose signals are traded; None: all. With the ensemble enabled, only the ensemble.
    * `accruals`: interest and borrow fees per night.
    * `currency`: account currency. An instrument in another currency is traded once its exchange rate is known.
    * `trading_strategies`: strategies that place orders and request targets by actions. They are always traded.
    * `capital`: share of equity that a strategy sizes with, by strategy. Without an entry: 1.
    * `order_limited`: strategies with limits on their orders. Risk checks each order that increases their positions, so
      that these are not combined with the orders of others.
    * `exit_retry_s`: seconds until an exit that was rejected or not filled is proposed again. Entries are not retried.

    Raises BadInput for a value out of range.
    """

    initial_capital: Decimal = Decimal(1_000_000)
    currency: str = "USD"
    max_position_percentage: Decimal = Decimal("0.05")
    sizing: SizingSettings = field(default_factory=SizingSettings)
    order_type: Literal["MARKET", "LIMIT"] = "MARKET"
    limit_offset_bps: Decimal = Decimal(10)
    tick_size: Decimal = Decimal("0.01")
    time_in_force: Literal["DAY", "GTC"] = "DAY"
    allow_short: bool = False
    cash_buffer: Decimal = Decimal("0.01")
    rebalance_interval_s: int | None = None
    settled_cash_only: bool = False
    settlement_days: int = 1
    accruals: AccrualSettings = field(default_factory=AccrualSettings)
    exit_retry_s: int = 60
    strategies: tuple[str, ...] | None = None
    trading_strategies: tuple[str, ...] = ()
    capital: Mapping[str, Decimal] = field(default_factory=dict)
    order_limited: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if self.initial_capital <= 0:
            raise BadInput(f"initial_capital must be > 0, found {self.initial_capital}")
        if not 0 < self.max_position_percentage <= 10:
            raise BadInput(f"max_position_percentage must be in (0, 10], found {self.max_position_percentage}")
        if self.order_type not in (MARKET, LIMIT):
            raise BadInput(f"order_type must be MARKET or LIMIT, found {self.order_type!r}")
        if self.time_in_force not in (DAY, GTC):
            raise BadInput(f"time_in_force must be DAY or GTC, found {self.time_in_force!r}")
        if self.limit_offset_bps < 0 or self.cash_buffer < 0:
            found = f"found {self.limit_offset_bps} and {self.cash_buffer}"
            raise BadInput(f"limit_offset_bps and cash_buffer must be >= 0, {found}")
        if self.tick_size <= 0:
            raise BadInput(f"tick_size must be > 0, found {self.tick_size}")
        if self.rebalance_interval_s is not None and self.rebalance_interval_s <= 0:
            raise BadInput(f"rebalance_interval_s must be > 0, found {self.rebalance_interval_s}")
        for strategy, share in self.capital.items():
            if not 0 < share <= 10:
                raise BadInput(f"capital of {strategy} must be in (0, 10], found {share}")
        if self.settlement_days < 0:
            raise BadInput(f"settlement_days must be >= 0, found {self.settlement_days}")
        if self.exit_retry_s < 0:
            raise BadInput(f"exit_retry_s must be >= 0, found {self.exit_retry_s}")
