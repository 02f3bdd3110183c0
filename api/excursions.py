"""Excursions of closed lots, from the stored bars between entry and exit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping, func, select, true
from sqlalchemy.sql.selectable import LateralFromClause

from operators.excursions import BarPrices, Excursion, HoldingPeriod, excursion, is_market_order, is_measurable
from schemas.records import Execution, LotMatch
from sinks.archived_partitions import archived_before
from sinks.record_tables import record_of
from sinks.tables import bars, executions, lot_matches, orders

BARS_MAX = 10_000
"""Bars of one lot. They bound the work of a request: a lot that was open longer has no excursions."""


def excursions_of(db: Connection, matches: Sequence[LotMatch]) -> dict[str, Excursion]:
    """Return the excursions by `match_id`.

    A lot is missing if its symbol was split or renamed while it was open, if its opening execution or the bar of its
    entry is not in the database (bars of old months are archived), or if more than BARS_MAX bars lie between entry and
    exit.
    """
    measurable = {match.match_id: match for match in _measurable(db, matches)}
    excursions = {}
    for row in db.execute(_holding_periods(list(measurable))).mappings():
        if row["bars"] <= BARS_MAX:
            match = measurable[row["match_id"]]
            is_market = row["order_type"] is not None and is_market_order(row["order_type"], row["time_in_force"])
            excursions[match.match_id] = excursion(match, _holding_period(row), is_market=is_market)
    return excursions


def _measurable(db: Connection, matches: Sequence[LotMatch]) -> Iterator[LotMatch]:
    query = select(executions).where(executions.c.execution_id.in_({match.open_execution_id for match in matches}))
    entries = {row["execution_id"]: record_of(Execution, row) for row in db.execute(query).mappings()}
    archived_ns = archived_before(db, bars) or 0
    for match in matches:
        entry = entries.get(match.open_execution_id)
        if entry is not None and match.opened_ns >= archived_ns and is_measurable(match, entry):
            yield match


def _holding_periods(match_ids: Sequence[str]) -> Any:
    """Select the bars of each lot, with the type of its opening order. Each part reads a range of the key of `bars`."""
    entry = _first_bar_after(lot_matches.c.opened_ns, "entry_bar")
    last = _first_bar_after(lot_matches.c.closed_ns, "exit_bar")
    between = (
        select(bars.c.low, bars.c.high)
        .where(
            bars.c.symbol == lot_matches.c.symbol,
            bars.c.ts_ns > entry.c.ts_ns,
            bars.c.ts_ns <= lot_matches.c.closed_ns,
        )
        .order_by(bars.c.ts_ns)
        .limit(BARS_MAX + 1)
        .correlate(lot_matches, entry)
        .lateral("between_bars")
    )
    extremes = select(
        func.min(between.c.low).label("low"), func.max(between.c.high).label("high"), func.count().label("bars")
    ).select_from(between)
    held = extremes.lateral("held")
    source = (
        lot_matches.join(executions, executions.c.execution_id == lot_matches.c.open_execution_id)
        .outerjoin(orders, orders.c.order_id == executions.c.order_id)
        .join(entry, true())
        .outerjoin(last, true())
        .join(held, true())
    )
    return (
        select(
            lot_matches.c.match_id,
            orders.c.order_type,
            orders.c.time_in_force,
            held,
            *(bar.c[name].label(f"{bar.name}_{name}") for bar in (entry, last) for name in BarPrices._fields),
        )
        .select_from(source)
        .where(lot_matches.c.match_id.in_(match_ids))
    )


def _first_bar_after(ts_ns: ColumnElement[int], name: str) -> LateralFromClause:
    """The first bar of the lot's symbol that ends after a time."""
    return (
        select(*(bars.c[field] for field in BarPrices._fields))
        .where(bars.c.symbol == lot_matches.c.symbol, bars.c.ts_ns > ts_ns)
        .order_by(bars.c.ts_ns)
        .limit(1)
        .lateral(name)
    )


def _holding_period(row: RowMapping) -> HoldingPeriod:
    return HoldingPeriod(
        entry=_bar_prices(row, "entry_bar"),
        exit=_bar_prices(row, "exit_bar"),
        low=row["low"],
        high=row["high"],
        bars=row["bars"],
    )


def _bar_prices(row: RowMapping, name: str) -> BarPrices | None:
    values = [row[f"{name}_{field}"] for field in BarPrices._fields]
    return None if values[0] is None else BarPrices(*values)
