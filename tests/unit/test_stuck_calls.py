"""A backtest ends if a view strategy or an indicator of the user does not return, and names its file and line."""

from __future__ import annotations

import time as process_time
from collections.abc import Iterator
from datetime import time
from pathlib import Path

import pytest

from configs.settings import Settings
from configs.settings.analysis import StrategyEntry
from dataflows import backtest
from dataflows.runtime.handler_watchdog import TimeLimits
from dataflows.runtime.stuck_calls import StuckCallWatch, watched_files
from deploy.commands.backtest import describe_stuck_run
from operators.indicators import INDICATORS
from schemas.records import HandlerTimeout
from tests import endless_strategy
from tests.replay.market import MONDAY, write_market
from tests.replay.runs import pinned_settings

SPIN = "while not Path({released!r}).exists():\n            pass"
VIEW = """from pathlib import Path

class Spinning:
    name, features = "spinning", ()

    def decide(self, row, state):
        {spin}
        return state, None
"""
INDICATOR = """from pathlib import Path
from operators.indicators import Indicator

class Spinning(Indicator):
    kind = "spinning"

    def __init__(self, name):
        self.name = name

    def update(self, bar, values):
        {spin}

    def snapshot(self):
        return ()

    def restore(self, snapshot):
        pass
"""
VIEW_LINES, INDICATOR_LINES = (7, 8), (11, 12)


@pytest.fixture(autouse=True)
def known_indicators() -> Iterator[None]:
    before = dict(INDICATORS)
    yield
    INDICATORS.clear()
    INDICATORS.update(before)


def settings_with(form: str, file: Path) -> Settings:
    settings = pinned_settings()
    entries = (StrategyEntry(name=f"{file}:Spinning"),) if form == VIEW else settings.signals.strategies
    signals = settings.signals.model_copy(update={"strategies": entries, "handler_time_limit_s": 0.2})
    own = {"indicator_files": (file,), "indicators": ("spinning",)} if form == INDICATOR else {}
    return settings.model_copy(update={"signals": signals, "features": settings.features.model_copy(update=own)})


@pytest.mark.parametrize(
    ("form", "subject", "handler", "lines"),
    [
        (VIEW, "strategy spinning", "decide", VIEW_LINES),
        (INDICATOR, "indicator file own.py", "update", INDICATOR_LINES),
    ],
)
def test_a_backtest_reports_a_call_that_does_not_return(
    tmp_path: Path, form: str, subject: str, handler: str, lines: tuple[int, int]
) -> None:
    """The report lets the call return here; the command line ends the process."""
    released, file = tmp_path / "released", tmp_path / "own.py"
    file.write_text(form.format(spin=SPIN.format(released=str(released))))
    bars = write_market(tmp_path, symbols=("A",), days=[MONDAY], open_time=time(10), minutes=3)
    timeouts: list[HandlerTimeout] = []

    def on_stuck(timeout: HandlerTimeout) -> None:
        timeouts.append(timeout)
        released.touch()

    backtest.run(settings_with(form, file), bars, on_stuck=on_stuck)
    [timeout] = timeouts
    assert (timeout.handler, timeout.file) == (handler, str(file)) and timeout.line in lines
    assert describe_stuck_run(timeout) == (
        f"{subject}: {handler} did not return within its limit of 0.2 s of processor time ({file}:{timeout.line}). "
        "Only handlers of trading strategies can be interrupted, so there are no results."
    )


def test_a_file_with_a_trading_strategy_is_not_watched() -> None:
    settings = pinned_settings()
    file = endless_strategy.__file__
    for names in (("EndlessView",), ("EndlessView", "Endless")):
        entries = tuple(StrategyEntry(name=f"{file}:{name}") for name in names)
        signals = settings.signals.model_copy(update={"strategies": entries})
        watched = watched_files(settings.model_copy(update={"signals": signals}))
        assert watched == ({file: "endless_view"} if len(names) == 1 else {})


def test_many_short_calls_are_no_long_one(tmp_path: Path) -> None:
    """Three calls together exceed the limit. A call that two checks see alone does so."""
    file = tmp_path / "short.py"
    file.write_text("def short(check):\n    return check()\n")
    namespace: dict[str, object] = {}
    exec(compile(file.read_text(), str(file), "exec"), namespace)  # noqa: S102  (the code has a file of its own)
    short = namespace["short"]
    assert callable(short)
    limit_s = 0.02
    watch = StuckCallWatch({str(file): "short"}, TimeLimits(processor_s=limit_s), lambda timeout: None)

    def check_and_compute() -> HandlerTimeout | None:
        found = watch.check()
        started = process_time.thread_time()
        while process_time.thread_time() - started < limit_s:
            pass
        return found

    assert [short(check_and_compute) for _ in range(3)] == [None] * 3

    def check_twice() -> HandlerTimeout | None:
        check_and_compute()
        return watch.check()

    found = short(check_twice)
    assert found is not None and (found.strategy, found.handler, found.line) == ("short", "short", 2)
