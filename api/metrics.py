"""`/metrics` in Prometheus' text format: requests, database latency, and what each dataflow counts."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from fastapi import FastAPI, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import Engine, event

from api.dataflow_stats import COUNTS, degraded, read_stats
from api.resources import Resources

BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


class DataflowCollector(Collector):
    """The dataflows' own numbers, read from the state folder at each scrape."""

    def __init__(self, resources: Resources) -> None:
        self._home = resources.home

    def collect(self) -> Iterator[Metric]:
        stats = read_stats(self._home)
        now = time.time()
        for name in COUNTS:
            yield _gauge(f"platform_dataflow_{name}", f"{name} since the dataflow started", stats, name)
        yield _gauge("platform_dataflow_last_tick_ns", "event time of the last tick", stats, "last_tick_ns")
        yield _gauge("platform_dataflow_feed_finished", "1 when the feed has no more input", stats, "feed_finished")
        ages = {service: {"age": now - float(row["updated_at"])} for service, row in stats.items()}
        yield _gauge("platform_dataflow_age_seconds", "time since the dataflow last reported", ages, "age")
        up = {service: {"up": now - float(row["started_at"])} for service, row in stats.items() if "started_at" in row}
        yield _gauge("platform_dataflow_uptime_seconds", "time since the dataflow started", up, "up")
        yield GaugeMetricFamily(
            "platform_degraded", "1 when a stand-in replaces a service", value=bool(degraded(self._home))
        )


def _gauge(name: str, meaning: str, rows: dict[str, dict[str, Any]], key: str) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, meaning, labels=["service"])
    for service, row in rows.items():
        if row.get(key) is not None:
            family.add_metric([service], float(row[key]))
    return family


def _time_statements(engine: Engine, histogram: Histogram) -> None:
    @event.listens_for(engine, "before_cursor_execute")
    def before(connection: Any, *_: Any) -> None:
        connection.info["began"] = time.perf_counter()

    @event.listens_for(engine, "after_cursor_execute")
    def after(connection: Any, *_: Any) -> None:
        histogram.observe(time.perf_counter() - connection.info["began"])


def install(app: FastAPI, resources: Resources) -> None:
    """Measure every request and statement, and serve the numbers. Each application has a registry of its own."""
    registry = resources.registry
    registry.register(DataflowCollector(resources))
    requests = Histogram(
        "platform_api_request_seconds",
        "time of a request, by route, not by path",
        ["method", "route", "status"],
        buckets=BUCKETS_S,
        registry=registry,
    )
    statements = Histogram(
        "platform_database_statement_seconds", "time of a statement", buckets=BUCKETS_S, registry=registry
    )
    _time_statements(resources.engine, statements)

    @app.middleware("http")
    async def measure(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        began = time.perf_counter()
        status = 500
        try:
            response = await call_next(request)
            status = response.status_code
        finally:
            # The route's template: a label per order id would grow without bound.
            route = request.scope.get("route")
            path = getattr(route, "path_format", None) or "unmatched"
            requests.labels(request.method, path, str(status)).observe(time.perf_counter() - began)
        return response

    @app.get("/metrics", include_in_schema=False)
    def get_metrics() -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)
