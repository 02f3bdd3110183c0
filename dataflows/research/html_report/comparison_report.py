"""The report of a comparison: curves over each other, metrics with differences, settings, and the first decision that
differs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from dataflows.research.html_report.axes import Floats, thinned
from dataflows.research.html_report.charts import POINTS_MAX, ChartLine, line_chart
from dataflows.research.html_report.number_formats import MISSING, NumberFormat, escaped, percent, ratio, utc_text
from dataflows.research.html_report.page import ReportSection, html_page, paragraph, table
from dataflows.research.html_report.performance_sections import metric_format, metric_label

if TYPE_CHECKING:
    from dataflows.research.result import Result
    from dataflows.research.run_comparison import ResultComparison

_COLORS = 6
CURVES_MAX = 12
"""Runs whose curves are drawn; the tables have all runs."""


def comparison_report(comparison: ResultComparison) -> str:
    """Return the comparison as one HTML page."""
    results = comparison.results
    names = list(results)
    sections = [
        ReportSection("curves", "Equity and drawdown", _curves(results)),
        ReportSection("decisions", "First decision that differs", _decisions(comparison, names[0])),
        ReportSection("metrics", "Metrics", _metrics(comparison)),
        ReportSection("parameters", "Settings that differ", _parameters(comparison)),
        ReportSection("sources", "Data and code", _sources(comparison)),
        ReportSection("warnings", "Warnings", _warnings(results)),
    ]
    introduction = paragraph(f"Each run is compared with the first one, {names[0]}.")
    return html_page(f"Comparison of {', '.join(names)}", introduction, sections)


def _curves(results: Mapping[str, Result]) -> str:
    shown = dict(list(results.items())[:CURVES_MAX])
    charts = (
        _overlay("Growth of 1", "equity / initial equity, by time of valuation (UTC)", shown, _growth, ratio, 300),
        _overlay("Drawdown", "fraction of the highest equity so far", shown, _fall, percent, 180),
    )
    hidden = len(results) - len(shown)
    note = paragraph(f"The curves of the last {hidden} runs are not drawn.", "note") if hidden else ""
    return "".join(charts) + note


def _overlay(
    title: str,
    unit: str,
    results: Mapping[str, Result],
    values_of: Callable[[Result], Floats],
    number_format: NumberFormat,
    height: int,
) -> str:
    """Draw one curve per run over the times of all runs. It starts and ends with the run."""
    curves = {}
    for name, result in results.items():
        values = values_of(result)
        chosen = thinned(values, POINTS_MAX)
        times = result.equity["time"].astype("int64").to_numpy()
        curves[name] = pd.Series(values[chosen], index=times[chosen])
    union = sorted({int(time) for curve in curves.values() for time in curve.index})
    if len(union) < 2:
        return paragraph(f"{title}: fewer than two valuations.")
    lines = []
    for number, (name, curve) in enumerate(curves.items()):
        filled = curve[~curve.index.duplicated(keep="last")].reindex(union).ffill()
        if len(curve):
            filled[filled.index > curve.index[-1]] = np.nan
        lines.append(ChartLine(name, np.array(filled.tolist(), dtype=float), f"line-{number % _COLORS + 1}"))
    return line_chart(title, union, lines, unit, number_format, height=height)


def _growth(result: Result) -> Floats:
    initial = float(result.summary["initial_equity"])
    return np.array(result.equity["equity"].tolist(), dtype=float) / (initial or np.nan)


def _fall(result: Result) -> Floats:
    return -np.array(result.equity["drawdown"].tolist(), dtype=float)


def _decisions(comparison: ResultComparison, first: str) -> str:
    rows = [
        [name, "none: all decisions are equal" if text is None else text]
        for name, text in comparison.first_differences.items()
    ]
    note = paragraph(f"The order or execution is shown first, then that of {first}.", "note")
    return note + table(["run", "first decision that differs"], rows, wrapped=[1])


def _metrics(comparison: ResultComparison) -> str:
    metrics = comparison.metrics
    values = [str(name) for name in metrics.columns if name != "unit"]
    rows = []
    for metric in metrics.index:
        unit = str(metrics.at[metric, "unit"])
        form = metric_format(unit)
        cells = metrics.loc[metric, values].astype(float).tolist()
        texts = [
            _signed(form, cell) if name not in comparison.results else form(cell)
            for name, cell in zip(values, cells, strict=True)
        ]
        rows.append([metric_label(str(metric), unit), *texts])
    return table(["metric", *values], rows, wrapped=[0])


def _signed(form: NumberFormat, value: float) -> str:
    text = form(value)
    return text if np.isnan(value) or value <= 0 else f"+{text}"


def _parameters(comparison: ResultComparison) -> str:
    parameters = comparison.parameters
    if parameters.empty:
        return paragraph("None.")
    rows = [
        [str(key), *(str(cell) for cell in row)]
        for key, row in zip(parameters.index, parameters.itertuples(index=False), strict=True)
    ]
    return table(["setting", *map(str, parameters.columns)], rows, wrapped=[0])


def _sources(comparison: ResultComparison) -> str:
    listed = "".join(paragraph(text) for text in comparison.sources) or paragraph(
        "All runs have the same data and code."
    )
    rows = []
    for name, result in comparison.results.items():
        times = result.tables["equity"].column("time")
        period = f"{utc_text(times[0].value)} to {utc_text(times[-1].value)}" if len(times) else MISSING
        sources = result.sources
        rows.append(
            [name, period, result.decision_hash[:12], sources.data_sha256[:12] or MISSING, sources.code_sha256[:12]]
        )
    return listed + table(["run", "period (UTC)", "decision hash", "data SHA-256", "code SHA-256"], rows)


def _warnings(results: Mapping[str, Result]) -> str:
    items = "".join(
        f"<li>{escaped(name)}: {escaped(text)}</li>" for name, result in results.items() for text in result.warnings
    )
    return f"<ul>{items}</ul>" if items else ""
