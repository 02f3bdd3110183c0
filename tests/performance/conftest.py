"""Figures that the measurements take are shown at the end of the run: they are what these tests are for."""

from __future__ import annotations

from collections.abc import Callable

import pytest

Figure = Callable[[str, str], None]
_FIGURES = pytest.StashKey[list[tuple[str, str]]]()


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Figure:
    """`figure("one hop, p50", "0.9 ms")`: shown under "figures" when the run ends."""
    taken = request.config.stash.setdefault(_FIGURES, [])
    return lambda name, value: taken.append((name, value))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    taken = config.stash.get(_FIGURES, [])
    if not taken:
        return
    terminalreporter.section("figures of this machine, now")
    width = max(len(name) for name, _ in taken)
    for name, value in taken:
        terminalreporter.line(f"{name:{width}}  {value}")
