"""Instrument definitions: one per symbol, used by ledger, risk, sizing and venue.

Sources: Regulation NMS rule 612 (US equities trade in cents from 1 USD on, and in hundredths of a cent below). Contract
sizes of futures are set by the exchange.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final, Literal, get_args

from operators.money import NANO, multiply
from schemas.errors import BadInput
from schemas.records import CONTINUOUS, POST, PRE, REGULAR, SessionPhase

AssetClass = Literal["EQUITY", "ETF", "CRYPTO", "FUTURE"]
EQUITY: Final = "EQUITY"
ETF: Final = "ETF"
CRYPTO: Final = "CRYPTO"
FUTURE: Final = "FUTURE"
ASSET_CLASSES: tuple[AssetClass, ...] = get_args(AssetClass)
_SUB_DOLLAR_TICK = Decimal("0.0001")
_DOLLAR = Decimal(1)
_WHOLE = Decimal(1)
_PAIR = re.compile(r"[^/\s]+/[^/\s]+")


@dataclass(frozen=True, kw_only=True)
class Instrument:
    """One tradable symbol. Prices and money in `currency`, quantities in units (shares, coins, contracts).

    tick_size           [currency] order prices are multiples of it; for US equities below 1 USD, the tick size is at
                        most 0.0001
    lot_size            [units] order quantities are multiples of it
    multiplier          [currency per point] money per unit and price point: 1 for shares and coins, 50 for one E-mini
                        S&P contract
    min_quantity        [units] minimum order quantity
    max_quantity        [units] maximum order quantity; None: no maximum
    min_notional        [currency] minimum order value
    calendar            name of the trading calendar (exchange-calendars), "24/7" for crypto
    sessions            sessions in which orders are allowed
    margin_class        name of the margin rule in `risk_manager.margin.classes`
    margin_initial      [currency] margin in money per contract of a future; None for other classes
    beta                sensitivity to the market; None if unknown
    tradable            whether new orders are allowed
    shortable           whether short sales are allowed
    borrowable          [units] maximum short position in units; None: easy to borrow, no maximum
    symbol              the tradable symbol
    asset_class         the kind of instrument
    currency            currency of its prices
    sector              sector for concentration limits; "" for none
    group               group for concentration limits; "" for none

    Raises BadInput for a value out of range.
    """

    symbol: str
    asset_class: AssetClass = EQUITY
    currency: str = "USD"
    tick_size: Decimal = Decimal("0.01")
    lot_size: Decimal = Decimal(1)
    multiplier: Decimal = Decimal(1)
    min_quantity: Decimal = Decimal(0)
    max_quantity: Decimal | None = None
    min_notional: Decimal = Decimal(0)
    calendar: str = "XNYS"
    sessions: tuple[SessionPhase, ...] = (PRE, REGULAR, POST, CONTINUOUS)
    margin_class: str = "equity"
    margin_initial: Decimal | None = None
    sector: str = ""
    group: str = ""
    beta: Decimal | None = None
    tradable: bool = True
    shortable: bool = True
    borrowable: Decimal | None = None

    def __post_init__(self) -> None:
        if not self.symbol or self.symbol != self.symbol.strip():
            expected = "a non-empty name without leading or trailing spaces"
            raise BadInput(f"instrument symbol must be {expected}, found {self.symbol!r}")
        if self.asset_class not in ASSET_CLASSES:
            valid = ", ".join(ASSET_CLASSES)
            raise BadInput(f"instrument {self.symbol}: asset_class must be one of {valid}, found {self.asset_class!r}")
        for name in ("tick_size", "lot_size", "multiplier"):
            value = getattr(self, name)
            if not (value.is_finite() and value > 0):
                raise BadInput(f"instrument {self.symbol}: {name} must be above 0, found {value}")
        for name in ("min_quantity", "max_quantity", "min_notional", "margin_initial", "borrowable"):
            value = getattr(self, name)
            if value is not None and not (value.is_finite() and value >= 0):
                raise BadInput(f"instrument {self.symbol}: {name} must be at least 0, found {value}")

    @property
    def tick_value(self) -> Decimal:
        """Value of one tick per unit, in money.

        >>> Instrument(symbol="ES", asset_class=FUTURE, tick_size=Decimal("0.25"), multiplier=Decimal(50)).tick_value
        Decimal('12.500000000')
        """
        return multiply(self.tick_size, self.multiplier)

    def tick_size_at(self, price: Decimal) -> Decimal:
        """The tick size at `price`."""
        if price < _DOLLAR and self.asset_class in (EQUITY, ETF) and self.currency == "USD":
            return min(self.tick_size, _SUB_DOLLAR_TICK)
        return self.tick_size

    def notional(self, quantity: Decimal, price: Decimal) -> Decimal:
        """Value of `quantity` units at `price`, in money."""
        value = multiply(quantity, price)
        return value if self.multiplier == 1 else multiply(value, self.multiplier)


UNLISTED = Instrument(symbol="*")
"""Definition of an undefined symbol: a US equity that trades in whole shares and in cents."""
UNLISTED_PAIR = Instrument(
    symbol="*/*", asset_class=CRYPTO, tick_size=NANO, lot_size=NANO, calendar="24/7", margin_class="crypto"
)
"""Definition of an undefined symbol of the form BASE/QUOTE: quantities and prices of up to nine decimals."""


def unlisted_with_steps(lot_size: Decimal, tick_size: Decimal) -> Instrument:
    """Return the definition of undefined symbols with other steps."""
    return replace(UNLISTED, lot_size=lot_size, tick_size=tick_size)


@dataclass(frozen=True, kw_only=True)
class Instruments:
    """The instruments of a platform. Raises BadInput if a symbol is defined twice.

    listed      definitions, one per symbol
    unlisted    definition of all other symbols (its `symbol` is not used); None: orders for them are rejected. If only
                its lot size and tick size are changed, pairs such as BTC/USD that are not listed trade in fractions

    >>> book = Instruments(listed=(Instrument(symbol="BTCUSD", asset_class=CRYPTO, lot_size=Decimal("0.0001")),))
    >>> book["BTCUSD"].asset_class, book["AAPL"].asset_class
    ('CRYPTO', 'EQUITY')
    >>> book["AAPL"].lot_size, book["ETH/USD"].lot_size
    (Decimal('1'), Decimal('1E-9'))
    >>> Instruments(unlisted=None).get("AAPL") is None
    True
    """

    listed: tuple[Instrument, ...] = ()
    unlisted: Instrument | None = UNLISTED

    def __post_init__(self) -> None:
        by_symbol: dict[str, Instrument] = {}
        for instrument in self.listed:
            if instrument.symbol in by_symbol:
                raise BadInput(f"instrument {instrument.symbol} is defined twice")
            by_symbol[instrument.symbol] = instrument
        # Derived from the fields, not fields.
        object.__setattr__(self, "_by_symbol", by_symbol)
        object.__setattr__(self, "_has_default_unlisted", _differs_in_steps_only(self.unlisted))

    def get(self, symbol: str) -> Instrument | None:
        """The definition of `symbol`, or None if the symbol is unknown."""
        index: dict[str, Instrument] = self.__dict__["_by_symbol"]
        instrument = index.get(symbol)
        if instrument is not None:
            return instrument
        if self.__dict__["_has_default_unlisted"] and "/" in symbol and _PAIR.fullmatch(symbol):
            return UNLISTED_PAIR
        return self.unlisted

    @property
    def is_defined(self) -> bool:
        """Whether the settings define instruments: at least one symbol, or more than the steps of undefined symbols."""
        return bool(self.listed) or not self.__dict__["_has_default_unlisted"]

    def __getitem__(self, symbol: str) -> Instrument:
        instrument = self.get(symbol)
        if instrument is None:
            raise KeyError(symbol)
        return instrument

    def lot_size_of(self, symbol: str) -> Decimal:
        """The step for quantities that the platform computes: the lot size, or 1 for an unknown symbol."""
        instrument = self.get(symbol)
        return _WHOLE if instrument is None else instrument.lot_size

    def in_group(self, attribute: str, value: str) -> Iterable[str]:
        """Listed symbols whose `sector` or `group` is `value`, in the order of definition."""
        return [instrument.symbol for instrument in self.listed if getattr(instrument, attribute) == value]


def _differs_in_steps_only(unlisted: Instrument | None) -> bool:
    """Whether a definition of undefined symbols differs from the default at most in lot size and tick size."""
    if unlisted is None:
        return False
    default = UNLISTED
    same_steps = replace(unlisted, symbol=default.symbol, lot_size=default.lot_size, tick_size=default.tick_size)
    return same_steps == default


NO_INSTRUMENTS = Instruments()
"""No definitions: every symbol trades as `UNLISTED`, or as `UNLISTED_PAIR` if it is a pair."""
ANY_STEPS = Instruments(unlisted=unlisted_with_steps(NANO, NANO))
"""No definitions, and any price and quantity of up to nine decimals. For research and tests."""
