"""Parse a `/metrics` page in Prometheus' text format. Works for any metrics."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from prometheus_client.parser import text_string_to_metric_families

from deploy.errors import DeployError

if TYPE_CHECKING:
    from prometheus_client import Metric

Labels = tuple[tuple[str, str], ...]


class HistogramSummary(NamedTuple):
    """One histogram of a metric and label set, in the metric's unit.

    Quantiles are interpolated linearly within a bucket, so their precision is the width of the bucket. They are NaN if
    nothing was counted, and inf above the last bucket.
    """

    counted: int
    mean: float
    p50: float
    p99: float


class MetricsSnapshot(NamedTuple):
    """The values of a page. `by_service` maps service -> metric -> value, for metrics whose only label is `service`."""

    by_service: dict[str, dict[str, float]]
    values: dict[tuple[str, Labels], float]
    histograms: dict[tuple[str, Labels], HistogramSummary]

    def tree(self) -> dict[str, Any]:
        return {
            "services": self.by_service,
            "values": [{"name": name, "labels": dict(labels), "value": v} for (name, labels), v in self.values.items()],
            "histograms": [
                {"name": name, "labels": dict(labels), **{key: _finite(value) for key, value in h._asdict().items()}}
                for (name, labels), h in self.histograms.items()
            ],
        }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def fetch_page(api: str, token: str | None = None, timeout_s: float = 5.0) -> str:
    """Return the page of an API such as http://127.0.0.1:8000. `token` is its METRICS_TOKEN.

    Raises DeployError if the API does not respond with status 200.
    """
    import httpx

    try:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        response = httpx.get(f"{api}/metrics", headers=headers, timeout=timeout_s)
    except httpx.HTTPError as error:
        raise DeployError(f"{api}/metrics is unreachable: {error}") from error
    if response.status_code == 401:
        raise DeployError(f"{api}/metrics rejected the token; set METRICS_TOKEN to the token of this API")
    if response.status_code != 200:
        raise DeployError(f"{api}/metrics returned status {response.status_code}, expected 200")
    return response.text


def parse_metrics(text: str) -> MetricsSnapshot:
    """Parse a page. Raises DeployError if it is malformed."""
    snapshot = MetricsSnapshot({}, {}, {})
    try:
        for family in text_string_to_metric_families(text):
            if family.type == "histogram":
                snapshot.histograms.update(_histograms(family))
                continue
            for sample in family.samples:
                if sample.name.endswith("_created"):
                    continue
                if set(sample.labels) == {"service"}:
                    snapshot.by_service.setdefault(sample.labels["service"], {})[sample.name] = sample.value
                else:
                    snapshot.values[sample.name, tuple(sorted(sample.labels.items()))] = sample.value
    except (ValueError, IndexError) as error:
        raise DeployError(f"the page is not in Prometheus' text format: {error}") from error
    return snapshot


def _histograms(family: Metric) -> dict[tuple[str, Labels], HistogramSummary]:
    buckets: dict[Labels, list[tuple[float, float]]] = {}
    sums: dict[Labels, float] = {}
    for sample in family.samples:
        labels = tuple(sorted((name, value) for name, value in sample.labels.items() if name != "le"))
        if sample.name.endswith("_bucket"):
            buckets.setdefault(labels, []).append((float(sample.labels["le"]), sample.value))
        elif sample.name.endswith("_sum"):
            sums[labels] = sample.value
    summaries = {}
    for labels, counts in buckets.items():
        counts.sort()
        count = counts[-1][1]
        mean = sums.get(labels, math.nan) / count if count else math.nan
        summaries[family.name, labels] = HistogramSummary(
            int(count), mean, quantile(counts, 0.5), quantile(counts, 0.99)
        )
    return summaries


def quantile(buckets: Iterable[tuple[float, float]], fraction: float) -> float:
    """Estimate a quantile as Prometheus' histogram_quantile does. Buckets are (upper bound, cumulative count).

    The last bound is inf.

    >>> quantile([(1.0, 10), (2.0, 20), (float("inf"), 20)], 0.75)
    1.5
    """
    counts = list(buckets)
    target = fraction * counts[-1][1]
    below_bound, below = 0.0, 0.0
    if not counts[-1][1]:
        return math.nan
    for bound, count in counts:
        if count >= target and count > below:
            return (
                bound if math.isinf(bound) else below_bound + (bound - below_bound) * (target - below) / (count - below)
            )
        below_bound, below = bound, count
    return math.inf
