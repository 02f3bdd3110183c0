"""Market data records, and the clock that orders every log."""

from __future__ import annotations

from typing import NamedTuple, final

from schemas.records.constants import SessionPhase


@final
class Clock(NamedTuple):
    """Marks that all records of this log up to `ts_ns` precede it. The log's only writer writes it after them."""

    ts_ns: int
    writer: str  # "<service>@<version>" that wrote the records of this time slice


@final
class Bar(NamedTuple):
    """Trades of one symbol in `[open_ns, ts_ns)`. Prices in the instrument's currency, volume in units.

    `traded` is False for a bar that fills a minute without a trade: all four prices are the last close, volume is 0.
    `trading_day` is the session's date as yyyymmdd.
    """

    symbol: str
    seq: int
    ts_ns: int
    open_ns: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    session: SessionPhase
    trading_day: int
    traded: bool


@final
class HistoryBar(NamedTuple):
    """A bar before the first one of its symbol, for the warm-up of indicators and strategies. Nothing trades on it.

    `ts_ns` is the time slice that contains it, `end_ns` the end of the bar. The other fields are those of `Bar`.
    Prices and volume are in the shares of the day `adjusted_day` (yyyymmdd): splits up to that day are included.
    """

    symbol: str
    seq: int
    ts_ns: int
    open_ns: int
    end_ns: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    session: SessionPhase
    trading_day: int
    traded: bool
    adjusted_day: int

    def to_bar(self) -> Bar:
        """Return the bar with its own time."""
        return Bar(
            symbol=self.symbol,
            seq=self.seq,
            ts_ns=self.end_ns,
            open_ns=self.open_ns,
            open=self.open,
            high=self.high,
            low=self.low,
            close=self.close,
            volume=self.volume,
            session=self.session,
            trading_day=self.trading_day,
            traded=self.traded,
        )


@final
class HistoryTrade(NamedTuple):
    """A trade before the first bar of its symbol, for the warm-up of bars of trades. Nothing trades on it.

    `ts_ns` is the time slice that contains it, `traded_ns` the time of the exchange. Price and size are in the shares
    of the day `adjusted_day` (yyyymmdd): splits up to that day are included. `seq` follows that of the `HistoryBar`s of
    the symbol.
    """

    symbol: str
    seq: int
    ts_ns: int
    traded_ns: int
    price: float
    size: float
    adjusted_day: int

    def to_trade(self) -> Trade:
        """Return the trade with its own time."""
        return Trade(symbol=self.symbol, seq=self.seq, ts_ns=self.traded_ns, price=self.price, size=self.size)


@final
class Quote(NamedTuple):
    """Best bid and offer of one symbol from `ts_ns` on. Prices in the instrument's currency, sizes in units."""

    symbol: str
    seq: int
    ts_ns: int
    bid: float
    ask: float
    bid_size: float
    ask_size: float

    @property
    def kind(self) -> str:
        """The kind of the event for `on_event`."""
        return "QUOTE"


@final
class Trade(NamedTuple):
    """One trade print. Strategies that declare bars of trades use it; `ts_ns` is the time of the exchange."""

    symbol: str
    seq: int
    ts_ns: int
    price: float
    size: float
