"""Count day trades: positions opened and closed on the same trading day.

Source: FINRA rule 4210(f)(8)(B), as Alpaca applied it until FINRA retired the rule in June 2026: four day trades within
five business days make a pattern day trader, who needs 25,000 USD of equity. Crypto does not count.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import numpy as np

from deploy.alpaca_server.broker_order import ZERO

PATTERN_EQUITY_MIN = Decimal(25_000)
"""Equity in USD from which the number of day trades is not limited."""
DAY_TRADES_MAX = 3
BUSINESS_DAYS = 5
_NEW_YORK = ZoneInfo("America/New_York")


def new_york_day(timestamp: str) -> str:
    """Return the day in New York of an RFC 3339 time in UTC.

    >>> new_york_day("2026-03-03T02:00:00.000000000Z")
    '2026-03-02'
    """
    return datetime.fromisoformat(timestamp[:19] + "+00:00").astimezone(_NEW_YORK).date().isoformat()


@dataclass
class DayTrades:
    """The day trades of an account. `today` returns the day in New York, as ISO text.

    trades  (day, symbol) of each day trade of the last days, oldest first
    opened  symbol -> (day, signed units opened on that day and not closed)

    One purchase that is sold in parts is one day trade: a further one needs a further purchase.
    """

    today: Callable[[], str]
    is_enabled: bool = True
    trades: list[tuple[str, str]] = field(default_factory=list)
    opened: dict[str, tuple[str, Decimal]] = field(default_factory=dict)
    counted: set[str] = field(default_factory=set)  # symbols whose units of today are part of a counted day trade

    def record_fill(self, symbol: str, position: Decimal, signed: Decimal) -> None:
        """Record a fill of `signed` units, before which the position was `position`."""
        day = self.today()
        opened_day, units = self.opened.get(symbol, (day, ZERO))
        if opened_day != day:
            units = ZERO
            self.counted.discard(symbol)
        if position * signed >= 0:
            self.counted.discard(symbol)
            units += signed
        elif units:
            if symbol not in self.counted:
                self.trades = [*self._recent(), (day, symbol)]
                self.counted.add(symbol)
            units = max(ZERO, units + signed) if units > 0 else min(ZERO, units + signed)
        self.opened[symbol] = (day, units)
        if not units:
            del self.opened[symbol]

    def would_add_one(self, symbol: str) -> bool:
        """Whether closing a part of the position now is a further day trade."""
        day, units = self.opened.get(symbol, ("", ZERO))
        return bool(units) and day == self.today() and symbol not in self.counted

    def count(self) -> int:
        """Return the number of day trades within the last `BUSINESS_DAYS` business days, today included."""
        return len(self._recent())

    def _recent(self) -> list[tuple[str, str]]:
        first = str(np.busday_offset(self.today(), 1 - BUSINESS_DAYS, roll="backward"))
        return [trade for trade in self.trades if trade[0] >= first]
