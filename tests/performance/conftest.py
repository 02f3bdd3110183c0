"""A durable database, and the figures of the performance measurements at the end of the test run."""

from __future__ import annotations

from collections.abc import Callable

import pytest

RecordFigure = Callable[[str, str], None]
_FIGURES = pytest.StashKey[list[tuple[str, str]]]()


@pytest.fixture(scope="module")
def database_url(make_database: Callable[..., str]) -> str:
    """A new, migrated database whose commits wait for the disk, as those of the platform do."""
    return make_database(durable=True)


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> RecordFigure:
    """Record a figure, for example `figure("one hop, p50", "0.9 ms")`. The end of the run prints it under "figures"."""
    figures = request.config.stash.setdefault(_FIGURES, [])
    return lambda name, value: figures.append((name, value))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    figures = config.stash.get(_FIGURES, [])
    if not figures:
        return
    terminalreporter.section("figures of this machine, now")
    width = max(len(name) for name, _ in figures)
    for name, value in figures:
        terminalreporter.line(f"{name:{width}}  {value}")
