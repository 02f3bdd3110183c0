"""The result of a backtest: its tables as pandas frames, its metrics and its settings."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa

from dataflows.research.figures import equity_figure, trades_figure
from dataflows.research.frames import EQUITY, EXECUTIONS, ORDERS, SIGNALS, TRADES, FrameName
from dataflows.research.html_report.page import write_page
from dataflows.research.html_report.performance_sections import benchmark_line
from dataflows.research.html_report.run_report import TrialNote, run_report
from dataflows.research.market_tables import PRICES
from dataflows.research.report import equity_curve_svg
from dataflows.research.run_store import RunSources
from operators.performance import CURVE_POINTS_MAX
from schemas.errors import BadInput

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

RETURNS = "returns"
METRIC_UNITS: Mapping[str, str] = {
    "total_return": "fraction",
    "cagr": "fraction per year",
    "volatility": "fraction per year",
    "sharpe": "ratio per year",
    "sortino": "ratio per year",
    "calmar": "ratio",
    "max_drawdown": "fraction",
    "max_drawdown_days": "days",
    "value_at_risk": "fraction per day",
    "expected_shortfall": "fraction per day",
    "tail_ratio": "ratio",
    "win_rate": "fraction of closed lots",
    "profit_factor": "ratio",
    "expectancy": "account currency per closed lot",
    "exposure": "fraction of time slices",
    "turnover": "multiple of mean equity",
    "mae_mean": "fraction of entry price",
    "mae_worst": "fraction of entry price",
    "mfe_mean": "fraction of entry price",
    "mfe_best": "fraction of entry price",
    "alpha": "fraction per year",
    "beta": "ratio",
    "information_ratio": "ratio per day",
    "closed_lots": "count",
    "orders": "count",
    "fills": "count",
    "refusals": "count",
    "signals": "count",
    "bars": "count",
}
"""Units of the metrics, in the order in which they are shown. A figure of the summary without a unit is no metric."""
_SHOWN = ("total_return", "cagr", "volatility", "sharpe", "sortino", "calmar", "max_drawdown", "win_rate")
_INTEGERS = {pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}


@dataclass(frozen=True, eq=False, kw_only=True)
class Result:
    """The result of one backtest.

    name        name in the store of runs; "" if the run is not stored
    summary     counts, money (as exact text) and metrics, as `backtest --json` writes them
    settings    the effective settings without secrets
    strategies  names of the strategies
    warnings    what makes the result doubtful, one sentence each
    sources     the data files and the hashes of data, code and strategies
    tables      the tables as `pyarrow.Table`, by name

    The properties `equity`, `trades`, `orders`, `executions` and `signals` are pandas frames with times in UTC and
    numbers as doubles. docs/howto/backtest.md describes their columns.
    """

    name: str
    summary: Mapping[str, Any]
    settings: Mapping[str, Any]
    strategies: tuple[str, ...]
    warnings: Sequence[str]
    sources: RunSources
    tables: Mapping[FrameName, pa.Table] = field(repr=False)

    @cached_property
    def equity(self) -> pd.DataFrame:
        """Equity, cash, exposures and drawdown after each time slice."""
        return self._frame(EQUITY)

    @cached_property
    def trades(self) -> pd.DataFrame:
        """One row per closed lot."""
        return self._frame(TRADES)

    @cached_property
    def orders(self) -> pd.DataFrame:
        """One row per approved order, with its status."""
        return self._frame(ORDERS)

    @cached_property
    def executions(self) -> pd.DataFrame:
        """One row per report on an order, and per rejection by risk."""
        return self._frame(EXECUTIONS)

    @cached_property
    def signals(self) -> pd.DataFrame:
        """One row per change of a strategy's view: direction -1, 0 or 1, strength and confidence in [0, 1]."""
        return self._frame(SIGNALS)

    @cached_property
    def returns(self) -> pd.Series[float]:
        """The return of each trading day as a fraction, net of deposits and withdrawals."""
        frame = self._frame(RETURNS)
        days = pd.DatetimeIndex(pd.to_datetime(frame["day"].astype(str), format="%Y%m%d"), name="day")
        return pd.Series(frame["return"].to_numpy(), index=days, name="return")

    @property
    def metrics(self) -> dict[str, float | int | None]:
        """The metrics by name. None: not defined, or annualized after fewer than 20 days. `units` has their units."""
        return {name: self.summary[name] for name in METRIC_UNITS if name in self.summary}

    @property
    def units(self) -> dict[str, str]:
        """The unit of each metric."""
        return {name: METRIC_UNITS[name] for name in self.metrics}

    @property
    def decision_hash(self) -> str:
        """SHA-256 over all decisions. Equal hashes mean the same orders, fills, positions and cash."""
        return str(self.summary["decision_hash"])

    def report(self, path: str | Path | None = None, *, trials: Sequence[TrialNote] = ()) -> str:
        """Return the report as one HTML page, and write it to a file if `path` is set. Raises BadInput.

        `trials` say how many trials stand behind the result (`dataflows.research.trial_notes`).
        """
        page = run_report(self, self._title(), trials)
        if path is not None:
            write_page(page, path)
        return page

    def equity_figure(self) -> Figure:
        """Return a plotly figure of the equity, of the benchmark from the same start, and of the drawdown.

        Raises BadInput if plotly is not installed.
        """
        equity = self.equity.set_index("time")
        curves = {"equity": equity["equity"]}
        if (compared := benchmark_line(self, self.equity)) is not None:
            curves[str(self.summary["benchmark"])] = pd.Series(compared, index=equity.index).dropna()
        return equity_figure(self._title(), curves, equity["drawdown"], "account currency")

    def trades_figure(self, symbol: str | None = None) -> Figure:
        """Return a plotly figure of the prices of a symbol, with entries and exits of its closed lots.

        `symbol` is by default the symbol with the most closed lots. Prices are combined to at most 1,000 bars. Raises
        BadInput if plotly is not installed, if the run has no closed lots or did not store its bars, and for an unknown
        symbol.
        """
        if PRICES not in self.tables:
            raise BadInput("the run did not store its bars; run it with --report or --trades, or from Python")
        if symbol is None and self.trades.empty:
            raise BadInput("the run has no closed lots; name the symbol whose prices to draw")
        chosen = symbol if symbol is not None else str(self.trades["symbol"].value_counts().index[0])
        prices = self._frame(PRICES)
        signals = self.signals if SIGNALS in self.tables else None
        return trades_figure(chosen, prices, self.trades, signals, sorted(prices["symbol"].unique()))

    def _title(self) -> str:
        return self.name or f"Backtest of {', '.join(self.strategies) or 'orders'}"

    def _frame(self, name: FrameName) -> pd.DataFrame:
        if name not in self.tables:
            raise BadInput(f"run {self.name!r} has no table {name!r}; it has {', '.join(self.tables)}")
        frame: pd.DataFrame = self.tables[name].to_pandas(types_mapper=_INTEGERS.get)
        return frame

    def _curve(self) -> list[tuple[int, float]]:
        """Return the equity at about `CURVE_POINTS_MAX` times."""
        table = self.tables[EQUITY]
        rows = range(0, len(table), max(1, len(table) // CURVE_POINTS_MAX))
        sample = table.take(list(rows)).select(["time", "equity"])
        times = sample.column("time").cast(pa.int64()).to_pylist()
        return list(zip(times, sample.column("equity").to_pylist(), strict=True))

    def __repr__(self) -> str:
        figures = ", ".join(f"{name}={_short(self.metrics.get(name))}" for name in ("total_return", "sharpe"))
        label = f"{self.name!r}, " if self.name else ""
        return f"Result({label}{figures}, fills={self.summary['fills']}, decision_hash={self.decision_hash[:12]})"

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the equity curve, the main metrics and the warnings."""
        rows = "".join(
            f"<tr><th>{name}</th><td>{_short(self.metrics[name])}</td><td>{METRIC_UNITS[name]}</td></tr>"
            for name in _SHOWN
        )
        warnings = "".join(f"<li>{html.escape(text)}</li>" for text in self.warnings)
        listed = f"<p>Warnings</p><ul>{warnings}</ul>" if warnings else ""
        title = html.escape(self._title())
        return (
            f"<div><h4>{title}</h4>{equity_curve_svg(self._curve())}<table>{rows}</table>{listed}"
            f"<p>decision hash <code>{self.decision_hash[:12]}</code></p></div>"
        )


def _short(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"
