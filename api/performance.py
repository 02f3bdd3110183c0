"""Performance of the portfolio, from its valuations and closed lots. PostgreSQL condenses long histories."""

from __future__ import annotations

import math
from decimal import Decimal
from itertools import pairwise

from sqlalchemy import Connection, Numeric, case, cast, desc, func, select
from sqlalchemy.dialects.postgresql import distinct_on

from api.json_types import Amount, ApiModel, utc
from configs.settings import Settings
from operators.performance import TRADING_DAYS_A_YEAR, Welford
from sinks.tables import lot_matches, valuations


class PerformanceReport(ApiModel):
    """Performance since inception. Ratios are fractions: a return of 0.05 is 5 %.

    The Sharpe ratio is the mean of the daily returns divided by their standard deviation, times the square root of 252,
    with a risk-free rate of 0, as in a backtest. It is null with fewer than two days or without variation. A day is a
    date at the exchange. Trades are closed lots, net of fees.
    """

    initial_equity: Amount
    final_equity: Amount
    total_return: float | None
    annualized_return: float | None
    realized_pnl: Amount
    unrealized_pnl: Amount
    fees: Amount
    max_drawdown: float
    volatility: float | None
    sharpe: float | None
    trades: int
    win_rate: float | None
    profit_factor: float | None
    average_win: Amount | None
    average_loss: Amount | None
    first_valuation: str | None
    last_valuation: str | None


def performance_report(db: Connection, settings: Settings) -> PerformanceReport:
    """Computes the report. All queries run in the transaction of `db`."""
    initial = settings.portfolio_manager.initial_capital
    last = db.execute(select(valuations).order_by(desc(valuations.c.seq)).limit(1)).mappings().first()
    first_ns = db.execute(select(func.min(valuations.c.ts_ns))).scalar_one()
    equity = initial if last is None else last["equity"]
    zone = "America/New_York" if settings.market_data.files.calendar == "XNYS" else "UTC"
    daily = _daily_returns(db, initial, zone)
    deviation = daily.stdev()
    total_return = float(equity / initial) - 1 if initial else None
    trades, wins, profit_sum, loss_sum = _closed_lots(db)
    losses = trades - wins
    return PerformanceReport(
        initial_equity=initial,
        final_equity=equity,
        total_return=total_return,
        annualized_return=_annualized(total_return, daily.count),
        realized_pnl=Decimal(0) if last is None else last["realized_pnl"],
        unrealized_pnl=Decimal(0) if last is None else last["unrealized_pnl"],
        fees=Decimal(0) if last is None else last["fees"],
        max_drawdown=_max_drawdown(db, initial),
        volatility=None if deviation is None else deviation * math.sqrt(TRADING_DAYS_A_YEAR),
        sharpe=daily.mean / deviation * math.sqrt(TRADING_DAYS_A_YEAR) if deviation else None,
        trades=trades,
        win_rate=wins / trades if trades else None,
        profit_factor=float(profit_sum / loss_sum) if loss_sum else None,
        average_win=profit_sum / wins if wins else None,
        average_loss=-loss_sum / losses if losses else None,
        first_valuation=None if first_ns is None else utc(first_ns),
        last_valuation=None if last is None else utc(last["ts_ns"]),
    )


def _annualized(total_return: float | None, days: int) -> float | None:
    """Returns the compound growth over 252 days; None for less than one day or if the result exceeds a double."""
    if total_return is None or not days or total_return <= -1:
        return None
    power = math.log1p(total_return) * TRADING_DAYS_A_YEAR / days
    return math.expm1(power) if power < 700 else None


def _daily_returns(db: Connection, initial: Decimal, zone: str) -> Welford:
    day = func.date(func.timezone(zone, valuations.c.ts))
    query = select(day.label("day"), valuations.c.equity).ext(distinct_on(day))
    last_of_day = query.order_by(day, desc(valuations.c.seq)).subquery()
    equities = [initial, *db.execute(select(last_of_day.c.equity).order_by(last_of_day.c.day)).scalars()]
    daily = Welford()
    for before, after in pairwise(equities):
        if before:
            daily.add(float(after / before) - 1)
    return daily


def _max_drawdown(db: Connection, initial: Decimal) -> float:
    """Returns the largest fall from a peak of equity, as a fraction of the peak. The first peak is the initial
    capital.
    """
    peak = func.greatest(initial, func.max(valuations.c.equity).over(order_by=valuations.c.seq))
    curve = select(valuations.c.equity, peak.label("peak")).subquery()
    drawdown = func.max(1 - curve.c.equity / func.nullif(curve.c.peak, 0))
    return float(db.execute(select(drawdown)).scalar_one() or 0)


def _closed_lots(db: Connection) -> tuple[int, int, Decimal, Decimal]:
    """Returns (closed lots, closed lots with a profit, sum of profits, sum of losses as a positive number)."""
    net = lot_matches.c.pnl - lot_matches.c.fees
    zero = cast(0, Numeric)
    row = db.execute(
        select(
            func.count(),
            func.count().filter(net > 0),
            func.coalesce(func.sum(case((net > 0, net), else_=zero)), zero),
            func.coalesce(func.sum(case((net <= 0, -net), else_=zero)), zero),
        ).select_from(lot_matches)
    ).one()
    return row[0], row[1], Decimal(row[2]), Decimal(row[3])
