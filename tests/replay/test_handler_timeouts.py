"""Handlers that exceed their time limit: any number of shards and crashes decides like a replay of their timeouts.

Whether a call exceeds its limit is decided here by the test instead of a clock.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import time
from pathlib import Path
from typing import Any

import pytest

from configs.settings import Settings
from configs.settings.analysis import StrategyEntry
from dataflows.runtime import stages
from dataflows.runtime.handler_timeouts import StageWithTimeouts, with_timeouts
from operators.decision_hash import decision_hash
from operators.handler_limit import HANDLER_TIME_LIMIT, HandlerCall, timeouts_of
from operators.stage import Stage, TimeSlice
from schemas.records import SUSPENDED, DeadLetter, FeatureRow, HandlerTimeout, StrategyAction, StrategySuspension
from tests import endless_indicator, endless_strategy
from tests.replay.in_memory_platform import InMemoryPlatform, ProcessEnded, stage_of
from tests.replay.market import MONDAY, write_market
from tests.replay.runs import (
    by_topic,
    logged_by_topic,
    pinned_settings,
    read_time_slices,
    replay,
    run_restored_in_every_slice,
    staged_hash,
)

pytestmark = [pytest.mark.timeout(300), pytest.mark.usefixtures("restored_indicators")]
FILE = endless_strategy.__file__
INDICATOR = f"endless_range_{10**9}"
"""It spins on a bar that the market does not reach: the limit decides here which call does not return."""
VIEW_AT, INDICATOR_AT, TRADING_AT, SLICES = 5, 6, 8, 16


class RecordedTimeouts:
    """A limit that the strategies exceed where they would not return. The process of the shard then ends."""

    def __init__(self, exceeding: dict[str, int]) -> None:
        self.by_slice: dict[int, list[HandlerTimeout]] = {}
        self._exceeding = exceeding  # strategy -> time slice

    def run(self, call: HandlerCall, handler: Callable[..., Any], *arguments: Any) -> Any:
        if self._exceeding.get(call.strategy) != call.ts_ns:
            return handler(*arguments)
        timeout = HandlerTimeout(
            ts_ns=call.ts_ns,
            strategy=call.strategy,
            symbol=call.symbol,
            call=call.number,
            handler=call.handler,
            measure="PROCESSOR_TIME",
            limit_s=5.0,
            file=call.file,
            line=1,
        )
        self.by_slice.setdefault(call.ts_ns, []).extend(timeouts_of(call, timeout))
        raise ProcessEnded

    def make_stage(self, service: str, settings: Settings) -> Stage:
        if service not in ("features", "signals", "strategies"):
            return stage_of(service, settings)
        return StageWithTimeouts(getattr(stages, service)(settings, self)(), self.by_slice)


@pytest.fixture(scope="module")
def settings() -> Settings:
    settings = pinned_settings()
    own_indicator = {"indicator_files": (Path(endless_indicator.__file__),), "indicators": (INDICATOR,)}
    settings = settings.model_copy(update={"features": settings.features.model_copy(update=own_indicator)})
    entries = (
        StrategyEntry(name=f"{FILE}:EndlessView", parameters={"at": VIEW_AT}, on_error="flatten"),
        StrategyEntry(name=f"{FILE}:Endless", parameters={"at": TRADING_AT}),
    )
    signals = settings.signals.model_copy(update={"strategies": (*settings.signals.strategies, *entries)})
    return settings.model_copy(update={"signals": signals}).for_backtest()


@pytest.fixture(scope="module")
def time_slices(tmp_path_factory: pytest.TempPathFactory) -> list[TimeSlice]:
    folder = tmp_path_factory.mktemp("market")
    files = write_market(folder, symbols=("A", "B", "C", "D"), days=[MONDAY], open_time=time(10), minutes=SLICES)
    return read_time_slices(files)


@pytest.mark.parametrize(("partitions", "crash_rate"), [(1, 0.0), (3, 0.02)])
def test_staged_services_decide_like_a_replay_of_the_recorded_timeouts(
    settings: Settings, time_slices: list[TimeSlice], partitions: int, crash_rate: float
) -> None:
    exceeding = {
        "endless_view": time_slices[VIEW_AT - 1].ts_ns,
        f"indicator:{INDICATOR}": time_slices[INDICATOR_AT - 1].ts_ns,
        "endless": time_slices[TRADING_AT - 1].ts_ns,
    }
    timeouts = RecordedTimeouts(exceeding)
    platform = InMemoryPlatform(
        settings,
        time_slices,
        partitions=partitions,
        seed=partitions,
        crash_rate=crash_rate,
        make_stage=timeouts.make_stage,
    )
    logs = platform.run()
    given = [TimeSlice(t.ts_ns, with_timeouts(t.ts_ns, t.records, timeouts.by_slice)) for t in time_slices]
    outputs = replay(settings, given)
    assert logged_by_topic(logs) == by_topic(
        [record for out in outputs for record in out if type(record) is not DeadLetter]
    )
    assert run_restored_in_every_slice(settings, given) == outputs

    records = [record for out in outputs for record in out]
    assert staged_hash(logs) == decision_hash(records)
    [suspension] = [one for one in records if type(one) is StrategyAction and one.kind == SUSPENDED]
    assert (suspension.strategy, suspension.ts_ns) == ("endless", exceeding["endless"])
    views = [one for one in records if type(one) is StrategySuspension]
    assert {(one.ts_ns, one.error_type) for one in views} == {(exceeding["endless_view"], HANDLER_TIME_LIMIT)}
    assert {one.symbol for one in views} == {"A", "B", "C", "D"}, "each shard leaves out the rest of its time slice"
    letters = [one for one in records if type(one) is DeadLetter]
    assert sorted(one.topic for one in letters) == [f"indicator:{INDICATOR}/{symbol}" for symbol in "ABCD"]
    with_value = {one.ts_ns for one in records if type(one) is FeatureRow and INDICATOR in one.values}
    assert with_value == {one.ts_ns for one in time_slices[: INDICATOR_AT - 1]}
