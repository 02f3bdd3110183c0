"""Compare a platform's topics and tables with those of an uninterrupted run on the same inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from configs.settings import Settings
from deploy.chaos import tables
from deploy.chaos.edge_records import EdgeLog
from deploy.chaos.expected import deduplicated, expected_logs, first_difference, records_by_topic, run_stages
from deploy.chaos.fault import FaultRun, PlannedFault, RunEvidence
from deploy.chaos.result import RunComparison
from deploy.chaos.schedule import FAULTS
from operators.stage import TimeSlice
from schemas.log_names import LogName


class RunInputs(NamedTuple):
    """What the uninterrupted run receives, and what the log holds besides.

    time_slices  the time slices of all inputs
    edges        the logs of the edge services: their records after the last clock are in no time slice
    trailing     such records that are in tables
    find_source_difference  receives the time slices of the uninterrupted run; returns the first record of an edge that
                 differs from its source, as a sentence, or None
    """

    time_slices: Sequence[TimeSlice]
    edges: Mapping[str, EdgeLog]
    trailing: TimeSlice
    find_source_difference: Callable[[Sequence[TimeSlice]], str | None] = lambda _: None


def compare(
    run: FaultRun,
    injected: Sequence[PlannedFault],
    settings: Settings,
    messages: Mapping[LogName, list[bytes]],
    inputs: RunInputs,
) -> RunComparison:
    """Compare topics and tables, and then check what each kind of fault promises besides."""
    partitions, database_url = settings.kafka.symbol_partitions, run.stack.endpoints["DATABASE_URL"]
    actual = {log: deduplicated(values) for log, values in messages.items()}
    time_slices = run_stages(settings, inputs.time_slices)
    expected = expected_logs(time_slices, partitions)
    for topic, edge in inputs.edges.items():
        expected[topic, 0] += map(repr, edge.after_last_clock)
    rows = tables.row_counts(database_url)
    difference = (
        inputs.find_source_difference(time_slices)
        or first_difference(actual, expected)
        or tables.first_difference(database_url, [*time_slices, inputs.trailing])
        or _first_problem(RunEvidence(run, records_by_topic(messages), injected))
    )
    message_count = sum(map(len, messages.values()))
    return RunComparison(
        difference=difference,
        topics=len({topic for topic, _ in messages}),
        messages=message_count,
        repeats=message_count - sum(map(len, actual.values())),
        tables=len(rows),
        rows=sum(rows.values()),
    )


def _first_problem(evidence: RunEvidence) -> str | None:
    """Return what the kinds of faults of this run find in its records, or None."""
    kinds = dict.fromkeys(fault.kind for fault in evidence.injected)
    problems = (FAULTS[kind].find_problem(evidence) for kind in kinds)
    return next((problem for problem in problems if problem is not None), None)
