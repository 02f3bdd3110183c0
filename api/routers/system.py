"""State of the feed, the processes and the scheduled checks, for operators."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from fastapi import APIRouter

from api.access import Reader
from api.check_results import found_differences, overdue_s, read_results
from api.dataflow_stats import applied_configurations, is_crash_loop, process_rows, read_children, read_stats
from api.json_types import ApiModel, utc
from api.market_hours import market_open
from api.order_progress import FEED, SILENT_AFTER_S
from api.problems import problem_responses
from api.resources import Resources, ResourcesDep
from api.routers import PREFIX

_IDLE_AFTER_S = 60.0
"""Time without a time slice after which a feed is idle: its market may be closed."""

router = APIRouter(prefix=f"{PREFIX}/system", tags=["health"], responses=problem_responses(401, 403, 422, 429, 503))


class FeedState(ApiModel):
    """`state`: live; finished, after the last record of files; idle, without data while the market is open; closed,
    without data outside market hours; down, if `market_data` does not report.

    `event_time` is the event time of the last time slice, `last_slice_at` the wall-clock time at which it was written.
    """

    state: Literal["live", "finished", "idle", "closed", "down"]
    event_time: str | None
    last_slice_at: str | None


class ProcessState(ApiModel):
    """A process that the supervisor runs. `reason` is why it is not healthy, with its last log entry. After a crash
    loop, the supervisor does not restart it any more.
    """

    name: str
    status: str
    restarts: int
    reason: str | None
    crash_loop: bool


class CheckState(ApiModel):
    """A scheduled check, or the nightly job `archive`. `result`: passed; differences, if a check found some; error, if
    it did not complete; none before its first run. `counts` are the numbers of compared items and findings, or of
    archived and deleted messages. `overdue_s` is the delay of a run that is due and has not completed.
    """

    name: str
    result: Literal["passed", "differences", "error", "none"]
    finished_at: str | None
    duration_s: float | None
    counts: dict[str, int | float]
    message: str
    overdue_s: float


class ServiceConfiguration(ApiModel):
    """The configuration that all stages of a service have applied, in force from the time slice `since` on. `behind`:
    another service has applied a later one.
    """

    service: str
    configuration_id: str
    number: int
    since: str
    behind: bool


class SystemState(ApiModel):
    """`processes` is empty without a supervisor that reports, as in containers. `configurations` has the processes that
    have applied one.
    """

    feed: FeedState
    processes: list[ProcessState]
    configurations: list[ServiceConfiguration]
    checks: list[CheckState]


@router.get("")
def get_system(caller: Reader, resources: ResourcesDep) -> SystemState:
    """The feed, the processes and the scheduled checks, as their files in the state folder report them."""
    now, stats = time.time(), read_stats(resources.home)
    return SystemState(
        feed=_feed(resources, stats.get(FEED), now),
        processes=[_process(child) for _, child in sorted(read_children(resources.home).items())],
        configurations=[
            ServiceConfiguration(
                service=service,
                configuration_id=one.configuration_id,
                number=one.number,
                since=utc(one.since_ns),
                behind=one.is_behind,
            )
            for service, one in sorted(applied_configurations(process_rows(stats)).items())
        ],
        checks=_checks(resources, now),
    )


def _feed(resources: Resources, row: Mapping[str, Any] | None, now: float) -> FeedState:
    if row is None:
        return FeedState(state="down", event_time=None, last_slice_at=None)
    event_ns, moved_at = row.get("last_tick_ns", -1), row.get("moved_at")
    return FeedState(
        state=_feed_state(resources, row, now),
        event_time=utc(event_ns) if event_ns > 0 else None,
        last_slice_at=None if moved_at is None or event_ns <= 0 else utc(int(moved_at * 1000) * 1_000_000),
    )


def _feed_state(
    resources: Resources, row: Mapping[str, Any], now: float
) -> Literal["live", "finished", "idle", "closed", "down"]:
    if row.get("feed_finished"):
        return "finished"
    if now - float(row["updated_at"]) > SILENT_AFTER_S:
        return "down"
    if now - float(row.get("moved_at", now)) <= _IDLE_AFTER_S:
        return "live"
    return "idle" if market_open(resources.settings, datetime.fromtimestamp(now, UTC)) else "closed"


def _process(child: Mapping[str, Any]) -> ProcessState:
    return ProcessState(
        name=str(child["name"]),
        status=str(child.get("status", "unknown")),
        restarts=int(child.get("restarts", 0)),
        reason=child.get("reason"),
        crash_loop=is_crash_loop(child),
    )


def _checks(resources: Resources, now: float) -> list[CheckState]:
    """Return the scheduled checks and those with a result, also before their first run."""
    schedule, results = resources.settings.platform.checks, read_results(resources.home)
    scheduled = {
        name for name in ("verify", "replay_check", "checkpoint", "archive") if getattr(schedule, name) is not None
    }
    overdue = overdue_s(resources.home, schedule, results, now)
    return [_check(name, results.get(name), overdue.get(name, 0.0)) for name in sorted(scheduled | results.keys())]


def _check(name: str, row: Mapping[str, Any] | None, delay_s: float) -> CheckState:
    if row is None:
        empty: dict[str, int | float] = {}
        return CheckState(
            name=name, result="none", finished_at=None, duration_s=None, counts=empty, message="", overdue_s=delay_s
        )
    counts = row.get("counts") or {}
    return CheckState(
        name=name,
        result="passed" if row["ok"] else "differences" if found_differences(row) else "error",
        finished_at=utc(int(row["finished_at"] * 1000) * 1_000_000),
        duration_s=row.get("duration_s"),
        counts={str(what): number for what, number in counts.items() if isinstance(number, int | float)},
        message=str(row.get("message") or ""),
        overdue_s=round(delay_s, 1),
    )
