"""The result tables of a platform, from PostgreSQL: the same columns and rows as those of a backtest."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

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
from sinks.archive.table_archive import TableArchive
from sinks.archived_partitions import archived_bars, list_archived
from sinks.queries import first_bar_ns, stream_records, symbol_bars
from sinks.record_tables import RECORD_TABLES

R = TypeVar("R", bound=tuple[Any, ...])


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
    archive: TableArchive | None = None,
) -> Frame:
    """Return one of the result tables (`dataflows/research/frames.py`) in the transaction of `db`.

    The whole history is read, because a row needs earlier records: an order its terms, a lot its entry, a drawdown its
    peak. Of the bars, only those of closed lots are read, also from `archive`. Raises Unavailable if it is damaged.
    """
    frames = RunFrames((name,), initial_equity, instruments)
    if name == EQUITY:
        frames.add_all(_archived_records(db, archive, Valuation))
        frames.add_all(stream_records(db, Valuation))
    else:
        frames.add_all(_order_records(db, archive))
    if name == TRADES:
        frames.add_all(stream_records(db, LotMatch))
        frames.add_all(_bars_of_lots(db, archive))
    frame = frames.frame(name)
    index = frame.columns.index(time_column(name))
    return frame._replace(rows=[row for row in frame.rows if period.contains(row[index])])


def _order_records(db: Connection, archive: TableArchive | None) -> Iterator[Record]:
    """Yield proposals and commands, then splits, executions, refusals and orders in order of time.

    Within a time slice, this is the order of the run: a split comes first, and risk decides last.
    """
    yield from stream_records(db, OrderProposal)
    yield from (one for one in stream_records(db, Command) if one.kind in (SUBMIT_ORDER, AMEND_ORDER, CANCEL_ORDER))
    later: tuple[type[Any], ...] = (Execution, OrderRefusal, Order)
    streams: list[Iterable[Any]] = [_effective_splits(db, archive), *(stream_records(db, kind) for kind in later)]
    yield from heapq.merge(*streams, key=lambda record: record.ts_ns)


def _effective_splits(db: Connection, archive: TableArchive | None) -> list[CorporateAction]:
    """Return the splits with the time at which they took effect, which the portfolio records.

    A split before release 0.3.0 has no such record if the symbol had no position. It then takes effect with the first
    bar on or after its ex-date.
    """
    effect_ns = {
        flow.cause_id.removesuffix(FIRST_PART): flow.ts_ns
        for flow in stream_records(db, CashFlow)
        if flow.kind in (SPLIT, STOCK_DIVIDEND)
    }
    splits, archived = [], archived_bars(db, archive)
    for action in list(stream_records(db, CorporateAction)):
        if action.kind not in (SPLIT, STOCK_DIVIDEND, STOCK_MERGER):
            continue
        ts_ns = effect_ns.get(action.action_id)
        if ts_ns is None:
            ts_ns = archived.first_ns(action.ts_ns, action.ex_date, action.symbol)
        if ts_ns is None:
            ts_ns = first_bar_ns(db, action.symbol, action.ts_ns, action.ex_date)
        if ts_ns is not None:
            splits.append(action._replace(ts_ns=ts_ns, ex_date=0))
    return sorted(splits, key=lambda action: action.ts_ns)


def _bars_of_lots(db: Connection, archive: TableArchive | None) -> Iterator[Bar]:
    spans: dict[str, tuple[int, int]] = {}
    for match in stream_records(db, LotMatch):
        first, last = spans.get(match.symbol, (match.opened_ns, match.closed_ns))
        spans[match.symbol] = (min(first, match.opened_ns), max(last, match.closed_ns))
    archived = archived_bars(db, archive)
    for symbol, (first_ns, last_ns) in spans.items():
        yield from archived.between(symbol, first_ns, last_ns)
        yield from symbol_bars(db, symbol, first_ns, last_ns)


def _archived_records(db: Connection, archive: TableArchive | None, kind: type[R]) -> Iterator[R]:
    """Yield the records of a type that are no longer in its table."""
    with db.cursor() as cursor:
        partitions = list_archived(cursor, RECORD_TABLES[kind].name)
    for partition in partitions:
        yield from (archive or TableArchive(Path())).records(kind, partition)
