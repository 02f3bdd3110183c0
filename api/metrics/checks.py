"""Metrics of the scheduled checks and jobs, from their results in `run/checks/NAME.json` of the state folder."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from prometheus_client.core import Metric

from api.check_results import found_differences, overdue_s, read_results
from api.metrics.collector import Labels, Value, gauge
from configs.settings.platform import ChecksSection


def read_checks(home: Path, schedule: ChecksSection, now: float | None = None) -> list[Metric]:
    """Return the metrics of all results."""
    results = read_results(home)
    overdue = overdue_s(home, schedule, results, time.time() if now is None else now)
    label = ("check",)
    return [
        gauge(
            "platform_check_ok",
            "1 if the check found no differences, or the job completed",
            label,
            _values(results, "ok"),
        ),
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
        gauge(
            "platform_check_completed",
            "1 if the last run of the check or job did not end with an error",
            label,
            {(name,): bool(row["ok"]) or found_differences(row) for name, row in results.items()},
        ),
        gauge(
            "platform_check_overdue_seconds",
            "time since the check should have finished; 0 while it is on time",
            label,
            {(name,): delay_s for name, delay_s in overdue.items()},
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
