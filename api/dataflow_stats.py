"""What each dataflow last said about itself, and how the local platform runs: small files in the state folder."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import structlog

log = structlog.get_logger(__name__)

COUNTS = ("records_in", "records_out", "dead_letters", "late_records", "duplicates", "seq_gaps")


def read_stats(home: Path) -> dict[str, dict[str, Any]]:
    """By service name, the content of `run/stats/*.json`; empty where nothing ever ran.

    A service that runs as several processes counts as one: their records together, as far as the slowest, as fresh as
    the one that has been silent for longest.
    """
    stats: dict[str, dict[str, Any]] = {}
    for path in sorted((home / "run" / "stats").glob("*.json")):
        row = read_json(path)
        if row is not None and {"service", "updated_at"} <= row.keys():
            service = str(row["service"])
            stats[service] = _merge_processes(stats[service], row) if service in stats else row
    return stats


def _merge_processes(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    merged = {**first, **second}
    for name in COUNTS:
        merged[name] = first.get(name, 0) + second.get(name, 0)
    for name in ("last_tick_ns", "updated_at", "started_at"):
        values = [row[name] for row in (first, second) if name in row]
        if values:
            merged[name] = min(values)
    return merged


def read_degraded_reasons(home: Path, environment: Mapping[str, str] = os.environ) -> list[str]:
    """What the platform does without, in sentences: a stand-in for Kafka, for instance. Empty when nothing."""
    configured = environment.get("PLATFORM_DEGRADED")
    if configured:
        return [configured]
    recorded = read_state(home).get("degraded") or []
    return [recorded] if isinstance(recorded, str) else [str(reason) for reason in recorded]


def read_state(home: Path) -> dict[str, Any]:
    """What the local platform's supervisor last wrote; empty where there is none, as in containers."""
    return read_json(home / "run" / "state.json") or {}


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in a small file of the state folder; None where there is none that can be read."""
    try:
        tree = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        log.warning("unreadable state file", path=path.name, error=str(error))
        return None
    return tree if isinstance(tree, dict) else None
