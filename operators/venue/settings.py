"""Settings of the simulated venue: fills, slippage and fees."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, get_args

from operators.instruments import NO_INSTRUMENTS, Instruments
from schemas.errors import BadInput
from schemas.records import CONTINUOUS, MARKET, POST, PRE, REGULAR, OrderType, SessionPhase

BPS = Decimal(10_000)
FEE_MODELS = ("none", "per_share", "per_notional", "alpaca_equity", "alpaca_crypto")
SLIPPAGE_MODELS = ("fixed", "volume_share", "square_root")
FillSource = Literal["bars", "quotes"]


@dataclass(frozen=True, kw_only=True)
class TradingHalt:
    """No trading in a symbol in bars that open in [from_ns, until_ns).

    symbol    the halted symbol
    from_ns   [nanoseconds since 1970 UTC] start of the halt
    until_ns  [nanoseconds since 1970 UTC] end of the halt
    """

    symbol: str
    from_ns: int
    until_ns: int


@dataclass(frozen=True, kw_only=True)
class VenueSettings:
    """Money in account currency, shares as fractions. Raises BadInput for a value out of range.

    fills_from            bars or quotes, for all order types or by order type: {MARKET: quotes, STOP: bars}. Types
                          that are not listed fill from bars. From quotes, a buy trades at the ask and a sell at the
                          bid, up to its size. On-open and on-close orders always fill from bars
    fee_model             how fees are computed (docs/howto/venue.md)
    fee_per_share         [account currency] fee per unit traded, for `per_share`
    fee_min               [account currency] minimum fee of an order with at least one fill
    fee_max_share         [fraction] maximum fee of an order as a fraction of its traded value, for `per_share`; None:
                          no maximum
    fee_bps               fee as a share of the traded value, for `per_notional`
    slippage_model        how slippage is computed (docs/howto/venue.md)
    slippage_bps          slippage of a taker from the open or quote, as a share of the price, for `fixed`
    impact                [fraction] price impact at a volume share of 1, for `volume_share`; zipline's is 0.1
    impact_bps            price impact at a volume share of 1, for `square_root`
    tick_size             [currency] prices after slippage are rounded to it, against the taker; None: nine decimal
                          places
    max_volume_share      [fraction] maximum fraction of a bar's volume for all own orders of a symbol; None: no maximum
    latency_ns            [nanoseconds] an order can trade in the first bar that opens at least this long after its
                          approval
    reject_share          [fraction] fraction of the orders that the venue rejects at random, chosen by `seed` and the
                          order's id
    seed                  seed of the random rejections; the only source of randomness
    sessions              sessions in which orders trade
    market_sessions       sessions in which orders without a limit trade; outside them they wait
    cash_account          whether a purchase fills only as far as the cash pays; the rest is cancelled. Always so with
                          `portfolio_manager.settled_cash_only`
    halts                 periods in which a symbol does not trade
    instruments           set by the platform from the section `instruments`: lot sizes for partial fills, and
                          borrowable units
    """

    fills_from: FillSource | Mapping[OrderType, FillSource] = "bars"
    fee_model: Literal["none", "per_share", "per_notional", "alpaca_equity", "alpaca_crypto"] = "per_share"
    fee_per_share: Decimal = Decimal("0.005")
    fee_min: Decimal = Decimal(1)
    fee_max_share: Decimal | None = None
    fee_bps: Decimal = Decimal(0)
    slippage_model: Literal["fixed", "volume_share", "square_root"] = "fixed"
    slippage_bps: Decimal = Decimal(1)
    impact: Decimal = Decimal("0.1")
    impact_bps: Decimal = Decimal(100)
    tick_size: Decimal | None = None
    max_volume_share: Decimal | None = None
    latency_ns: int = 0
    reject_share: Decimal = Decimal(0)
    seed: int = 0
    sessions: tuple[SessionPhase, ...] = (PRE, REGULAR, POST, CONTINUOUS)
    market_sessions: tuple[SessionPhase, ...] = (PRE, REGULAR, POST, CONTINUOUS)
    cash_account: bool = False
    halts: tuple[TradingHalt, ...] = ()
    instruments: Instruments = NO_INSTRUMENTS

    def __post_init__(self) -> None:
        for field in ("fee_per_share", "fee_min", "fee_bps", "slippage_bps", "impact", "impact_bps", "reject_share"):
            value = getattr(self, field)
            if not (isinstance(value, Decimal) and value.is_finite() and value >= 0):
                raise BadInput(f"venue setting {field} must be a Decimal of at least 0, found {value!r}")
        for field, bound in (("slippage_bps", BPS), ("impact", Decimal(1)), ("impact_bps", BPS)):
            if getattr(self, field) >= bound:
                raise BadInput(f"venue setting {field} must be below {bound}, found {getattr(self, field)}")
        if self.reject_share > 1:
            raise BadInput(f"venue setting reject_share must be at most 1, found {self.reject_share}")
        for field in ("tick_size", "max_volume_share", "fee_max_share"):
            value = getattr(self, field)
            if value is not None and not (value.is_finite() and value > 0):
                raise BadInput(f"venue setting {field} must be above 0 or None, found {value}")
        for field, allowed in (("fee_model", FEE_MODELS), ("slippage_model", SLIPPAGE_MODELS)):
            if getattr(self, field) not in allowed:
                raise BadInput(
                    f"venue setting {field} must be one of {', '.join(allowed)}, found {getattr(self, field)!r}"
                )
        self._check_fills_from()
        if self.latency_ns < 0:
            raise BadInput(f"venue setting latency_ns must be at least 0, found {self.latency_ns}")

    def _check_fills_from(self) -> None:
        by_type = self.fills_from if isinstance(self.fills_from, Mapping) else {MARKET: self.fills_from}
        for order_type, source in by_type.items():
            if order_type not in get_args(OrderType):
                expected = ", ".join(get_args(OrderType))
                raise BadInput(f"venue setting fills_from: expected an order type ({expected}), found {order_type!r}")
            if source not in get_args(FillSource):
                raise BadInput(f"venue setting fills_from must be bars or quotes, found {source!r}")

    def fills_from_quotes(self, order_type: OrderType) -> bool:
        """Whether orders of this type fill from quotes."""
        source = self.fills_from
        return (source if isinstance(source, str) else source.get(order_type, "bars")) == "quotes"

    @property
    def uses_quotes(self) -> bool:
        """Whether any order type fills from quotes."""
        return any(self.fills_from_quotes(order_type) for order_type in get_args(OrderType))
