"""What risk allows. A limit that is not set refuses every order; that there is no limit has to be said."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from decimal import Decimal
from typing import Any, Literal

from operators.instruments import NO_INSTRUMENTS, Instruments
from operators.ledger.cash import AccrualSettings
from operators.risk.breakers import Breaker
from operators.risk.margin import MarginSettings
from schemas.errors import BadInput

UNLIMITED: Literal["unlimited"] = "unlimited"
Limit = Decimal | Literal["unlimited"] | None
"""A number, or "unlimited", or None: not set, which refuses (fail closed)."""

HISTORICAL, PARAMETRIC = "historical", "parametric"


@dataclass(frozen=True, kw_only=True)
class RiskSettings:
    """Limits of one portfolio. Money in account currency, quantities in units of the instrument, shares as fractions.

    Every limit is checked before an order is sent, with all approved but unfilled orders counted as if filled. The
    first group has to be decided on by every portfolio: not set refuses. The rest is off until it is set.

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

    instruments                what may be ordered, in which steps
    account_currency           an instrument in another currency is refused until its exchange rate is known
    accruals                   interest and borrow fees in risk's own cash: those of the portfolio
    max_order_quantity         units of one order, whatever the instrument says
    min_order_notional         smallest order value; an order that closes a position may be smaller
    price_collar_bps           how far a limit may be on the wrong side of the last price (a buy above, a sell below)
    duplicate_window_s         the same order again within so many seconds of event time is refused; 0: never
    prevent_self_trade         refuse what would meet an own open order of the other side
    max_orders_in_window       approvals within `order_window_s` seconds of event time
    max_amends_in_window       wishes to change an order within `order_window_s` seconds of event time
    max_open_orders            approved orders that have not ended
    allow_short                whether a position may be short at all
    allow_reversal             whether one order may close a position and open the opposite (many brokers refuse it)
    max_concentration          value of one symbol / equity
    max_sector_share           gross value of the instruments of one sector / equity
    max_group_share            gross value of the instruments of one group / equity
    max_gross_exposure         sum of |quantity| x last price
    max_net_exposure           |longs - shorts| at last prices
    max_beta_exposure          |sum of beta x value|; an instrument without a beta is refused
    max_volume_share           quantity of one order / average daily volume of the last `volume_days` days
    max_drawdown               fall of the equity from its highest, as a fraction of that
    max_expected_shortfall     expected loss of one day in the worst 1 - `shortfall_confidence` of days
    shortfall_method           historical (the last `shortfall_days` days with today's positions) or parametric (normal)
    max_day_trades             round trips within five trading days while equity is below `day_trade_equity_min`
                               (FINRA rule 4210(f)(8): 3 and 25,000)
    wash_sale_days             note on the order when it buys back within so many days of a sale at a loss; 0: do not
    circuit_breaker_threshold  fall of the equity since the start of the day, as a fraction, that halts all trading
    breakers                   further circuit breakers
    usage_interval_s           how often in event time the usage of the limits is written (`RiskUsage`), 0: never
    margin                     initial and maintenance margin of a margin account, instead of `buying_power_multiple`
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

    instruments: Instruments = NO_INSTRUMENTS
    account_currency: str = "USD"
    accruals: AccrualSettings = field(default_factory=AccrualSettings)
    max_order_quantity: Limit = UNLIMITED
    min_order_notional: Decimal = Decimal(0)
    price_collar_bps: Limit = UNLIMITED
    duplicate_window_s: Decimal = Decimal(0)
    prevent_self_trade: bool = False
    max_orders_in_window: Limit = UNLIMITED
    order_window_s: Decimal = Decimal(60)
    max_amends_in_window: Limit = UNLIMITED
    max_open_orders: Limit = UNLIMITED
    allow_short: bool = True
    allow_reversal: bool = True
    max_concentration: Limit = UNLIMITED
    max_sector_share: Limit = UNLIMITED
    max_group_share: Limit = UNLIMITED
    max_gross_exposure: Limit = UNLIMITED
    max_net_exposure: Limit = UNLIMITED
    max_beta_exposure: Limit = UNLIMITED
    max_volume_share: Limit = UNLIMITED
    volume_days: int = 20
    max_drawdown: Limit = UNLIMITED
    max_expected_shortfall: Limit = UNLIMITED
    shortfall_confidence: Decimal = Decimal("0.975")
    shortfall_method: Literal["historical", "parametric"] = "historical"
    shortfall_days: int = 250
    max_day_trades: Limit = UNLIMITED
    day_trade_equity_min: Decimal = Decimal(25_000)
    wash_sale_days: int = 0
    circuit_breaker_threshold: Limit = UNLIMITED
    breakers: tuple[Breaker, ...] = ()
    usage_interval_s: int = 0
    margin: MarginSettings | None = None

    def __post_init__(self) -> None:
        if not (self.initial_capital.is_finite() and self.initial_capital >= 0):
            raise BadInput(f"risk setting initial_capital must be a number of at least 0, found {self.initial_capital}")
        for setting in fields(self):
            value = getattr(self, setting.name)
            if "Limit" not in str(setting.type) and str(setting.type) != "Decimal":
                continue
            if "Limit" in str(setting.type) and (value is None or value == UNLIMITED):
                continue
            if not isinstance(value, Decimal) or not value.is_finite() or value < 0:
                raise BadInput(
                    f'risk setting {setting.name} must be a Decimal of at least 0, "{UNLIMITED}" or None, found {value!r}'
                )
        if not 0 < self.shortfall_confidence < 1:
            raise BadInput(
                f"risk setting shortfall_confidence must be between 0 and 1, found {self.shortfall_confidence}"
            )
        if self.shortfall_method not in (HISTORICAL, PARAMETRIC):
            raise BadInput(
                f"risk setting shortfall_method must be {HISTORICAL} or {PARAMETRIC}, found {self.shortfall_method!r}"
            )
        for name, minimum in (
            ("volume_days", 1),
            ("shortfall_days", 2),
            ("wash_sale_days", 0),
            ("usage_interval_s", 0),
        ):
            if getattr(self, name) < minimum:
                raise BadInput(f"risk setting {name} must be at least {minimum}, found {getattr(self, name)}")

    def all_breakers(self) -> tuple[Breaker, ...]:
        """`breakers` and, first, the one that `circuit_breaker_threshold` stands for; not set halts at any fall."""
        threshold = self.circuit_breaker_threshold
        if threshold == UNLIMITED:
            return self.breakers
        fall = Decimal(0) if threshold is None else threshold
        return (Breaker(measure="day_fall", threshold=fall, trips_to="HALTED"), *self.breakers)

    def is_enabled(self, name: str) -> bool:
        """Whether a limit of the second group is on. One that is None is: it refuses."""
        return bool(getattr(self, name) != UNLIMITED)

    @classmethod
    def unlimited(cls, **limits: Any) -> RiskSettings:
        """Settings with every limit that is not named switched off in so many words: for research and tests."""
        disabled = {
            setting.name: UNLIMITED for setting in fields(cls) if setting.default is None and setting.name != "margin"
        }
        return cls(**{**disabled, "buying_power_multiple": UNLIMITED, **limits})
