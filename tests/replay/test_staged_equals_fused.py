"""The staged services decide what the fused backtest decides, whatever arrives first, on any number of shards."""

from __future__ import annotations

from datetime import time
from decimal import Decimal
from pathlib import Path

import pytest

from configs.settings import load_settings
from operators.sizing import TARGET_WEIGHTS
from operators.stage import Tick
from schemas.records import Bar, Command, CorporateAction, ExchangeRate, Record
from tests.replay.market import MONDAY, write_market
from tests.replay.record import with_commands
from tests.replay.runs import SETTINGS_FILE, feed_ticks, fused_hash, settings, staged_hash
from tests.replay.staged import Staged


@pytest.fixture(scope="module")
def ticks(tmp_path_factory: pytest.TempPathFactory) -> list[Tick]:
    """Pre-market into the regular session; the kill switch is pulled and let go on the way."""
    folder = tmp_path_factory.mktemp("market")
    files = write_market(folder, symbols=("A", "B", "C", "D", "E"), days=[MONDAY], opens=time(9), minutes=150)
    return with_commands(feed_ticks(files))


@pytest.fixture(scope="module")
def fused(ticks: list[Tick]) -> str:
    return fused_hash(ticks)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("partitions", [1, 2, 3])
def test_any_order_of_arrival_decides_the_same(ticks: list[Tick], fused: str, partitions: int, seed: int) -> None:
    assert staged_hash(Staged(settings(), ticks, partitions=partitions, seed=seed).run()) == fused


def with_reference_data(ticks: list[Tick]) -> list[Tick]:
    """A split, a dividend and a rate on the way, each written twice, and the split before its day has come."""
    day = next(r.trading_day for r in ticks[0].records if type(r) is Bar)
    split = CorporateAction("s", 0, "SPLIT", "A", day, 0, Decimal(2), None, "USD", "", "test")
    dividend = CorporateAction("d", 0, "CASH_DIVIDEND", "B", 0, 0, None, Decimal("0.7"), "EUR", "", "test")
    rate = ExchangeRate("r", 0, "EUR", "USD", Decimal("1.1"), "test")
    given: dict[int, list[Record]] = {40: [split, dividend], 41: [split], 60: [rate], 61: [dividend, rate]}
    return [Tick(t.ts_ns, [*given.get(number, []), *t.records]) for number, t in enumerate(ticks)]


@pytest.mark.parametrize("partitions", [1, 3])
def test_reference_data_decides_the_same_also_when_services_die(ticks: list[Tick], fused: str, partitions: int) -> None:
    ticks = with_reference_data(ticks)
    decided = fused_hash(ticks)
    assert decided != fused
    assert fused_hash(ticks, shards=3) == decided
    staged = Staged(settings(), ticks, partitions=partitions, seed=3, crashes=0.02)
    assert staged_hash(staged.run()) == decided
    assert staged.deaths


def with_weights(ticks: list[Tick]) -> list[Tick]:
    """Target weights on the way, the first ones again behind the second, and some that are none."""

    def weigh(name: str, **weights: str) -> Command:
        return Command(name, 0, TARGET_WEIGHTS, "tester", "recorded", weights)

    first = weigh("w-1", A="0.1", B="0.15", C="0.05", D="0.1")
    given = {30: [first], 70: [weigh("w-2", A="0.03", E="0.12")], 90: [weigh("w-3", B="much"), first]}
    return [Tick(t.ts_ns, [*given.get(number, []), *t.records]) for number, t in enumerate(ticks)]


@pytest.mark.parametrize("partitions", [1, 3])
def test_target_weights_decide_the_same_also_when_services_die(
    ticks: list[Tick], partitions: int, tmp_path: Path
) -> None:
    file = tmp_path / "weights.yaml"
    file.write_text(SETTINGS_FILE.read_text().replace("method: fixed_fraction", "method: target_weights"))
    told = load_settings(file, environment={})
    weighed = with_weights(ticks)
    decided = fused_hash(weighed, decided=told)
    assert decided != fused_hash(ticks, decided=told), "without weights nothing is traded"
    assert fused_hash(weighed, shards=3, decided=told) == decided
    staged = Staged(told, weighed, partitions=partitions, seed=3, crashes=0.02)
    assert staged_hash(staged.run()) == decided
    assert staged.deaths


@pytest.mark.long
def test_two_whole_days_decide_the_same(tmp_path: Path) -> None:
    ticks = feed_ticks(write_market(tmp_path, symbols=("A", "B", "C", "D", "E", "F")))
    fused = fused_hash(ticks)
    for seed in range(5):
        assert staged_hash(Staged(settings(), ticks, partitions=4, seed=seed).run()) == fused


def test_the_commands_of_the_tape_change_what_is_decided(ticks: list[Tick], fused: str) -> None:
    """Or the equality above would say nothing of commands."""
    without = [Tick(t.ts_ns, [r for r in t.records if type(r) is not Command]) for t in ticks]
    assert fused_hash(without) != fused
