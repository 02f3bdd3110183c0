"""The report of a sweep: how likely the best trial is luck, its neighbours on the grid, and the best trials."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dataflows.research.html_report.number_formats import MISSING
from dataflows.research.html_report.page import ReportSection, html_page, paragraph, table
from dataflows.research.html_report.plateau_section import plateau_section

if TYPE_CHECKING:
    from dataflows.research.sweeps.sweep_result import SweepResult

_ROWS_SHOWN = 50
_COLUMNS = ("objective", "total_return", "sharpe", "max_drawdown", "fills", "error")


def sweep_report(result: SweepResult) -> str:
    """Return the report of a sweep as one HTML page."""
    best = ", ".join(f"{name}={value}" for name, value in result.best.items())
    first = paragraph(f"Objective: {result.objective}. Best: {best}.")
    sections = [
        ReportSection("plateaus", "Parameter plateaus", plateau_section(result.plateaus())),
        ReportSection("trials", "Trials", _trials(result)),
    ]
    sentences = "".join(map(paragraph, result.overfitting.sentences(with_plateau=False)))
    return html_page(f"Sweep {result.name}", first + sentences, sections)


def _trials(result: SweepResult) -> str:
    columns = [*result.parameters, *map(result.column_of, _COLUMNS), "decision_hash"]
    rows = [[_text(row[name]) for name in columns] for row in result.trials.head(_ROWS_SHOWN).to_dict("records")]
    headings = [name.replace("_", " ") if name not in result.parameters else name for name in columns]
    hidden = len(result.trials) - len(rows)
    note = paragraph(f"{hidden} more trials are not shown.", "note") if hidden else ""
    return table(headings, rows, wrapped=[len(columns) - 2]) + note


def _text(value: object) -> str:
    if value is None or value != value:
        return MISSING
    return f"{value:.6g}" if isinstance(value, float) else str(value)[:200]
