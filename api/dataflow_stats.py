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
    found: dict[str, dict[str, Any]] = {}
    for path in sorted((home / "run" / "stats").glob("*.json")):
        row = read_json(path)
        if row is not None and {"service", "updated_at"} <= row.keys():
            service = str(row["service"])
            found[service] = _together(found[service], row) if service in found else row
    return found


def _together(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    both = {**one, **other}
    for name in COUNTS:
        both[name] = one.get(name, 0) + other.get(name, 0)
    for name in ("last_tick_ns", "updated_at", "started_at"):
        known = [row[name] for row in (one, other) if name in row]
        if known:
            both[name] = min(known)
    return both


def degraded(home: Path, environment: Mapping[str, str] = os.environ) -> list[str]:
    """What the platform does without, in sentences: a stand-in for Kafka, for instance. Empty when nothing."""
    named = environment.get("PLATFORM_DEGRADED")
    if named:
        return [named]
    noted = read_state(home).get("degraded") or []
    return [noted] if isinstance(noted, str) else [str(each) for each in noted]


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
