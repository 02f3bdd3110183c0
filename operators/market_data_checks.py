"""Checks of bars, quotes and trades. Services reject invalid ones as dead letters."""

from __future__ import annotations

from math import inf

from schemas.errors import InvalidField
from schemas.records import Bar, Quote, SequencedRecord, Trade


def check_market_data(record: SequencedRecord) -> None:
    """Raise InvalidField for an invalid bar, quote or trade. Topics of market data contain no other records."""
    if type(record) is Bar:
        check_bar(record)
    elif type(record) is Trade:
        check_trade(record)
    else:
        assert type(record) is Quote, f"expected a Bar, a Quote or a Trade, found {type(record)}"
        check_quote(record)


def check_bar(bar: Bar) -> None:
    """Raise InvalidField for an invalid bar. Valid: prices > 0 and finite, low <= open, close <= high, volume >= 0.

    >>> check_bar(Bar("A", 1, 60, 0, 10.0, 9.0, 9.5, 10.0, 5.0, "REGULAR", 20240102, True))
    Traceback (most recent call last):
    schemas.errors.InvalidField: field high must be >= low 9.5, found 9.0
    """
    if 0.0 < bar.low <= bar.open <= bar.high < inf and bar.low <= bar.close <= bar.high and 0.0 <= bar.volume < inf:
        return
    for name in ("open", "high", "low", "close"):
        price = getattr(bar, name)
        if not 0.0 < price < inf:
            raise InvalidField(f"field {name} must be > 0 and finite, found {price}")
    if bar.high < bar.low:
        raise InvalidField(f"field high must be >= low {bar.low}, found {bar.high}")
    for name in ("open", "close"):
        price = getattr(bar, name)
        if not bar.low <= price <= bar.high:
            raise InvalidField(f"field {name} must be in [{bar.low}, {bar.high}], found {price}")
    raise InvalidField(f"field volume must be >= 0 and finite, found {bar.volume}")


def check_quote(quote: Quote) -> None:
    """Raise InvalidField for an invalid quote. Valid: 0 < bid <= ask, both finite, sizes >= 0.

    >>> check_quote(Quote("A", 1, 60, 10.0, 9.0, 1.0, 1.0))
    Traceback (most recent call last):
    schemas.errors.InvalidField: field ask must be >= bid 10.0 and finite, found 9.0
    """
    if not 0.0 < quote.bid < inf:
        raise InvalidField(f"field bid must be > 0 and finite, found {quote.bid}")
    if not quote.bid <= quote.ask < inf:
        raise InvalidField(f"field ask must be >= bid {quote.bid} and finite, found {quote.ask}")
    for name in ("bid_size", "ask_size"):
        size = getattr(quote, name)
        if not 0.0 <= size < inf:
            raise InvalidField(f"field {name} must be >= 0 and finite, found {size}")


def check_trade(trade: Trade) -> None:
    """Raise InvalidField for an invalid trade. Valid: price > 0, size >= 0, both finite.

    >>> check_trade(Trade("A", 1, 60, 0.0, 100.0))
    Traceback (most recent call last):
    schemas.errors.InvalidField: field price must be > 0 and finite, found 0.0
    """
    if not 0.0 < trade.price < inf:
        raise InvalidField(f"field price must be > 0 and finite, found {trade.price}")
    if not 0.0 <= trade.size < inf:
        raise InvalidField(f"field size must be >= 0 and finite, found {trade.size}")
