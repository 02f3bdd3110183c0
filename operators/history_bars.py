"""Convert bars and trades from before a start to `HistoryBar`s and `HistoryTrade`s.

They are in the shares and under the symbols of the start.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from operators.adjusted_prices import split_price
from operators.ledger.events import share_ratio
from operators.ledger.split_ratio import exact_ratio
from operators.money import ONE
from operators.reference_data import is_valid_action, split_merger
from schemas.records import DELISTING, SYMBOL_CHANGE, Bar, CorporateAction, HistoryBar, HistoryTrade, Record

TOTAL_MAX = 500_000
"""Most bars of all symbols together. They are in one time slice, which services hold in memory: about 1.3 KB a bar."""
TRADES_MAX = 100_000
"""Most trades of one symbol from before a start."""
TRADES_TOTAL_MAX = 200_000
"""Most trades of all symbols together."""
History = HistoryBar | HistoryTrade


def bars_per_symbol(count: int, symbols: int, total: int = TOTAL_MAX) -> int:
    """Return how many of `count` bars of each of several symbols fit into `total`.

    >>> bars_per_symbol(10_000, 20), bars_per_symbol(10_000, 500)
    (10000, 1000)
    """
    return min(count, total // max(symbols, 1))


def add_history_trades(
    bars: Sequence[HistoryBar], trades: Iterable[Bar], records: Sequence[Record], ts_ns: int, adjusted_day: int
) -> list[History]:
    """Return a history with its last trades, sorted by symbol and `seq`. Their number is limited (`TRADES_MAX`).

    `trades` are those before the time slice, each as a bar with one price, oldest first. They are converted like bars
    (`history_bars`).
    """
    last_seqs = {bar.symbol: bar.seq for bar in bars}
    converted = [
        HistoryTrade(
            symbol=one.symbol,
            seq=last_seqs.get(one.symbol, 0) + one.seq,
            ts_ns=one.ts_ns,
            traded_ns=one.end_ns,
            price=one.close,
            size=one.volume,
            adjusted_day=one.adjusted_day,
        )
        for one in _history(trades, records, ts_ns, adjusted_day, TRADES_MAX, TRADES_TOTAL_MAX)
    ]
    return sorted([*bars, *converted], key=lambda one: (one.symbol, one.seq))


def history_bars(
    bars: Iterable[Bar], records: Sequence[Record], ts_ns: int, adjusted_day: int, count: int
) -> list[HistoryBar]:
    """Return the last `count` bars of each symbol, sorted by symbol and time, for the time slice at `ts_ns`; fewer of
    very many symbols (`TOTAL_MAX`).

    `bars` are those before the time slice, oldest first. The corporate actions among `records` that take effect up to
    `adjusted_day` (yyyymmdd) are applied. A split converts the bars before it. A symbol change moves the bars to the
    new symbol, unless that one traded before. Bars of a company that no longer trades under its symbol are left out.
    """
    return _history(bars, records, ts_ns, adjusted_day, count, TOTAL_MAX)


def _history(
    bars: Iterable[Bar], records: Sequence[Record], ts_ns: int, adjusted_day: int, count: int, total: int
) -> list[HistoryBar]:
    by_symbol: dict[str, list[Bar]] = {}
    for bar in bars:
        by_symbol.setdefault(bar.symbol, []).append(bar)
    for action in _effective_actions(records, adjusted_day):
        _apply(action, by_symbol)
    count = bars_per_symbol(count, len(by_symbol), total)
    return [
        _history_bar(bar, symbol, seq, ts_ns, adjusted_day)
        for symbol, symbol_bars in sorted(by_symbol.items())
        for seq, bar in enumerate(symbol_bars[-count:], start=1)
    ]


def _effective_actions(records: Sequence[Record], day: int) -> list[CorporateAction]:
    """Return the valid actions with effect up to a day, oldest first; those without a date last."""
    actions = [
        part
        for record in records
        if isinstance(record, CorporateAction) and is_valid_action(record)
        for part in split_merger(record)
        if isinstance(part, CorporateAction) and part.ex_date <= day
    ]
    return sorted(actions, key=lambda action: action.ex_date or day)


def _apply(action: CorporateAction, by_symbol: dict[str, list[Bar]]) -> None:
    bars = by_symbol.get(action.symbol, [])
    before = [bar for bar in bars if _is_before(bar, action)]
    after = bars[len(before) :]
    if not before:
        return
    ratio = share_ratio(action)
    if action.kind in (SYMBOL_CHANGE, DELISTING):
        by_symbol[action.symbol] = after
        new_bars = by_symbol.get(action.new_symbol, [])
        if action.kind == SYMBOL_CHANGE and not any(_is_before(bar, action) for bar in new_bars):
            by_symbol[action.new_symbol] = [*before, *new_bars]
    elif ratio != ONE:
        volume_factor = float(exact_ratio(ratio))
        by_symbol[action.symbol] = [
            bar._replace(
                open=split_price(bar.open, ratio),
                high=split_price(bar.high, ratio),
                low=split_price(bar.low, ratio),
                close=split_price(bar.close, ratio),
                volume=bar.volume * volume_factor,
            )
            for bar in before
        ] + after


def _is_before(bar: Bar, action: CorporateAction) -> bool:
    return bar.trading_day < action.ex_date if action.ex_date else bar.ts_ns <= action.ts_ns


def _history_bar(bar: Bar, symbol: str, seq: int, ts_ns: int, adjusted_day: int) -> HistoryBar:
    return HistoryBar(
        symbol=symbol,
        seq=seq,
        ts_ns=ts_ns,
        open_ns=bar.open_ns,
        end_ns=bar.ts_ns,
        open=bar.open,
        high=bar.high,
        low=bar.low,
        close=bar.close,
        volume=bar.volume,
        session=bar.session,
        trading_day=bar.trading_day,
        traded=bar.traded,
        adjusted_day=adjusted_day,
    )
