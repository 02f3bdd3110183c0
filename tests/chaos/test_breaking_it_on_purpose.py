"""The checks can fail: a state that forgets something and a sink that numbers by itself do not pass the crash test."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import time
from typing import Any

import pytest

from configs.settings import Settings
from dataflows.runtime import stages
from operators.stage import Stage, Tick
from schemas.records import Record, Valuation
from tests.replay.market import MONDAY, write_market
from tests.replay.runs import feed_ticks, settings
from tests.replay.staged import Logs, Staged

Forget = Callable[[Any], Any]


@pytest.fixture(scope="module")
def ticks(tmp_path_factory: pytest.TempPathFactory) -> list[Tick]:
    folder = tmp_path_factory.mktemp("market")
    return feed_ticks(
        write_market(folder, symbols=("A", "B", "C"), days=[MONDAY], opens=time(9, 30), minutes=40, seed=3)
    )


@pytest.fixture(scope="module")
def undisturbed(ticks: list[Tick]) -> dict[str, list[str]]:
    return Staged(settings(), ticks, partitions=2, seed=0).run().contents()


def crash_test(ticks: list[Tick], undisturbed: dict[str, list[str]]) -> None:
    """As in `test_crashes_in_memory.py`."""
    run = Staged(settings(), ticks, partitions=2, seed=1, crashes=0.03)
    logs = run.run()
    assert run.deaths > 10
    assert logs.contents() == undisturbed


class Forgetting:
    """A stage whose snapshots leave something out."""

    def __init__(self, stage: Stage, forget: Forget) -> None:
        self._stage, self._forget = stage, forget

    def on_tick(self, ts_ns: int, records: Sequence[Record]) -> list[Record]:
        return self._stage.on_tick(ts_ns, records)

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


def test_the_crash_test_passes_as_things_are(ticks: list[Tick], undisturbed: dict[str, list[str]]) -> None:
    crash_test(ticks, undisturbed)


@pytest.mark.parametrize(
    ("service", "forget"),
    [("features", without_symbol_a), ("execution", without_seq), ("portfolio", without_proposal_seq)],
)
def test_a_state_that_forgets_one_field_fails_the_crash_test(
    service: str,
    forget: Forget,
    ticks: list[Tick],
    undisturbed: dict[str, list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    right: Callable[[Settings], Callable[[], Stage]] = getattr(stages, service)

    def broken(chosen: Settings) -> Callable[[], Stage]:
        make = right(chosen)
        return lambda: Forgetting(make(), forget)

    monkeypatch.setattr(stages, service, broken)
    with pytest.raises(AssertionError):
        crash_test(ticks, undisturbed)


def test_a_sink_that_numbers_by_itself_fails_the_crash_test(
    ticks: list[Tick], undisturbed: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its readers cannot know a repeat: without `seq` from the state there is no fence."""
    written, write = 0, Logs.write

    def renumbered(records: Iterable[Record]) -> list[Record]:
        nonlocal written
        out: list[Record] = []
        for record in records:
            if type(record) is Valuation:
                written += 1
                record = record._replace(seq=written)
            out.append(record)
        return out

    def unfenced(logs: Logs, service: str, shard: str, made: Iterable[Tick]) -> None:
        write(logs, service, shard, [Tick(tick.ts_ns, renumbered(tick.records)) for tick in made])

    monkeypatch.setattr(Logs, "write", unfenced)
    with pytest.raises(AssertionError):
        crash_test(ticks, undisturbed)
