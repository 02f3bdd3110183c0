"""The crash test can fail: it detects an incomplete snapshot and a sink that assigns its own `seq`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import time
from typing import Any

import pytest

from configs.settings import Settings
from dataflows.runtime import stages
from operators.stage import Stage, TimeSlice
from schemas.records import Record, Valuation
from tests.replay.in_memory_platform import InMemoryPlatform, Logs
from tests.replay.market import MONDAY, write_market
from tests.replay.runs import pinned_settings, read_time_slices

SnapshotFilter = Callable[[Any], Any]
DIFFERENCE = "the topics differ"


@pytest.fixture(scope="module")
def time_slices(tmp_path_factory: pytest.TempPathFactory) -> list[TimeSlice]:
    folder = tmp_path_factory.mktemp("market")
    return read_time_slices(
        write_market(folder, symbols=("A", "B", "C"), days=[MONDAY], open_time=time(9, 30), minutes=40, seed=3)
    )


@pytest.fixture(scope="module")
def expected_contents(time_slices: list[TimeSlice]) -> dict[str, list[str]]:
    return InMemoryPlatform(pinned_settings(), time_slices, partitions=2, seed=0).run().contents()


def crash_test(
    time_slices: list[TimeSlice], expected_contents: dict[str, list[str]], only_crashes: str | None = None
) -> None:
    """Run the platform with crashes and compare its topics, as `test_crashes_in_memory.py` does.

    One service alone crashes in a quarter of its steps. A fault of its snapshot shows only if a snapshot lies between
    two records of the same symbol and a crash follows it, so a few seeds are run.
    """
    crash_rate, seeds = (0.03, [1]) if only_crashes is None else (0.25, range(1, 9))
    for seed in seeds:
        platform = InMemoryPlatform(
            pinned_settings(), time_slices, partitions=2, seed=seed, crash_rate=crash_rate, only_crashes=only_crashes
        )
        logs = platform.run()
        assert platform.crash_count > 10
        assert logs.contents() == expected_contents, f"{DIFFERENCE} with seed {seed}"


class LossyStage:
    """A stage whose snapshots omit a part of the state."""

    def __init__(self, stage: Stage, forget: SnapshotFilter) -> None:
        self._stage, self._forget = stage, forget

    def on_slice(self, ts_ns: int, records: Sequence[Record]) -> list[Record]:
        return self._stage.on_slice(ts_ns, records)

    def snapshot(self) -> Any:
        return self._forget(self._stage.snapshot())

    def restore(self, snapshot: Any) -> None:
        self._stage.restore(snapshot)


def without_symbol_a(snapshot: Any) -> Any:
    version, specs, symbols, *rest = snapshot
    return version, specs, {symbol: state for symbol, state in symbols.items() if symbol != "A"}, *rest


def without_seq(snapshot: Any) -> Any:
    version, _seq, *rest = snapshot
    return (version, 0, *rest)


def without_proposal_seq(snapshot: Any) -> Any:
    version, ledger, marks, (valuation_seq, _proposal_seq, *counts), *rest = snapshot
    return (version, ledger, marks, (valuation_seq, 0, *counts), *rest)


@pytest.mark.parametrize("only_crashes", [None, "features"])
def test_unmodified_stages_pass_the_crash_test(
    only_crashes: str | None, time_slices: list[TimeSlice], expected_contents: dict[str, list[str]]
) -> None:
    crash_test(time_slices, expected_contents, only_crashes)


@pytest.mark.parametrize(
    ("service", "forget"),
    [("features", without_symbol_a), ("execution", without_seq), ("portfolio", without_proposal_seq)],
)
def test_a_snapshot_that_omits_one_field_fails_the_crash_test(
    service: str,
    forget: SnapshotFilter,
    time_slices: list[TimeSlice],
    expected_contents: dict[str, list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make_factory: Callable[[Settings], Callable[[], Stage]] = getattr(stages, service)

    def make_broken_factory(settings: Settings) -> Callable[[], Stage]:
        make_stage = make_factory(settings)
        return lambda: LossyStage(make_stage(), forget)

    monkeypatch.setattr(stages, service, make_broken_factory)
    with pytest.raises(AssertionError, match=DIFFERENCE):
        crash_test(time_slices, expected_contents, service)


def test_a_sink_that_assigns_its_own_seq_fails_the_crash_test(
    time_slices: list[TimeSlice], expected_contents: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Downstream readers identify duplicates by the `seq` of the stage; a `seq` from the sink defeats this check."""
    seq, write = 0, Logs.write

    def renumber(records: Iterable[Record]) -> list[Record]:
        nonlocal seq
        out: list[Record] = []
        for record in records:
            if type(record) is Valuation:
                seq += 1
                record = record._replace(seq=seq)
            out.append(record)
        return out

    def write_renumbered(logs: Logs, service: str, shard: str, time_slices: Iterable[TimeSlice]) -> None:
        write(
            logs,
            service,
            shard,
            [TimeSlice(time_slice.ts_ns, renumber(time_slice.records)) for time_slice in time_slices],
        )

    monkeypatch.setattr(Logs, "write", write_renumbered)
    with pytest.raises(AssertionError, match=DIFFERENCE):
        crash_test(time_slices, expected_contents)
