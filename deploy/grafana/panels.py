"""Build dashboards from rows of panels, laid out from left to right."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import Any, Final, Literal, NamedTuple

from grafana_foundation_sdk.builders import bargauge, common, dashboard, piechart, prometheus, stat, timeseries
from grafana_foundation_sdk.models import common as models
from grafana_foundation_sdk.models.dashboard import Dashboard, DataSourceRef, GridPos, Threshold, ThresholdsMode

DATASOURCE = DataSourceRef(type_val="prometheus", uid="prometheus")
WIDTH = 24
PanelKind = Literal["chart", "number", "bars", "pie"]
CHART: Final = "chart"
NUMBER: Final = "number"
BARS: Final = "bars"
PIE: Final = "pie"
_SIZES: dict[PanelKind, tuple[int, int]] = {CHART: (8, 8), NUMBER: (4, 4), BARS: (8, 8), PIE: (8, 8)}


class Query(NamedTuple):
    """A PromQL expression, and the legend of its series: text with {{label}} placeholders."""

    expr: str
    legend: str = ""


class Panel(NamedTuple):
    """`unit` is a Grafana unit. Values above `warn` are yellow, above `critical` red; below, if critical < warn."""

    title: str
    queries: Sequence[Query]
    unit: str = "short"
    kind: PanelKind = CHART
    description: str = ""
    warn: float | None = None
    critical: float | None = None
    stacked: bool = False


TRADING_STATE_PANELS = (
    Panel("Trading halted", [Query("platform_trading_halted")], "bool", NUMBER, warn=0.5, critical=1),
    Panel("Circuit breakers open", [Query("platform_circuit_breakers_open")], "short", NUMBER, warn=0.5, critical=1),
)


class PanelRow(NamedTuple):
    title: str
    panels: Sequence[Panel]


class DashboardSpec(NamedTuple):
    uid: str
    title: str
    description: str
    rows: Sequence[PanelRow]


def build_dashboard(board: DashboardSpec) -> Dashboard:
    """Build the dashboard for Grafana. Equal boards produce equal JSON."""
    builder = (
        dashboard.Dashboard(board.title)
        .uid(board.uid)
        .description(board.description)
        .tags(["trading-platform"])
        .refresh("10s")
        .time("now-1h", "now")
        .timezone("utc")
        .editable()
    )
    at_y, ids = 0, count(1)
    for row in board.rows:
        builder.with_row(dashboard.Row(row.title).id(next(ids)).grid_pos(GridPos(h=1, w=WIDTH, x=0, y=at_y)))
        at_y += 1
        at_x = height = 0
        for panel in row.panels:
            panel_width, panel_height = _SIZES[panel.kind]
            if at_x + panel_width > WIDTH:
                at_x, at_y, height = 0, at_y + height, 0
            builder.with_panel(
                _panel(panel).id(next(ids)).grid_pos(GridPos(h=panel_height, w=panel_width, x=at_x, y=at_y))
            )
            at_x, height = at_x + panel_width, max(height, panel_height)
        at_y += height
    return builder.build()


def _panel(panel: Panel) -> Any:
    builder: Any = {CHART: _chart, NUMBER: _number, BARS: _bars, PIE: _pie}[panel.kind](panel)
    builder.title(panel.title).unit(panel.unit).datasource(DATASOURCE)
    if panel.description:
        builder.description(panel.description)
    if panel.warn is not None and panel.critical is not None:
        builder.thresholds(_thresholds(panel.warn, panel.critical))
    for number, query in enumerate(panel.queries):
        target = prometheus.Dataquery().expr(query.expr).ref_id(chr(ord("A") + number)).datasource(DATASOURCE)
        target.legend_format(query.legend) if query.legend else target
        builder.with_target(target if panel.kind == CHART else target.instant())
    return builder


def _chart(panel: Panel) -> timeseries.Panel:
    builder = timeseries.Panel().fill_opacity(10 if not panel.stacked else 40).line_width(1)
    legend = common.VizLegendOptions().display_mode(models.LegendDisplayMode.LIST)
    builder.legend(legend.placement(models.LegendPlacement.BOTTOM).show_legend(True))
    if panel.stacked:
        builder.stacking(common.StackingConfig().mode(models.StackingMode.NORMAL))
    return builder


def _number(panel: Panel) -> stat.Panel:
    graph = models.BigValueGraphMode.NONE
    return stat.Panel().graph_mode(graph).reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))


def _bars(panel: Panel) -> bargauge.Panel:
    orientation = models.VizOrientation.HORIZONTAL
    return bargauge.Panel().orientation(orientation).reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))


def _pie(panel: Panel) -> piechart.Panel:
    return piechart.Panel().reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))


def _thresholds(warn: float, critical: float) -> dashboard.ThresholdsConfig:
    if warn < critical:
        steps = [
            Threshold(color="green"),
            Threshold(color="yellow", value=warn),
            Threshold(color="red", value=critical),
        ]
    else:
        steps = [
            Threshold(color="red"),
            Threshold(color="yellow", value=critical),
            Threshold(color="green", value=warn),
        ]
    return dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)
