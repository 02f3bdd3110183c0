"""What a dashboard is made of here: rows of panels, each with the queries it shows, laid out from left to right."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import Any, NamedTuple

from grafana_foundation_sdk.builders import bargauge, common, dashboard, piechart, prometheus, stat, timeseries
from grafana_foundation_sdk.models import common as models
from grafana_foundation_sdk.models.dashboard import Dashboard, DataSourceRef, GridPos, Threshold, ThresholdsMode

DATASOURCE = DataSourceRef(type_val="prometheus", uid="prometheus")
WIDTH = 24
CHART, NUMBER, BARS, PIE = "chart", "number", "bars", "pie"
_SIZES = {CHART: (8, 8), NUMBER: (4, 4), BARS: (8, 8), PIE: (8, 8)}


class Query(NamedTuple):
    """A PromQL expression, and how its series are called: text with {{label}} in it."""

    expr: str
    legend: str = ""


class Panel(NamedTuple):
    """`unit` is one of Grafana's names. Above `warn` a value is yellow, above `bad` red; below where bad < warn."""

    title: str
    queries: Sequence[Query]
    unit: str = "short"
    kind: str = CHART
    meaning: str = ""
    warn: float | None = None
    bad: float | None = None
    stacked: bool = False


class Row(NamedTuple):
    title: str
    panels: Sequence[Panel]


class Board(NamedTuple):
    uid: str
    title: str
    meaning: str
    rows: Sequence[Row]


def built(board: Board) -> Dashboard:
    """The dashboard as Grafana reads it. The same board gives the same JSON."""
    made = (
        dashboard.Dashboard(board.title)
        .uid(board.uid)
        .description(board.meaning)
        .tags(["trading-platform"])
        .refresh("10s")
        .time("now-1h", "now")
        .timezone("utc")
        .editable()
    )
    at_y, ids = 0, count(1)
    for row in board.rows:
        made.with_row(dashboard.Row(row.title).id(next(ids)).grid_pos(GridPos(h=1, w=WIDTH, x=0, y=at_y)))
        at_y += 1
        at_x = height = 0
        for panel in row.panels:
            wide, high = _SIZES[panel.kind]
            if at_x + wide > WIDTH:
                at_x, at_y, height = 0, at_y + height, 0
            made.with_panel(_panel(panel).id(next(ids)).grid_pos(GridPos(h=high, w=wide, x=at_x, y=at_y)))
            at_x, height = at_x + wide, max(height, high)
        at_y += height
    return made.build()


def _panel(panel: Panel) -> Any:
    made: Any = {CHART: _chart, NUMBER: _number, BARS: _bars, PIE: _pie}[panel.kind](panel)
    made.title(panel.title).unit(panel.unit).datasource(DATASOURCE)
    if panel.meaning:
        made.description(panel.meaning)
    if panel.warn is not None and panel.bad is not None:
        made.thresholds(_thresholds(panel.warn, panel.bad))
    for number, query in enumerate(panel.queries):
        target = prometheus.Dataquery().expr(query.expr).ref_id(chr(ord("A") + number)).datasource(DATASOURCE)
        target.legend_format(query.legend) if query.legend else target
        made.with_target(target if panel.kind == CHART else target.instant())
    return made


def _chart(panel: Panel) -> timeseries.Panel:
    made = timeseries.Panel().fill_opacity(10 if not panel.stacked else 40).line_width(1)
    legend = common.VizLegendOptions().display_mode(models.LegendDisplayMode.LIST)
    made.legend(legend.placement(models.LegendPlacement.BOTTOM).show_legend(True))
    if panel.stacked:
        made.stacking(common.StackingConfig().mode(models.StackingMode.NORMAL))
    return made


def _number(panel: Panel) -> stat.Panel:
    graph = models.BigValueGraphMode.NONE
    return stat.Panel().graph_mode(graph).reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))


def _bars(panel: Panel) -> bargauge.Panel:
    orientation = models.VizOrientation.HORIZONTAL
    return bargauge.Panel().orientation(orientation).reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))


def _pie(panel: Panel) -> piechart.Panel:
    return piechart.Panel().reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))


def _thresholds(warn: float, bad: float) -> dashboard.ThresholdsConfig:
    if warn < bad:
        steps = [Threshold(color="green"), Threshold(color="yellow", value=warn), Threshold(color="red", value=bad)]
    else:
        steps = [Threshold(color="red"), Threshold(color="yellow", value=bad), Threshold(color="green", value=warn)]
    return dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)
