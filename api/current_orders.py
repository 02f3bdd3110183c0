"""The present terms of open orders, derived from the tables of orders, reports and corporate actions.

A fill reduces the other orders of its group, the exits of an entry follow its quantity, and a split converts quantities
and prices. None of this changes the row of the approved order (`operators/current_orders.py`). PostgreSQL is slightly
behind, so the result is for display and for forecasts.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import UTC, datetime
from decimal import Decimal
from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, and_, exists, func, or_, select

from operators.current_orders import CurrentOrder, CurrentOrders
from operators.instruments import Instruments
from operators.ledger.events import share_ratio
from operators.money import ZERO
from schemas.records import (
    CANCELED,
    EXPIRED,
    REJECTED,
    REPLACED,
    SPLIT,
    STOCK_DIVIDEND,
    TRADE,
    CorporateAction,
    Execution,
    Order,
)
from sinks.archived_partitions import archived_before
from sinks.record_tables import record_of
from sinks.tables import bars, cash_flows, corporate_actions, executions, orders

_FINAL_EXEC_TYPES = (CANCELED, EXPIRED, REJECTED, REPLACED)


class _Split(NamedTuple):
    """A split that has taken effect in the time slice `ts_ns`."""

    ts_ns: int
    symbol: str
    ratio: Decimal


def open_orders(db: Connection, instruments: Instruments) -> list[tuple[Order, Decimal]]:
    """Return the approved orders without a final report, oldest first, with present terms and remaining quantity."""
    same_order = executions.c.order_id == orders.c.order_id
    is_final: ColumnElement[bool] = or_(
        executions.c.exec_type.in_(_FINAL_EXEC_TYPES),
        and_(executions.c.exec_type == TRADE, executions.c.leaves_quantity == 0),
    )
    query = select(orders).where(~exists().where(same_order, is_final)).order_by(orders.c.seq)
    approved = [record_of(Order, row) for row in db.execute(query).mappings()]
    current = current_orders(db, approved, instruments)
    # An order that the rules end without a report yet has no remaining quantity.
    present = ((order, current.get(order.order_id)) for order in approved)
    return [(order._replace(terms=one.terms), one.remaining) for order, one in present if one is not None]


def current_orders(db: Connection, approved: Collection[Order], instruments: Instruments) -> dict[str, CurrentOrder]:
    """Return those of the orders that are open, by id, as they are now."""
    if not approved:
        return {}
    related = _with_relatives(db, approved)
    symbols = {order.terms.symbol for order in related.values()}
    by_order = executions.c.order_id.in_(related)
    reports = [record_of(Execution, row) for row in db.execute(select(executions).where(by_order)).mappings()]
    book = CurrentOrders()
    for event in _in_order(_splits(db, symbols), reports, related.values()):
        if isinstance(event, _Split):
            book.split(event.symbol, event.ratio, instruments.lot_size_of(event.symbol))
        elif isinstance(event, Execution):
            book.fold_execution(event)
        else:
            replaced = book.get(event.replaces) if event.replaces else None
            filled = ZERO if replaced is None else replaced.filled
            book.add(CurrentOrder(event.order_id, event.cause_id, event.terms, filled, replaces=event.replaces))
    orders_in_book = ((order.order_id, book.get(order.order_id)) for order in approved)
    return {order_id: order for order_id, order in orders_in_book if order is not None}


def _in_order(
    splits: Iterable[_Split], reports: Iterable[Execution], approved: Iterable[Order]
) -> list[_Split | Execution | Order]:
    """Sort as risk processes them: in a time slice first splits, then reports, then its own approvals."""
    keyed: list[tuple[tuple[int, int, int], _Split | Execution | Order]] = [
        *(((one.ts_ns, 0, number), one) for number, one in enumerate(splits)),
        *(((one.ts_ns, 1, one.seq), one) for one in reports),
        *(((one.ts_ns, 2, one.seq), one) for one in approved),
    ]
    return [event for _, event in sorted(keyed, key=lambda pair: pair[0])]


def _with_relatives(db: Connection, approved: Collection[Order]) -> dict[str, Order]:
    """Return the orders and those that can change them: of their groups, their parents, and what they replace."""
    order_by_id = {order.order_id: order for order in approved}
    fresh: Collection[Order] = approved
    while fresh:
        groups = {order.terms.group_id for order in fresh} - {""}
        parents = {order.terms.parent_id for order in fresh} - {""}
        replaced = {order.replaces for order in fresh} - {""}
        conditions = [
            column.in_(values)
            for column, values in (
                (orders.c.group_id, groups),
                (orders.c.cause_id, parents),
                (orders.c.order_id, replaced),
                # The fills of an amended parent or member of a group are those of the orders that replace it.
                (orders.c.replaces, {order.order_id for order in fresh} if groups or parents or replaced else set()),
            )
            if values
        ]
        if not conditions:
            break
        rows = db.execute(select(orders).where(or_(*conditions))).mappings()
        fresh = [order for row in rows if (order := record_of(Order, row)).order_id not in order_by_id]
        order_by_id |= {order.order_id: order for order in fresh}
    return order_by_id


def _splits(db: Connection, symbols: Collection[str]) -> list[_Split]:
    """Return the splits of these symbols that have taken effect.

    The portfolio records the time slice, which is also that of risk: a split that was loaded late takes effect then.
    A split before release 0.3.0 has no such record if the symbol had no position. It then takes effect with the first
    bar on or after its ex-date.
    """
    is_split = corporate_actions.c.kind.in_((SPLIT, STOCK_DIVIDEND))
    query = select(corporate_actions).where(corporate_actions.c.symbol.in_(symbols), is_split)
    actions = [record_of(CorporateAction, row) for row in db.execute(query).mappings()]
    effects = select(cash_flows.c.cause_id, cash_flows.c.ts_ns).where(
        cash_flows.c.cause_id.in_([action.action_id for action in actions]),
        cash_flows.c.kind.in_((SPLIT, STOCK_DIVIDEND)),
    )
    effect_ns: dict[str, int] = {row.cause_id: row.ts_ns for row in db.execute(effects)}
    splits = []
    for action in actions:
        if action.action_id in effect_ns:
            splits.append(_Split(effect_ns[action.action_id], action.symbol, share_ratio(action)))
            continue
        is_due = (bars.c.symbol == action.symbol, bars.c.trading_day >= action.ex_date, bars.c.ts_ns >= action.ts_ns)
        due_ns = db.execute(select(func.min(bars.c.ts_ns)).where(*is_due)).scalar()
        if (from_ns := max(action.ts_ns, _day_start_ns(action.ex_date))) < (archived_before(db, bars) or 0):
            due_ns = from_ns  # the first bar of that day is archived
        if due_ns is not None:
            splits.append(_Split(due_ns, action.symbol, share_ratio(action)))
    return splits


def _day_start_ns(day: int) -> int:
    """Return the start of a day (yyyymmdd) in UTC, 0 for the day 0."""
    if not day:
        return 0
    return int(datetime(day // 10_000, day // 100 % 100, day % 100, tzinfo=UTC).timestamp()) * 10**9
