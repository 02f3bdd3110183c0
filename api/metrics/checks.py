"""Metrics of the scheduled checks, from their results in `run/checks/NAME.json` of the state folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prometheus_client.core import Metric

from api.dataflow_stats import read_json
from api.metrics.collector import Labels, Value, gauge


def read_checks(home: Path) -> list[Metric]:
    """Returns the metrics of all results. A result is {"name", "ok", "finished_at" (seconds since 1970), "duration_s",
    "counts": {what: number}}.
    """
    rows = [row for path in sorted((home / "run" / "checks").glob("*.json")) if (row := read_json(path)) is not None]
    results = {str(row["name"]): row for row in rows if {"name", "ok", "finished_at"} <= row.keys()}
    label = ("check",)
    return [
        gauge("platform_check_ok", "1 if the check found no differences", label, _values(results, "ok")),
        gauge(
            "platform_check_finished_timestamp_seconds",
            "end of the last run of the check",
            label,
            _values(results, "finished_at"),
        ),
        gauge(
            "platform_check_duration_seconds",
            "duration of the last run of the check",
            label,
            _values(results, "duration_s"),
        ),
        gauge("platform_check_findings", "counts of the check", ("check", "what"), dict(_findings(results))),
    ]


def _values(results: dict[str, dict[str, Any]], key: str) -> dict[Labels, Value]:
    return {(name,): row.get(key) for name, row in results.items()}


def _findings(results: dict[str, dict[str, Any]]) -> list[tuple[Labels, Value]]:
    return [
        ((name, str(what)), number)
        for name, row in results.items()
        for what, number in (row.get("counts") or {}).items()
        if isinstance(number, int | float)
    ]
