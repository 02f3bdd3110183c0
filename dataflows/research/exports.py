"""The result tables of a platform, from PostgreSQL: the same columns and rows as those of a backtest."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any, NamedTuple

from psycopg2.extensions import connection as Connection  # noqa: N812  (a class, whatever its name says)

from dataflows.research.frames import EQUITY, TRADES, Frame, FrameName, RunFrames, time_column
from operators.instruments import NO_INSTRUMENTS, Instruments
from operators.reference_data import FIRST_PART
from schemas.records import (
    AMEND_ORDER,
    CANCEL_ORDER,
    SPLIT,
    STOCK_DIVIDEND,
    STOCK_MERGER,
    SUBMIT_ORDER,
    Bar,
    CashFlow,
    Command,
    CorporateAction,
    Execution,
    LotMatch,
    Order,
    OrderProposal,
    OrderRefusal,
    Record,
    Valuation,
)
from sinks.queries import first_bar_ns, stream_records, symbol_bars


class ExportPeriod(NamedTuple):
    """Rows whose time is in [start, end); None leaves an end open. Of trades, the time is that of the exit."""

    start_ns: int | None = None
    end_ns: int | None = None

    def contains(self, ts_ns: int) -> bool:
        return (self.start_ns is None or ts_ns >= self.start_ns) and (self.end_ns is None or ts_ns < self.end_ns)


def export_frame(
    db: Connection,
    name: FrameName,
    initial_equity: Decimal,
    period: ExportPeriod,
    instruments: Instruments = NO_INSTRUMENTS,
) -> Frame:
    """Return one of the result tables (`dataflows/research/frames.py`) in the transaction of `db`.

    The whole history is read, because a row needs earlier records: an order its terms, a lot its entry, a drawdown its
    peak. Of the bars, only those of closed lots are read.
    """
    frames = RunFrames((name,), initial_equity, instruments)
    if name == EQUITY:
        frames.add_all(stream_records(db, Valuation))
    else:
        frames.add_all(_order_records(db))
    if name == TRADES:
        frames.add_all(stream_records(db, LotMatch))
        frames.add_all(_bars_of_lots(db))
    frame = frames.frame(name)
    index = frame.columns.index(time_column(name))
    return frame._replace(rows=[row for row in frame.rows if period.contains(row[index])])


def _order_records(db: Connection) -> Iterator[Record]:
    """Yield proposals and commands, then splits, executions, refusals and orders in order of time.

    Within a time slice, this is the order of the run: a split comes first, and risk decides last.
    """
    yield from stream_records(db, OrderProposal)
    yield from (one for one in stream_records(db, Command) if one.kind in (SUBMIT_ORDER, AMEND_ORDER, CANCEL_ORDER))
    later: tuple[type[Any], ...] = (Execution, OrderRefusal, Order)
    streams: list[Iterable[Any]] = [_effective_splits(db), *(stream_records(db, kind) for kind in later)]
    yield from heapq.merge(*streams, key=lambda record: record.ts_ns)


def _effective_splits(db: Connection) -> list[CorporateAction]:
    """Return the splits with the time at which they took effect, which the portfolio records.

    A split before release 0.3.0 has no such record if the symbol had no position. It then takes effect with the first
    bar on or after its ex-date.
    """
    effect_ns = {
        flow.cause_id.removesuffix(FIRST_PART): flow.ts_ns
        for flow in stream_records(db, CashFlow)
        if flow.kind in (SPLIT, STOCK_DIVIDEND)
    }
    splits = []
    for action in list(stream_records(db, CorporateAction)):
        if action.kind not in (SPLIT, STOCK_DIVIDEND, STOCK_MERGER):
            continue
        ts_ns = effect_ns.get(action.action_id)
        if ts_ns is None:
            ts_ns = first_bar_ns(db, action.symbol, action.ts_ns, action.ex_date)
        if ts_ns is not None:
            splits.append(action._replace(ts_ns=ts_ns, ex_date=0))
    return sorted(splits, key=lambda action: action.ts_ns)


def _bars_of_lots(db: Connection) -> Iterator[Bar]:
    spans: dict[str, tuple[int, int]] = {}
    for match in stream_records(db, LotMatch):
        first, last = spans.get(match.symbol, (match.opened_ns, match.closed_ns))
        spans[match.symbol] = (min(first, match.opened_ns), max(last, match.closed_ns))
    for symbol, (first_ns, last_ns) in spans.items():
        yield from symbol_bars(db, symbol, first_ns, last_ns)
