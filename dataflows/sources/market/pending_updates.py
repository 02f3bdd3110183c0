"""What providers received since the last time slice: quotes, trades, halts and rejected messages."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from dataflows.sources.market.provider import Provider, QuoteUpdate
from schemas.records import DeadLetter, Quote, Record, Trade

STAGE = "market_data"


class PendingUpdates:
    """The records for the next time slice, and the last `seq` of quotes and trades of each symbol.

    `records` may be extended by the feed.
    """

    def __init__(self, symbols: Collection[str]) -> None:
        self._symbols = frozenset(symbols)
        self._quote_seq: dict[str, int] = {}
        self._trade_seq: dict[str, int] = {}
        self._quotes: dict[str, QuoteUpdate] = {}  # the latest quote of each symbol
        self.records: list[Record] = []

    def __bool__(self) -> bool:
        return bool(self._quotes or self.records)

    def collect(self, providers: Sequence[Provider], active_provider: int, clock_ns: int) -> None:
        """Collect the latest quote of each symbol and every trade of the active provider. Messages that any provider
        rejected become dead letters.
        """
        for index, provider in enumerate(providers):
            quotes, trades = provider.drain_updates()
            self.records += [
                DeadLetter(
                    topic=f"feed:{provider.name}",
                    partition=0,
                    offset=rejected.at_ns,
                    stage=STAGE,
                    ts_ns=clock_ns,
                    reason=rejected.reason,
                    schema_id=None,
                    raw=rejected.raw,
                )
                for rejected in provider.drain_rejected()
            ]
            # A halt counts from every provider: a repeat has the same id.
            self.records += [status for status in provider.drain_statuses() if status.symbol in self._symbols]
            if index != active_provider:
                continue
            for quote in quotes:
                if 0.0 < quote.bid <= quote.ask and quote.symbol in self._symbols:
                    self._quotes[quote.symbol] = quote
            for trade in trades:
                self._trade_seq[trade.symbol] = seq = self._trade_seq.get(trade.symbol, 0) + 1
                self.records.append(
                    Trade(symbol=trade.symbol, seq=seq, ts_ns=trade.ts_ns, price=trade.price, size=trade.size)
                )

    def drain_quotes(self, ts_ns: int) -> list[Record]:
        """Return the pending quotes with the time of their time slice, and forget them."""
        records: list[Record] = []
        for symbol in sorted(self._quotes):
            quote = self._quotes[symbol]
            self._quote_seq[symbol] = seq = self._quote_seq.get(symbol, 0) + 1
            records.append(
                Quote(
                    symbol=symbol,
                    seq=seq,
                    ts_ns=ts_ns,
                    bid=quote.bid,
                    ask=quote.ask,
                    bid_size=quote.bid_size,
                    ask_size=quote.ask_size,
                )
            )
        self._quotes = {}
        return records

    def drain_records(self) -> list[Record]:
        """Return all other pending records, and forget them."""
        records, self.records = self.records, []
        return records

    def state(self) -> dict[str, Any]:
        """Return the counts. Pending records are not stored: a crash loses what no time slice contained."""
        return {"quotes": dict(self._quote_seq), "trades": dict(self._trade_seq)}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._quote_seq, self._trade_seq = dict(state["quotes"]), dict(state["trades"])

    def advance(self, quotes: Mapping[str, int], trades: Mapping[str, int]) -> None:
        """Continue behind these counts where they are higher."""
        for seqs, written in ((self._quote_seq, quotes), (self._trade_seq, trades)):
            for symbol, seq in written.items():
                seqs[symbol] = max(seq, seqs.get(symbol, 0))
