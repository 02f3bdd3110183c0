"""Results of the scheduled checks and nightly jobs: `run/checks/NAME.json` of the state folder, and what is overdue.

A check compares data and can find differences. A job (`checkpoint create`, `archive create`) compares nothing: it
completes or fails.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from api.dataflow_stats import read_children, read_json
from configs.settings.platform import ChecksSection

DAY_S = 86_400.0
VERIFY_DURATION_S_MAX, DAILY_DURATION_S_MAX = 600.0, 7200.0
"""How long a check may take before it counts as overdue."""


def read_results(home: Path) -> dict[str, dict[str, Any]]:
    """Return the last result of each check by name: {"name", "ok", "finished_at" (seconds since 1970), "duration_s",
    "counts": {what: number}, "message"}. In a failed check, "findings" in the counts are its differences.
    """
    rows = [row for path in sorted((home / "run" / "checks").glob("*.json")) if (row := read_json(path)) is not None]
    return {str(row["name"]): row for row in rows if {"name", "ok", "finished_at"} <= row.keys()}


def found_differences(result: Mapping[str, Any]) -> bool:
    """Return whether a check completed and found differences. False if it ended with an error.

    >>> found_differences({"ok": False, "counts": {"checks": 9, "findings": 2}})
    True
    >>> found_differences({"ok": False, "counts": {"archived": 500, "deleted": 0}})
    False
    """
    findings = (result.get("counts") or {}).get("findings", 0)
    return isinstance(findings, int | float) and findings > 0


def overdue_s(home: Path, schedule: ChecksSection, results: Mapping[str, Any], now: float) -> dict[str, float]:
    """Return the delay of each scheduled check and job in seconds, 0 while it is on time. Empty if the supervisor runs
    no process for them.

    `verify` is due one interval after its last end, or after the start of the process that runs it. A daily check or
    job is due one day after its last end, so that a platform that restarts every day before it is noticed. Before its
    first run, it is due one day after the start of the process.
    """
    process = read_children(home).get("checks", {})
    started_at = process.get("process_started_at")
    if started_at is None:
        return {}
    overdue: dict[str, float] = {}
    if schedule.verify is not None:
        last = max(started_at, results.get("verify", {}).get("finished_at", 0.0))
        overdue["verify"] = max(0.0, now - last - schedule.verify - VERIFY_DURATION_S_MAX)
    for name in ("replay_check", "checkpoint", "archive"):
        if getattr(schedule, name) is not None:
            last = results.get(name, {}).get("finished_at", started_at)
            overdue[name] = max(0.0, now - last - DAY_S - DAILY_DURATION_S_MAX)
    return overdue
