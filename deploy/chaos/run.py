"""Run one test: write the tape, run the platform with faults, and compare it with the uninterrupted result."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from configs.settings import Settings, load_settings
from deploy.chaos import edge_records, tables
from deploy.chaos.expected import deduplicated, expected_logs, first_difference, run_stages, tape_slices
from deploy.chaos.faults import PlannedFault, fault_counts, inject_fault, plan_faults
from deploy.chaos.llm_server import LocalLlm
from deploy.chaos.side_inputs import WireFiles, write_settings, write_side_inputs
from deploy.chaos.stack import SETTINGS, ChaosStack
from deploy.chaos.tape import MINUTES_MAX, write_tape
from deploy.chaos.throttled_feed import FEED, ThrottledFeed
from operators.stage import TimeSlice

SECONDS_PER_FAULT, SECONDS_MIN = 1.0, 8.0
LEAD_SLICES_MAX = 15
"""Maximum lead of the feed over the slowest dataflow in time slices, so that faults hit a busy platform."""
PrintLine = Callable[[str], None]


class InjectedFault(NamedTuple):
    fault: PlannedFault
    effect: str
    at_s: float  # seconds since the platform became healthy


class ChaosResult(NamedTuple):
    """`difference` is the first difference as a sentence, or None. The counts are those of the platform with faults."""

    seed: int
    date: str
    struck: list[InjectedFault]
    difference: str | None
    topics: int
    messages: int  # in all topics, including repeated records and clocks
    repeats: int  # messages that readers discard
    tables: int
    rows: int
    restarts: int
    elapsed_s: float

    def as_tree(self) -> dict[str, Any]:
        tree = self._asdict()
        tree["struck"] = [{**each.fault._asdict(), "did": each.effect, "at_s": each.at_s} for each in self.struck]
        tree["times"] = fault_counts([each.fault for each in self.struck])
        return tree


class _ComparisonResult(NamedTuple):
    difference: str | None
    topics: int
    messages: int
    repeats: int
    tables: int
    rows: int


def run(
    seed: int,
    kills: int,
    kinds: Sequence[str],
    targets: Sequence[str],
    print_line: PrintLine,
    *,
    keep_folder: Path | None = None,
) -> ChaosResult:
    """Run the test of a seed. With `keep_folder`, its state folder is kept there.

    Raises DeployError if the test cannot be run, or if the platform does not recover from a fault.
    """
    started_at = time.monotonic()
    faults = plan_faults(seed, kills, kinds, targets)
    folder = keep_folder or Path(tempfile.mkdtemp(prefix="chaos-"))
    try:
        with LocalLlm() as model:
            bars = write_tape(folder / "tape", seed, MINUTES_MAX)
            side_inputs, wire = (
                write_side_inputs(folder / "tape", seed, bars, MINUTES_MAX),
                WireFiles(folder / "tape", seed),
            )
            write_settings(folder / "settings.yaml", SETTINGS, side_inputs, wire, model.url)
            settings = load_settings(folder / "settings.yaml", environment={})
            tape = tape_slices(settings, bars)
            clocks = [time_slice.ts_ns for time_slice in tape]
            print_line(
                f"tape: {len(tape)} time slices, {sum(len(time_slice.records) for time_slice in tape):,} records"
            )
            seconds = max(SECONDS_MIN, SECONDS_PER_FAULT * len(faults))
            speed = f"{MINUTES_MAX * 60 / seconds:.0f}" if faults else "max"
            with ChaosStack(folder / "home", folder / "settings.yaml", bars, speed, print_line) as stack:
                print_line(
                    f"platform healthy after {time.monotonic() - started_at:.0f} s; injecting {len(faults)} faults"
                )
                with ThrottledFeed(stack, clocks, LEAD_SLICES_MAX) as feed:
                    injected = _inject_faults(stack, faults, clocks, feed, wire, print_line)
                stack.run_to_end(clocks[-1])
                for topic, records in edge_records.source_records(wire).items():
                    stack.wait_for_records(settings.kafka, topic, records)
                stack.stop_dataflows()
                print_line(f"end of the tape reached after {time.monotonic() - started_at:.0f} s; comparing")
                comparison = _compare(stack, settings, tape, wire)
                restarts = sum(child.restarts for child in stack.state().children)
    finally:
        if keep_folder is None:
            shutil.rmtree(folder, ignore_errors=True)
    return ChaosResult(
        seed=seed,
        date=f"{datetime.now(UTC):%Y-%m-%d}",
        struck=injected,
        **comparison._asdict(),
        restarts=restarts,
        elapsed_s=round(time.monotonic() - started_at, 1),
    )


def _compare(stack: ChaosStack, settings: Settings, tape: Sequence[TimeSlice], wire: WireFiles) -> _ComparisonResult:
    """Compare the platform's topics and tables with the fused stages on the tape and on the recorded edge records."""
    partitions = settings.kafka.symbol_partitions
    messages = dict(stack.logs(partitions))
    actual = {log: deduplicated(values) for log, values in messages.items()}
    edges = edge_records.read_edge_logs(messages)
    time_slices = run_stages(settings, edge_records.with_recorded_edges(tape, edges))
    expected = expected_logs(time_slices, partitions)
    for topic, edge in edges.items():
        expected[topic, 0] += map(repr, edge.after_last_clock)
    database_url = stack.endpoints["DATABASE_URL"]
    rows = tables.row_counts(database_url)
    difference = (
        edge_records.first_difference(tape, edges, edge_records.source_records(wire), time_slices)
        or first_difference(actual, expected)
        or tables.first_difference(database_url, [*time_slices, edge_records.trailing_records(tape, edges)])
    )
    message_count = sum(map(len, messages.values()))
    repeats = message_count - sum(map(len, actual.values()))
    topics = len({topic for topic, _ in messages})
    return _ComparisonResult(difference, topics, message_count, repeats, len(rows), sum(rows.values()))


def _inject_faults(
    stack: ChaosStack,
    faults: Sequence[PlannedFault],
    clocks: Sequence[int],
    feed: ThrottledFeed,
    wire: WireFiles,
    print_line: PrintLine,
) -> list[InjectedFault]:
    """Inject each fault when the feed reaches its place on the tape. The watched files grow just before."""
    started_at, injected = time.monotonic(), []
    for fault in faults:
        due_index = int(fault.share * len(clocks))
        feed.allow_until(due_index)
        due_ns = clocks[due_index]
        stack.wait_until(lambda ns=due_ns: feed.reached_ns() >= ns, f"the feed at {due_ns}")  # type: ignore[misc]
        if fault.target == FEED:
            feed.allow_until(len(clocks))  # a paused process would not write, and so not notice the full disk
        wire.append_rows()
        effect = inject_fault(stack, fault)
        injected.append(InjectedFault(fault, effect, round(time.monotonic() - started_at, 1)))
        print_line(
            f"{injected[-1].at_s:6.1f} s  {100 * fault.share:3.0f} % of the tape  {fault.kind} {fault.target}: {effect}"
        )
    return injected
