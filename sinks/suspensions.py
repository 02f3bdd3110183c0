"""Read which strategies are suspended from the table of suspension records."""

from __future__ import annotations

from sqlalchemy import Connection, desc, select
from sqlalchemy.dialects.postgresql import distinct_on

from operators.signals.suspensions import suspension_of
from schemas.records import RESUMED, SUSPENDED, StrategyAction, StrategySuspension
from sinks.record_tables import record_of
from sinks.tables import strategy_actions, strategy_suspensions


def suspended_strategies(db: Connection, until_ns: int | None = None) -> list[StrategySuspension]:
    """Return the first failure of each strategy that is suspended, by name; with `until_ns`, as of that event time.

    A resume has one record for each failure that it ends, so the last record of each symbol decides. A trading strategy
    is suspended by its own action.
    """
    table = strategy_suspensions
    query = (
        select(table)
        .ext(distinct_on(table.c.strategy, table.c.symbol))
        .order_by(table.c.strategy, table.c.symbol, desc(table.c.seq))
    )
    if until_ns is not None:
        query = query.where(table.c.ts_ns <= until_ns)
    first: dict[str, StrategySuspension] = {}
    for row in db.execute(query).mappings():
        record = record_of(StrategySuspension, row)
        if record.state == SUSPENDED and (record.strategy not in first or record.ts_ns < first[record.strategy].ts_ns):
            first[record.strategy] = record
    for action in _last_actions(db, until_ns):
        if action.kind == SUSPENDED:
            first[action.strategy] = suspension_of(action)
    return [first[strategy] for strategy in sorted(first)]


def _last_actions(db: Connection, until_ns: int | None) -> list[StrategyAction]:
    """Return the last suspension or resume of each trading strategy."""
    table = strategy_actions
    query = (
        select(table)
        .ext(distinct_on(table.c.strategy))
        .where(table.c.kind.in_((SUSPENDED, RESUMED)))
        .order_by(table.c.strategy, desc(table.c.seq))
    )
    if until_ns is not None:
        query = query.where(table.c.ts_ns <= until_ns)
    return [record_of(StrategyAction, row) for row in db.execute(query).mappings()]
