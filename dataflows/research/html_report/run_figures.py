"""The figures of a report that the metrics do not have: by month, rolling, by group of trades, and by drawdown."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

from operators.performance_metrics import benchmark_metrics, return_metrics
from schemas.records import LONG

ROLLING_WINDOWS = (63, 21)
"""Trading days of a rolling figure: a quarter, or a month in a run with less than two quarters."""
HOLDING_CLASSES = (
    ("under 5 minutes", 300),
    ("5 to 60 minutes", 3_600),
    ("1 to 24 hours", 86_400),
    ("1 to 7 days", 604_800),
    ("1 to 4 weeks", 2_419_200),
    ("over 4 weeks", None),
)
"""Name and upper bound of the classes of holding time, in seconds."""
EXCHANGE_ZONES = {"XNYS": "America/New_York"}
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


class RollingFigures(NamedTuple):
    """Rolling `sharpe`, `volatility` and, with a benchmark, `beta` by day. `window` is in trading days."""

    window: int
    frame: pd.DataFrame


class DrawdownPeriod(NamedTuple):
    """A fall from a peak of the equity until the recovery. `recovered_ns` is None if the run ends below the peak."""

    depth: float
    start_ns: int
    trough_ns: int
    recovered_ns: int | None
    end_ns: int


class ProfitPart(NamedTuple):
    """A part of the profit of a run, in account currency."""

    name: str
    amount: float


def records_of(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a table as dicts by column, with Python numbers and pandas timestamps."""
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


def monthly_returns(returns: pd.Series[float]) -> pd.DataFrame:
    """Return the compounded return of each month, one row per year; the last column is that of the year."""
    growth = 1 + returns
    index = pd.DatetimeIndex(returns.index)
    months = growth.groupby([index.year, index.month]).prod() - 1
    table = months.unstack().reindex(columns=range(1, 13))
    table["year"] = growth.groupby(index.year).prod() - 1
    return table


def benchmark_returns(closes: pd.Series[float]) -> pd.Series[float]:
    """Return the daily returns of closes by day; the first day has none."""
    return closes.pct_change().iloc[1:]


def rolling_figures(
    returns: pd.Series[float], benchmark: pd.Series[float] | None, days_a_year: int
) -> RollingFigures | None:
    """Return the rolling figures of daily returns; None if the run is shorter than two of the smallest windows."""
    window = next((days for days in ROLLING_WINDOWS if len(returns) >= 2 * days), None)
    if window is None:
        return None
    rows = []
    aligned = None if benchmark is None else benchmark.reindex(returns.index)
    for end in range(window, len(returns) + 1):
        part = returns.iloc[end - window : end]
        metrics = return_metrics(part.tolist(), days_a_year)
        beta = None
        if aligned is not None and not (other := aligned.iloc[end - window : end]).isna().any():
            beta = benchmark_metrics(part.tolist(), other.tolist(), days_a_year).beta
        rows.append((metrics.sharpe, metrics.volatility, beta))
    frame = pd.DataFrame(rows, index=returns.index[window - 1 :], columns=["sharpe", "volatility", "beta"], dtype=float)
    return RollingFigures(window, frame)


def drawdown_periods(times_ns: Any, drawdowns: Any) -> list[DrawdownPeriod]:
    """Return the drawdowns of a run, the deepest first. `drawdowns` are fractions of the highest equity so far."""
    times = np.asarray(times_ns, dtype=np.int64)
    depths = np.nan_to_num(np.asarray(drawdowns, dtype=float))
    below = np.concatenate(([False], depths > 0, [False]))
    starts, ends = np.flatnonzero(~below[:-1] & below[1:]), np.flatnonzero(below[:-1] & ~below[1:])
    periods = []
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        trough = start + int(depths[start:end].argmax())
        recovered = int(times[end]) if end < len(times) else None
        periods.append(
            DrawdownPeriod(
                depth=float(depths[trough]),
                start_ns=int(times[max(start - 1, 0)]),
                trough_ns=int(times[trough]),
                recovered_ns=recovered,
                end_ns=int(times[-1]) if recovered is None else recovered,
            )
        )
    return sorted(periods, key=lambda period: -period.depth)


def entry_values(trades: pd.DataFrame, settings: Mapping[str, Any]) -> pd.Series[float]:
    """Return the value of each lot at its entry: quantity, price and multiplier multiplied."""
    factors = trades["symbol"].map(multipliers(settings)).astype(float)
    return trades["quantity"] * trades["entry_price"] * factors


def trade_groups(trades: pd.DataFrame, keys: Any, value: pd.Series[float]) -> pd.DataFrame:
    """Return lots, net P&L, return on the entry value and hit rate of the trades by key, in the order of the keys."""
    net = trades["pnl"] - trades["fees"]
    frame = pd.DataFrame(
        {"key": pd.Series(keys).array, "net": net.to_numpy(), "value": value.to_numpy(), "win": net.to_numpy() > 0}
    )
    grouped = frame.groupby("key", observed=True)
    table = grouped.agg(lots=("net", "size"), net=("net", "sum"), value=("value", "sum"), hit_rate=("win", "mean"))
    table["return"] = table["net"] / table["value"].where(table["value"] > 0)
    return table.drop(columns="value")


