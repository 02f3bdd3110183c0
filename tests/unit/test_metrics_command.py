"""`metrics` reads any page in the Prometheus text format. The prometheus_client library generates the pages here."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from rich.console import Console

from deploy.commands.metrics import render_tables
from deploy.errors import DeployError
from deploy.performance.metrics_page import fetch_page, parse_metrics

SECONDS = tuple(number / 1000 for number in range(1, 201))


def page() -> str:
    registry = CollectorRegistry()
    rows = Gauge("rows_in", "rows", ["service"], registry=registry)
    rows.labels("risk").set(7)
    rows.labels("features").set(1_234_567)
    Counter("refused", "requests", ["role"], registry=registry).labels("viewer").inc(3)
    durations = Histogram("took_seconds", "times", ["route"], buckets=SECONDS, registry=registry)
    for value in np.random.default_rng(5).gamma(3.0, 0.01, 5000):
        durations.labels("/orders").observe(float(value))
    Histogram("never_seconds", "nothing", registry=registry)
    return generate_latest(registry).decode()


def test_metric_values_are_read_back() -> None:
    figures = parse_metrics(page())
    assert figures.by_service == {"risk": {"rows_in": 7.0}, "features": {"rows_in": 1_234_567.0}}
    assert figures.values == {("refused_total", (("role", "viewer"),)): 3.0}


def test_quantiles_are_right_to_the_width_of_a_bucket() -> None:
    samples = np.random.default_rng(5).gamma(3.0, 0.01, 5000)
    histogram = parse_metrics(page()).histograms["took_seconds", (("route", "/orders"),)]
    assert histogram.counted == 5000
    assert histogram.mean == pytest.approx(samples.mean())
    assert histogram.p50 == pytest.approx(np.quantile(samples, 0.5), abs=0.001)
    assert histogram.p99 == pytest.approx(np.quantile(samples, 0.99), abs=0.001)


def test_an_empty_histogram_has_no_quantile_and_is_not_shown() -> None:
    figures = parse_metrics(page())
    assert math.isnan(figures.histograms["never_seconds", ()].p99)
    assert [tree["p99"] for tree in figures.tree()["histograms"] if tree["name"] == "never_seconds"] == [None]
    console = Console(width=120, record=True, file=io.StringIO())
    for table in render_tables(figures):
        console.print(table)
    text = console.export_text()
    assert "1,234,567" in text
    assert "route=/orders" in text
    assert "never_seconds" not in text


def test_invalid_metrics_page_gives_a_one_line_error() -> None:
    with pytest.raises(DeployError, match="not in Prometheus' text format"):
        parse_metrics("rows_in{service= 7\n<html>")
    with pytest.raises(DeployError, match=r"http://127\.0\.0\.1:1/metrics is unreachable"):
        fetch_page("http://127.0.0.1:1")
