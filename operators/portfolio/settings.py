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

    initial_capital          [account currency] cash before the first execution (environment INITIAL_CAPITAL)
    currency                 account currency; an instrument in another currency is traded once its exchange rate is
                             known
    max_position_percentage  [fraction] maximum value of a symbol as a share of equity
    sizing                   how a view is converted into a quantity
    order_type               type of the orders
    limit_offset_bps         distance of a LIMIT price from the reference price in the direction of a fill
    tick_size                [currency] a LIMIT price is rounded to the nearest multiple of it; an instrument in
                             `instruments` has its own
    time_in_force            time in force of the orders
    allow_short              whether the portfolio opens short positions
    cash_buffer              [fraction] share added to the reference price of a buy to check its cost (the fill is
                             later, with a fee)
    rebalance_interval_s     [seconds of event time] interval at which positions of the methods `target_percent`,
                             `volatility_target`, `risk_parity` and `target_weights` are traded back to target; None:
                             only at a signal. The key `rebalance_frequency` sets it as a duration such as "1h"
    settled_cash_only        cash account: buys use settled cash only; a session starts with the first bar of a new
                             trading day
    settlement_days          [sessions] sessions after a sale until its proceeds are settled
    accruals                 interest and borrow fees per night
    exit_retry_s             [seconds] time until an exit that was rejected or not filled is proposed again; entries are
                             not retried
    strategies               the strategies whose signals are traded; None: all. With the ensemble enabled, only the
                             ensemble
    trading_strategies       set by the platform: strategies that place orders and request targets by actions; they are
                             always traded
    capital                  [fraction] set by the platform from `signals.strategies`: share of equity that a strategy
                             sizes with
    order_limited            set by the platform from `signals.strategies`: strategies with limits on their orders. Risk
                             checks each order that increases their positions, so that these are not combined with the
                             orders of others

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
