"""Performance of the portfolio, from its valuations and closed lots. PostgreSQL condenses long histories."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import NamedTuple

from sqlalchemy import Connection, Numeric, case, cast, desc, func, select
from sqlalchemy.dialects.postgresql import distinct_on

from api.flows import Flows, first_valuation_ns, read_flows
from api.json_types import Amount, ApiModel, utc
from api.problems import NotFound
from configs.settings import Settings
from operators.performance import ANNUALIZED_FROM_DAYS, FLOWS_MAX
from operators.performance_metrics import (
    BenchmarkMetrics,
    ClosedLots,
    benchmark_metrics,
    paired_returns,
    return_metrics,
)
from operators.returns import money_weighted_return
from schemas.records import TRADE
from sinks.archived_partitions import archived_before
from sinks.tables import bars, executions, lot_matches, valuations


class PerformanceReport(ApiModel):
    """Performance since inception. Ratios are fractions: a return of 0.05 is 5 %.

    The formulas are those of a backtest (`operators/performance_metrics.py`), on daily returns with a risk-free rate of
    0. A day is a date at the exchange; a year has 252 of them, or 365 on a 24/7 market. The annualized figures
    (`annualized_return`, `volatility`, `sharpe`, `sortino`, `calmar`) are null before `annualized_from_days` days,
    because a few minutes or days say nothing about a year. `days` is the number of days so far. Trades are closed lots,
    net of fees; `expectancy` is the mean profit of one. `exposure` is the share of the time slices with an open
    position, `turnover` the traded value as a multiple of the mean equity. `value_at_risk` is the daily return that 5 %
    of the days fall below, `expected_shortfall` the mean of those. `alpha`, `beta` and `information_ratio` compare with
    the daily returns of the symbol in the parameter `benchmark`, and are null without one. If its bars before a time
    are archived, the comparison begins at this time, `benchmark_from`.

    Deposits and withdrawals (`net_flows`, their sum) are not a return: `total_return`, which is time-weighted, drawdown
    and daily returns are net of flows. `money_weighted_return` is the internal rate of return of the whole period,
    not annualized; it also depends on when the money came. `profit` = final equity - initial equity - net flows.
    """

    initial_equity: Amount
    final_equity: Amount
    net_flows: Amount
    profit: Amount
    total_return: float | None
    money_weighted_return: float | None
    annualized_return: float | None
    realized_pnl: Amount
    unrealized_pnl: Amount
    fees: Amount
    max_drawdown: float
    max_drawdown_start: str | None = None
    max_drawdown_trough: str | None = None
    max_drawdown_recovered: str | None = None
    volatility: float | None
    sharpe: float | None
    sortino: float | None = None
    calmar: float | None = None
    tail_ratio: float | None = None
    value_at_risk: float | None = None
    expected_shortfall: float | None = None
    alpha: float | None = None
    beta: float | None = None
    information_ratio: float | None = None
    benchmark_from: str | None = None
    exposure: float | None = None
    turnover: float | None = None
    days_a_year: int
    days: int
    annualized_from_days: int
    trades: int
    win_rate: float | None
    profit_factor: float | None
    average_win: Amount | None
    average_loss: Amount | None
    expectancy: float | None = None
    first_valuation: str | None
    last_valuation: str | None


def performance_report(db: Connection, settings: Settings, benchmark: str | None = None) -> PerformanceReport:
    """Compute the report. All queries run in the transaction of `db`. Raises NotFound for a benchmark without bars."""
    initial = settings.portfolio_manager.initial_capital
    last = db.execute(select(valuations).order_by(desc(valuations.c.seq)).limit(1)).mappings().first()
    first_ns, flows = first_valuation_ns(db), read_flows(db)
    equity = initial if last is None else last["equity"]
    net_flows = Decimal(0) if last is None else last["net_flows"]
    days_a_year = settings.days_a_year()
    daily = _daily_returns(db, flows, initial, _zone(settings))
    returns = list(daily.values())
    drawdown = _max_drawdown(db, flows, initial)
    enough_days = len(returns) >= ANNUALIZED_FROM_DAYS
    metrics = return_metrics(returns, days_a_year, drawdown.largest)
    archived_ns = None if benchmark is None else archived_before(db, bars)
    relative = _against_benchmark(db, daily, benchmark, days_a_year)
    net_equity = equity if last is None else flows.adjust(last["seq"], equity)
    lots = _closed_lots(db)
    losses = lots.trades - lots.wins
    exposure, mean_equity = _exposure(db)
    return PerformanceReport(
        initial_equity=initial,
        final_equity=equity,
        net_flows=net_flows,
        profit=equity - initial - net_flows,
        total_return=float(net_equity / initial) - 1 if initial else None,
        money_weighted_return=_money_weighted(
            flows, initial, first_ns, equity, None if last is None else last["ts_ns"]
        ),
        annualized_return=metrics.cagr if enough_days else None,
        realized_pnl=Decimal(0) if last is None else last["realized_pnl"],
        unrealized_pnl=Decimal(0) if last is None else last["unrealized_pnl"],
        fees=Decimal(0) if last is None else last["fees"],
        max_drawdown=drawdown.largest,
        max_drawdown_start=_utc_or_none(drawdown.start_ns),
        max_drawdown_trough=_utc_or_none(drawdown.trough_ns),
        max_drawdown_recovered=_utc_or_none(drawdown.recovered_ns),
        volatility=metrics.volatility if enough_days else None,
        sharpe=metrics.sharpe if enough_days else None,
        sortino=metrics.sortino if enough_days else None,
        calmar=metrics.calmar if enough_days else None,
        tail_ratio=metrics.tail_ratio,
        value_at_risk=metrics.value_at_risk,
        expected_shortfall=metrics.expected_shortfall,
        alpha=relative.alpha if enough_days else None,
        beta=relative.beta,
        information_ratio=relative.information_ratio,
        benchmark_from=None if archived_ns is None else utc(archived_ns),
        exposure=exposure,
        turnover=float(_traded_value(db, settings)) / mean_equity if mean_equity > 0 else None,
        days_a_year=days_a_year,
        days=len(returns),
        annualized_from_days=ANNUALIZED_FROM_DAYS,
        trades=lots.trades,
        win_rate=lots.win_rate,
        profit_factor=lots.profit_factor,
        average_win=lots.profit / lots.wins if lots.wins else None,
        average_loss=-lots.loss / losses if losses else None,
        expectancy=lots.expectancy,
        first_valuation=_utc_or_none(first_ns),
        last_valuation=None if last is None else utc(last["ts_ns"]),
    )


def _utc_or_none(ts_ns: int | None) -> str | None:
    return utc(ts_ns) if ts_ns else None


def _zone(settings: Settings) -> str:
    """Return the time zone of the days."""
    is_continuous = settings.is_continuous_market() or settings.market_data.files.calendar != "XNYS"
    return "UTC" if is_continuous else "America/New_York"


def _money_weighted(
    flows: Flows, initial: Decimal, first_ns: int | None, equity: Decimal, last_ns: int | None
) -> float | None:
    if first_ns is None or last_ns is None or len(flows.dated) > FLOWS_MAX:
        return None
    return money_weighted_return(float(initial), first_ns, flows.dated, float(equity), last_ns)


def _daily_returns(db: Connection, flows: Flows, initial: Decimal, zone: str) -> dict[int, float]:
    """Return the return of each day by its date as yyyymmdd. There is none after a day with an equity of 0 or below."""
    curve = flows.net_equity()
    day = func.date(func.timezone(zone, curve.c.ts))
    query = select(day.label("day"), curve.c.equity).ext(distinct_on(day))
    last_of_day = query.order_by(day, desc(curve.c.seq)).subquery()
    returns: dict[int, float] = {}
    before = initial
    for date, equity in db.execute(select(last_of_day.c.day, last_of_day.c.equity).order_by(last_of_day.c.day)):
        if before > 0:
            returns[date.year * 10_000 + date.month * 100 + date.day] = float(equity / before) - 1
        before = equity
    return returns


def _against_benchmark(
    db: Connection, daily: Mapping[int, float], symbol: str | None, days_a_year: int
) -> BenchmarkMetrics:
    """Compare the days on which both have a return. The benchmark's first day has none. Raises NotFound."""
    if symbol is None:
        return BenchmarkMetrics(None, None, None)
    query = select(bars.c.trading_day, bars.c.close).ext(distinct_on(bars.c.trading_day))
    query = query.where(bars.c.symbol == symbol, bars.c.traded)
    closes = {row.trading_day: row.close for row in db.execute(query.order_by(bars.c.trading_day, desc(bars.c.ts_ns)))}
    if not closes:
        raise NotFound(f"No bars of the benchmark {symbol}.")
    return benchmark_metrics(*paired_returns(daily, closes), days_a_year)


