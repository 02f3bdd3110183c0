"""A backtest suspends a view strategy or an indicator of the user that does not return, and names its file and line."""

from __future__ import annotations

import json
import time as process_time
from collections import Counter
from collections.abc import Sequence
from datetime import time
from pathlib import Path

import pytest

from configs.settings import Settings
from configs.settings.analysis import StrategyEntry
from dataflows import backtest
from dataflows.research.report import Observer
from dataflows.runtime.handler_watchdog import TimeLimits
from dataflows.runtime.stuck_calls import CallInterrupted, StuckCallWatch, watched_files
from deploy.commands.backtest import backtest as run_command
from deploy.commands.backtest import describe_stuck_run
from deploy.errors import DeployError
from operators.handler_limit import HANDLER_TIME_LIMIT
from operators.performance import Performance
from schemas.records import Bar, DeadLetter, HandlerTimeout, Record, Signal, StrategySuspension
from tests import endless_indicator, endless_strategy
from tests.replay.market import MONDAY, write_market
from tests.replay.runs import pinned_settings

pytestmark = pytest.mark.usefixtures("restored_indicators")
CATCH = (
    "while not Path({released!r}).exists():\n            try:\n"
    "                while not Path({released!r}).exists():\n                    pass\n"
    "            except BaseException:\n                pass"
)
"""It catches every exception; the test lets it return."""
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
VIEW_LINES, INDICATOR_LINES = range(7, 13), range(11, 17)


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
def test_a_backtest_reports_a_call_that_cannot_be_interrupted(
    tmp_path: Path, form: str, subject: str, handler: str, lines: range
) -> None:
    """The report lets the call return here; the command line ends the process."""
    released, file = tmp_path / "released", tmp_path / "own.py"
    file.write_text(form.format(spin=CATCH.format(released=str(released))))
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
        "It cannot be interrupted, because it waits or catches every exception, so there are no results."
    )


AT = 5
"""The bar on which a call does not return."""
ENDLESS_VIEW = StrategyEntry(name=f"{endless_strategy.__file__}:EndlessView", parameters={"symbol": "B", "at": AT})
ENDLESS = StrategyEntry(name=f"{endless_strategy.__file__}:Endless", parameters={"at": AT}, handler_time_limit_s=0.2)
SYMBOLS = ("A", "B", "C", "D")
OTHER = StrategyEntry(name="ema_cross", parameters={"fast": 2, "slow": 4, "rsi_period": 2, "rsi_max": 100})


def run_with(folder: Path, *entries: StrategyEntry, indicator: str = "") -> tuple[Performance, list[Record]]:
    """Run strategies over the bars of four symbols. Return the performance, and the records of all stages."""
    settings = pinned_settings()
    signals = settings.signals.model_copy(update={"strategies": entries, "handler_time_limit_s": 0.2})
    own = {"indicator_files": (Path(endless_indicator.__file__),), "indicators": (indicator,)} if indicator else {}
    features = settings.features.model_copy(update=own)
    bars = write_market(folder, symbols=SYMBOLS, days=[MONDAY], open_time=time(10), minutes=20)
    runs: list[list[Record]] = []

    def make_observers() -> list[Observer]:
        runs.append([])
        return [runs[-1].extend]

    def on_stuck(timeout: HandlerTimeout) -> None:
        pytest.fail(f"not interrupted: {timeout}")

    performance, _ = backtest.run(
        settings.model_copy(update={"signals": signals, "features": features}),
        bars,
        make_observers=make_observers,
        on_stuck=on_stuck,
    )
    return performance, runs[-1]


def signals_of(records: Sequence[Record], strategy: str) -> list[Signal]:
    """Return the signals of a strategy, without their numbers, which count those of all strategies."""
    return [one._replace(seq=0) for one in records if type(one) is Signal and one.strategy == strategy]


