"""The staged services decide the same as the fused backtest, in any order of arrival and on any number of shards."""

from __future__ import annotations

from datetime import time
from pathlib import Path

import pytest

from configs.settings import load_settings
from operators.kill_switch import AT_ONCE
from operators.sizing import TARGET_WEIGHTS
from operators.stage import TimeSlice
from schemas.records import CASH_DIVIDEND, CASH_TRANSFER, SPLIT, Bar, Command, Record
from tests.builders import command, corporate_action, exchange_rate
from tests.replay.in_memory_platform import InMemoryPlatform
from tests.replay.market import MONDAY, write_market
from tests.replay.record import with_commands
from tests.replay.runs import SETTINGS_FILE, fused_hash, pinned_settings, read_time_slices, staged_hash


@pytest.fixture(scope="module")
def time_slices(tmp_path_factory: pytest.TempPathFactory) -> list[TimeSlice]:
    """Time slices from the pre-market into the regular session, with a use and a release of the kill switch."""
    folder = tmp_path_factory.mktemp("market")
    files = write_market(folder, symbols=("A", "B", "C", "D", "E"), days=[MONDAY], open_time=time(9), minutes=150)
    return with_commands(read_time_slices(files))


@pytest.fixture(scope="module")
def expected_hash(time_slices: list[TimeSlice]) -> str:
    return fused_hash(time_slices)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("partitions", [1, 2, 3])
def test_any_order_of_arrival_decides_the_same(
    time_slices: list[TimeSlice], expected_hash: str, partitions: int, seed: int
) -> None:
    assert (
        staged_hash(InMemoryPlatform(pinned_settings(), time_slices, partitions=partitions, seed=seed).run())
        == expected_hash
    )


def with_reference_data(time_slices: list[TimeSlice]) -> list[TimeSlice]:
    """Insert a split, a dividend and a rate, each twice. The split arrives before its effective day."""
    day = next(r.trading_day for r in time_slices[0].records if type(r) is Bar)
    split = corporate_action("s", SPLIT, "A", ex_date=day, ratio=2)
    dividend = corporate_action("d", CASH_DIVIDEND, "B", amount=0.7, currency="EUR")
    rate = exchange_rate("r", 1.1)
    inserted: dict[int, list[Record]] = {40: [split, dividend], 41: [split], 60: [rate], 61: [dividend, rate]}
    return [TimeSlice(t.ts_ns, [*inserted.get(number, []), *t.records]) for number, t in enumerate(time_slices)]


@pytest.mark.parametrize("partitions", [1, 3])
def test_reference_data_decides_the_same_when_services_crash(
    time_slices: list[TimeSlice], expected_hash: str, partitions: int
) -> None:
    time_slices = with_reference_data(time_slices)
    decision_hash = fused_hash(time_slices)
    assert decision_hash != expected_hash
    assert fused_hash(time_slices, shards=3) == decision_hash
    platform = InMemoryPlatform(pinned_settings(), time_slices, partitions=partitions, seed=3, crash_rate=0.02)
    assert staged_hash(platform.run()) == decision_hash
    assert platform.crash_count


@pytest.mark.parametrize("partitions", [1, 3])
def test_a_halt_at_once_decides_the_same_when_services_crash(
    time_slices: list[TimeSlice], expected_hash: str, partitions: int
) -> None:
    """The venue cancels in the time slice of the command. Halts of earlier releases wait for the fence."""

    def at_once(record: Record) -> Record:
        return record._replace(arguments=dict(AT_ONCE)) if type(record) is Command else record

    halted_slices = [TimeSlice(t.ts_ns, [at_once(record) for record in t.records]) for t in time_slices]
    decision_hash = fused_hash(halted_slices)
    assert decision_hash != expected_hash
    platform = InMemoryPlatform(pinned_settings(), halted_slices, partitions=partitions, seed=3, crash_rate=0.02)
    assert staged_hash(platform.run()) == decision_hash
    assert platform.crash_count


