"""Metrics of the platform's processes: health, counts, progress and resources."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import psutil
from prometheus_client.core import Metric

from api.dataflow_stats import (
    COMPACT,
    COUNTS,
    SUPERVISOR_SILENT_AFTER_S,
    applied_configurations,
    is_crash_loop,
    process_rows,
    read_children,
    read_degraded_reasons,
    read_stats,
    supervisor_age_s,
)
from api.metrics.collector import Labels, Value, counter, gauge, single
from api.metrics.kill_switch import kill_switch_metrics
from configs.settings import Settings

SILENT_AFTER_S = 15.0
GATEWAY = "execution"
"""The service whose health an alert needs, also if it shares a process."""
_MEANINGS = {
    "records_in": "records read",
    "records_out": "records written to topics",
    "dead_letters": "dead letters",
    "late_records": "late records: bars that arrived after the clock of their time",
    "duplicates": "duplicates that were dropped",
    "seq_gaps": "records missing in an input",
    "unverified_commands": "commands without a valid signature",
    "ticks": "time slices processed by the stage",
}
Rows = dict[str, dict[str, Any]]


class ServiceMetrics:
    """Reads the reports in the state folder and the processes that they name."""

    def __init__(self, settings: Settings, home: Path) -> None:
        self._home = home
        self._dataflows = sorted({topic.owner for topic in settings.kafka.topics.values() if topic.owner})

    def read(self) -> list[Metric]:
        reports, now = read_stats(self._home), time.time()
        children = read_children(self._home)
        stats = process_rows(reports)
        # The counts of a process with several services are those of the services.
        by_service = reports | stats
        return [
            *self._supervisor(),
            *self._health(reports, children, now),
            *_counts(by_service),
            *_progress(stats, now),
            *_configurations(stats),
            *_threads(stats, now),
            *_processes(stats, children),
            self._suspended(children),
            *kill_switch_metrics(self._home),
            single(
                "platform_degraded", "1 if a substitute replaces a service", bool(read_degraded_reasons(self._home))
            ),
        ]

    def _supervisor(self) -> list[Metric]:
        """Return nothing without a supervisor, as in containers."""
        age_s = supervisor_age_s(self._home)
        if age_s is None:
            return []
        return [
            single(
                "platform_supervisor_up", "1 while the supervisor reports", float(age_s <= SUPERVISOR_SILENT_AFTER_S)
            )
        ]

    def _suspended(self, children: Rows) -> Metric:
        """`run/halted/NAME.json` exists while a dataflow is suspended (`dataflows/runtime/suspension_files.py`)."""
        suspended = {path.stem for path in (self._home / "run" / "halted").glob("*.json")}
        names = sorted({*self._dataflows, *children, *suspended})
        return gauge(
            "platform_dataflow_halted",
            "1 while a dataflow is suspended because of too many dead letters, until a user releases it",
            ("service",),
            {(name,): name in suspended for name in names},
        )

    def _health(self, stats: Rows, children: Rows, now: float) -> list[Metric]:
        """Return the health that the supervisor reports.

        Without a supervisor, or if its state is old, a dataflow is up while it reports itself. The health of the other
        processes is then unknown and not on the page.
        """
        up: dict[Labels, Value] = {(name,): child.get("status") == "healthy" for name, child in children.items()}
        if COMPACT in children and GATEWAY not in children:
            up[(GATEWAY,)] = up[(COMPACT,)]
        for name in self._dataflows if not children else ():
            up[(name,)] = name in stats and now - float(stats[name]["updated_at"]) < SILENT_AFTER_S
        crash_loops: dict[Labels, Value] = {(name,): is_crash_loop(child) for name, child in children.items()}
        restarts: dict[Labels, Value] = {(name,): child.get("restarts") for name, child in children.items()}
        return [
            gauge("platform_service_up", "1 while a service is healthy", ("service",), up),
            gauge(
                "platform_service_crash_loop",
                "1 after a crash loop: the supervisor does not restart the service any more",
                ("service",),
                crash_loops,
            ),
            counter("platform_service_restarts", "restarts after an unexpected exit", ("service",), restarts),
        ]


def _threads(stats: Rows, now: float) -> list[Metric]:
    """Return the background threads of each dataflow (`sinks/background_thread.py`)."""
    running: dict[Labels, Value] = {}
    deaths: dict[Labels, Value] = {}
    ages: dict[Labels, Value] = {}
    for service, row in stats.items():
        for thread in row.get("threads", ()):
            key = (service, str(thread["name"]))
            running[key] = (running.get(key) or 0) + thread["running"]
            deaths[key] = (deaths.get(key) or 0) + thread["deaths"]
            if thread["deaths"]:
                age_s = max(0.0, now - thread["died_at"])
                ages[key] = min(age_s, ages.get(key) or age_s)
    labels = ("service", "thread")
    return [
        gauge("platform_thread_running", "background threads of this name that run", labels, running),
        counter("platform_thread_deaths", "unexpected ends of a background thread, since the start", labels, deaths),
        gauge("platform_thread_death_age_seconds", "time since a background thread last died", labels, ages),
    ]


def _values(stats: Rows, key: str) -> dict[Labels, Value]:
    return {(service,): row.get(key) for service, row in stats.items()}


def _counts(stats: Rows) -> list[Metric]:
    return [
        counter(f"platform_dataflow_{name}", f"{_MEANINGS[name]}, since the start", ("service",), _values(stats, name))
        for name in (*COUNTS, "ticks")
    ]


def _progress(stats: Rows, now: float) -> list[Metric]:
    """Return the progress of each dataflow: its lag behind the feed in event time and behind the wall clock."""
    clocks = {service: row["last_tick_ns"] / 1e9 for service, row in stats.items() if row.get("last_tick_ns", -1) > 0}
    newest = clocks.get("market_data", max(clocks.values(), default=0.0))
    label = ("service",)
    return [
        gauge(
            "platform_dataflow_event_timestamp_seconds", "event time of the last time slice", label, _labelled(clocks)
        ),
        gauge(
            "platform_dataflow_event_lag_seconds",
            "event time between the feed's last time slice and this dataflow's",
            label,
            {(service,): max(0.0, newest - clock) for service, clock in clocks.items()},
        ),
        gauge(
            "platform_dataflow_wall_lag_seconds",
            "time between the last time slice's event time and now; meaningless for a feed of old files",
            label,
            {(service,): now - clock for service, clock in clocks.items()},
        ),
        gauge(
            "platform_dataflow_still_seconds",
            "time since the last time slice; 0 for a feed that has finished",
            label,
            {
                (service,): 0.0 if row.get("feed_finished") else now - row["moved_at"]
                for service, row in stats.items()
                if "moved_at" in row
            },
        ),
        gauge(
            "platform_dataflow_feed_finished", "1 if a feed has no more input", label, _values(stats, "feed_finished")
        ),
        gauge(
            "platform_dataflow_report_age_seconds",
            "time since a dataflow last reported",
            label,
            {(service,): now - float(row["updated_at"]) for service, row in stats.items()},
        ),
        gauge(
            "platform_dataflow_uptime_seconds",
            "time since a dataflow started",
            label,
            {(service,): now - float(row["started_at"]) for service, row in stats.items() if "started_at" in row},
        ),
    ]


def _configurations(stats: Rows) -> list[Metric]:
    applied = applied_configurations(stats)
    return [
        gauge(
            "platform_service_configuration_number",
            "number of the configuration that a service has applied",
            ("service",),
            {(service,): one.number for service, one in applied.items()},
        ),
        gauge(
            "platform_service_configuration_behind",
            "1 while another service has applied a later configuration",
            ("service",),
            {(service,): one.is_behind for service, one in applied.items()},
        ),
    ]


def _labelled(values: dict[str, float]) -> dict[Labels, Value]:
    return {(service,): value for service, value in values.items()}


def _processes(stats: Rows, children: Rows) -> list[Metric]:
    """Dataflows report their own resources, also from other containers. For other processes, psutil reads them."""
    cpu = {service: row["cpu_s"] for service, row in stats.items() if "cpu_s" in row}
    memory = {service: row["rss_bytes"] for service, row in stats.items() if "rss_bytes" in row}
    own_process = psutil.Process()
    pids = {name: child["pid"] for name, child in children.items() if child.get("pid") and name not in cpu}
    pids.setdefault("api", own_process.pid)
    for service, pid in pids.items():
        try:
            process = own_process if pid == own_process.pid else psutil.Process(pid)
            times = process.cpu_times()
            cpu[service], memory[service] = times.user + times.system, process.memory_info().rss
        except psutil.Error:
            continue  # the process exited after the supervisor wrote its state
    return [
        counter("platform_process_cpu_seconds", "processor time of a service", ("service",), _labelled(cpu)),
        gauge("platform_process_resident_memory_bytes", "memory of a service", ("service",), _labelled(memory)),
    ]
