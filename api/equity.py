"""The equity curve, and what each strategy's orders came to: condensed inside Postgres, whatever the history."""

from __future__ import annotations

from decimal import Decimal

from sqlalchemy import Connection, Numeric, case, cast, desc, func, select
from sqlalchemy.dialects.postgresql import distinct_on

from api.shapes import Amount, Shape, utc
from operators.manual import MANUAL
from schemas.records import TRADE
from sinks.tables import executions, lot_matches, order_proposals, valuations


class EquityPoint(Shape):
    """The last valuation of one stretch of time. Exposures are market values; `equity` = cash + net exposure."""

    timestamp: str
    equity: Amount
    cash: Amount
    gross_exposure: Amount
    net_exposure: Amount


class StrategyResult(Shape):
    """What the orders of one strategy did; "manual" are those by hand.

    `traded_notional` is quantity times price of its fills. `closed_lots` to `realized_pnl` are those lots that its
    orders closed, whoever opened them, net of fees: of two strategies in one symbol the one that sells gets the
    result. What a strategy holds open is not in it.
    """

    strategy: str
    fills: int
    traded_notional: Amount
    fees: Amount
    closed_lots: int
    won: int
    realized_pnl: Amount


def equity_points(db: Connection, since_ns: int, points: int) -> list[EquityPoint]:
    """At most `points` + 1 of them, oldest first, the last valuation always among them."""
    after = valuations.c.ts_ns >= since_ns
    ends = select(func.min(valuations.c.ts_ns), func.max(valuations.c.ts_ns)).where(after)
    first_ns, last_ns = db.execute(ends).one()
    if first_ns is None:
        return []
    width_ns = max(1, -(-(last_ns - first_ns) // points))
    # Counted back from the last one, so that each stretch ends with a valuation of its own.
    stretch = (last_ns - valuations.c.ts_ns) // width_ns
    query = select(valuations).ext(distinct_on(stretch)).where(after).order_by(desc(stretch), desc(valuations.c.seq))
    return [
        EquityPoint(
            timestamp=utc(row["ts_ns"]),
            equity=row["equity"],
            cash=row["cash"],
            gross_exposure=row["gross_exposure"],
            net_exposure=row["net_exposure"],
        )
        for row in db.execute(query).mappings()
    ]


def strategy_results(db: Connection) -> list[StrategyResult]:
    """By name. All from the transaction of `db`; one pass over the executions and one over the closed lots."""
    strategy = func.coalesce(order_proposals.c.strategy, MANUAL).label("strategy")
    proposed = order_proposals.c.proposal_id == executions.c.cause_id
    traded = (
        select(
            strategy,
            func.count().label("fills"),
            func.sum(executions.c.quantity * executions.c.price).label("traded_notional"),
            func.sum(executions.c.fee).label("fees"),
        )
        .select_from(executions.outerjoin(order_proposals, proposed))
        .where(executions.c.exec_type == TRADE)
        .group_by(strategy)
        .order_by(strategy)
    )
    net = lot_matches.c.pnl - lot_matches.c.fees
    closing = lot_matches.join(executions, executions.c.execution_id == lot_matches.c.close_execution_id)
    closed = (
        select(
            strategy,
            func.count().label("closed_lots"),
            func.sum(case((net > 0, 1), else_=0)).label("won"),
            func.sum(cast(net, Numeric)).label("realized_pnl"),
        )
        .select_from(closing.outerjoin(order_proposals, proposed))
        .group_by(strategy)
    )
    nothing = {"closed_lots": 0, "won": 0, "realized_pnl": Decimal(0)}
    ended = {row["strategy"]: dict(row) for row in db.execute(closed).mappings()}
    return [
        StrategyResult.model_validate({**nothing, **ended.get(row["strategy"], {}), **row})
        for row in db.execute(traded).mappings()
    ]
