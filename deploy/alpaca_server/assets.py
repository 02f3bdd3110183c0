"""The assets that the local broker trades, with the attributes on which its rules depend."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_UP, Decimal
from typing import Any

from deploy.alpaca_server.broker_order import asset_id, decimal_text, invalid

CRYPTO_INCREMENT = Decimal("0.000000001")
"""Step of quantities and prices of a crypto pair. Source: Alpaca, "Crypto Orders"."""
MINIMUM_ORDER_VALUE = Decimal(1)
"""In USD. Sources: Alpaca, "Fractional Trading" and "Crypto Orders"."""
_MAINTENANCE_MARGIN_PERCENT = 30
FLAGS = ("tradable", "marginable", "shortable", "easy_to_borrow", "fractionable")


@dataclass
class Asset:
    """One asset. Crypto pairs are written BASE/QUOTE; they are neither marginable nor shortable."""

    symbol: str
    tradable: bool = True
    marginable: bool = True
    shortable: bool = True
    easy_to_borrow: bool = True
    fractionable: bool = True

    @property
    def is_crypto(self) -> bool:
        return "/" in self.symbol

    @property
    def id(self) -> str:
        return asset_id(self.symbol)

    @property
    def asset_class(self) -> str:
        return "crypto" if self.is_crypto else "us_equity"

    @property
    def exchange(self) -> str:
        return "CRYPTO" if self.is_crypto else "NASDAQ"

    @property
    def names(self) -> tuple[str, ...]:
        """The symbol and the other ways to name the asset in a request: without the slash, and by its id."""
        return (self.symbol, self.symbol.replace("/", ""), self.id)

    def set_flags(self, flags: dict[str, Any]) -> None:
        """Change attributes. Raises BrokerApiError for an unknown attribute or a value that is not a boolean."""
        for name, value in flags.items():
            if name not in FLAGS or not isinstance(value, bool):
                raise invalid(f"an asset's attributes are the booleans {', '.join(FLAGS)}, found {name}: {value!r}")
        for name, value in flags.items():
            setattr(self, name, value)

    def as_json(self, price: Decimal) -> dict[str, Any]:
        """Return the asset as Alpaca's JSON. The increments of crypto depend on the price."""
        fields: dict[str, Any] = {
            "id": self.id,
            "class": self.asset_class,
            "exchange": self.exchange,
            "symbol": self.symbol,
            "name": self.symbol,
            "status": "active",
            **{name: getattr(self, name) for name in FLAGS},
            "attributes": [],
        }
        if not self.is_crypto:
            return fields | {"maintenance_margin_requirement": _MAINTENANCE_MARGIN_PERCENT}
        smallest = (MINIMUM_ORDER_VALUE / price).quantize(CRYPTO_INCREMENT, ROUND_UP) if price else CRYPTO_INCREMENT
        increment = decimal_text(CRYPTO_INCREMENT)
        return fields | {
            "min_order_size": decimal_text(smallest),
            "min_trade_increment": increment,
            "price_increment": increment,
        }


def make_asset(symbol: str) -> Asset:
    """Return the asset of a symbol with the attributes of its class."""
    is_crypto = "/" in symbol
    return Asset(symbol, marginable=not is_crypto, shortable=not is_crypto, easy_to_borrow=not is_crypto)