def with_transfers(time_slices: list[TimeSlice]) -> list[TimeSlice]:
    """Insert a deposit, a fee and a withdrawal. One command appears twice, and one is invalid."""

    def transfer(command_id: str, kind: str, amount: str) -> Command:
        return command(command_id, 0, CASH_TRANSFER, {"kind": kind, "amount": amount})

    deposit, withdrawal = transfer("t-1", "DEPOSIT", "400000"), transfer("t-3", "WITHDRAWAL", "-350000.25")
    inserted = {
        30: [deposit, transfer("t-2", "FEE", "-12.5")],
        31: [deposit],
        80: [transfer("t-4", "DEPOSIT", "-1"), withdrawal],
    }
    return [TimeSlice(t.ts_ns, [*inserted.get(number, []), *t.records]) for number, t in enumerate(time_slices)]


@pytest.mark.parametrize("partitions", [1, 3])
def test_cash_transfers_decide_the_same_when_services_crash(
    time_slices: list[TimeSlice], expected_hash: str, partitions: int
) -> None:
    funded_slices = with_transfers(time_slices)
    decision_hash = fused_hash(funded_slices)
    assert decision_hash != expected_hash
    assert fused_hash(funded_slices, shards=3) == decision_hash
    platform = InMemoryPlatform(pinned_settings(), funded_slices, partitions=partitions, seed=3, crash_rate=0.02)
    logs = platform.run()
    assert staged_hash(logs) == decision_hash
    assert platform.crash_count
    transfers = {line for line in logs.contents()["executions"] if "CashTransfer" in line}
    assert len(transfers) == 3, "each valid command is one transfer"


def with_weights(time_slices: list[TimeSlice]) -> list[TimeSlice]:
    """Insert target weights. The first ones appear again after the second ones, and one command is invalid."""

    def weights_command(command_id: str, **weights: str) -> Command:
        return command(command_id, 0, TARGET_WEIGHTS, weights)

    first = weights_command("w-1", A="0.1", B="0.15", C="0.05", D="0.1")
    inserted = {
        30: [first],
        70: [weights_command("w-2", A="0.03", E="0.12")],
        90: [weights_command("w-3", B="much"), first],
    }
    return [TimeSlice(t.ts_ns, [*inserted.get(number, []), *t.records]) for number, t in enumerate(time_slices)]


@pytest.mark.parametrize("partitions", [1, 3])
def test_target_weights_decide_the_same_when_services_crash(
    time_slices: list[TimeSlice], partitions: int, tmp_path: Path
) -> None:
    file = tmp_path / "weights.yaml"
    file.write_text(SETTINGS_FILE.read_text().replace("method: fixed_fraction", "method: target_weights"))
    weight_settings = load_settings(file, environment={})
    weighted_slices = with_weights(time_slices)
    decision_hash = fused_hash(weighted_slices, settings=weight_settings)
    assert decision_hash != fused_hash(time_slices, settings=weight_settings), "without weights nothing is traded"
    assert fused_hash(weighted_slices, shards=3, settings=weight_settings) == decision_hash
    platform = InMemoryPlatform(weight_settings, weighted_slices, partitions=partitions, seed=3, crash_rate=0.02)
    assert staged_hash(platform.run()) == decision_hash
    assert platform.crash_count


@pytest.mark.long
def test_two_whole_days_decide_the_same(tmp_path: Path) -> None:
    time_slices = read_time_slices(write_market(tmp_path, symbols=("A", "B", "C", "D", "E", "F")))
    expected_hash = fused_hash(time_slices)
    for seed in range(5):
        assert (
            staged_hash(InMemoryPlatform(pinned_settings(), time_slices, partitions=4, seed=seed).run())
            == expected_hash
        )


def test_the_commands_of_the_tape_change_the_decisions(time_slices: list[TimeSlice], expected_hash: str) -> None:
    """Otherwise the equality above would prove nothing about commands."""
    without_commands = [TimeSlice(t.ts_ns, [r for r in t.records if type(r) is not Command]) for t in time_slices]
    assert fused_hash(without_commands) != expected_hash
