"""The sections of a report about equity and returns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa

from dataflows.research.html_report.axes import Floats, scale_of
from dataflows.research.html_report.charts import ChartLevel, ChartLine, bar_table, histogram, line_chart
from dataflows.research.html_report.number_formats import (
    MISSING,
    NumberFormat,
    escaped,
    money,
    one_decimal,
    percent,
    plain_number,
    ratio,
    short_money,
    utc_text,
)
from dataflows.research.html_report.page import paragraph, table
from dataflows.research.html_report.run_figures import (
    benchmark_returns,
    drawdown_periods,
    monthly_returns,
    rolling_figures,
    turnover_by_period,
)
from dataflows.research.market_tables import BENCHMARK
from operators.performance import ANNUALIZED_FROM_DAYS, ANNUALIZED_METRICS
from operators.performance_metrics import DAYS_A_YEAR, TRADING_DAYS_A_YEAR, largest_drawdown, return_metrics
from schemas.records import TRADE

if TYPE_CHECKING:
    from dataflows.research.result import Result

_CARDS: tuple[tuple[str, str, NumberFormat], ...] = (
    ("total_return", "Total return", percent),
    ("cagr", "Return per year", percent),
    ("sharpe", "Sharpe ratio", ratio),
    ("max_drawdown", "Max drawdown", percent),
    ("volatility", "Volatility", percent),
    ("win_rate", "Win rate", percent),
    ("profit_factor", "Profit factor", ratio),
    ("fills", "Fills", plain_number),
)
_COMPARED = (
    *("total_return", "cagr", "volatility", "sharpe", "sortino", "calmar", "max_drawdown"),
    *("value_at_risk", "expected_shortfall", "tail_ratio"),
)
_WORDS = {"cagr": "CAGR", "mae": "MAE", "mfe": "MFE", "pnl": "P&L", "refusals": "rejections by risk"}
_OF_RETURNS = (*_COMPARED, "max_drawdown_days", "alpha", "beta", "information_ratio")
WORST_DRAWDOWNS = 10
_LOG_NOTE = "The logarithmic axis needs an equity above 0."


def metric_label(metric: str, unit: str) -> str:
    """Return the name of a metric with its unit.

    >>> metric_label("cagr", "fraction per year"), metric_label("mae_mean", "fraction of entry price")
    ('CAGR (per year)', 'MAE mean (of entry price)')
    """
    words = [_WORDS.get(word, word) for word in metric.split("_")]
    shown = unit.removeprefix("fraction").removeprefix("ratio").strip()
    name = " ".join([words[0][0].upper() + words[0][1:], *words[1:]])
    return name if shown in ("", "count", "days") else f"{name} ({shown})"


def metric_format(unit: str) -> NumberFormat:
    """Return how a metric of this unit is shown."""
    if unit.startswith("fraction"):
        return percent
    if unit.startswith(("ratio", "multiple")):
        return ratio
    if "currency" in unit:
        return money
    return one_decimal if unit == "days" else plain_number


def summary_section(result: Result, benchmark: pd.Series[float] | None) -> str:
    """Return the main figures, then all metrics: those of returns beside those of the benchmark, then all others."""
    cards = "".join(
        f'<div class="card">{label}<b>{escaped(number_format(result.metrics.get(name)))}</b></div>'
        for name, label, number_format in _CARDS
    )
    name = result.summary.get("benchmark")
    others = {} if benchmark is None else _benchmark_metrics(result, benchmark)
    of_returns, of_trades = [], []
    for metric, value in result.metrics.items():
        unit = result.units[metric]
        form = metric_format(unit)
        row = [metric_label(metric, unit), form(value)]
        if metric in _OF_RETURNS:
            of_returns.append([*row, *([form(others[metric]) if metric in others else MISSING] if others else [])])
        else:
            of_trades.append(row)
    of_trades += [
        [metric_label(key, "account currency"), money(float(result.summary[key]))]
        for key in ("initial_equity", "final_equity", "realized_pnl", "unrealized_pnl", "fees", "net_flows")
        if key in result.summary
    ]
    note = (
        "" if name else paragraph("No benchmark. Run the backtest with a benchmark symbol to compare with it.", "note")
    )
    if len(result.returns) < ANNUALIZED_FROM_DAYS:
        text = f"Figures per year need {ANNUALIZED_FROM_DAYS} trading days; the run has {len(result.returns)}."
        note += paragraph(text, "note")
    headings = ["returns", "run", *([str(name)] if others else [])]
    tables = table(headings, of_returns, wrapped=[0]) + table(["trading", "run"], of_trades, wrapped=[0])
    return f'<div class="cards">{cards}</div>{note}<div class="pair">{tables}</div>'


def _benchmark_metrics(result: Result, benchmark: pd.Series[float]) -> dict[str, float | None]:
    """Return the metrics of the benchmark on the days of the run."""
    returns = benchmark[benchmark.index.isin(result.returns.index)].tolist()
    metrics = return_metrics(returns, days_a_year(result))
    values = {name: getattr(metrics, name) for name in _COMPARED if name != "max_drawdown"}
    if len(returns) < ANNUALIZED_FROM_DAYS:
        values |= dict.fromkeys(ANNUALIZED_METRICS)
    return values | {"max_drawdown": largest_drawdown(returns)}


def days_a_year(result: Result) -> int:
    """Return the number of daily returns a year."""
    files = (result.settings.get("market_data") or {}).get("files") or {}
    return DAYS_A_YEAR if files.get("calendar") == "24/7" else TRADING_DAYS_A_YEAR


def benchmark_of(result: Result) -> pd.Series[float] | None:
    """Return the daily returns of the benchmark; None without one."""
    closes = _benchmark_closes(result)
    return None if closes is None else benchmark_returns(closes)


def _benchmark_closes(result: Result) -> pd.Series[float] | None:
    stored: pa.Table | None = result.tables.get(BENCHMARK)
    if stored is None:
        return None
    frame = stored.to_pandas()
    days = pd.to_datetime(frame["day"].astype(str), format="%Y%m%d")
    return pd.Series(frame["close"].to_numpy(), index=pd.DatetimeIndex(days), name="close")


def equity_section(result: Result) -> str:
    """Return the equity with the benchmark, on a linear and on a logarithmic axis, and the drawdown."""
    equity = result.equity
    if len(equity) < 2:
        return paragraph("No equity curve: fewer than two valuations.")
    times = equity["time"].astype("int64").tolist()
    values = equity["equity"].to_numpy(dtype=float)
    lines = [ChartLine("equity", values)]
    if (compared := benchmark_line(result, equity)) is not None:
        lines.append(ChartLine(f"{result.summary.get('benchmark')}, same start", compared, "line-2"))
    unit = "account currency, by time of valuation (UTC)"
    linear = line_chart("Equity", times, lines, unit, short_money, height=300)
    finite = np.concatenate([line.values[np.isfinite(line.values)] for line in lines])
    if (finite > 0).all():
        scale = scale_of([finite], is_log=True)
        logarithmic = line_chart(
            "Equity", times, lines, f"{unit}, logarithmic axis", short_money, scale=scale, height=300
        )
    else:
        logarithmic = paragraph(_LOG_NOTE, "note")
    drawdown = ChartLine("drawdown", -equity["drawdown"].to_numpy(dtype=float), "line-5", is_filled=True)
    fall = line_chart(
        "Drawdown", times, [drawdown], "fraction of the highest equity so far", percent, with_zero=True, height=160
    )
    return (
        '<input type="radio" class="switch linear-switch" name="axis" id="axis-linear" checked>'
        '<label for="axis-linear">Linear</label> '
        '<input type="radio" class="switch log" name="axis" id="axis-log"><label for="axis-log">Logarithmic</label>'
        f'<div class="linear">{linear}</div><div class="logarithmic">{logarithmic}</div>{fall}'
    )


def benchmark_line(result: Result, equity: pd.DataFrame) -> Floats | None:
    """Return the initial equity invested in the benchmark, at each valuation: the close of the day before, or NaN."""
    closes = _benchmark_closes(result)
    if closes is None or closes.empty:
        return None
    days = equity["time"].dt.tz_convert(None).dt.normalize()
    known = closes.shift(1)
    at = known.index.searchsorted(days.to_numpy(), side="right") - 1
    values = np.where(at >= 0, known.to_numpy()[np.maximum(at, 0)], np.nan)
    line: Floats = float(result.summary["initial_equity"]) * values / closes.iloc[0]
    return line


def months_section(result: Result) -> str:
    """Return the returns by month."""
    if result.returns.empty:
        return ""
    months = monthly_returns(result.returns)
    largest = float(np.nanmax(np.abs(months.iloc[:, :12].to_numpy()))) or 1.0
    names = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec", "Year")
    head = "".join(f"<th>{name}</th>" for name in ("", *names))
    rows = "".join(
        f"<tr><th>{year}</th>{''.join(_month_cell(value, largest) for value in values)}</tr>"
        for year, values in zip(months.index, months.to_numpy(), strict=True)
    )
    note = paragraph("Compounded daily returns, net of deposits and withdrawals, in percent.", "note")
    return f'{note}<div class="scroll"><table><tr>{head}</tr>{rows}</table></div>'


def _month_cell(value: float, largest: float) -> str:
    if np.isnan(value):
        return "<td></td>"
    color = "26,127,55" if value >= 0 else "192,38,45"
    share = min(abs(value) / largest, 1.0) * 0.45
    return f'<td style="background:rgba({color},{share:.2f})">{100 * value:.2f}</td>'


def rolling_section(result: Result, benchmark: pd.Series[float] | None) -> str:
    """Return rolling Sharpe ratio, volatility and beta."""
    rolling = rolling_figures(result.returns, benchmark, days_a_year(result))
    if rolling is None:
        return paragraph(f"Rolling figures need 42 trading days; the run has {len(result.returns)}.", "note")
    times = pd.DatetimeIndex(rolling.frame.index).as_unit("ns").astype("int64").tolist()
    charts = [
        _rolling_chart("Rolling Sharpe ratio", "ratio per year", "sharpe", ratio, rolling.frame, times),
        _rolling_chart("Rolling volatility", "fraction per year", "volatility", percent, rolling.frame, times),
    ]
    if rolling.frame["beta"].notna().any():
        name = result.summary.get("benchmark")
        charts.append(_rolling_chart(f"Rolling beta to {name}", "ratio", "beta", ratio, rolling.frame, times))
    note = paragraph(f"Each point is computed from the {rolling.window} trading days up to it.", "note")
    return f'{note}<div class="pair">{"".join(charts)}</div>'


def _rolling_chart(
    title: str, unit: str, column: str, number_format: NumberFormat, frame: pd.DataFrame, times: list[int]
) -> str:
    line = ChartLine(column, frame[column].to_numpy(dtype=float))
    return line_chart(title, times, [line], unit, number_format, with_zero=True, height=180)


def distribution_section(result: Result) -> str:
    """Return the distribution of the daily returns with value at risk and expected shortfall."""
    returns = np.array(result.returns.tolist())
    if len(returns) < 2 or returns.min() == returns.max():
        return paragraph("No distribution: fewer than two different daily returns.", "note")
    metrics = return_metrics(returns.tolist(), days_a_year(result))
    levels = [
        ChartLevel(value, label, color)
        for value, label, color in (
            (metrics.value_at_risk, "value at risk (5 %)", "line-2"),
            (metrics.expected_shortfall, "expected shortfall (5 %)", "line-5"),
        )
        if value is not None
    ]
    few = (
        paragraph(f"Only {len(returns)} daily returns: the tail figures are rough.", "note")
        if len(returns) < 60
        else ""
    )
    return few + histogram("Daily returns", returns, "return of a trading day (fraction)", percent, levels)


def drawdowns_section(result: Result) -> str:
    """Return the worst drawdowns with their dates."""
    equity = result.equity
    periods = drawdown_periods(equity["time"].astype("int64").to_numpy(), equity["drawdown"].to_numpy())
    rows = [
        [
            percent(period.depth),
            one_decimal((period.end_ns - period.start_ns) / 86_400e9),
            utc_text(period.start_ns),
            utc_text(period.trough_ns),
            MISSING if period.recovered_ns is None else utc_text(period.recovered_ns),
        ]
        for period in periods[:WORST_DRAWDOWNS]
    ]
    return table(["depth", "days", "peak (UTC)", "trough (UTC)", "recovered (UTC)"], rows)


def exposure_section(result: Result) -> str:
    """Return exposure over time and turnover by period."""
    equity = result.equity
    if len(equity) < 2:
        return ""
    times, base = equity["time"].astype("int64").tolist(), equity["equity"].to_numpy(dtype=float)
    safe = np.where(base > 0, base, np.nan)
    lines = [
        ChartLine("gross", equity["gross"].to_numpy(dtype=float) / safe, is_filled=True),
        ChartLine("net", equity["net"].to_numpy(dtype=float) / safe, "line-2"),
    ]
    chart = line_chart("Exposure", times, lines, "fraction of equity", percent, with_zero=True, height=180)
    fills = result.executions[result.executions["event"] == TRADE]
    if fills.empty:
        return chart
    kind, turnover = turnover_by_period(fills, equity, result.settings)
    rows = [(str(period), float(value), [ratio(float(value))]) for period, value in turnover.fillna(0).items()]
    title = f"<h3>Turnover by {kind} <small>traded value, as a multiple of the mean equity</small></h3>"
    return chart + title + bar_table([kind, "turnover"], rows[-60:], is_profit=False)
