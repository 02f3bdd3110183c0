"""`/metrics` in Prometheus' text format: services, books, trading, servers and the API itself.

The page contains a help text for each metric; `docs/monitoring.md` has an overview. Values from PostgreSQL and Kafka
are cached for some seconds, so that frequent scrapes cost no more than one.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import Depends, FastAPI, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, Histogram, generate_latest
from sqlalchemy import Engine, event

from api.dataflow_stats import read_stats, shared_processes
from api.metrics.checks import read_checks
from api.metrics.clock import ClockMetrics
from api.metrics.collector import MetricsCollector, MetricSection
from api.metrics.disk import DiskMetrics
from api.metrics.learning import ModelMetrics, StrategyMetrics
from api.metrics.portfolio import PortfolioMetrics
from api.metrics.servers import DatabaseMetrics, KafkaMetrics, read_host, read_redis
from api.metrics.services import ServiceMetrics
from api.metrics.trading import TradingMetrics
from api.query_parameters import reject_unknown_query_parameters
from api.resources import Resources
from api.tokens import Unauthenticated

BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


def metric_sections(resources: Resources) -> list[MetricSection]:
    """Return the sections of the page, each with the time in seconds for which it is cached."""
    settings, home = resources.settings, resources.home
    books, trading = PortfolioMetrics(settings, resources.engine), TradingMetrics(resources.engine)
    database = DatabaseMetrics(resources.engine)
    brokers = KafkaMetrics(
        settings.kafka, lambda: resources.kafka_admin, lambda: shared_processes(read_stats(resources.home))
    )
    return [
        MetricSection("services", ServiceMetrics(settings, home).read, 0.5),
        MetricSection("checks", lambda: read_checks(home, settings.platform.checks), 1.0),
        MetricSection("clock", ClockMetrics().read, 1.0),
        MetricSection("host", read_host, 1.0),
        MetricSection("disk", DiskMetrics(home).read, 1.0),
        MetricSection("books", books.read, 2.0),
        MetricSection("trading", trading.read, 2.0),
        MetricSection("strategies", StrategyMetrics(resources.engine).read, 2.0),
        MetricSection("models", ModelMetrics(settings, resources.engine, home).read, 5.0),
        MetricSection("postgres", database.read, 5.0),
        MetricSection("kafka", brokers.read, 5.0),
        MetricSection("redis", lambda: read_redis(resources.redis), 2.0),
    ]


def _time_statements(engine: Engine, histogram: Histogram) -> None:
    @event.listens_for(engine, "before_cursor_execute")
    def before(connection: Any, *_: Any) -> None:
        connection.info["began"] = time.perf_counter()

    @event.listens_for(engine, "after_cursor_execute")
    def after(connection: Any, *_: Any) -> None:
        histogram.observe(time.perf_counter() - connection.info["began"])


def install(app: FastAPI, resources: Resources) -> None:
    """Measure every request and statement, and serve the metrics. Each application has its own registry."""
    registry = resources.registry
    registry.register(MetricsCollector(metric_sections(resources)))
    requests = Histogram(
        "platform_api_request_seconds",
        "duration of requests by route",
        ["method", "route", "status"],
        buckets=BUCKETS_S,
        registry=registry,
    )
    statements = Histogram(
        "platform_database_statement_seconds", "duration of the API's statements", buckets=BUCKETS_S, registry=registry
    )
    for engine in (resources.engine, resources.read_pool.replica):
        if engine is not None:
            _time_statements(engine, statements)

    @app.middleware("http")
    async def measure(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        began = time.perf_counter()
        status = 500
        try:
            response = await call_next(request)
            status = response.status_code
        finally:
            # The template of the route, because a label per order id would grow without bound.
            route = request.scope.get("route")
            path = getattr(route, "path_format", None) or "unmatched"
            requests.labels(request.method, path, str(status)).observe(time.perf_counter() - began)
        return response

    @app.get("/metrics", include_in_schema=False, dependencies=[Depends(reject_unknown_query_parameters)])
    def get_metrics(request: Request) -> Response:
        _authorize(request, resources.metrics_token)
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


def _authorize(request: Request, token: str) -> None:
    """Raises Unauthenticated unless the request has the token. The address of the caller never replaces it."""
    header = request.headers.get("Authorization", "")
    if not hmac.compare_digest(header.encode(), f"Bearer {token}".encode()):
        raise Unauthenticated(
            "The metrics require the token METRICS_TOKEN, or the one in secrets/metrics-token of the state folder, as "
            "`Authorization: Bearer …`."
        )
