"""Results by strategy: fills, closed lots, share of the ledger's P&L, weight and signal outcomes."""

from __future__ import annotations

import re
from collections.abc import Collection
from decimal import Decimal
from typing import Any

from pydantic import Field
from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Connection,
    Numeric,
    RowMapping,
    Text,
    any_,
    case,
    cast,
    desc,
    exists,
    func,
    literal,
    or_,
    select,
)

from api.json_types import Amount, ApiModel, utc
from operators.manual_orders import ACTION_STRATEGY_PATTERN, MANUAL, ORDER_STRATEGY_PATTERN
from schemas.records import TRADE
from sinks.tables import attribution, executions, lot_matches, order_proposals, orders, signal_outcomes, weights


class StrategyShare(ApiModel):
    """One strategy's share of the ledger's P&L since inception. `total_pnl` = realized + unrealized - fees + cash
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
    """A share with the event time of its attribution. The shares of one attribution sum to the ledger."""

    last_updated: str


class StrategyResult(ApiModel):
    """The results of one strategy. "manual" is the row of manual orders and "account" that of interest on the whole
    account. Orders that several strategies share have a row "a+b", which holds only the fields of fills and lots.

    `fills`, `traded_notional` (quantity times price) and `fees` belong to the strategy's orders. `closed_lots`, `won`
    and `realized_pnl` (net of fees) belong to the lots that its orders opened, whichever order closed them; open
    positions are not included. `attribution` is the strategy's share of the P&L, including open positions. `outcomes`
    are its signals whose horizon has passed.
    """

    strategy: str
    fills: int
    traded_notional: Amount
    fees: Amount
    closed_lots: int
    won: int
    realized_pnl: Amount
    attribution: DatedStrategyShare | None = Field(
        description="share of the ledger's P&L; null before the first attribution"
    )
    weight: float | None = Field(description="weight in the ensemble, in [0, 1]; null if the strategy has no weight")
    outcomes: int = Field(description="signals whose horizon has passed")
    hits: int = Field(description="outcomes above 0, net of costs and of the market's move")
    hit_rate: float | None = Field(description="hits divided by the outcomes other than 0, net; null if there are none")
    mean_gained: float | None = Field(description="mean price change in the signal's direction, as a fraction")
    mean_net: float | None = Field(description="mean of the same, less the market's move and the costs of a round trip")


def latest_shares(db: Connection) -> list[DatedStrategyShare]:
    """Return the shares of the last attribution, by strategy; empty before the first attribution."""
    last = select(func.max(attribution.c.ts_ns)).scalar_subquery()
    rows = db.execute(select(attribution).where(attribution.c.ts_ns == last).order_by(attribution.c.strategy))
    return [_share(row) for row in rows.mappings()]


def strategy_results(db: Connection) -> list[StrategyResult]:
    """Return one row for each strategy with fills, closed lots, outcomes, a share or a weight, by name.

    All queries run in the transaction of `db`, with one pass over each of executions, closed lots and outcomes.
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
        **dict.fromkeys(("hit_rate", "mean_gained", "mean_net")),
    }
    return [
        StrategyResult(
            **defaults | fills.get(name, {}) | closed_lots.get(name, {}) | outcomes.get(name, {}) | {"strategy": name},
            attribution=shares.get(name),
            weight=weight_by_strategy.get(name),
        )
        for name in sorted({*fills, *closed_lots, *outcomes, *shares, *weight_by_strategy})
    ]


def is_order_of(strategy: str) -> ColumnElement[bool]:
    """Return the condition on `orders` that a strategy is behind an order, by its action or by its view or target."""
    own = func.substring(orders.c.order_id, ORDER_STRATEGY_PATTERN) == strategy
    proposed = order_proposals.c.proposal_id == orders.c.cause_id
    names = func.string_to_array(order_proposals.c.strategy, "+", type_=ARRAY(Text))  # "a+b" for two strategies
    return or_(own, exists().where(proposed, literal(strategy) == any_(names)))


def strategies_of(db: Connection, cause_ids: Collection[str]) -> dict[str, str]:
    """Return the strategy behind each order of a strategy, by the cause of the order: "a+b" for several."""
    query = select(order_proposals.c.proposal_id, order_proposals.c.strategy).where(
        order_proposals.c.proposal_id.in_(cause_ids)
    )
    strategy_by_proposal: dict[str, str] = {row.proposal_id: row.strategy for row in db.execute(query)}
    for cause_id in cause_ids:
        if (own := re.match(ACTION_STRATEGY_PATTERN, cause_id)) is not None:
            strategy_by_proposal[cause_id] = own[1]
    return strategy_by_proposal


def _share(row: RowMapping) -> DatedStrategyShare:
    names = ("strategy", "realized_pnl", "unrealized_pnl", "fees", "cash_flows", "trades")
    total = row["realized_pnl"] + row["unrealized_pnl"] - row["fees"] + row["cash_flows"]
    return DatedStrategyShare(**{name: row[name] for name in names}, total_pnl=total, last_updated=utc(row["ts_ns"]))


def _by_strategy(db: Connection, query: Any) -> dict[str, dict[str, Any]]:
    return {row["strategy"]: dict(row) for row in db.execute(query).mappings()}


_STRATEGY = func.coalesce(
    order_proposals.c.strategy, func.substring(executions.c.order_id, ORDER_STRATEGY_PATTERN), MANUAL
).label("strategy")
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
    opening = lot_matches.outerjoin(executions, executions.c.execution_id == lot_matches.c.open_execution_id)
    opener = func.coalesce(func.nullif(lot_matches.c.strategy, ""), _STRATEGY.element).label("strategy")
    return (
        select(
            opener,
            func.count().label("closed_lots"),
            _count_where(net > 0).label("won"),
            func.sum(cast(net, Numeric)).label("realized_pnl"),
        )
        .select_from(opening.outerjoin(order_proposals, _PROPOSAL_JOIN))
        .group_by(opener)
    )


def _outcomes_query() -> Any:
    columns = signal_outcomes.c
    gained, net = columns.gained, columns.gained - columns.direction * columns.market_return - columns.cost
    hits, moved = _count_where(net > 0), _count_where(net != 0)
    return select(
        signal_outcomes.c.strategy,
        func.count().label("outcomes"),
        hits.label("hits"),
        (cast(hits, Numeric) / func.nullif(moved, 0)).label("hit_rate"),
        func.avg(gained).label("mean_gained"),
        func.avg(net).label("mean_net"),
    ).group_by(signal_outcomes.c.strategy)


def _count_where(condition: Any) -> Any:
    return func.sum(case((condition, 1), else_=0))
