"""Forecast when a disk is full, from samples of the used bytes.

The used space falls when archived messages, an old log or a backup are deleted. The growth is therefore the median of
the slopes between all pairs of samples (Theil 1950, Sen 1968), which such single steps hardly change.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

DAY_S = 86_400.0
HISTORY_S_MIN = DAY_S
SAMPLES_MAX = 14 * 24


class DiskSample(NamedTuple):
    """The used bytes of a disk at a time (s since 1970)."""

    time_s: float
    used_bytes: int


def growth_per_day(samples: Sequence[DiskSample]) -> float | None:
    """Return the growth of the used bytes per day, None without a day of samples.

    >>> samples = [DiskSample(hour * 3600.0, 5_000_000 * hour) for hour in range(49)]
    >>> growth_per_day(samples), growth_per_day(samples[:24])
    (120000000.0, None)
    """
    if len(samples) < 2 or samples[-1].time_s - samples[0].time_s < HISTORY_S_MIN:
        return None
    slopes = [
        (later.used_bytes - earlier.used_bytes) / (later.time_s - earlier.time_s)
        for earlier, later in combinations(samples, 2)
    ]
    return statistics.median(slopes) * DAY_S


def days_left(bytes_per_day: float, free_bytes: int) -> float | None:
    """Return in how many days a disk is full, None if the used space does not grow.

    >>> days_left(120e6, 2_160_000_000), days_left(-5.0, 1)
    (18.0, None)
    """
    return free_bytes / bytes_per_day if bytes_per_day > 0 else None


def add_sample(samples: Sequence[DiskSample], sample: DiskSample, interval_s: float) -> list[DiskSample]:
    """Return the samples with a new one if the last is at least `interval_s` old. Only the newest ones stay.

    >>> add_sample([DiskSample(0.0, 5)], DiskSample(3600.0, 6), 3600.0)
    [DiskSample(time_s=0.0, used_bytes=5), DiskSample(time_s=3600.0, used_bytes=6)]
    >>> add_sample([DiskSample(0.0, 5)], DiskSample(60.0, 6), 3600.0)
    [DiskSample(time_s=0.0, used_bytes=5)]
    """
    # After the clock was set back, samples with later times are discarded.
    known = [earlier for earlier in samples if earlier.time_s < sample.time_s]
    if known and sample.time_s - known[-1].time_s < interval_s:
        return known
    return [*known, sample][-SAMPLES_MAX:]
