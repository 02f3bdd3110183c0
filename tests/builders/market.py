"""Builders of market data."""

from __future__ import annotations

from schemas.records import REGULAR, Bar, Quote, SessionPhase

MINUTE_NS = 60 * 10**9


def bar(
    symbol: str,
    seq: int,
    ts_ns: int,
    close: float = 100.0,
    *,
    open: float | None = None,
    high: float | None = None,
    low: float | None = None,
    volume: float = 1000.0,
    session: SessionPhase = REGULAR,
    day: int = 20240102,
    traded: bool = True,
    open_ns: int | None = None,
) -> Bar:
    """Build the bar of the minute that ends at `ts_ns`. `high` and `low` default to the range of open and close."""
    open_price = close if open is None else open
    return Bar(
        symbol=symbol,
        seq=seq,
        ts_ns=ts_ns,
        open_ns=ts_ns - MINUTE_NS if open_ns is None else open_ns,
        open=open_price,
        high=max(open_price, close) if high is None else high,
        low=min(open_price, close) if low is None else low,
        close=close,
        volume=volume,
        session=session,
        trading_day=day,
        traded=traded,
    )


def quote(symbol: str, seq: int, ts_ns: int, bid: float, ask: float, size: float = 1000.0) -> Quote:
    """Build a quote with the same size on both sides."""
    return Quote(symbol=symbol, seq=seq, ts_ns=ts_ns, bid=bid, ask=ask, bid_size=size, ask_size=size)
