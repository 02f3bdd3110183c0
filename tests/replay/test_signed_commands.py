"""Signed commands decide the same in the staged services, in a replay and after crashes; forged ones decide nothing."""

from __future__ import annotations

from datetime import time

import pytest

from operators.stage import TimeSlice
from schemas.records import KILL_SWITCH, RELEASE, Bar, Command, Record
from tests.builders import command
from tests.builders.signing import SigningAuthority
from tests.replay.in_memory_platform import InMemoryPlatform
from tests.replay.market import MONDAY, write_market
from tests.replay.runs import fused_hash, pinned_settings, read_time_slices, staged_hash

AUTHORITY, THIEF = SigningAuthority(), SigningAuthority(seed="thief")
CUT_OVER = 10


def order(name: str, ts_ns: int, *, actor: str = "ann") -> Command:
    terms = {"symbol": "A", "side": "BUY", "quantity": "7", "order_type": "MARKET"}
    return command(name, ts_ns, "SUBMIT_ORDER", terms, actor=actor)


def valid_commands(first_ns: int) -> dict[int, list[Record]]:
    """Return commands by index of their time slice: two from before the cut-over, without a signature."""
    return {
        5: [order("early", first_ns)],
        CUT_OVER: [*AUTHORITY.records],
        20: [AUTHORITY.sign(order("order", first_ns))],
        30: [AUTHORITY.sign(command("halt", first_ns, KILL_SWITCH), "command-line")],
        34: [AUTHORITY.sign(command("release", first_ns, RELEASE))],
        50: [AUTHORITY.sign(order("order-2", first_ns))],
    }


def forged_commands(first_ns: int) -> dict[int, list[Record]]:
    release = AUTHORITY.sign(command("release", first_ns, RELEASE))
    return {
        CUT_OVER: [order("unsigned", first_ns, actor="admin")],
        22: [AUTHORITY.sign(order("changed", first_ns))._replace(actor="admin")],
        24: [AUTHORITY.keys["market_data"].sign(order("feed", first_ns, actor="admin"))],
        32: [command("unsigned-release", first_ns, RELEASE), THIEF.sign(command("thief", first_ns, RELEASE))],
        36: [AUTHORITY.sign(order("order", first_ns)), release],
        44: [THIEF.records[0], THIEF.records[1], THIEF.sign(order("thief-order", first_ns))],
    }


def with_commands(time_slices: list[TimeSlice], *inserted: dict[int, list[Record]]) -> list[TimeSlice]:
    return [
        TimeSlice(t.ts_ns, [*t.records, *(record for one in inserted for record in one.get(number, []))])
        for number, t in enumerate(time_slices)
    ]


@pytest.fixture(scope="module")
def tape(tmp_path_factory: pytest.TempPathFactory) -> list[TimeSlice]:
    folder = tmp_path_factory.mktemp("market")
    return read_time_slices(write_market(folder, symbols=("A", "B", "C"), days=[MONDAY], open_time=time(9), minutes=90))


@pytest.mark.parametrize("crash_rate", [0.0, 0.03])
def test_forged_commands_change_no_decision(tape: list[TimeSlice], crash_rate: float) -> None:
    first_ns = next(record.ts_ns for record in tape[0].records if type(record) is Bar)
    valid, forged = valid_commands(first_ns), forged_commands(first_ns)
    expected = fused_hash(with_commands(tape, valid))
    assert expected != fused_hash(tape), "the commands matter"
    platform = InMemoryPlatform(
        pinned_settings(), with_commands(tape, valid, forged), partitions=2, seed=5, crash_rate=crash_rate
    )
    assert staged_hash(platform.run()) == expected
    assert bool(platform.crash_count) == bool(crash_rate)
    readers = [shard.reader for shard in platform.shards if ("commands", 0) in shard.reader.next_offsets()]
    assert {shard.service for shard in platform.shards if shard.reader in readers} >= {
        "portfolio",
        "risk",
        "signals",
        "execution",
    }
    keys = [reader.snapshot()[2]["commands/0"][3] for reader in readers]
    assert all(one == keys[0] for one in keys)


def test_the_forged_commands_would_change_decisions_without_keys(tape: list[TimeSlice]) -> None:
    first_ns = next(record.ts_ns for record in tape[0].records if type(record) is Bar)
    valid, forged = valid_commands(first_ns), forged_commands(first_ns)
    unprotected = with_commands(tape, {**valid, CUT_OVER: []}, forged)
    platform = InMemoryPlatform(pinned_settings(), unprotected, partitions=2, seed=5)
    assert staged_hash(platform.run()) != fused_hash(with_commands(tape, valid))
