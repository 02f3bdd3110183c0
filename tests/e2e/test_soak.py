"""A platform in the layout `compact` that runs for an hour: memory, file handles, threads and latency stay flat.

    python cli.py test tests/e2e/test_soak.py --long -n 0 -s
    SOAK_MINUTES=30 python cli.py test tests/e2e/test_soak.py --long -n 0 -s

The test asserts memory, handles, threads, and that no process falls behind the feed. It prints latencies, which depend
on the other load of the machine.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from statistics import median
from typing import NamedTuple

import psutil
import pytest

from dataflows.runtime.topology import COMPACT, Layout
from deploy.performance.benchmark import ClosedSlices, hop_latencies, read_slice_times, without_catch_up
from tests.e2e.conftest import MakePlatform
from tests.e2e.process_platform import ProcessPlatform

MINUTES = float(os.environ.get("SOAK_MINUTES", "60"))
SAMPLES = 40
SLICES_BEHIND_MAX = 30
LATENCY_TOPICS = ("features", "market-bars", "orders")
SIMULATOR = {
    "MARKET_DATA__FEED": "simulator",
    "MARKET_DATA__SIMULATOR__SYMBOLS": '["AAPL", "MSFT", "SPY"]',
    "MARKET_DATA__SIMULATOR__INTERVAL_S": "1",
    "MARKET_DATA__SIMULATOR__MARKET": "choppy",  # many trades
}


class ProcessSample(NamedTuple):
    memory_mb: float
    handles: int
    threads: int


def take_sample(platform: ProcessPlatform) -> dict[str, ProcessSample]:
    samples = {}
    for name, pid in platform.pids().items():
        process = psutil.Process(pid)
        memory_mb = process.memory_full_info().uss / 1e6  # of this process alone: all are forks of one
        samples[name] = ProcessSample(memory_mb, process.num_fds(), process.num_threads())
    return samples


def slices_behind(platform: ProcessPlatform) -> int:
    """Return how many time slices the shared process is behind the feed."""
    interval_ns = 10**9
    return (platform.last_tick_ns("market_data") - platform.last_tick_ns(COMPACT)) // interval_ns


def print_latencies(slice_times: ClosedSlices) -> None:
    """Print the latencies of each quarter of the time slices."""
    retained, _ = without_catch_up(slice_times)
    ordered = sorted(retained.closed_at_ms["market-bars"])
    for quarter in range(4):
        part = set(ordered[quarter * len(ordered) // 4 : (quarter + 1) * len(ordered) // 4])
        closed = {
            topic: {ts_ns: ms for ts_ns, ms in times.items() if ts_ns in part}
            for topic, times in retained.closed_at_ms.items()
        }
        hops = [hop for hop in hop_latencies(ClosedSlices(closed, retained.with_records)) if hop.n]
        figures = ", ".join(f"{hop.name} p50 {hop.p50:.0f} ms, p99 {hop.p99 or 0:.0f} ms (n={hop.n:,})" for hop in hops)
        print(f"quarter {quarter + 1}: {figures}")


def print_samples(samples: Sequence[Mapping[str, ProcessSample]]) -> None:
    for name in samples[0]:
        for title, sample in (("start", samples[0]), ("middle", samples[len(samples) // 2]), ("end", samples[-1])):
            one = sample[name]
            print(f"{name} at the {title}: {one.memory_mb:.1f} MB, {one.handles} handles, {one.threads} threads")


def assert_flat(name: str, samples: Sequence[ProcessSample]) -> None:
    """Compare the last quarter with the one after the warm-up. Memory may fluctuate, but not grow with the time."""
    quarter = len(samples) // 4
    earlier, later = samples[quarter : 2 * quarter], samples[-quarter:]
    memory = [median(one.memory_mb for one in part) for part in (earlier, later)]
    assert memory[1] <= 1.1 * memory[0] + 5, f"{name}: memory grew from {memory[0]:.1f} to {memory[1]:.1f} MB"
    for count in ("handles", "threads"):
        counts = [median(getattr(one, count) for one in part) for part in (earlier, later)]
        assert counts[1] <= counts[0] + 2, f"{name}: {count} grew from {counts[0]} to {counts[1]}"


@pytest.mark.long
@pytest.mark.timeout(int(MINUTES * 60) + 900)
def test_memory_handles_threads_and_backlog_stay_flat(make_platform: MakePlatform) -> None:
    samples, behind = list[dict[str, ProcessSample]](), list[int]()
    with make_platform(overrides=SIMULATOR, layout=Layout.COMPACT) as platform:
        platform.start_feed_last()
        for _ in range(SAMPLES):
            time.sleep(MINUTES * 60 / SAMPLES)
            samples.append(take_sample(platform))
            behind.append(slices_behind(platform))
            platform.wait_until(lambda: True, "all processes run")
        slice_times = read_slice_times(platform.read_settings().kafka, LATENCY_TOPICS, int(MINUTES * 60))
        print(f"\n{MINUTES:.0f} minutes, at most {max(behind)} time slices behind the feed")
        print_samples(samples)
        print_latencies(slice_times)
        platform.drain()
    assert max(behind) <= SLICES_BEHIND_MAX
    for name in samples[0]:
        assert_flat(name, [sample[name] for sample in samples])
