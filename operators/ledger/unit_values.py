"""The value of one unit of a symbol in account currency: its multiplier times the exchange rate of its currency."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from operators.money import ONE, is_positive, multiply, quantize
from schemas.errors import InvalidField


class UnitValues:
    """Multipliers and currencies, which are settings, and exchange rates, which are state.

    `multipliers` contains the value of one unit at a price of 1, for symbols where it is not 1. `currencies` contains
    the currency of symbols that do not trade in the account currency.
    """

    def __init__(self, multipliers: Mapping[str, Decimal] | None, currencies: Mapping[str, str] | None) -> None:
        self._multipliers = dict(multipliers or {})
        self._currencies = dict(currencies or {})
        self.rates: dict[str, Decimal] = {}  # currency -> value of one unit in account currency

    def trades_in(self, currency: str) -> bool:
        """Whether any symbol trades in `currency`, and `currency` is not the account currency."""
        return currency in self._currencies.values()

    def is_in(self, symbol: str, currency: str) -> bool:
        """Whether the symbol trades in `currency`, and `currency` is not the account currency."""
        return self._currencies.get(symbol) == currency

    def has_rate(self, symbol: str) -> bool:
        """Whether the symbol's currency is the account currency or has an exchange rate."""
        currency = self._currencies.get(symbol)
        return currency is None or currency in self.rates

    def set_rate(self, currency: str, rate: Decimal) -> None:
        """Set the value of one unit of `currency`. Raises `InvalidField` if `rate` is not above 0."""
        if not is_positive(rate):
            raise InvalidField(f"rate of {currency} must be > 0, found {rate}")
        self.rates[currency] = quantize(rate)

    def multiplier(self, symbol: str) -> Decimal:
        """The value of one unit at a price of 1, in the symbol's currency."""
        return self._multipliers.get(symbol, ONE)

    def of(self, symbol: str) -> Decimal:
        """The value of one unit at a price of 1. Raises `InvalidField` if the currency has no exchange rate."""
        currency = self._currencies.get(symbol)
        if currency is None:
            return self._multipliers.get(symbol, ONE)
        rate = self.rates.get(currency)
        if rate is None:
            raise InvalidField(f"{symbol} trades in {currency}, which has no recorded exchange rate")
        return multiply(self._multipliers.get(symbol, ONE), rate)
