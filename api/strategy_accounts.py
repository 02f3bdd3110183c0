"""Strategies with their sub-accounts, positions and equity curves, from the tables of the strategies service."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Literal

from pydantic import Field
from sqlalchemy import Connection, RowMapping, desc, func, literal, select, true
from sqlalchemy.dialects.postgresql import distinct_on

from api.json_types import Amount, ApiModel, utc
from api.routers.suspensions import SuspendedStrategy, suspension_out
from api.strategies import latest_shares
from operators.manual_orders import MANUAL
from schemas.records import REMOVED, RUNNING, SUSPENDED, StrategyState, StrategySuspension
from sinks.suspensions import suspended_strategies
from sinks.tables import bars, strategy_accounts, strategy_actions, strategy_positions, weights

_ACCOUNT = "account"
"""Row of an attribution that belongs to no strategy: interest on the whole account."""


class LastAction(ApiModel):
    """The last action of a trading strategy."""

    action_id: str
    timestamp: str
    kind: str
    symbol: str


class StrategyOverview(ApiModel):
    """One strategy. A trading strategy (`form` "trading") has a sub-account: equity = capital + realized_pnl +
    unrealized_pnl - fees. A view strategy (`form` "view") has none: its P&L is that of the last attribution, and null
    before.
    """

    strategy: str
    form: Literal["trading", "view"]
    state: StrategyState
    suspension: SuspendedStrategy | None = Field(description="why the strategy is suspended; null if it is not")
    symbols: list[str] = Field(description="universe of a trading strategy; empty for a view strategy")
    capital: Amount | None = Field(description="share of the initial capital, and of deposits minus withdrawals")
    equity: Amount | None
    cash: Amount | None
    realized_pnl: Amount | None = Field(description="gross of fees, with dividends and other income, since inception")
    unrealized_pnl: Amount | None
    fees: Amount | None
    total_pnl: Amount | None = Field(description="realized and unrealized P&L less fees")
    open_positions: int | None
    last_action: LastAction | None
    last_updated: str | None = Field(description="event time of the figures")


class StrategyPositionOut(ApiModel):
    """One symbol of a trading strategy, valued at the last close. A closed position has quantity 0."""

    symbol: str
    in_universe: bool
    quantity: Amount
    avg_price: Amount
    cost_basis: Amount
    market_value: Amount
    unrealized_pnl: Amount
    realized_pnl: Amount
    fees: Amount
    last_updated: str


class StrategyDetail(StrategyOverview):
    """One strategy with the symbols that it holds or has traded."""

    positions: list[StrategyPositionOut]


class StrategyEquityPoint(ApiModel):
    timestamp: str
    equity: Amount
    cash: Amount
    capital: Amount


def strategy_overviews(db: Connection) -> list[StrategyOverview]:
    """Return all strategies that have run, by name."""
    suspended = {one.strategy: one for one in suspended_strategies(db)}
    trading = _trading_overviews(db, suspended)
    views = [one for one in _view_overviews(db, suspended) if one.strategy not in {two.strategy for two in trading}]
    return sorted([*trading, *views], key=lambda one: one.strategy)


def flatten_obstacle(one: StrategyOverview) -> str | None:
    """Return why the positions of a strategy cannot be closed by a command, as a sentence; None if they can."""
    if one.form == "view":
        return f"View strategy {one.strategy} has no sub-account. Close its positions with POST /api/v1/exits."
    if one.state not in (SUSPENDED, REMOVED):
        return f"Strategy {one.strategy} runs and could trade again. Remove it from signals.strategies first."
    return None


def strategy_positions_of(db: Connection, strategy: str) -> list[StrategyPositionOut]:
    """Return the symbols that a trading strategy holds or has traded, by symbol."""
    table = strategy_positions
    last_close = (
        select(bars.c.close).where(bars.c.symbol == table.c.symbol).order_by(desc(bars.c.ts_ns)).limit(1).lateral("bar")
    )
    traded = (table.c.quantity != 0) | (table.c.fees != 0) | (table.c.realized_pnl != 0)
    query = (
        select(table, last_close.c.close)
        .select_from(table.outerjoin(last_close, true()))
        .where(table.c.strategy == strategy, traded)
        .order_by(table.c.symbol)
    )
    return [_position(row) for row in db.execute(query).mappings()]


def strategy_equity(db: Connection, strategy: str, since_ns: int, points: int) -> list[StrategyEquityPoint]:
    """Return at most `points` + 1 points, oldest first, with the last account."""
    table = strategy_accounts
    in_range = (table.c.strategy == strategy) & (table.c.ts_ns >= since_ns)
    first_ns, last_ns = db.execute(select(func.min(table.c.ts_ns), func.max(table.c.ts_ns)).where(in_range)).one()
    if first_ns is None:
        return []
    width_ns = max(1, -(-(last_ns - first_ns) // points))
    # Intervals count back from the last account, so that the last point is exactly that account.
    bucket = (literal(last_ns) - table.c.ts_ns) // width_ns
    query = select(table).ext(distinct_on(bucket)).where(in_range).order_by(desc(bucket), desc(table.c.seq))
    return [
        StrategyEquityPoint(timestamp=utc(row["ts_ns"]), equity=row["equity"], cash=row["cash"], capital=row["capital"])
        for row in db.execute(query).mappings()
    ]


def _trading_overviews(db: Connection, suspended: dict[str, StrategySuspension]) -> list[StrategyOverview]:
    symbols: dict[str, list[str]] = {}
    in_universe = select(strategy_positions.c.strategy, strategy_positions.c.symbol).where(
        strategy_positions.c.in_universe
    )
    for strategy, symbol in db.execute(in_universe.order_by(strategy_positions.c.symbol)):
        symbols.setdefault(strategy, []).append(symbol)
    actions = {row["strategy"]: row for row in _last_rows(db, strategy_actions)}
    return [
        StrategyOverview(
            strategy=row["strategy"],
            form="trading",
            state=row["state"],
            suspension=_suspension_of(row["strategy"], suspended),
            symbols=symbols.get(row["strategy"], []),
            capital=row["capital"],
            equity=row["equity"],
            cash=row["cash"],
            realized_pnl=row["realized_pnl"],
            unrealized_pnl=row["unrealized_pnl"],
            fees=row["fees"],
            total_pnl=row["equity"] - row["capital"],
            open_positions=row["open_positions"],
            last_action=_last_action(actions.get(row["strategy"])),
            last_updated=utc(row["ts_ns"]),
        )
        for row in last_accounts(db)
    ]


def last_accounts(db: Connection) -> list[RowMapping]:
    """Return the last row of `strategy_accounts` of each trading strategy, by name."""
    return _last_rows(db, strategy_accounts)


def _last_rows(db: Connection, table: Any) -> list[RowMapping]:
    """Return the last row of each strategy."""
    query = select(table).ext(distinct_on(table.c.strategy)).order_by(table.c.strategy, desc(table.c.seq))
    return list(db.execute(query).mappings())


def _view_overviews(db: Connection, suspended: dict[str, StrategySuspension]) -> list[StrategyOverview]:
    """Return the strategies with a weight, a share of the P&L or a suspension."""
    shares = {one.strategy: one for one in latest_shares(db)}
    weighted = db.execute(select(weights.c.weights).order_by(desc(weights.c.seq)).limit(1)).scalar() or {}
    out: list[StrategyOverview] = []
    for name in sorted({*shares, *weighted, *suspended} - {MANUAL, _ACCOUNT}):
        share = shares.get(name)
        out.append(
            StrategyOverview(
                strategy=name,
                form="view",
                state=SUSPENDED if name in suspended else RUNNING,
                suspension=_suspension_of(name, suspended),
                symbols=[],
                capital=None,
                equity=None,
                cash=None,
                realized_pnl=None if share is None else share.realized_pnl + share.cash_flows,
                unrealized_pnl=None if share is None else share.unrealized_pnl,
                fees=None if share is None else share.fees,
                total_pnl=None if share is None else share.total_pnl,
                open_positions=None,
                last_action=None,
                last_updated=None if share is None else share.last_updated,
            )
        )
    return out


def _suspension_of(name: str, suspended: dict[str, StrategySuspension]) -> SuspendedStrategy | None:
    return suspension_out(suspended[name]) if name in suspended else None


def _last_action(row: RowMapping | None) -> LastAction | None:
    if row is None:
        return None
    return LastAction(action_id=row["action_id"], timestamp=utc(row["ts_ns"]), kind=row["kind"], symbol=row["symbol"])


def _position(row: RowMapping) -> StrategyPositionOut:
    """Value a position by the ratio of the last close to the average price, which also holds for other currencies."""
    quantity, cost, average, close = row["quantity"], row["cost_basis"], row["avg_price"], row["close"]
    value = cost if not average or close is None else cost * Decimal(str(close)) / average
    names = ("symbol", "in_universe", "quantity", "avg_price", "cost_basis", "realized_pnl", "fees")
    return StrategyPositionOut(
        **{name: row[name] for name in names},
        market_value=value if quantity else Decimal(0),
        unrealized_pnl=value - cost if quantity else Decimal(0),
        last_updated=utc(row["ts_ns"]),
    )
