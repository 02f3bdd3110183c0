"""The market as trading strategies see it: bars, histories, features and analysis of every symbol, shared by all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from operators.adjusted_prices import AdjustedPrices, ex_price, split_price
from operators.bar_completion import OPENING_PRICE_SEQ
from operators.exchange_halts import ExchangeHalts
from operators.indicator_calls import IndicatorCalls
from operators.ledger.events import distribution_prices, share_ratio
from operators.ledger.split_ratio import exact_ratio
from operators.money import ONE, multiply
from operators.reference_data import whole_action_id
from operators.suspended_analysis import suspension_letter
from operators.trading.intervals import Interval
from operators.trading.market_needs import MarketNeeds
from operators.trading.paired_bars import PairedBars
from operators.trading.sessions import Session, SessionBounds, SessionClock, SessionTimes
from operators.trading.symbol_market import NO_DAYS, SymbolMarket
from operators.trading.trade_prints import TradePrints
from schemas.records import (
    CASH_DIVIDEND,
    DELISTING,
    RIGHTS,
    SPIN_OFF,
    SYMBOL_CHANGE,
    Bar,
    CorporateAction,
    DeadLetter,
    FeatureRow,
    Fundamentals,
    HistoryBar,
    HistoryRow,
    HistoryTrade,
    Prediction,
    Record,
    SentimentScore,
    Trade,
)

VERSION = 6
FILING_IDS_MAX = 1_000
"""Number of recent filing ids remembered to discard duplicates."""


class Market:
    """The market data of all symbols of the strategies' universes.

    `symbols` are these symbols; None: every symbol that has a bar. `days` are the trading hours by day. With
    `regular_trades`, only trades of the regular session count. `calls` are those of the indicators of longer bars.
    """

    def __init__(
        self,
        needs: MarketNeeds,
        symbols: Iterable[str] | None = None,
        days: Mapping[int, SessionTimes] | None = None,
        *,
        regular_trades: bool = False,
        calls: IndicatorCalls | None = None,
    ) -> None:
        self.needs = needs
        self._calls = calls or IndicatorCalls.under(None)
        self._universe: set[str] | None = None if symbols is None else set(symbols)
        self._days = NO_DAYS if days is None else days
        self._clock = SessionClock(self._days)
        self._trade_intervals = needs.trade_intervals()
        self._intervals = [one for one in needs.built_intervals() if one not in self._trade_intervals]
        self._prints = TradePrints(self._days, regular_only=regular_trades)
        self._symbols: dict[str, SymbolMarket] = {}
        self.prices: dict[str, float] = {}  # last closes, adjusted for corporate actions
        self._adjusted = AdjustedPrices()
        self._retired: dict[str, None] = {}  # symbols that were renamed or delisted, and have not traded since
        self._history_days: dict[str, int] = {}  # symbol -> day of the shares of its history
        self._history_ends: dict[str, int] = {}  # symbol -> end of the last bar of its history
        self._filing_ids: dict[str, None] = {}
        self._paired = PairedBars(needs.pairs, self._symbols)
        self.listings = 0
        """Changes when a symbol has its first bar, or the first one of another company."""
        self.halts = ExchangeHalts()
        self.newest_bar: Bar | None = None
        # Of the current time slice: the symbols whose bar closed, by interval, and the indicators that failed.
        self.closed: dict[Interval, dict[str, None]] = {}
        self.dead_letters: list[DeadLetter] = []

    @property
    def symbols(self) -> Mapping[str, SymbolMarket]:
        return self._symbols

    def session(self, ts_ns: int) -> Session | None:
        """Return the session of the newest bar; None before the first bar."""
        return None if self.newest_bar is None else self._clock.session(ts_ns, self.newest_bar)

    def set_days(self, days: Mapping[int, SessionTimes]) -> None:
        """Use other trading hours from now on."""
        self._days = days
        self._clock.set_days(days)
        self._prints.set_days(days)
        for symbol_market in self._symbols.values():
            for one in symbol_market.intervals.values():
                one.set_days(days)

    def is_retired(self, symbol: str) -> bool:
        """Whether a symbol was renamed or delisted, and has not traded since."""
        return symbol in self._retired

    def trades(self, symbol: str) -> bool:
        """Whether a symbol has had a bar, and has not ended since."""
        one = self._symbols.get(symbol)
        return one is not None and one.bar is not None and symbol not in self._retired

    def bounds(self, bar: Bar) -> SessionBounds:
        return self._clock.bounds(bar)

    # -- incoming records

    def update(self, ts_ns: int, records: Sequence[Record]) -> None:
        """Process the market data of one time slice."""
        self.closed, self.dead_letters = {}, []
        if self._adjusted.prices:
            records = self._adjusted.adjust_bars(records)
        earlier = self._history_trades(records) if self._trade_intervals else []
        bounds: dict[tuple[int, str], tuple[SessionBounds, bool]] = {}
        base = self.needs.bar_interval_ns
        closed = self.closed[base] = {}
        for record in records:
            if type(record) is Bar:
                if record.seq == OPENING_PRICE_SEQ or (self._retired and self._is_retired(record)):
                    continue
                symbol_market = self._symbol(record.symbol)
                if symbol_market is None:
                    continue
                closed[record.symbol] = None
                self.newest_bar = record
                for interval in self._append(record, symbol_market, bounds):
                    self.closed.setdefault(interval, {})[record.symbol] = None
            elif type(record) is FeatureRow or type(record) is HistoryRow:
                if (symbol_market := self._symbol(record.symbol)) is not None:
                    symbol_market.row = record if type(record) is FeatureRow else record.to_feature_row()
            elif type(record) is HistoryBar:
                self._add_history(record, bounds)
            elif type(record) is Prediction:
                if (symbol_market := self._symbol(record.symbol)) is not None:
                    symbol_market.predictions[record.model] = record
            elif type(record) is SentimentScore:
                if (symbol_market := self._symbol(record.symbol)) is not None:
                    symbol_market.sentiment = record
            elif type(record) is Fundamentals:
                self._add_filing(ts_ns, record)
        if self._trade_intervals:
            self._add_trades(ts_ns, records, earlier, bounds)
        if self.needs.pairs:
            self._paired.update(self.closed)

    def _history_trades(self, records: Sequence[Record]) -> list[HistoryTrade]:
        """Return the trades of a time slice from before the first bar of their symbol. Call before its bars."""
        trades = [record for record in records if type(record) is HistoryTrade]
        return [one for one in trades if self._follows(one.symbol) and self._has_no_bar(one.symbol)]

    def _has_no_bar(self, symbol: str) -> bool:
        """Whether a symbol has had no bar, except those of its history, or has ended."""
        one = self._symbols.get(symbol)
        last = None if one is None else one.bar
        return last is None or symbol in self._retired or self._history_ends.get(symbol) == last.ts_ns

    def _add_trades(
        self,
        ts_ns: int,
        records: Sequence[Record],
        earlier: Sequence[HistoryTrade],
        bounds: dict[tuple[int, str], tuple[SessionBounds, bool]],
    ) -> None:
        """Add the trades of a time slice to the bars that are built from them, after its bars of the feed.

        Those from before the first bar of a symbol, `earlier`, come first, and close no bar of this time slice.
        """
        bars = [record for record in records if type(record) is Bar and record.seq != OPENING_PRICE_SEQ]
        self._prints.begin(bars)
        for one in earlier:
            symbol_market, bar = self._symbol(one.symbol), self._prints.counted(one.to_trade())
            if symbol_market is not None and bar is not None:
                self._history_days[one.symbol] = one.adjusted_day
                self._build(bar, symbol_market, self._trade_intervals, bounds)
        trades = [record for record in records if type(record) is Trade and self._follows(record.symbol)]
        for trade in self._prints.pop_counted(ts_ns, bars, trades):
            symbol_market = self._symbols.get(trade.symbol)
            if symbol_market is None or symbol_market.bar is None or trade.symbol in self._retired:
                continue  # before its first bar, a symbol cannot be traded
            for interval in self._build(trade, symbol_market, self._trade_intervals, bounds):
                self.closed.setdefault(interval, {})[trade.symbol] = None

    def _follows(self, symbol: str) -> bool:
        return self._universe is None or symbol in self._universe

    def _symbol(self, symbol: str) -> SymbolMarket | None:
        market = self._symbols.get(symbol)
        if market is None and self._follows(symbol):
            market = self._symbols[symbol] = SymbolMarket(self.needs, self._days)
            self.listings += 1
        return market

    def _add_history(self, record: HistoryBar, bounds: dict[tuple[int, str], tuple[SessionBounds, bool]]) -> None:
        """Add a bar from before the first one of its symbol, unless the symbol has this bar or a later one.

        It counts for histories, longer bars, statistics of pairs and warm-up, but it closes no bar of this time slice.
        A history in the shares of a later day replaces the one before, as for the features.
        """
        symbol = record.symbol
        if symbol in self._retired:
            self._begin_company(symbol)
        symbol_market = self._symbol(symbol)
        if symbol_market is None:
            return
        if (last := symbol_market.bar) is not None:
            if self._has_no_bar(symbol) and record.adjusted_day > self._history_days[symbol]:
                symbol_market = self._symbols[symbol] = symbol_market.without_bars(self.needs, self._days)
                self._paired.begin(symbol)
            elif last.ts_ns >= record.end_ns:
                return
        self._history_days[symbol], self._history_ends[symbol] = record.adjusted_day, record.end_ns
        closed = self._append(record.to_bar(), symbol_market, bounds)
        if self.needs.pairs:
            self._paired.add_history(symbol, record.end_ns, (self.needs.bar_interval_ns, *closed))

    def _is_retired(self, bar: Bar) -> bool:
        """Whether a bar belongs to a symbol that no longer exists. A trade is that of another company under the symbol.

        The feed repeats the last close of every symbol that has ever traded.
        """
        symbol = bar.symbol
        if symbol not in self._retired:
            return False
        if not bar.traded:
            return True
        self._begin_company(symbol)
        return False

    def _begin_company(self, symbol: str) -> None:
        """Start a retired symbol without state, because another company uses it."""
        del self._retired[symbol]
        one = self._symbols.get(symbol)
        if one is not None and one.bar is not None:  # else a corporate action has begun the company
            self._forget_company(symbol)

    def _forget_company(self, symbol: str) -> None:
        self._adjusted.prices.pop(symbol, None)
        if symbol in self._symbols:
            self._symbols[symbol] = SymbolMarket(self.needs, self._days)
            self._paired.begin(symbol)

    def _append(
        self, bar: Bar, symbol_market: SymbolMarket, bounds: dict[tuple[int, str], tuple[SessionBounds, bool]]
    ) -> list[Interval]:
        """Add a bar to the histories and longer bars of its symbol. Return the intervals of the longer bars that it
        closes.
        """
        if symbol_market.bar is None:
            self.listings += 1
        symbol_market.bar = bar
        symbol_market.bars += 1
        self.prices[bar.symbol] = bar.close
        history = symbol_market.histories.get(self.needs.bar_interval_ns)
        if history is not None:
            history.append(bar)
        return self._build(bar, symbol_market, self._intervals, bounds) if self._intervals else []

    def _build(
        self,
        bar: Bar,
        symbol_market: SymbolMarket,
        intervals: Sequence[Interval],
        bounds: dict[tuple[int, str], tuple[SessionBounds, bool]],
    ) -> list[Interval]:
        """Add a bar of the feed, or a trade, to the bars of `intervals`. Return the interval of each that it closes."""
        closed: list[Interval] = []
        key = (bar.trading_day, bar.session)
        bar_bounds = bounds.get(key)
        if bar_bounds is None:
            bar_bounds = bounds[key] = (self._clock.bounds(bar), self._clock.ends_week(bar))
        session_bounds, ends_week = bar_bounds
        for interval in intervals:
            one = symbol_market.intervals[interval]
            for built_bar in one.builder.update(bar, session_bounds, ends_week=ends_week):
                for name, error in one.close(built_bar, self._calls):
                    self.dead_letters.append(suspension_letter("strategies", "indicator", name, built_bar, error))
                if (history := symbol_market.histories.get(interval)) is not None:
                    history.append(built_bar)
                closed.append(interval)
        return closed

    def _add_filing(self, ts_ns: int, filing: Fundamentals) -> None:
        symbol_market = self._symbol(filing.symbol)
        if symbol_market is None or filing.fundamentals_id in self._filing_ids:
            return
        self._filing_ids[filing.fundamentals_id] = None
        if len(self._filing_ids) > FILING_IDS_MAX:
            del self._filing_ids[next(iter(self._filing_ids))]
        symbol_market.fundamentals = filing._replace(ts_ns=ts_ns)  # replace the wall-clock time by event time

    def apply_action(self, action: CorporateAction, rate: Any = ONE) -> None:
        """Apply a corporate action, before the bars of its time slice. `rate` converts its currency."""
        symbol = action.symbol
        if action.kind == SYMBOL_CHANGE and self._universe is not None and symbol in self._universe:
            self._universe.add(action.new_symbol)
        if symbol not in self.prices:
            return
        # Distributed shares have a price, but no market before their first bar.
        symbol_market, price, ratio = self._symbols.get(symbol), self.prices[symbol], share_ratio(action)
        if action.kind in (SYMBOL_CHANGE, DELISTING):
            self._adjusted.prices.pop(symbol, None)
            self._retired[symbol] = None
            if action.kind == SYMBOL_CHANGE and self._follows(action.new_symbol):
                self._set_first_price(action.new_symbol, price)
                if symbol_market is not None and (new_market := self._symbol(action.new_symbol)) is not None:
                    self._rename(symbol_market, action, new_market)
            return
        if action.kind == CASH_DIVIDEND:
            assert action.amount is not None, f"{action.action_id}: expected a validated corporate action"
            price = ex_price(price, multiply(action.amount, rate))
        elif action.kind in (SPIN_OFF, RIGHTS):
            price, distributed = distribution_prices(action, price)
            if self._universe is not None:
                self._universe.add(action.new_symbol)  # the strategies hold the distributed shares
            self._set_first_price(action.new_symbol, distributed)
        elif ratio != ONE:
            if 0 < action.ex_date <= self._history_days.get(symbol, 0):
                return  # the history includes it
            factor = 1.0 / float(exact_ratio(ratio))
            if symbol_market is not None:
                symbol_market.rescale(symbol, factor, self._calls)
            self._paired.rescale(symbol, factor)
            price = split_price(price, ratio)
        self.prices[symbol] = self._adjusted.prices[symbol] = price

    def _set_first_price(self, symbol: str, price: float) -> None:
        """Set the price of a symbol that a corporate action has begun, unless the company has traded under it before.

        If another company did, its data end. The feed may repeat its last close until the symbol trades.
        """
        if symbol in self._retired:
            self._forget_company(symbol)
            self.prices[symbol] = price
        else:
            self.prices.setdefault(symbol, price)

    def _rename(self, symbol_market: SymbolMarket, action: CorporateAction, new_market: SymbolMarket) -> None:
        """Give the new symbol the state of the old one, unless the new one had bars before the change.

        A company that trades already, such as the acquirer in a merger, keeps its own state.
        """
        self._paired.rename(action.symbol, action.new_symbol)
        if new_market.bar is None:
            new_market.pairs, symbol_market.pairs = symbol_market.pairs, new_market.pairs
            if whole_action_id(action.action_id) == action.action_id:  # not a merger: the same company
                new_market.sentiment, new_market.fundamentals = symbol_market.sentiment, symbol_market.fundamentals

    # -- state

    def snapshot(self) -> Any:
        symbols = {symbol: one.snapshot() for symbol, one in self._symbols.items()}
        newest = None if self.newest_bar is None else tuple(self.newest_bar)
        universe = None if self._universe is None else sorted(self._universe)
        adjusted, clock = self._adjusted.snapshot(), self._clock.snapshot()
        prices = (dict(self.prices), adjusted, list(self._retired))
        filings, history = list(self._filing_ids), (dict(self._history_days), dict(self._history_ends))
        tail = (self._prints.snapshot(), *self._paired.snapshot())
        return (VERSION, universe, symbols, prices, newest, clock, filings, *history, *tail)

    def restore(self, snapshot: Any) -> None:
        """Restore a snapshot. Intervals, indicators and histories that are not in it start to warm up.

        Version 1 has no statistics of pairs, versions 1 and 2 no days of histories, versions 1 to 3 no trades,
        versions 1 to 4 no renamed benchmarks, and versions 1 to 5 no closes of benchmarks.
        """
        version, universe, symbols, (prices, adjusted, retired), newest, clock, filing_ids, *later = snapshot
        assert version in (1, 2, 3, 4, 5, VERSION), f"market snapshot: version {version}, expected 1 to {VERSION}"
        self._history_days = dict(later[0]) if later else {}
        self._history_ends = dict(later[1]) if len(later) > 1 else {}
        if len(later) > 2:
            self._prints.restore(later[2])
        self._paired.restore(later[3] if len(later) > 3 else {}, later[4] if len(later) > 4 else {})
        self.listings += 1
        if self._universe is not None:
            self._universe |= set(symbols if universe is None else universe)  # also those of removed strategies
        self.prices = dict(prices)
        self.newest_bar = None if newest is None else Bar(*newest)
        self._adjusted.restore(adjusted)
        self._retired = dict.fromkeys(retired)
        self._clock.restore(clock)
        self._filing_ids = dict.fromkeys(filing_ids)
        # The same dict, because the contexts of the strategies refer to it.
        self._symbols.clear()
        for symbol, values in symbols.items():
            self._symbols[symbol] = SymbolMarket(self.needs, self._days)
            self._symbols[symbol].restore(values)
