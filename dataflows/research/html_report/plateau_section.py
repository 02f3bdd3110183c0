"""The section of a report about the neighbours of the chosen parameter set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

from dataflows.research.html_report.charts import HeatCell, heat_map
from dataflows.research.html_report.number_formats import MISSING
from dataflows.research.html_report.page import paragraph, table, warning_box
from dataflows.research.overfitting.parameter_plateaus import NEIGHBOURHOOD_COLUMNS, PlateauTable

if TYPE_CHECKING:
    import pandas as pd

MAPS_MAX = 3
ROWS_SHOWN = 30


def plateau_section(plateaus: PlateauTable, trial: str = "the best trial") -> str:
    """Return a heat map for each two parameters, and a table of the best trials with their neighbourhoods.

    Empty if no parameter varies. `trial` is how the sentences call the chosen trial.
    """
    if plateaus.plateau is None:
        return ""
    sentences = plateaus.plateau.sentences(trial)
    text = paragraph(sentences[0]) + warning_box(sentences[1:])
    varied = [name for name in plateaus.parameters if plateaus.trials[name].nunique() > 1]
    pairs: list[tuple[str, ...]] = list(combinations(varied, 2)) or [(varied[0],)]
    text += "".join(_map(plateaus, pair, trial) for pair in pairs[:MAPS_MAX])
    if len(pairs) > MAPS_MAX:
        text += paragraph(f"Maps of the {len(pairs) - MAPS_MAX} other pairs of parameters are not drawn.", "note")
    return text + _table(plateaus)


def _map(plateaus: PlateauTable, pair: Sequence[str], trial: str) -> str:
    """Return the heat map of two parameters, or of one. The others have their values of the chosen trial."""
    fixed = {name: plateaus.chosen[name] for name in plateaus.parameters if name not in pair}
    rows = [row for row in plateaus.trials.to_dict("records") if all(row[name] == fixed[name] for name in fixed)]
    places = [_places(row[name] for row in rows) for name in pair]
    cells = [
        HeatCell(
            column=places[0][row[pair[0]]],
            row=places[1][row[pair[1]]] if len(pair) > 1 else 0,
            value=float(row[plateaus.objective]),
            description=f"{', '.join(f'{name}={row[name]}' for name in pair)}: {_figure(row[plateaus.objective])}",
            is_chosen=all(row[name] == plateaus.chosen[name] for name in pair),
        )
        for row in rows
    ]
    labels = ([*map(str, places[0])], [*map(str, places[1])] if len(pair) > 1 else [""])
    others = ", ".join(f"{name}={value}" for name, value in fixed.items())
    title = f"{' and '.join(pair)}{f', with {others}' if others else ''}"
    chart = heat_map(title, cells, labels, (pair[0], pair[1] if len(pair) > 1 else ""), _figure)
    return chart + paragraph(f"The red border marks {trial}. A place without color has no trial.", "note")


def _places(values: Any) -> dict[Any, int]:
    """Return the place of each value on an axis: numbers in their order, others as they occur."""
    distinct = list(dict.fromkeys(values))
    if all(isinstance(one, int | float) for one in distinct):
        distinct.sort()
    return {one: number for number, one in enumerate(distinct)}


def _table(plateaus: PlateauTable) -> str:
    ordered: pd.DataFrame = plateaus.trials.sort_values(plateaus.objective, ascending=False, kind="stable")
    rows = [_cells(row, plateaus) for row in ordered.head(ROWS_SHOWN).to_dict("records")]
    headings = [*plateaus.parameters, plateaus.label, "neighbours", "mean with neighbours", "smallest"]
    hidden = len(ordered) - len(rows)
    note = paragraph(f"The table shows the best {len(rows)} of {len(ordered)} trials.", "note") if hidden else ""
    return table(headings, rows) + note


def _cells(row: Mapping[Any, Any], plateaus: PlateauTable) -> list[str]:
    figures = [_figure(row[name]) for name in (plateaus.objective, *NEIGHBOURHOOD_COLUMNS)]
    return [*(str(row[name]) for name in plateaus.parameters), *figures]


def _figure(value: float | None) -> str:
    """
    >>> _figure(0.0123456), _figure(None)
    ('0.01235', '–')
    """
    return MISSING if value is None or value != value else f"{value:.4g}"
