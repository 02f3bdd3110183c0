"""What each strategy came to: its orders, its share of the ledger's P&L, its weight and how its signals turned out."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from pydantic import Field
from sqlalchemy import Connection, Numeric, RowMapping, case, cast, desc, func, select

from api.json_types import Amount, ApiModel, utc
from operators.manual_orders import MANUAL
from schemas.records import TRADE
from sinks.tables import attribution, executions, lot_matches, order_proposals, signal_outcomes, weights


class StrategyShare(ApiModel):
    """One strategy's share of the ledger's P&L since the beginning. `total_pnl` = realized + unrealized - fees + cash
    flows (dividends, interest, borrow fees).
    """

    strategy: str
    realized_pnl: Amount
    unrealized_pnl: Amount
    fees: Amount
    cash_flows: Amount
    total_pnl: Amount
    trades: int


class DatedStrategyShare(StrategyShare):
    """The same, with the event time of the rows that it is from: those of one time sum to the ledger."""

    last_updated: str


class StrategyResult(ApiModel):
    """One strategy in one row; "manual" is what was traded by hand, "account" interest on the whole account, and orders
    that several strategies share are a row "a+b" without the rest.

    `fills` to `fees` are of its orders; `traded_notional` is quantity times price of its fills. `closed_lots` to
    `realized_pnl` are those lots that its orders closed, whoever opened them, net of fees: of two strategies in one
    symbol the one that sells gets the result, and what a strategy holds open is not in it. `attribution` is what it
    earned, open holdings with it. `outcomes` are its signals whose time has passed.
    """

    strategy: str
    fills: int
    traded_notional: Amount
    fees: Amount
    closed_lots: int
    won: int
    realized_pnl: Amount
    attribution: DatedStrategyShare | None = Field(
        description="its share of the ledger's P&L; null before the first one"
    )
    weight: float | None = Field(description="how much the ensemble listens to it, in [0, 1]; null where not weighed")
    outcomes: int = Field(description="signals judged so far")
    hits: int = Field(description="of them, those after which the price went their way")
    hit_rate: float | None = Field(description="hits per signal after which the price moved; null where none did")
    mean_gained: float | None = Field(description="mean price change in the signals' direction, as a fraction")


def latest_shares(db: Connection) -> list[DatedStrategyShare]:
    """The rows of the last attribution, by strategy; none before the first."""
    last = select(func.max(attribution.c.ts_ns)).scalar_subquery()
    rows = db.execute(select(attribution).where(attribution.c.ts_ns == last).order_by(attribution.c.strategy))
    return [_share(row) for row in rows.mappings()]


def strategy_results(db: Connection) -> list[StrategyResult]:
    """By name, whoever traded, holds a share, is weighed or gave a signal that was judged.

    All from the transaction of `db`; one pass over each of executions, closed lots and outcomes.
    """
    fills, closed_lots, outcomes = (
        _by_strategy(db, query) for query in (_fills_query(), _closed_lots_query(), _outcomes_query())
    )
    shares = {share.strategy: share for share in latest_shares(db)}
    newest = select(weights.c.weights).order_by(desc(weights.c.seq)).limit(1)
    weight_by_strategy: dict[str, float] = db.execute(newest).scalar() or {}
    defaults: dict[str, Any] = {
        **dict.fromkeys(("fills", "closed_lots", "won", "outcomes", "hits"), 0),
        **dict.fromkeys(("traded_notional", "fees", "realized_pnl"), Decimal(0)),
        **dict.fromkeys(("hit_rate", "mean_gained")),
    }
    return [
        StrategyResult(
            **defaults | fills.get(name, {}) | closed_lots.get(name, {}) | outcomes.get(name, {}) | {"strategy": name},
            attribution=shares.get(name),
            weight=weight_by_strategy.get(name),
        )
        for name in sorted({*fills, *closed_lots, *outcomes, *shares, *weight_by_strategy})
    ]


def _share(row: RowMapping) -> DatedStrategyShare:
    names = ("strategy", "realized_pnl", "unrealized_pnl", "fees", "cash_flows", "trades")
    total = row["realized_pnl"] + row["unrealized_pnl"] - row["fees"] + row["cash_flows"]
    return DatedStrategyShare(**{name: row[name] for name in names}, total_pnl=total, last_updated=utc(row["ts_ns"]))


def _by_strategy(db: Connection, query: Any) -> dict[str, dict[str, Any]]:
    return {row["strategy"]: dict(row) for row in db.execute(query).mappings()}


_STRATEGY = func.coalesce(order_proposals.c.strategy, MANUAL).label("strategy")
_PROPOSAL_JOIN = order_proposals.c.proposal_id == executions.c.cause_id


def _fills_query() -> Any:
    return (
        select(
            _STRATEGY,
            func.count().label("fills"),
            func.sum(executions.c.quantity * executions.c.price).label("traded_notional"),
            func.sum(executions.c.fee).label("fees"),
        )
        .select_from(executions.outerjoin(order_proposals, _PROPOSAL_JOIN))
        .where(executions.c.exec_type == TRADE)
        .group_by(_STRATEGY)
    )


def _closed_lots_query() -> Any:
    net = lot_matches.c.pnl - lot_matches.c.fees
    closing = lot_matches.join(executions, executions.c.execution_id == lot_matches.c.close_execution_id)
    return (
        select(
            _STRATEGY,
            func.count().label("closed_lots"),
            _count_where(net > 0).label("won"),
            func.sum(cast(net, Numeric)).label("realized_pnl"),
        )
        .select_from(closing.outerjoin(order_proposals, _PROPOSAL_JOIN))
        .group_by(_STRATEGY)
    )


def _outcomes_query() -> Any:
    gained = signal_outcomes.c.gained
    hits, moved = _count_where(gained > 0), _count_where(gained != 0)
    return select(
        signal_outcomes.c.strategy,
        func.count().label("outcomes"),
        hits.label("hits"),
        (cast(hits, Numeric) / func.nullif(moved, 0)).label("hit_rate"),
        func.avg(gained).label("mean_gained"),
    ).group_by(signal_outcomes.c.strategy)


def _count_where(condition: Any) -> Any:
    return func.sum(case((condition, 1), else_=0))
