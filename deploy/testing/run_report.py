"""A pytest plugin that stores a run's counts and slowest tests, so that two runs end with one summary."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:  # the command line imports this module, also where pytest is not installed
    import pytest

REPORT_PLUGIN = "deploy.testing.run_report"
REPORT_FILE_VARIABLE = "PLATFORM_TEST_REPORT"
SLOWEST_COUNT = 20
OUTCOMES = ("failed", "error", "passed", "skipped", "deselected", "xfailed", "xpassed")


@dataclass
class RunReport:
    """Counts by outcome, the duration of the run in seconds, and the slowest tests with their seconds."""

    counts: dict[str, int]
    duration_s: float
    slowest: list[tuple[str, float]]

    @classmethod
    def merge(cls, reports: list[Self]) -> Self:
        counts: Counter[str] = Counter()
        for report in reports:
            counts.update(report.counts)
        slowest = sorted((test for report in reports for test in report.slowest), key=lambda test: -test[1])
        return cls(dict(counts), sum(report.duration_s for report in reports), slowest[:SLOWEST_COUNT])

    def text(self) -> str:
        """The slowest tests, one a line, then the counts in one line."""
        lines = [f"{seconds:7.1f} s  {test}" for test, seconds in self.slowest]
        counts = ", ".join(f"{self.counts[name]} {name}" for name in OUTCOMES if self.counts.get(name))
        minutes, seconds = divmod(round(self.duration_s), 60)
        title = f"The {len(lines)} slowest tests (set-up, test and clean-up)"
        return "\n".join(["", title, *lines, "", f"All runs: {counts or 'no tests'} in {minutes} min {seconds} s"])


def read_report(file: Path) -> list[RunReport]:
    """The stored report; empty when the run ended before it wrote one."""
    try:
        tree = json.loads(file.read_text())
    except FileNotFoundError:
        return []
    return [RunReport(tree["counts"], tree["duration_s"], [(test, seconds) for test, seconds in tree["slowest"]])]


def pytest_configure(config: pytest.Config) -> None:
    # Only the process that collects the results of all workers.
    if REPORT_FILE_VARIABLE in os.environ and not hasattr(config, "workerinput"):
        config.pluginmanager.register(ReportWriter(Path(os.environ[REPORT_FILE_VARIABLE])), "run-report-writer")


class ReportWriter:
    def __init__(self, file: Path) -> None:
        self._file = file
        self._started_s = time.monotonic()
        self._seconds: dict[str, float] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._seconds[report.nodeid] = self._seconds.get(report.nodeid, 0.0) + report.duration

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        counts = {name: len(terminalreporter.stats.get(name, [])) for name in OUTCOMES}
        slowest = sorted(self._seconds.items(), key=lambda test: -test[1])[:SLOWEST_COUNT]
        run = RunReport(counts, time.monotonic() - self._started_s, slowest)
        self._file.write_text(json.dumps(asdict(run)))
