"""Risk settings. A required limit that is not set rejects every order; write `unlimited` for no limit."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from decimal import Decimal
from typing import Any, Literal

from operators.instruments import ANY_STEPS, NO_INSTRUMENTS, Instruments
from operators.ledger.cash import AccrualSettings
from operators.risk.breakers import Breaker
from operators.risk.margin import MarginSettings
from schemas.errors import BadInput
from schemas.records import HALTED

UNLIMITED: Literal["unlimited"] = "unlimited"
Limit = Decimal | Literal["unlimited"] | None
"""A number, "unlimited", or None. None means not set, which rejects every order (fail closed)."""

HISTORICAL, PARAMETRIC = "historical", "parametric"


@dataclass(frozen=True, kw_only=True)
class RiskSettings:
    """Limits of one portfolio. Money in account currency, quantities in units of the instrument, shares as fractions.

    Every limit is checked before an order is sent. Approved but unfilled orders count as filled. The limits of the
    first group are required: an unset limit rejects every order. The limits of the second group are off until set.
    Raises BadInput for a value out of range.

    initial_capital            [account currency] set by the platform from `portfolio_manager.initial_capital`: cash
                               before the first execution
    max_order_notional         [account currency] quantity x price of one order
    max_position               [units] |quantity| of one symbol
    max_position_size          [account currency] |quantity| x last price of one symbol (environment MAX_POSITION_SIZE)
    max_portfolio_leverage     [multiple of equity] (sum of |quantity| x last price) / equity
    max_daily_loss             [account currency] equity at the start of the trading day minus current equity; above it
                               only reducing orders pass
    stale_price_s              [seconds of event time] time since the symbol's last bar. A bar without a trade counts,
                               because it shows that the feed is alive. While the market is closed, no time counts
    buying_power_multiple      [multiple of equity] buying power (1: no borrowing)
    reserve_bps                cash that a market order reserves above the last price

    instruments                set by the platform from the section `instruments`: the tradable instruments
    account_currency           set by the platform from `portfolio_manager.currency`: orders in another currency are
                               rejected until its exchange rate is known
    accruals                   set by the platform from `portfolio_manager.accruals`: interest and borrow fees in risk's
                               own cash
    max_order_quantity         [units] maximum quantity of one order, in addition to the instrument's maximum
    min_order_notional         [account currency] smallest order value; an order that closes a position may be smaller
    price_collar_bps           maximum distance of a buy limit above the last price, and of a sell limit below it; also
                               rejects a stop that the last price has already passed
    duplicate_window_s         [seconds of event time] time within which an identical order is rejected; 0: off
    prevent_self_trade         whether to reject an order that would trade against an own open order
    max_orders_in_window       [orders] maximum number of approvals within `order_window_s`
    max_amends_in_window       [requests] maximum number of amendment requests within `order_window_s`
    max_open_orders            [orders] maximum number of open orders
    allow_short                whether short positions are allowed
    allow_reversal             whether one order may close a position and open the opposite (many brokers reject it)
    max_concentration          [fraction] value of one symbol / equity
    max_sector_share           [fraction] gross value of the instruments of one sector / equity
    max_group_share            [fraction] gross value of the instruments of one group / equity
    max_gross_exposure         [account currency] sum of |quantity| x last price
    max_net_exposure           [account currency] |longs - shorts| at last prices
    max_beta_exposure          [account currency] |sum of beta x value|; an order for an instrument without a beta is
                               rejected
    max_volume_share           [fraction] quantity of one order / average daily volume of the last `volume_days` days
    max_drawdown               [fraction] fall of equity from its highest value, as a fraction of that value
    max_expected_shortfall     [account currency] expected loss of one day in the worst 1 - `shortfall_confidence` of
                               days
    shortfall_method           `historical` (the worst of the last `shortfall_days` days with today's positions) or
                               `parametric` (a normal distribution with the mean and deviation of these days)
    max_day_trades             [day trades] maximum within five trading days while equity is below
                               `day_trade_equity_min` (FINRA rule 4210(f)(8): 3 and 25,000)
    wash_sale_days             [days] a purchase within this many days of a sale at a loss gets a note; 0: off
    circuit_breaker_threshold  [fraction] fall of equity since the start of the day that halts all trading
    breakers                   additional circuit breakers
    usage_interval_s           [seconds of event time] interval at which limit usage is published (`RiskUsage`); 0: off
    approvals                  actions that need a second person: `releases` (also of positions and cash that are taken
                               over from the broker), `reconciliation` (only these),
                               `configuration`; a change of settings at run time needs one with any of them
    margin                     margin rules of a margin account; they replace `buying_power_multiple`
    order_window_s             [seconds of event time] window of `max_orders_in_window` and `max_amends_in_window`
    volume_days                [days] number of last days of the average volume for `max_volume_share`
    shortfall_confidence       [fraction] share of days that `max_expected_shortfall` leaves out: 0.975 averages the
                               worst 2.5 % of days
    shortfall_days             [days] number of last days whose returns `max_expected_shortfall` uses
    day_trade_equity_min       [account currency] equity from which on `max_day_trades` does not apply
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
    price_collar_bps: Limit = Decimal(1_000)
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
    approvals: tuple[Literal["releases", "reconciliation", "configuration"], ...] = ()
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
                expected = f'a Decimal of at least 0, "{UNLIMITED}" or None'
                raise BadInput(f"risk setting {setting.name} must be {expected}, found {value!r}")
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
        """Return the breaker that `circuit_breaker_threshold` defines, then `breakers`.

        A threshold of None halts trading at any fall of equity; "unlimited" adds no breaker.
        """
        threshold = self.circuit_breaker_threshold
        if threshold == UNLIMITED:
            return self.breakers
        fall = Decimal(0) if threshold is None else threshold
        return (Breaker(measure="day_fall", threshold=fall, trips_to=HALTED), *self.breakers)

    def is_enabled(self, name: str) -> bool:
        """Whether a limit of the second group is on. A limit of None is on and rejects every order."""
        return bool(getattr(self, name) != UNLIMITED)

    @classmethod
    def unlimited(cls, **limits: Any) -> RiskSettings:
        """Return settings in which every limit that is not in `limits` is "unlimited". For research and tests.

        Undefined symbols trade in any quantity and at any price.
        """
        disabled = {
            setting.name: UNLIMITED for setting in fields(cls) if setting.default is None and setting.name != "margin"
        }
        permissive = {"buying_power_multiple": UNLIMITED, "price_collar_bps": UNLIMITED, "instruments": ANY_STEPS}
        return cls(**{**disabled, **permissive, **limits})
