"""Charts as HTML with inline SVG: lines over time, bars, histograms, points and heat maps.

A plot is stretched to the size of its box. The labels of its axes are HTML beside it, so that they have the same size
on a phone and on paper. Colors are classes of the style sheet (`style.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from dataflows.research.html_report.axes import SIZE, AxisTick, Floats, ValueScale, scale_of, thinned, time_ticks
from dataflows.research.html_report.number_formats import NumberFormat, escaped

POINTS_MAX = 1200
"""Points of a line: enough for a wide screen, and few enough for a page of many charts."""
LABELS_MAX = 10
"""Labelled cells of an axis of a heat map."""


class ChartLine(NamedTuple):
    """One line of a chart. `values` has one value per time; NaN leaves a gap. `color` is a class of the style sheet."""

    label: str
    values: Floats
    color: str = "line-1"
    is_filled: bool = False


class ChartMark(NamedTuple):
    """A point of a chart with a description, which the browser shows beside the pointer."""

    x: float
    y: float
    color: str
    description: str


class ChartLevel(NamedTuple):
    """A value that a line across the chart marks, such as value at risk."""

    value: float
    label: str
    color: str


class HeatCell(NamedTuple):
    """A cell of a heat map. `column` and `row` count from 0, from the left and from the bottom."""

    column: int
    row: int
    value: float
    description: str
    is_chosen: bool = False


def line_chart(
    title: str,
    times_ns: Sequence[int],
    lines: Sequence[ChartLine],
    unit: str,
    number_format: NumberFormat,
    *,
    scale: ValueScale | None = None,
    with_zero: bool = False,
    marks: Sequence[ChartMark] = (),
    height: int = 220,
) -> str:
    """Return a chart of lines over points at equal distances, so that nights and weekends take no room.

    `times_ns` are the times of the points. The `x` of a mark is the number of a point, `y` a value.
    """
    shown = scale or scale_of([line.values for line in lines], with_zero=with_zero)
    last = max(len(times_ns) - 1, 1)
    drawn = "".join(_line(line, shown, last) for line in lines)
    drawn += _marks([mark._replace(x=mark.x / last) for mark in marks], shown)
    ticks = _value_ticks(shown, number_format)
    legend = _legend([(line.label, line.color) for line in lines]) if len(lines) > 1 else ""
    return _figure(title, unit, drawn, ticks, time_ticks(times_ns), legend=legend, height=height)


def histogram(
    title: str, values: Floats, x_unit: str, number_format: NumberFormat, levels: Sequence[ChartLevel] = ()
) -> str:
    """Return a histogram: the number of values per interval, with marked values."""
    counts, edges = np.histogram(values, bins=min(60, max(10, round(2 * len(values) ** (1 / 2)))))
    x_scale = ValueScale(float(edges[0]), float(edges[-1]))
    y_scale = ValueScale(0.0, float(counts.max()) * 1.05)
    places = x_scale.positions(edges) * SIZE
    parts = []
    for number, count in enumerate(counts):
        if count:
            left, right, top = places[number], places[number + 1], (1 - count / y_scale.high) * SIZE
            interval = f"{number_format(edges[number])} to {number_format(edges[number + 1])}: {count}"
            parts.append(
                f'<path class="bar" d="M{left:.1f} {SIZE:g}V{top:.1f}H{right:.1f}V{SIZE:g}z">'
                f"<title>{escaped(interval)}</title></path>"
            )
    for level in levels:
        place = float(x_scale.positions(np.array([level.value]))[0]) * SIZE
        parts.append(f'<path class="level {level.color}" d="M{place:.1f} 0V{SIZE:g}"/>')
    x_ticks = [AxisTick(_position(x_scale, tick), number_format(tick)) for tick in x_scale.ticks()]
    legend = _legend([(f"{level.label} {number_format(level.value)}", level.color) for level in levels])
    y_ticks = _value_ticks(y_scale, lambda value: f"{value:g}")
    return _figure(title, f"count by {x_unit}", "".join(parts), y_ticks, x_ticks, legend=legend)


def scatter(
    title: str, marks: Sequence[ChartMark], axes: tuple[str, str], number_format: NumberFormat, legend: str = ""
) -> str:
    """Return points of two values. `axes` are the names of the horizontal and of the vertical axis, with units."""
    x_scale = scale_of([np.array([mark.x for mark in marks])], with_zero=True)
    y_scale = scale_of([np.array([mark.y for mark in marks])], with_zero=True)
    moved = [mark._replace(x=_position(x_scale, mark.x)) for mark in marks]
    x_ticks = [AxisTick(_position(x_scale, tick), number_format(tick)) for tick in x_scale.ticks()]
    y_ticks = _value_ticks(y_scale, number_format)
    unit = f"horizontal: {axes[0]}; vertical: {axes[1]}"
    return _figure(title, unit, _marks(moved, y_scale), y_ticks, x_ticks, legend=legend, height=260)


def heat_map(
    title: str,
    cells: Sequence[HeatCell],
    labels: tuple[Sequence[str], Sequence[str]],
    axes: tuple[str, str],
    number_format: NumberFormat,
) -> str:
    """Return a grid of cells, the darker the larger their value. The chosen cell has a red border.

    `labels` are those of the columns and of the rows, `axes` the names of the two axes. A place without a cell is
    empty.
    """
    columns, rows = (len(one) for one in labels)
    scale = scale_of([np.array([cell.value for cell in cells])])
    ordered = sorted(cells, key=lambda cell: cell.is_chosen)  # the border of the chosen cell is drawn last
    drawn = "".join(
        f'<path class="cell{" chosen" if cell.is_chosen else ""}" fill-opacity="{_position(scale, cell.value):.3f}" '
        f'd="M{cell.column * SIZE / columns:.1f} {(rows - cell.row) * SIZE / rows:.1f}h{SIZE / columns:.1f}'
        f'v{-SIZE / rows:.1f}h{-SIZE / columns:.1f}z"><title>{escaped(cell.description)}</title></path>'
        for cell in ordered
    )
    x_ticks, y_ticks = (_cell_ticks(one) for one in labels)
    low, high = min(cell.value for cell in cells), max(cell.value for cell in cells)
    legend = f'<span class="note">; light: {escaped(number_format(low))}, dark: {escaped(number_format(high))}</span>'
    unit = f"horizontal: {axes[0]}; vertical: {axes[1]}" if axes[1] else f"horizontal: {axes[0]}"
    return _figure(title, unit, drawn, y_ticks, x_ticks, legend=legend, height=min(320, 60 + 40 * rows))


def _cell_ticks(labels: Sequence[str]) -> list[AxisTick]:
    """Return ticks at the centres of cells, at most `LABELS_MAX` of them."""
    distance = -(-len(labels) // LABELS_MAX)
    return [
        AxisTick((number + 0.5) / len(labels), label) for number, label in enumerate(labels) if not number % distance
    ]


def bar_table(
    headings: Sequence[str], rows: Iterable[tuple[str, float, Sequence[str]]], *, is_profit: bool = True
) -> str:
    """Return a table whose rows have a name, a bar for a value, and texts. The first heading is that of the names.

    The bars of a profit are green, those of a loss red.
    """
    listed = list(rows)
    largest = max((abs(value) for _, value, _ in listed), default=0.0) or 1.0
    head = "".join(f"<th>{escaped(text)}</th>" for text in [headings[0], "", *headings[1:]])
    body = "".join(
        f"<tr><th>{escaped(name)}</th><td class=bars><i class={_bar_color(value, is_profit)} "
        f'style="width:{100 * abs(value) / largest:.1f}%"></i></td>'
        f"{''.join(f'<td>{escaped(text)}</td>' for text in texts)}</tr>"
        for name, value, texts in listed
    )
    return f'<div class="scroll"><table class="figures"><tr>{head}</tr>{body}</table></div>'


def _bar_color(value: float, is_profit: bool) -> str:
    return ("gain" if value >= 0 else "loss") if is_profit else "amount"


def legend_of(entries: Sequence[tuple[str, str]]) -> str:
    """Return a legend of labels and colors."""
    return _legend(entries)


def _figure(
    title: str,
    unit: str,
    drawn: str,
    y_ticks: Sequence[AxisTick],
    x_ticks: Sequence[AxisTick],
    *,
    legend: str = "",
    height: int = 220,
) -> str:
    grid = "".join(f'<path class="grid" d="M0 {(1 - tick.position) * SIZE:.1f}H{SIZE:g}"/>' for tick in y_ticks)
    labels = "".join(
        f'<span class="y" style="top:{100 * (1 - tick.position):.1f}%">{escaped(tick.label)}</span>' for tick in y_ticks
    )
    for number, tick in enumerate(x_ticks):
        ends = " first" if tick.position < 0.03 else " last" if tick.position > 0.97 else ""
        rare = " rare" if number % 2 and not ends else ""
        labels += f'<span class="x{ends}{rare}" style="left:{100 * tick.position:.1f}%">{escaped(tick.label)}</span>'
    caption = f"{escaped(title)} <small>{escaped(unit)}</small>{legend}"
    return (
        f'<figure class="chart"><figcaption>{caption}</figcaption><div class="plot" style="height:{height}px">'
        f'<svg viewBox="0 0 {SIZE:g} {SIZE:g}" preserveAspectRatio="none" role="img" aria-label="{escaped(title)}">'
        f"{grid}{drawn}</svg>{labels}</div></figure>"
    )


def _line(line: ChartLine, scale: ValueScale, last: int) -> str:
    """Draw a line, with a gap at each value that is not a number."""
    chosen = thinned(line.values, POINTS_MAX)
    values = line.values[chosen]
    places = np.where(np.isfinite(values), (1 - scale.positions(values)) * SIZE, np.nan)
    path, is_open, first, end = [], False, 0.0, 0.0
    for x, y in zip(chosen / last * SIZE, places, strict=True):
        if np.isnan(y):
            is_open = False
            continue
        if not is_open:
            first = x
        path.append(f"{'L' if is_open else 'M'}{x:.1f} {y:.1f}")
        is_open, end = True, x
    drawn = f'<path class="line {line.color}" d="{"".join(path)}"/>'
    if line.is_filled and path:
        zero = (1 - min(max(_position(scale, 0.0), 0.0), 1.0)) * SIZE
        area = f"{''.join(path)}L{end:.1f} {zero:.1f}L{first:.1f} {zero:.1f}z"
        drawn = f'<path class="area {line.color}" d="{area}"/>{drawn}'
    return drawn


def _marks(marks: Sequence[ChartMark], scale: ValueScale) -> str:
    """Draw points as lines of length 0 with round ends, which the stretched plot leaves round."""
    return "".join(
        f'<path class="mark {mark.color}" d="M{mark.x * SIZE:.1f} {(1 - _position(scale, mark.y)) * SIZE:.1f}h0">'
        f"<title>{escaped(mark.description)}</title></path>"
        for mark in marks
    )


def _value_ticks(scale: ValueScale, number_format: NumberFormat) -> list[AxisTick]:
    return [AxisTick(_position(scale, tick), number_format(tick)) for tick in scale.ticks()]


def _position(scale: ValueScale, value: float) -> float:
    if scale.is_log and value <= 0:
        return 0.0
    return float(scale.positions(np.array([value]))[0])


def _legend(entries: Sequence[tuple[str, str]]) -> str:
    return "".join(f'<span class="key {color}">{escaped(label)}</span>' for label, color in entries)
