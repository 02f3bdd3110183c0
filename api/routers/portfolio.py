"""Positions, cash, value and performance of the portfolio."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import ConfigDict
from sqlalchemy import Connection, RowMapping, desc, literal, select, true

from api.equity import EquityPoint, equity_points
from api.json_types import Amount, ApiModel, Symbol, nanoseconds, utc
from api.performance import PerformanceReport, performance_report
from api.problems import NotFound
from api.resources import Db, ResourcesDep
from api.routers import PREFIX
from api.strategies import StrategyResult, strategy_results
from sinks.tables import bars, positions, valuations

PORTFOLIO_ID = "default_portfolio"
MAX_TS_NS = 2**63 - 1
POINTS_MAX = 2000

router = APIRouter(prefix=f"{PREFIX}/portfolio", tags=["portfolio"])


class PositionOut(ApiModel):
    """One open position, valued at the last close. Short positions have negative quantity and market value."""

    symbol: str
    quantity: Amount
    avg_price: Amount
    market_value: Amount
    unrealized_pnl: Amount


class PortfolioState(ApiModel):
    """The portfolio at `last_updated`, the event time of the last valuation. total_value = cash + accrued dividends +
    market values.

    `net_flows` are deposits minus withdrawals since inception. `accrued_dividends` are dividends receivable minus
    payable, from the ex-date to the pay date.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "portfolio_id": PORTFOLIO_ID,
                "total_value": 1050000.0,
                "cash_balance": 50000.0,
                "positions": [
                    {
                        "symbol": "AAPL",
                        "quantity": 100,
                        "avg_price": 150.0,
                        "market_value": 15000.0,
                        "unrealized_pnl": 500.0,
                    }
                ],
                "realized_pnl": 1200.0,
                "unrealized_pnl": 500.0,
                "fees": 31.5,
                "gross_exposure": 15000.0,
                "net_exposure": 15000.0,
                "net_flows": 0,
                "accrued_dividends": 0,
                "last_updated": "2024-01-15T10:30:00Z",
            }
        }
    )

    portfolio_id: str
    total_value: Amount
    cash_balance: Amount
    positions: list[PositionOut]
    realized_pnl: Amount
    unrealized_pnl: Amount
    fees: Amount
    gross_exposure: Amount
    net_exposure: Amount
    net_flows: Amount
    accrued_dividends: Amount
    last_updated: str | None  # None before the first valuation


class PositionDetail(PositionOut):
    """One symbol's position, valued at the last close. A closed position has quantity 0."""

    current_price: float | None  # None while no bar of the symbol is stored
    cost_basis: Amount
    realized_pnl: Amount
    fees: Amount
    last_updated: str


@router.get("/state")
def get_state(db: Db, resources: ResourcesDep) -> PortfolioState:
    """Current portfolio state."""
    last = db.execute(select(valuations).order_by(desc(valuations.c.seq)).limit(1)).mappings().first()
    if last is None:
        capital = resources.settings.portfolio_manager.initial_capital
        zero = Decimal(0)
        return PortfolioState(
            portfolio_id=PORTFOLIO_ID,
            total_value=capital,
            cash_balance=capital,
            positions=[],
            realized_pnl=zero,
            unrealized_pnl=zero,
            fees=zero,
            gross_exposure=zero,
            net_exposure=zero,
            net_flows=zero,
            accrued_dividends=zero,
            last_updated=None,
        )
    # Valued at the closes that the valuation used, so that the positions add up to the total.
    rows = _position_rows(db, marked_at=last["ts_ns"])
    return PortfolioState(
        portfolio_id=PORTFOLIO_ID,
        total_value=last["equity"],
        cash_balance=last["cash"],
        positions=[PositionOut(**_position_fields(row)) for row in rows],
        realized_pnl=last["realized_pnl"],
        unrealized_pnl=last["unrealized_pnl"],
        fees=last["fees"],
        gross_exposure=last["gross_exposure"],
        net_exposure=last["net_exposure"],
        net_flows=last["net_flows"],
        accrued_dividends=last["accrued_dividends"],
        last_updated=utc(last["ts_ns"]),
    )


@router.get("/positions")
def get_positions(db: Db, include_closed: bool = False) -> list[PositionDetail]:
    """Open positions, by symbol. With `include_closed`, also the closed ones (quantity 0)."""
    return [_detail(row) for row in _position_rows(db, include_closed=include_closed)]


@router.get("/positions/{symbol}")
def get_position(symbol: str, db: Db) -> PositionDetail:
    """One symbol's position. 404 if the symbol was never traded."""
    rows = _position_rows(db, symbol=symbol, include_closed=True)
    if not rows:
        raise NotFound(f"No position in {symbol}: it was never traded.")
    return _detail(rows[0])


@router.get("/performance")
def get_performance(
    db: Db,
    resources: ResourcesDep,
    benchmark: Annotated[Symbol | None, Query(description="symbol whose daily returns to compare with")] = None,
) -> PerformanceReport:
    """Return, drawdown, ratios, risk figures and closed trades since inception."""
    return performance_report(db, resources.settings, benchmark)


@router.get("/equity")
def get_equity(
    db: Db,
    since: Annotated[datetime | None, Query(description="start of the curve; UTC if it has no time zone")] = None,
    points: Annotated[int, Query(ge=2, le=POINTS_MAX)] = 500,
) -> list[EquityPoint]:
    """The equity curve, oldest first: the last valuation of each of `points` equal intervals of event time."""
    return equity_points(db, 0 if since is None else nanoseconds("since", since), points)


@router.get("/strategies")
def get_strategies(db: Db) -> list[StrategyResult]:
    """Performance by strategy: fills, closed lots, share of the ledger's P&L, weight and signal outcomes."""
    return strategy_results(db)


def _position_rows(
    db: Connection, *, symbol: str | None = None, include_closed: bool = False, marked_at: int = MAX_TS_NS
) -> list[RowMapping]:
    """Return positions with the last bar up to `marked_at` (ns) in the columns price and priced_ns."""
    mark = (
        select(bars.c.close.label("price"), bars.c.ts_ns.label("priced_ns"))
        .where(bars.c.symbol == positions.c.symbol, bars.c.ts_ns <= literal(marked_at))
        .order_by(desc(bars.c.ts_ns))
        .limit(1)
        .lateral("mark")
    )
    query = select(positions, mark).select_from(positions.outerjoin(mark, true())).order_by(positions.c.symbol)
    if symbol is not None:
        query = query.where(positions.c.symbol == symbol)
    if not include_closed:
        query = query.where(positions.c.quantity != 0)
    return list(db.execute(query).mappings())


def _position_fields(row: RowMapping) -> dict[str, Any]:
    """A position without a bar is valued at cost."""
    cost: Decimal = row["cost_basis"]
    market_value = cost if row["price"] is None else row["quantity"] * Decimal(repr(row["price"]))
    return {
        "symbol": row["symbol"],
        "quantity": row["quantity"],
        "avg_price": row["avg_price"],
        "market_value": market_value,
        "unrealized_pnl": market_value - cost,
    }


def _detail(row: RowMapping) -> PositionDetail:
    return PositionDetail(
        **_position_fields(row),
        current_price=row["price"],
        cost_basis=row["cost_basis"],
        realized_pnl=row["realized_pnl"],
        fees=row["fees"],
        last_updated=utc(max(row["ts_ns"], row["priced_ns"] or 0)),
    )
