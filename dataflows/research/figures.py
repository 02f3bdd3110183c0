"""Plotly figures of results, for notebooks. Plotly is imported on use, because it is in the extra `research`.

Charts have at most `POINTS_MAX` points per line, and contain the extremes of each part of the series.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from dataflows.research.html_report.axes import thinned
from dataflows.research.html_report.run_figures import entry_reasons
from dataflows.research.overfitting.packages import require_package
from schemas.errors import BadInput
from schemas.records import LONG
from schemas.suggestions import did_you_mean

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

POINTS_MAX = 5_000
_BLUE, _ORANGE, _GREEN, _RED, _GREY = "#1f6feb", "#d97706", "#15803d", "#b91c1c", "#6b7280"
_MARGINS = {"l": 70, "r": 20, "t": 50, "b": 45}


def equity_figure(title: str, curves: Mapping[str, pd.Series[float]], drawdown: pd.Series[float], unit: str) -> Figure:
    """Return curves over time, and below them the drawdown as a negative fraction of the highest value so far.

    `drawdown` has positive fractions. The index of every series has its times.
    """
    go = require_package("plotly.graph_objects")
    figure = require_package("plotly.subplots").make_subplots(
        rows=2, cols=1, shared_xaxes=True, row_heights=[0.7, 0.3], vertical_spacing=0.06
    )
    for (name, curve), color in zip(curves.items(), (_BLUE, _ORANGE), strict=False):
        shown = _thinned(curve)
        figure.add_trace(go.Scatter(x=shown.index, y=shown, name=name, mode="lines", line={"color": color}), 1, 1)
    fall = -_thinned(drawdown)
    figure.add_trace(
        go.Scatter(x=fall.index, y=fall, name="drawdown", mode="lines", line={"color": _RED}, fill="tozeroy"), 2, 1
    )
    figure.update_yaxes(title_text=unit, row=1, col=1)
    figure.update_yaxes(title_text="drawdown", tickformat=".1%", row=2, col=1)
    figure.update_xaxes(title_text="time (UTC)", row=2, col=1)
    return figure.update_layout(title=title, height=520, margin=_MARGINS, hovermode="x unified")


def trades_figure(
    symbol: str, prices: pd.DataFrame, trades: pd.DataFrame, signals: pd.DataFrame | None, symbols: Sequence[str]
) -> Figure:
    """Return the prices of a symbol as candles, with entries and exits of its closed lots.

    The text at an entry has the reason, that at an exit the net result. `prices` and `trades` are those of all symbols,
    `symbols` are those to suggest. Raises BadInput for a symbol without prices.
    """
    go = require_package("plotly.graph_objects")
    bars = prices[prices["symbol"] == symbol]
    if bars.empty:
        raise BadInput(f"the run has no prices of symbol {symbol!r}{did_you_mean(symbol, symbols)}")
    columns = {name: bars[name] for name in ("open", "high", "low", "close")}
    figure = go.Figure(go.Candlestick(x=bars["time"], name="price", **columns))
    lots = trades[trades["symbol"] == symbol]
    lots = lots.assign(reason=entry_reasons(lots, signals), net=lots["pnl"] - lots["fees"])
    is_long, has_profit = lots["side"] == LONG, lots["net"] > 0
    for name, chosen, color, shape in (
        ("long entry", is_long, _BLUE, "triangle-up"),
        ("short entry", ~is_long, _ORANGE, "triangle-down"),
    ):
        part = lots[chosen]
        marker = {"color": color, "symbol": shape, "size": 11}
        figure.add_trace(_marks(go, name, part["entry_time"], part["entry_price"], part["reason"].tolist(), marker))
    for name, chosen, color in (("exit with profit", has_profit, _GREEN), ("exit with loss", ~has_profit, _RED)):
        part = lots[chosen]
        texts = [f"net {net:,.2f}" for net in part["net"]]
        marker = {"color": color, "symbol": "x", "size": 9}
        figure.add_trace(_marks(go, name, part["exit_time"], part["exit_price"], texts, marker))
    figure.update_layout(
        title=f"{symbol}: {len(lots)} closed lots", height=480, margin=_MARGINS, xaxis_rangeslider_visible=False
    )
    return figure.update_xaxes(title_text="time (UTC)").update_yaxes(title_text="price")


def trials_figure(title: str, trials: pd.DataFrame, parameters: Sequence[str], objective: str) -> Figure:
    """Return the objective of each trial by its parameters.

    One parameter gives points. Two give a map with one cell for each pair of values. More give parallel axes, one for
    each parameter and one for the objective. Trials without an objective are left out. With two parameters, a pair of
    values that several trials have shows the best of them.
    """
    go = require_package("plotly.graph_objects")
    shown = trials.dropna(subset=["objective"])
    varied = [name for name in parameters if shown[name].nunique() > 1] or list(parameters[:1])
    if len(varied) == 1:
        name = varied[0]
        figure = go.Figure(go.Scatter(x=_labels(shown[name]), y=shown["objective"], mode="markers", name="trials"))
        figure.update_xaxes(title_text=name).update_yaxes(title_text=objective)
    elif len(varied) == 2:
        across, down = varied
        cells = shown.pivot_table(index=down, columns=across, values="objective", aggfunc="max")
        figure = go.Figure(
            go.Heatmap(
                x=[str(value) for value in cells.columns],
                y=[str(value) for value in cells.index],
                z=cells.to_numpy(dtype=float),
                colorbar={"title": {"text": objective}},
                colorscale="RdBu",
                zmid=0,
                texttemplate="%{z:.3g}",
            )
        )
        figure.update_xaxes(title_text=across, type="category").update_yaxes(title_text=down, type="category")
    else:
        values = shown["objective"].to_numpy(dtype=float)
        axes = [_parallel_axis(name, shown[name]) for name in varied]
        axes.append({"label": objective, "values": values})
        line = {"color": values, "colorscale": "RdBu", "cmid": 0}
        figure = go.Figure(go.Parcoords(dimensions=axes, line=line))
    return figure.update_layout(title=title, height=440, margin={**_MARGINS, "t": 80})


def _thinned(series: pd.Series[float]) -> pd.Series[float]:
    values = np.asarray(series, dtype=np.float64)
    return series.iloc[thinned(values, POINTS_MAX)]


def _marks(
    go: Any, name: str, times: pd.Series[Any], prices: pd.Series[float], texts: Sequence[str], marker: Mapping[str, Any]
) -> Any:
    return go.Scatter(x=times, y=prices, name=name, mode="markers", hovertext=list(texts), marker=marker)


def _is_number(values: pd.Series[Any]) -> bool:
    return pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)


def _labels(values: pd.Series[Any]) -> list[Any]:
    """Return numbers as they are, and other values as text."""
    return values.tolist() if _is_number(values) else [str(value) for value in values]


def _parallel_axis(name: str, values: pd.Series[Any]) -> dict[str, Any]:
    """Return an axis of numbers. Other values are numbered, with their text as label."""
    if _is_number(values):
        return {"label": name, "values": values.to_numpy(dtype=float)}
    codes, texts = pd.factorize(values.map(str))
    return {"label": name, "values": codes, "tickvals": list(range(len(texts))), "ticktext": list(texts)}
