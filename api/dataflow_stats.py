"""Read the reports of the dataflows and of the local supervisor: small files in the state folder."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import structlog

log = structlog.get_logger(__name__)

SUPERVISOR_SILENT_AFTER_S = 10.0
"""The supervisor writes its state every two seconds. An older state is outdated."""
COMPACT = "compact"
"""The process that runs several services in the layout `compact`."""
_PROGRESS = ("pid", "started_at", "updated_at", "last_tick_ns", "moved_at", "ticks", "configuration")
COUNTS = ("records_in", "records_out", "dead_letters", "late_records", "duplicates", "seq_gaps", "unverified_commands")

_COUNTS_OF_SERVICES = {"services", *COUNTS} - {"records_out"}


def read_stats(home: Path) -> dict[str, dict[str, Any]]:
    """Return the contents of `run/stats/*.json` by service name; empty if no dataflow ever ran.

    The reports of a service with several processes are merged: the counts are summed, and the event time, the time of
    the report and the start are those of the process that is furthest behind. For a process that runs several services,
    there is a row for the process and one for each service.
    """
    stats: dict[str, dict[str, Any]] = {}
    for path in sorted((home / "run" / "stats").glob("*.json")):
        row = read_json(path)
        if row is not None and {"service", "updated_at"} <= row.keys():
            service = str(row["service"])
            stats[service] = _merge_processes(stats[service], row) if service in stats else row
            stats |= _rows_of_shared_process(row)
    return stats


def _rows_of_shared_process(row: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return a row for each service of a shared process: the counts of the service, and the progress of the process."""
    progress = {name: row[name] for name in _PROGRESS if name in row}
    return {name: {"service": name, **progress, **counts} for name, counts in row.get("services", {}).items()}


def _merge_processes(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    merged = {**first, **second}
    for name in COUNTS:
        merged[name] = first.get(name, 0) + second.get(name, 0)
    for name in ("last_tick_ns", "updated_at", "started_at"):
        values = [row[name] for row in (first, second) if name in row]
        if values:
            merged[name] = min(values)
    applied = [row["configuration"] for row in (first, second) if row.get("configuration")]
    if applied:
        merged["configuration"] = min(applied, key=_number)
    merged["threads"] = [*first.get("threads", ()), *second.get("threads", ())]
    return merged


class AppliedConfiguration(NamedTuple):
    """The configuration that every stage of a service has applied, and the time slice from which on it is in force.

    `is_behind`: another service has applied a later one.
    """

    configuration_id: str
    number: int
    since_ns: int
    is_behind: bool


def applied_configurations(stats: Mapping[str, Mapping[str, Any]]) -> dict[str, AppliedConfiguration]:
    """Return the configuration of each service that has reported one.

    >>> one, two = ({"configuration": {"id": f"config-{n}", "number": n, "since_ns": 60 * n}} for n in (1, 2))
    >>> {name: one.is_behind for name, one in applied_configurations({"risk": one, "portfolio": two}).items()}
    {'risk': True, 'portfolio': False}
    """
    reported = {service: row["configuration"] for service, row in stats.items() if row.get("configuration")}
    newest = max(map(_number, reported.values()), default=0)
    return {
        service: AppliedConfiguration(str(one["id"]), _number(one), int(one["since_ns"]), _number(one) < newest)
        for service, one in reported.items()
    }


def _number(configuration: Mapping[str, Any]) -> int:
    """Return the number of a reported configuration. An earlier release reported only its id."""
    return int(configuration.get("number") or str(configuration["id"]).rpartition("-")[2])


def read_degraded_reasons(home: Path, environment: Mapping[str, str] = os.environ) -> list[str]:
    """Return the substitutes that replace services, such as another program in place of Kafka, one sentence each."""
    configured = environment.get("PLATFORM_DEGRADED")
    if configured:
        return [configured]
    recorded = read_state(home).get("degraded") or []
    return [recorded] if isinstance(recorded, str) else [str(reason) for reason in recorded]


def read_state(home: Path) -> dict[str, Any]:
    """Return the last state of the local supervisor; empty if there is no supervisor, as in containers."""
    return read_json(home / "run" / "state.json") or {}


def supervisor_age_s(home: Path, now: float | None = None) -> float | None:
    """Return the age of the supervisor's state in seconds; None if there never was a supervisor, as in containers.

    A state without a time, or with one in the future, has the age infinity.
    """
    state = read_state(home)
    if not state:
        return None
    age_s = (time.time() if now is None else now) - float(state.get("updated_at", -1e18))
    return age_s if -SUPERVISOR_SILENT_AFTER_S <= age_s < 1e9 else float("inf")


def read_children(home: Path) -> dict[str, dict[str, Any]]:
    """Return what the supervisor reports of each process, by name; empty without a supervisor that reports now."""
    age_s = supervisor_age_s(home)
    if age_s is None or age_s > SUPERVISOR_SILENT_AFTER_S:
        return {}
    return {str(child["name"]): child for child in read_state(home).get("children", [])}


def process_rows(stats: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return only the rows of processes. The row of a process with several services lacks the sums of their counts.

    >>> process_rows({"compact": {"records_in": 3, "records_out": 1, "services": {"risk": {}}}, "risk": {}})
    {'compact': {'records_out': 1}}
    """
    shared = {name for row in stats.values() for name in row.get("services", ())}
    return {
        name: {key: value for key, value in row.items() if key not in _COUNTS_OF_SERVICES} if "services" in row else row
        for name, row in stats.items()
        if name not in shared
    }


def shared_processes(stats: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the services of each process that runs several."""
    return {process: sorted(row["services"]) for process, row in stats.items() if row.get("services")}


def with_services(children: Mapping[str, dict[str, Any]], stats: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the supervisor's reports of processes, and each report of a shared process also by the names of its
    services.
    """
    out = dict(children)
    for process, row in stats.items():
        for service in row.get("services", ()) if process in children else ():
            out[service] = {**children[process], "name": service}
    return out


def is_crash_loop(child: Mapping[str, Any]) -> bool:
    """Whether the supervisor has stopped restarting this process because it exited again and again."""
    return child.get("status") == "failed" and str(child.get("reason") or "").startswith("crash loop")


def read_json(path: Path) -> dict[str, Any] | None:
    """Return the object in a file of the state folder; None if the file is missing or unreadable."""
    try:
        tree = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        log.warning("unreadable state file", path=path.name, error=str(error))
        return None
    return tree if isinstance(tree, dict) else None
