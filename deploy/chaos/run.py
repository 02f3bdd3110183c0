"""One run: tape, uninterrupted result, storm, comparison."""

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
from deploy.chaos.expected import by_the_sequence_rule, expected_logs, first_difference, fused, tape_ticks
from deploy.chaos.feed_throttle import FEED, HeldFeed
from deploy.chaos.llm_server import LocalModel
from deploy.chaos.stack import SETTINGS, ChaosStack
from deploy.chaos.storm import Fault, plan, strike, times
from deploy.chaos.tape import MINUTES_MAX, write_tape
from deploy.chaos.tape_extras import Wire, write_others, write_settings
from operators.stage import Tick

SECONDS_PER_FAULT, SECONDS_MIN = 1.0, 8.0
LEAD_TICKS = 15
"""So far may the feed be ahead of the slowest: a storm that hits a platform which has nothing to do shows little."""
Say = Callable[[str], None]


class Struck(NamedTuple):
    fault: Fault
    did: str
    at_s: float  # since the platform ran


class Result(NamedTuple):
    """`difference` is the first one in a sentence, None when all is equal. Counts are those of the storm's platform."""

    seed: int
    date: str
    struck: list[Struck]
    difference: str | None
    topics: int
    messages: int  # in all topics, repeats and clocks too
    repeats: int  # that readers drop
    tables: int
    rows: int
    restarts: int
    elapsed_s: float

    def as_tree(self) -> dict[str, Any]:
        tree = self._asdict()
        tree["struck"] = [{**each.fault._asdict(), "did": each.did, "at_s": each.at_s} for each in self.struck]
        tree["times"] = times([each.fault for each in self.struck])
        return tree


class _Compared(NamedTuple):
    difference: str | None
    topics: int
    messages: int
    repeats: int
    tables: int
    rows: int


def run(
    seed: int, kills: int, kinds: Sequence[str], targets: Sequence[str], say: Say, *, keep: Path | None = None
) -> Result:
    """Run the storm of a seed. With `keep`, its state folder stays there. Raises DeployError where it cannot be run, or
    where the platform does not come back by itself.
    """
    began = time.monotonic()
    faults = plan(seed, kills, kinds, targets)
    folder = keep or Path(tempfile.mkdtemp(prefix="chaos-"))
    try:
        with LocalModel() as model:
            bars = write_tape(folder / "tape", seed, MINUTES_MAX)
            others, wire = write_others(folder / "tape", seed, bars, MINUTES_MAX), Wire(folder / "tape", seed)
            write_settings(folder / "settings.yaml", SETTINGS, others, wire, model.url)
            settings = load_settings(folder / "settings.yaml", environment={})
            tape = tape_ticks(settings, bars)
            clocks = [tick.ts_ns for tick in tape]
            say(f"the tape: {len(tape)} ticks, {sum(len(tick.records) for tick in tape):,} records")
            seconds = max(SECONDS_MIN, SECONDS_PER_FAULT * len(faults))
            speed = f"{MINUTES_MAX * 60 / seconds:.0f}" if faults else "max"
            with ChaosStack(folder / "home", folder / "settings.yaml", bars, speed, say) as stack:
                say(f"the platform runs after {time.monotonic() - began:.0f} s, {len(faults)} faults to come")
                with HeldFeed(stack, clocks, LEAD_TICKS) as feed:
                    struck = _storm(stack, faults, clocks, feed, wire, say)
                stack.run_to_end(clocks[-1])
                for topic, records in edge_records.told(wire).items():
                    stack.wait_written(settings.kafka, topic, records)
                stack.stop_dataflows()
                say(f"the tape is at its end everywhere after {time.monotonic() - began:.0f} s; comparing")
                compared = _compare(stack, settings, tape, wire)
                restarts = sum(child.restarts for child in stack.state().children)
    finally:
        if keep is None:
            shutil.rmtree(folder, ignore_errors=True)
    return Result(
        seed=seed,
        date=f"{datetime.now(UTC):%Y-%m-%d}",
        struck=struck,
        **compared._asdict(),
        restarts=restarts,
        elapsed_s=round(time.monotonic() - began, 1),
    )


def _compare(stack: ChaosStack, settings: Settings, tape: Sequence[Tick], wire: Wire) -> _Compared:
    """What the platform left, with what the fused stages make of the tape and of what its own edges told it."""
    partitions = settings.kafka.symbol_partitions
    messages = dict(stack.logs(partitions))
    found = {log: by_the_sequence_rule(those) for log, those in messages.items()}
    edges = edge_records.read(messages)
    ticks = fused(settings, edge_records.as_recorded(tape, edges))
    expected = expected_logs(ticks, partitions)
    for topic, edge in edges.items():
        expected[topic, 0] += map(repr, edge.behind)
    database_url = stack.endpoints["DATABASE_URL"]
    rows = tables.counts(database_url)
    difference = (
        edge_records.first_difference(tape, edges, edge_records.told(wire), ticks)
        or first_difference(found, expected)
        or tables.first_difference(database_url, [*ticks, edge_records.stored_behind(tape, edges)])
    )
    count = sum(map(len, messages.values()))
    repeats = count - sum(map(len, found.values()))
    topics = len({topic for topic, _ in messages})
    return _Compared(difference, topics, count, repeats, len(rows), sum(rows.values()))


def _storm(
    stack: ChaosStack, faults: Sequence[Fault], clocks: Sequence[int], feed: HeldFeed, wire: Wire, say: Say
) -> list[Struck]:
    """Strike with each fault when the feed has come so far; the wire tells something just before."""
    began, struck = time.monotonic(), []
    for fault in faults:
        due = int(fault.share * len(clocks))
        feed.go_to(due)
        due_ns = clocks[due]
        stack.wait_until(lambda ns=due_ns: feed.reached_ns() >= ns, f"the feed at {due_ns}")  # type: ignore[misc]
        if fault.target == FEED:
            feed.go_to(len(clocks))  # a process that is held would not notice that its disk is full
        wire.tell()
        did = strike(stack, fault)
        struck.append(Struck(fault, did, round(time.monotonic() - began, 1)))
        say(f"{struck[-1].at_s:6.1f} s  {100 * fault.share:3.0f} % of the tape  {fault.kind} {fault.target}: {did}")
    return struck