def test_a_view_strategy_that_does_not_return_is_suspended_and_no_other(tmp_path: Path) -> None:
    """It is not called on later symbols in the time slice of the timeout, as after the restart of a live service."""
    performance, records = run_with(tmp_path, OTHER, ENDLESS_VIEW)
    _, alone = run_with(tmp_path, OTHER)
    assert signals_of(records, "ema_cross") == signals_of(alone, "ema_cross") != []
    bars = [one for one in records if type(one) is Bar]
    stuck_ns = [one.ts_ns for one in bars if one.symbol == "B"][AT - 1]
    called = Counter(one.symbol for one in bars if (one.ts_ns, one.symbol) < (stuck_ns, "B"))
    assert Counter(one.symbol for one in signals_of(records, "endless_view")) == called, "each call changes the view"
    assert len(called) > 2
    suspensions = [one for one in records if type(one) is StrategySuspension]
    later = [one.symbol for one in bars if one.ts_ns == stuck_ns and one.symbol >= "B"]
    assert [(one.strategy, one.symbol, one.error_type) for one in suspensions] == [
        ("endless_view", symbol, HANDLER_TIME_LIMIT) for symbol in later
    ]
    assert len(later) > 1
    assert suspensions[0].file == endless_strategy.__file__ and suspensions[0].line > 0
    again, _ = run_with(tmp_path, OTHER, ENDLESS_VIEW)
    assert again.decisions.hexdigest() == performance.decisions.hexdigest()


def test_an_indicator_that_does_not_return_is_suspended_and_no_other(tmp_path: Path) -> None:
    performance, records = run_with(tmp_path, OTHER, indicator=f"endless_range_{AT}")
    alone, _ = run_with(tmp_path, OTHER)
    assert performance.decisions.hexdigest() == alone.decisions.hexdigest()
    letters = [one for one in records if type(one) is DeadLetter]
    cause = "update did not return within its limit of 0.2 s of processor time"
    assert [one.reason.partition(" at ")[0] for one in sorted(letters, key=lambda one: one.topic)] == [
        f"indicator endless_range_{AT} is suspended for {symbol}: {cause}" for symbol in SYMBOLS
    ], "the calls of the others are later in the time slice, or on a bar of the same number"
    assert all(endless_indicator.__file__ in one.reason for one in letters)


def test_both_forms_of_one_file_are_suspended(tmp_path: Path) -> None:
    performance, _ = run_with(tmp_path, ENDLESS, ENDLESS_VIEW)
    assert {one.strategy for one in performance.suspensions} == {"endless", "endless_view"}


def test_the_command_prints_the_results_and_fails_with_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "settings.yaml"
    entries = [ENDLESS_VIEW.model_dump(include={"name", "parameters"}), {"name": "ema_cross"}]
    file.write_text(json.dumps({"signals": {"strategies": entries, "handler_time_limit_s": 0.2}}))
    bars = write_market(tmp_path, symbols=("A", "B"), days=[MONDAY], open_time=time(10), minutes=20)
    equity = tmp_path / "equity.csv"
    with pytest.raises(DeployError) as raised:
        run_command(bars, settings=file, json_target="-", equity=equity)
    assert json.loads(capsys.readouterr().out)["bars"] == 40
    sentence = str(raised.value)
    assert sentence.startswith("suspended because of an exception or a time limit: endless_view. First: ")
    assert "HandlerTimeLimit: decide did not return within its limit of 0.2 s of processor time" in sentence
    assert len(equity.read_text().splitlines()) == 21, "the run that was given up adds no rows"


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

    def measured() -> HandlerTimeout | None:
        """Return the timeout of a call that the watch wants to interrupt."""
        try:
            return watch.check(0.0)
        except CallInterrupted:
            return watch.interrupted

    limit_s = 0.02
    watch = StuckCallWatch({str(file): "short"}, TimeLimits(processor_s=limit_s), lambda timeout: None)

    def check_and_compute() -> HandlerTimeout | None:
        found = measured()
        started = process_time.thread_time()
        while process_time.thread_time() - started < limit_s:
            pass
        return found

    assert [short(check_and_compute) for _ in range(3)] == [None] * 3

    def check_twice() -> HandlerTimeout | None:
        check_and_compute()
        return measured() or interrupted()

    def interrupted() -> HandlerTimeout | None:
        """Receive the interrupt, which arrives at the next bytecode."""
        try:
            while watch.is_interrupted:
                pass
        except CallInterrupted:
            return watch.interrupted
        return None

    found = short(check_twice)
    assert found is not None and (found.strategy, found.handler, found.line) == ("short", "short", 2)
