"""Metrics of the disk of the state folder, and the forecast when it is full.

The API stores one sample an hour in `run/disk-usage.json` of the state folder, for the last 14 days.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from prometheus_client.core import Metric

from api.dataflow_stats import read_json
from api.metrics.collector import gauge, single
from operators.disk_forecast import DiskSample, add_sample, days_left, growth_per_day

INTERVAL_S = 3600.0


class DiskMetrics:
    """The free space, and the days until the disk is full. The days are absent without a day of samples or growth."""

    def __init__(self, home: Path, clock: Callable[[], float] = time.time) -> None:
        self._home, self._clock = home, clock
        self._samples = read_samples(home)
        self._growth = growth_per_day(self._samples)

    def read(self) -> list[Metric]:
        disk = shutil.disk_usage(self._home if self._home.exists() else "/")
        samples = add_sample(self._samples, DiskSample(self._clock(), disk.used), INTERVAL_S)
        if samples != self._samples:
            self._samples, self._growth = samples, growth_per_day(samples)
            _write_samples(self._home, samples)
        growth = self._growth
        return [
            gauge(
                "platform_host_disk_bytes",
                "disk space of the state folder, free and total",
                ("state",),
                {("free",): disk.free, ("total",): disk.total},
            ),
            single("platform_host_disk_growth_bytes_per_day", "growth of the used disk space", growth),
            single(
                "platform_host_disk_days_left",
                "days until the disk of the state folder is full",
                None if growth is None else days_left(growth, disk.free),
            ),
        ]


def read_samples(home: Path) -> list[DiskSample]:
    """Return the stored samples of a state folder, oldest first."""
    tree = read_json(home / "run" / "disk-usage.json") or {}
    try:
        return [DiskSample(float(at_s), int(used)) for at_s, used in tree.get("samples", [])]
    except (TypeError, ValueError):
        return []


def _write_samples(home: Path, samples: list[DiskSample]) -> None:
    if not (home / "run").is_dir():
        return
    temporary = home / "run" / ".disk-usage.tmp"
    temporary.write_text(json.dumps({"samples": samples}))
    temporary.replace(home / "run" / "disk-usage.json")
