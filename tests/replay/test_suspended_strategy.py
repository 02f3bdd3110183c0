"""A strategy that raises stops in every shard with the next time slice, and in a replay as in the live services."""

from __future__ import annotations

import json
from datetime import time
from pathlib import Path
from typing import Literal

import pytest

from configs.settings import Settings
from configs.settings.analysis import StrategyEntry
from deploy.commands.backtest import backtest
from deploy.errors import DeployError
from operators.signals.ensemble import EnsembleSettings
from operators.stage import TimeSlice
from schemas.records import RESUME_STRATEGY, Record, Signal, StrategySuspension
from schemas.records.prose import comparable
from tests import failing_strategy
from tests.builders import command
from tests.replay import recorded
from tests.replay.in_memory_platform import InMemoryPlatform
from tests.replay.market import MONDAY, write_market
from tests.replay.runs import by_topic, logged_by_topic, pinned_settings, read_time_slices, replay

SYMBOLS = ("A", "B", "C", "D", "E")
RESUMED_AT = 12
STAGED_SLICES = 18
OnError = Literal["hold", "flatten"]


def settings_with(on_error: OnError, *, ensemble: bool) -> Settings:
    settings = pinned_settings()
    entry = StrategyEntry(name=f"{failing_strategy.__file__}:FailsOnThirdBar", on_error=on_error)
    signals = settings.signals.model_copy(
        update={
            "strategies": (*settings.signals.strategies, entry),
            "ensemble": EnsembleSettings(enabled=ensemble),
        }
    )
    return settings.model_copy(update={"signals": signals})


@pytest.fixture(scope="module")
def time_slices(tmp_path_factory: pytest.TempPathFactory) -> list[TimeSlice]:
    """Sixty minutes of five symbols. A command resumes the strategy, which then fails again on its third bar."""
    files = write_market(
        tmp_path_factory.mktemp("market"), symbols=SYMBOLS, days=[MONDAY], open_time=time(10), minutes=60
    )
    resume = command("cmd-resume", 1, RESUME_STRATEGY, {"strategy": "fragile"})
    return [
        TimeSlice(t.ts_ns, [*([resume] if number in (RESUMED_AT, RESUMED_AT + 1) else []), *t.records])
        for number, t in enumerate(read_time_slices(files))
    ]


def replayed(settings: Settings, time_slices: list[TimeSlice]) -> list[Record]:
    return [record for output in replay(settings, time_slices) for record in output]


@pytest.mark.parametrize(
    ("partitions", "crashes", "on_error", "ensemble"),
    [(1, 0.0, "hold", False), (2, 0.02, "flatten", True), (4, 0.02, "flatten", False), (4, 0.0, "hold", True)],
)
def test_any_number_of_shards_suspends_in_the_same_time_slice_as_a_replay(
    time_slices: list[TimeSlice], on_error: OnError, ensemble: bool, partitions: int, crashes: float
) -> None:
    time_slices = time_slices[:STAGED_SLICES]
    settings = settings_with(on_error, ensemble=ensemble)
    expected = by_topic(replayed(settings, time_slices))
    logs = InMemoryPlatform(settings, time_slices, partitions=partitions, seed=partitions, crash_rate=crashes).run()
    assert logged_by_topic(logs) == expected
    assert len(expected["strategy-suspensions"]) == 3, (
        "suspended, resumed by the first of two equal commands, suspended"
    )


@pytest.mark.parametrize("on_error", ["hold", "flatten"])
def test_the_other_strategies_trade_as_if_the_failing_one_were_not_there(
    time_slices: list[TimeSlice], on_error: OnError
) -> None:
    alone = [r for r in replayed(pinned_settings(), time_slices) if type(r) is Signal]
    records = replayed(settings_with(on_error, ensemble=False), time_slices)
    others = [r for r in records if type(r) is Signal and r.strategy != "fragile"]
    decided = [(r.symbol, r.ts_ns, r.strategy, r.direction, r.strength) for r in alone]
    assert [(r.symbol, r.ts_ns, r.strategy, r.direction, r.strength) for r in others] == decided
    assert decided, "or the equality would prove nothing"


@pytest.mark.parametrize("on_error", ["hold", "flatten"])
def test_a_suspension_names_the_line_and_ends_the_views(time_slices: list[TimeSlice], on_error: OnError) -> None:
    records = replayed(settings_with(on_error, ensemble=False), time_slices)
    first, resumed, second = [r for r in records if type(r) is StrategySuspension]
    assert (first.symbol, first.seq, first.strategy, first.state) == ("B", 1, "fragile", "SUSPENDED")
    assert (first.error_type, first.message) == ("ZeroDivisionError", "float division by zero")
    source = Path(failing_strategy.__file__).read_text().splitlines()
    assert first.file == failing_strategy.__file__ and source[first.line - 1].strip() == "return close / 0"
    assert first.cause_id.startswith("feat-B-")
    assert (resumed.seq, resumed.state, resumed.cause_id) == (2, "RESUMED", "cmd-resume")
    assert resumed.ts_ns == time_slices[RESUMED_AT].ts_ns
    assert (second.seq, second.state) == (3, "SUSPENDED")

    times = [t.ts_ns for t in time_slices]
    stopped_ns = times[times.index(first.ts_ns) + 1]
    views = [r for r in records if type(r) is Signal and r.strategy == "fragile"]
    in_failed_slice = {r.symbol for r in views if r.ts_ns == first.ts_ns}
    assert "B" not in in_failed_slice and in_failed_slice, "the other symbols finish the time slice"
    while_suspended = [r for r in views if stopped_ns <= r.ts_ns < resumed.ts_ns]
    if on_error == "hold":
        assert while_suspended == []
    else:
        assert {(r.ts_ns, r.direction, r.strength) for r in while_suspended} == {(stopped_ns, 0, 0.0)}
        assert all(r.cause_ids == ["susp-B-1"] for r in while_suspended)
        assert {r.symbol for r in while_suspended} == {r.symbol for r in views if r.ts_ns <= first.ts_ns}
    assert any(r.ts_ns >= resumed.ts_ns for r in views), "the strategy runs again after the resume"


def test_a_replay_after_an_edit_above_the_failing_line_is_equal(time_slices: list[TimeSlice]) -> None:
    """File, line and text of the exception are no part of the comparison."""
    records = replayed(settings_with("hold", ensemble=False), time_slices)
    suspension = next(r for r in records if type(r) is StrategySuspension)
    moved = suspension._replace(file="/elsewhere/strategy.py", line=99, message="other words")
    assert comparable(moved) == comparable(suspension)
    assert comparable(suspension._replace(error_type="KeyError")) != comparable(suspension)


def test_a_backtest_with_a_suspended_strategy_fails_after_its_results(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings_file = tmp_path / "settings.yaml"
    entry = {"name": f"{failing_strategy.__file__}:FailsOnThirdBar", "parameters": {"fails_on_symbol": "AAA"}}
    settings_file.write_text(json.dumps({"signals": {"strategies": [entry]}}))
    with pytest.raises(DeployError, match=r"suspended .* fragile\. First: fragile since .* on AAA: ZeroDivisionError"):
        backtest([recorded.BARS], settings=settings_file, json_target="-")
    assert json.loads(capsys.readouterr().out)["fills"] > 0, "the results are printed first"