def exchange_zone(settings: Mapping[str, Any]) -> ZoneInfo:
    """Return the time zone of the exchange, in which weekday and hour are meant; UTC on a 24/7 market."""
    files = (settings.get("market_data") or {}).get("files") or {}
    return ZoneInfo(EXCHANGE_ZONES.get(files.get("calendar", ""), "UTC"))


def holding_classes(trades: pd.DataFrame) -> pd.Categorical:
    """Return the class of holding time of each trade."""
    seconds = (trades["exit_time"] - trades["entry_time"]).dt.total_seconds()
    bounds = [float("-inf"), *(bound for _, bound in HOLDING_CLASSES if bound is not None), float("inf")]
    labels = [name for name, _ in HOLDING_CLASSES]
    return pd.Categorical(pd.cut(seconds, bounds, right=False, labels=labels), categories=labels, ordered=True)


def profit_parts(trades: pd.DataFrame, summary: Mapping[str, Any]) -> list[ProfitPart]:
    """Return the parts of the profit of a run. They sum to the change of the equity net of deposits and withdrawals."""
    amounts = {name: float(Decimal(str(summary.get(name) or 0))) for name in _MONEY}
    total = amounts["final_equity"] - amounts["initial_equity"] - amounts["net_flows"]
    is_long = trades["side"] == LONG
    parts = [
        ProfitPart("closed long positions, before fees", float(trades.loc[is_long, "pnl"].sum())),
        ProfitPart("closed short positions, before fees", float(trades.loc[~is_long, "pnl"].sum())),
        ProfitPart("open positions", amounts["unrealized_pnl"]),
        ProfitPart("fees", -amounts["fees"]),
    ]
    other = total - sum(part.amount for part in parts)
    if abs(other) >= 0.005:
        parts.append(ProfitPart("dividends, financing, corporate actions and other", other))
    return [*parts, ProfitPart("total", total)]


_MONEY = ("initial_equity", "final_equity", "net_flows", "unrealized_pnl", "fees")


def multipliers(settings: Mapping[str, Any]) -> Callable[[str], float]:
    """Return a function that returns the multiplier of a symbol."""
    listed = (settings.get("instruments") or {}).get("listed") or []
    by_symbol = {one["symbol"]: float(one.get("multiplier") or 1) for one in listed if "symbol" in one}
    return lambda symbol: by_symbol.get(symbol, 1.0)


def traded_values(fills: pd.DataFrame, settings: Mapping[str, Any]) -> pd.Series[float]:
    """Return the value of each fill: quantity, price and multiplier multiplied."""
    factors = fills["symbol"].map(multipliers(settings)).astype(float)
    return fills["quantity"] * fills["price"] * factors


def turnover_by_period(
    fills: pd.DataFrame, equity: pd.DataFrame, settings: Mapping[str, Any]
) -> tuple[str, pd.Series[float]]:
    """Return the period ("month" or "day") and the traded value per period, as a multiple of its mean equity."""
    days = (equity["time"].iloc[-1] - equity["time"].iloc[0]).days if len(equity) else 0
    kind, form = ("month", "%Y-%m") if days > 45 else ("day", "%Y-%m-%d")
    values = traded_values(fills, settings).groupby(fills["time"].dt.strftime(form)).sum()
    means = equity["equity"].groupby(equity["time"].dt.strftime(form)).mean()
    turnover: pd.Series[float] = values.reindex(means.index, fill_value=0.0) / means.where(means > 0)
    return kind, turnover


def entry_reasons(trades: pd.DataFrame, signals: pd.DataFrame | None) -> list[str]:
    """Return why each trade was entered: the tag of its order, or the strategy's last view before the entry."""
    reasons = [
        f"{strategy}: {tag}" if tag else strategy
        for strategy, tag in zip(trades["strategy"], trades["tag"], strict=True)
    ]
    if signals is None or signals.empty or trades.empty:
        return reasons
    columns = ["time", "symbol", "strategy", "direction", "strength", "confidence"]
    columns += ["reason"] if "reason" in signals else []
    left = trades[["entry_time", "symbol", "strategy"]].assign(row=range(len(trades))).sort_values("entry_time")
    views = signals.loc[signals["direction"] != 0, columns].sort_values("time")
    merged = pd.merge_asof(
        left, views, left_on="entry_time", right_on="time", by=["symbol", "strategy"], direction="backward"
    )
    for row in records_of(merged.dropna(subset=["direction"])):
        number = int(row["row"])
        if not trades["tag"].iloc[number]:
            side = "long" if row["direction"] > 0 else "short"
            basis = f" ({row['reason']})" if row.get("reason") else ""
            reasons[number] = f"{row['strategy']}: {side}, strength {row['strength']:.2f}{basis}"
    return reasons
