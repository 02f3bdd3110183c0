"""Parts of the page that are read seldom, however often they are asked for, and fail one by one."""

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


class Part:
    """`read` gives metrics; they are kept for `kept_s`. What cannot be read is missing from the page, never old."""

    def __init__(self, name: str, read: Callable[[], list[Metric]], kept_s: float) -> None:
        self.name, self._read, self._kept_s = name, read, kept_s
        self._lock = threading.Lock()
        self._read_at = -1e9
        self._metrics: list[Metric] = []
        self.readable, self.took_s = True, 0.0

    def metrics(self) -> list[Metric]:
        with self._lock:
            began = time.monotonic()
            if began - self._read_at >= self._kept_s:
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
                log.warning("metrics cannot be read", part=self.name, error=str(error).splitlines()[0])


class Parts(Collector):
    """All parts as one collector, and whether each could be read."""

    def __init__(self, parts: list[Part]) -> None:
        self._parts = parts

    def describe(self) -> Iterable[Metric]:
        # Registering must ask no server.
        return []

    def collect(self) -> Iterator[Metric]:
        for part in self._parts:
            yield from part.metrics()
        readable = {(part.name,): part.readable for part in self._parts}
        yield gauge("platform_metrics_readable", "1 when this part of the page could be read", ("part",), readable)
        took = {(part.name,): part.took_s for part in self._parts}
        yield gauge("platform_metrics_read_seconds", "how long reading this part took", ("part",), took)


def gauge(name: str, meaning: str, labels: Labels, values: Mapping[Any, Value]) -> GaugeMetricFamily:
    """A metric with a value for each tuple of labels; those without a value are left out."""
    family = GaugeMetricFamily(name, meaning, labels=labels)
    for given, value in values.items():
        if value is not None:
            family.add_metric(given, float(value))
    return family


def counter(name: str, meaning: str, labels: Labels, values: Mapping[Any, Value]) -> CounterMetricFamily:
    """As `gauge`, of what only grows; `_total` is added to the name."""
    family = CounterMetricFamily(name, meaning, labels=labels)
    for given, value in values.items():
        if value is not None:
            family.add_metric(given, float(value))
    return family


def single(name: str, meaning: str, value: Value) -> GaugeMetricFamily:
    """A metric without labels."""
    return gauge(name, meaning, (), {(): value})