class Drawdown(NamedTuple):
    """The largest fall from a peak, as a fraction of it, and its times; 0 for a time that does not exist."""

    largest: float = 0.0
    start_ns: int = 0
    trough_ns: int = 0
    recovered_ns: int = 0


def _max_drawdown(db: Connection, flows: Flows, initial: Decimal) -> Drawdown:
    """Return the largest drawdown of equity net of flows. The first peak is the initial capital."""
    net = flows.net_equity()
    peak = func.greatest(initial, func.max(net.c.equity).over(order_by=net.c.seq))
    curve = select(net.c.seq, net.c.ts_ns, net.c.equity, peak.label("peak")).subquery()
    fall = 1 - curve.c.equity / func.nullif(curve.c.peak, 0)
    deepest = select(curve.c.seq, curve.c.ts_ns, curve.c.peak, fall.label("fall")).where(fall > 0)
    row = db.execute(deepest.order_by(desc(fall), curve.c.seq).limit(1)).first()
    if row is None:
        return Drawdown()
    at_peak = select(func.max(net.c.ts_ns)).where(net.c.seq < row.seq, net.c.equity == row.peak)
    recovered = select(func.min(net.c.ts_ns)).where(net.c.seq > row.seq, net.c.equity >= row.peak)
    start_ns = db.execute(at_peak).scalar() or db.execute(select(func.min(net.c.ts_ns))).scalar_one()
    return Drawdown(float(row.fall), start_ns, row.ts_ns, db.execute(recovered).scalar() or 0)


def _exposure(db: Connection) -> tuple[float | None, float]:
    """Return the share of the valuations with an open position, and the mean equity."""
    is_open = case((valuations.c.open_positions > 0, 1), else_=0)
    share, mean_equity = db.execute(select(func.avg(is_open), func.avg(valuations.c.equity))).one()
    return None if share is None else float(share), float(mean_equity or 0)


def _traded_value(db: Connection, settings: Settings) -> Decimal:
    multipliers = {one.symbol: one.multiplier for one in settings.instruments.listed}
    value = func.sum(executions.c.quantity * executions.c.price)
    query = select(executions.c.symbol, value).where(executions.c.exec_type == TRADE).group_by(executions.c.symbol)
    return sum((traded * multipliers.get(symbol, 1) for symbol, traded in db.execute(query)), Decimal(0))


def _closed_lots(db: Connection) -> ClosedLots:
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
    return ClosedLots(row[0], row[1], Decimal(row[2]), Decimal(row[3]))
