"""Sections of the metrics page: cached, and independent of each other's failures."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import redis
import structlog
from confluent_kafka import KafkaException
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError

from schemas.errors import BadInput

log = structlog.get_logger(__name__)

Labels = tuple[str, ...]
Value = float | int | None


class MetricSection:
    """The metrics that `read` returns, cached for `cache_s` seconds. If `read` fails, the page omits them."""

    def __init__(self, name: str, read: Callable[[], list[Metric]], cache_s: float) -> None:
        self.name, self._read, self._cache_s = name, read, cache_s
        self._lock = threading.Lock()
        self._read_at = -1e9
        self._metrics: list[Metric] = []
        self.readable, self.took_s = True, 0.0

    def metrics(self) -> list[Metric]:
        with self._lock:
            began = time.monotonic()
            if began - self._read_at >= self._cache_s:
                self._refresh()
                self._read_at = time.monotonic()
                self.took_s = self._read_at - began
            return self._metrics

    def _refresh(self) -> None:
        was_readable = self.readable
        try:
            self._metrics, self.readable = self._read(), True
        except (SQLAlchemyError, redis.RedisError, KafkaException, OSError, BadInput) as error:
            self._metrics, self.readable = [], False
            if was_readable:
                log.warning("metrics section failed", part=self.name, error=str(error).splitlines()[0])


class MetricsCollector(Collector):
    """Collects all sections, and whether each could be read."""

    def __init__(self, sections: list[MetricSection]) -> None:
        self._sections = sections

    def describe(self) -> Iterable[Metric]:
        # Registration must not send requests to servers.
        return []

    def collect(self) -> Iterator[Metric]:
        for section in self._sections:
            yield from section.metrics()
        readable = {(section.name,): section.readable for section in self._sections}
        yield gauge("platform_metrics_readable", "1 if this part of the page could be read", ("part",), readable)
        read_seconds = {(section.name,): section.took_s for section in self._sections}
        yield gauge("platform_metrics_read_seconds", "duration of reading this part", ("part",), read_seconds)


def gauge(name: str, meaning: str, labels: Labels, values: Mapping[Any, Value]) -> GaugeMetricFamily:
    """Return a gauge with a value for each tuple of labels. Values of None are omitted."""
    family = GaugeMetricFamily(name, meaning, labels=labels)
    _add_values(family, values)
    return family


def counter(name: str, meaning: str, labels: Labels, values: Mapping[Any, Value]) -> CounterMetricFamily:
    """Return a counter, like `gauge`. Its name on the page ends with `_total`."""
    family = CounterMetricFamily(name, meaning, labels=labels)
    _add_values(family, values)
    return family


def _add_values(family: GaugeMetricFamily | CounterMetricFamily, values: Mapping[Any, Value]) -> None:
    for label_values, value in values.items():
        if value is not None:
            family.add_metric(label_values, float(value))


def single(name: str, meaning: str, value: Value) -> GaugeMetricFamily:
    """Return a gauge without labels."""
    return gauge(name, meaning, (), {(): value})
