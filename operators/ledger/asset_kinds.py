"""The kind of an asset in tax law. Wash-sale rules apply to stock and securities only (26 U.S.C. § 1091).

The IRS treats cryptocurrency as property, not as a security (Notice 2014-21). Gains from foreign currency follow § 988,
regulated futures § 1256.
"""

from __future__ import annotations

import re
from enum import StrEnum


class AssetKind(StrEnum):
    """`OTHER` is property that is neither a security nor a digital asset: futures and foreign currency."""

    SECURITY = "security"
    DIGITAL_ASSET = "digital asset"
    OTHER = "other"


_CURRENCIES = frozenset(
    (
        *("USD", "EUR", "GBP", "JPY", "CHF", "CAD", "AUD", "NZD", "SEK", "NOK", "DKK"),
        *("SGD", "HKD", "MXN", "BRL", "TRY", "ZAR", "KRW", "INR", "PLN", "CZK", "HUF"),
    )
)
_STABLECOINS = frozenset(("USDT", "USDC", "USDP", "TUSD", "BUSD", "FDUSD", "PYUSD", "DAI", "EURC"))
_COINS = frozenset(
    (
        *("BTC", "XBT", "ETH", "SOL", "XRP", "ADA", "DOGE", "LTC", "BCH", "DOT", "AVAX", "LINK", "UNI", "AAVE"),
        *("MATIC", "POL", "SHIB", "XLM", "ALGO", "ATOM", "ETC", "FIL", "NEAR", "TRX", "TON", "APT", "ARB", "SUI"),
        *("ICP", "MKR", "CRV", "GRT", "SUSHI", "YFI", "BAT", "XTZ", "PEPE", "BNB"),
    )
)
"""Coins whose pairs are recognized without a separator, such as BTCUSD. Stocks have at most five letters."""
_QUOTES = _CURRENCIES | _STABLECOINS | {"BTC", "ETH"}
_STOCK_LETTERS_MAX = 5
_PAIR = re.compile(r"(?P<base>[A-Z0-9]+)[-/](?P<quote>[A-Z]+)")


def asset_kind_of(symbol: str) -> AssetKind:
    """Return the kind of a symbol: pairs with a currency, a stablecoin, BTC or ETH are not securities.

    >>> [str(asset_kind_of(symbol)) for symbol in ("BTC-USD", "ETH/USDT", "SOLUSD", "EUR/USD", "BRK-B", "BTC")]
    ['digital asset', 'digital asset', 'digital asset', 'other', 'security', 'security']
    """
    name = symbol.upper()
    if pair := _PAIR.fullmatch(name):
        if pair["quote"] not in _QUOTES:
            return AssetKind.SECURITY
        is_currency = pair["base"] in _CURRENCIES and pair["quote"] in _CURRENCIES
        return AssetKind.OTHER if is_currency else AssetKind.DIGITAL_ASSET
    if len(name) <= _STOCK_LETTERS_MAX:
        return AssetKind.SECURITY
    is_coin_pair = any(name.startswith(coin) and name[len(coin) :] in _QUOTES for coin in _COINS)
    return AssetKind.DIGITAL_ASSET if is_coin_pair else AssetKind.SECURITY
