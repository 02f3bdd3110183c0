"""After a change in the number of processes, every shard continues from its state, even if processes crashed before."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import bytewax.operators as op
import pytest
from bytewax.dataflow import Dataflow
from bytewax.errors import BytewaxRuntimeError
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition
from bytewax.recovery import RecoveryConfig
from bytewax.testing import run_main

from configs.settings import load_settings
from dataflows.runtime import topology
from dataflows.runtime.topology import SERVICES, Replica
from deploy.errors import DeployError
from deploy.home import REPOSITORY, Home
from deploy.recovery.recovery_store import read_store
from deploy.supervisor.initialize import make_recovery_store
from deploy.supervisor.replicas import finish_rescale, replica_name, replicas, replicas_of, require_scalable, store_of

SERVICE, PARTITIONS = "features", load_settings(environment={}).kafka.symbol_partitions
SHARDS = topology.shards(SERVICE, PARTITIONS)
SHARDED = [name for name, service in SERVICES.items() if service.by_shard]
SINGLE_INSTANCE = [name for name, service in SERVICES.items() if not service.by_shard]


class NumberSource(FixedPartitionedSource[tuple[str, int], int]):
    """The numbers 1, 2, 3 … of each shard up to `last`. The source raises an error at `crashes_at`."""

    def __init__(self, shards: Sequence[str], last: int, crashes_at: int | None) -> None:
        self.shards, self.last, self.crashes_at = shards, last, crashes_at

    def list_parts(self) -> list[str]:
        return list(self.shards)

    def build_part(self, step_id: str, for_part: str, resume_state: int | None) -> Any:
        return _NumberPartition(self, for_part, resume_state or 0)


class _NumberPartition(StatefulSourcePartition[tuple[str, int], int]):
    def __init__(self, source: NumberSource, shard: str, position: int) -> None:
        self.source, self.shard, self.position = source, shard, position

    def next_batch(self) -> list[tuple[str, int]]:
        if self.position == self.source.crashes_at:
            raise RuntimeError("dies here")
        if self.position >= self.source.last:
            raise StopIteration
        self.position += 1
        return [(self.shard, self.position)]

    def snapshot(self) -> int:
        return self.position


class SumSink(FixedPartitionedSink[tuple[str, int, int], None]):
    """The sums by shard and number. Like a table, it accepts equal repeats and rejects different ones."""

    def __init__(self) -> None:
        self.sums: dict[tuple[str, int], int] = {}
        self.write_counts: dict[tuple[str, int], int] = {}

    def list_parts(self) -> list[str]:
        return ["0000"]  # one partition for all shards, like the Postgres sink

    def part_fn(self, item_key: str) -> int:
        return 0

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> Any:
        return _SumPartition(self)


class _SumPartition(StatefulSinkPartition[tuple[str, int, int], None]):
    def __init__(self, sink: SumSink) -> None:
        self.sink = sink

    def write_batch(self, values: list[tuple[str, int, int]]) -> None:
        for shard, number, total in values:
            assert self.sink.sums.setdefault((shard, number), total) == total, "a repeat reports the same"
            self.sink.write_counts[shard, number] = self.sink.write_counts.get((shard, number), 0) + 1

    def snapshot(self) -> None:
        """Save nothing: the sink has no state."""


class RescaledService:
    """A service of `SHARDS` that sums numbers. Its processes run one after the other."""

    def __init__(self, root: Path) -> None:
        self.home, self.sink = Home(root), SumSink()
        self.home.create_folders()
        make_recovery_store(self.home.recovery / SERVICE)

    def run(self, last: int, *, crashes: dict[str, int] | None = None) -> None:
        """Run all processes up to `last`. Those named in `crashes` end with an error at the given number."""
        for replica in replicas_of(self.home, SERVICE):
            crashes_at = (crashes or {}).get(str(replica))
            try:
                self._run(replica, last, crashes_at)
            except BytewaxRuntimeError:
                assert crashes_at is not None
            else:
                assert crashes_at is None

    def _run(self, replica: Replica, last: int, crashes_at: int | None) -> None:
        flow = Dataflow(SERVICE)
        numbers = op.input("ticks", flow, NumberSource(replica.select(SHARDS), last, crashes_at))
        sums = op.stateful_map("stage", numbers, _add)
        op.output("postgres", op.map("row", sums, lambda kv: (kv[0], (kv[0], *kv[1]))), self.sink)
        store = RecoveryConfig(str(store_of(self.home, SERVICE, replica)), timedelta(0))
        run_main(flow, epoch_interval=timedelta(0), recovery_config=store)

    def scale(self, count: int) -> None:
        result = scale(self.home, SERVICE, count)
        assert result.returncode == 0, result.stderr


def _add(total: int | None, number: int) -> tuple[int, tuple[int, int]]:
    total = (total or 0) + number
    return total, (number, total)


def scale(home: Home, service: str, count: int) -> subprocess.CompletedProcess[str]:
    """Rescale in a separate process, as the supervisor does."""
    return subprocess.run(
        [sys.executable, "-m", "deploy.recovery.rescale", service, str(count)],
        cwd=REPOSITORY,
        env={**os.environ, "PLATFORM_HOME": str(home.root)},
        capture_output=True,
        text=True,
        check=False,
    )


EXPECTED_SUMS = {(shard, n): n * (n + 1) // 2 for shard in SHARDS for n in range(1, 41)}


def test_the_states_move_to_more_processes_and_back(tmp_path: Path) -> None:
    service = RescaledService(tmp_path)
    service.run(10)
    service.scale(3)
    service.run(20)
    service.scale(2)
    service.run(30)
    service.scale(1)
    service.run(40)
    assert service.sink.sums == EXPECTED_SUMS
    assert set(service.sink.write_counts.values()) == {1}, "after a clean stop nothing is repeated"


def test_processes_crashed_at_different_points_lose_nothing(tmp_path: Path) -> None:
    service = RescaledService(tmp_path)
    service.run(10)
    service.scale(3)
    service.run(20, crashes={"1of3": 13, "3of3": 10})
    service.scale(2)
    service.run(30, crashes={"2of2": 25})
    service.scale(4)
    service.run(40)
    assert service.sink.sums == EXPECTED_SUMS


def test_unused_stores_and_processes_can_be_rescaled(tmp_path: Path) -> None:
    service = RescaledService(tmp_path)
    service.scale(4)
    service.run(20, crashes={"2of4": 0, "3of4": 0})
    service.scale(1)
    service.run(40)
    assert service.sink.sums == EXPECTED_SUMS


def test_a_lost_shard_is_detected(tmp_path: Path) -> None:
    """Without one process's store, its shards start again from the first number, so the tests above can fail."""
    service = RescaledService(tmp_path)
    service.run(10)
    service.scale(2)
    for file in store_of(service.home, SERVICE, Replica(2, 2)).iterdir():
        file.unlink()
    make_recovery_store(store_of(service.home, SERVICE, Replica(2, 2)))
    service.run(20)
    assert {shard for (shard, _), times in service.sink.write_counts.items() if times > 1} == {"1", "3"}


def test_a_state_that_belongs_to_no_shard_is_not_dropped(tmp_path: Path) -> None:
    service = RescaledService(tmp_path)
    flow = Dataflow(SERVICE)
    numbers = op.input("ticks", flow, NumberSource(["all"], 3, None))
    op.output("postgres", op.map("row", numbers, lambda kv: ("all", ("all", kv[1], 0))), service.sink)
    store = service.home.recovery / SERVICE
    run_main(flow, epoch_interval=timedelta(0), recovery_config=RecoveryConfig(str(store), timedelta(0)))
    result = scale(service.home, SERVICE, 2)
    assert (result.returncode, result.stderr.count("\n")) == (1, 1)
    assert "cannot rescale features: the state of step features.ticks, key all belongs to no shard" in result.stderr
    assert replicas_of(service.home, SERVICE) == replicas(1)
    assert read_store(store).snapshots, "the old layout stays"


@pytest.mark.parametrize(
    "interruption", ["while it was made", "between the two renames", "before the old one was removed"]
)
def test_interrupted_rescale_is_finished_or_rolled_back(tmp_path: Path, interruption: str) -> None:
    service = RescaledService(tmp_path)
    service.run(10)
    folder = service.home.recovery / SERVICE
    scaled, unscaled = folder.with_name(f"{SERVICE}.scaled"), folder.with_name(f"{SERVICE}.unscaled")
    if interruption == "while it was made":
        (scaled / "1of2").mkdir(parents=True)
    else:
        service.scale(2)
        folder.rename(scaled)
        RescaledService(tmp_path)  # creates a store in the old layout
        folder.rename(unscaled)
        if interruption == "before the old one was removed":
            scaled.rename(folder)
    finish_rescale(service.home)
    assert [path.name for path in service.home.recovery.iterdir()] == [SERVICE]
    assert len(replicas_of(service.home, SERVICE)) == (1 if interruption == "while it was made" else 2)
    service.run(40)
    assert service.sink.sums == EXPECTED_SUMS
    assert set(service.sink.write_counts.values()) == {1}


@pytest.mark.parametrize("count", range(1, PARTITIONS + 1))
def test_each_shard_is_in_exactly_one_process(count: int) -> None:
    assigned = [shard for replica in replicas(count) for shard in replica.select(SHARDS)]
    assert sorted(assigned) == SHARDS
    assert all(replica.select(SHARDS) for replica in replicas(count)), "none without work"
    assert len({replica_name(SERVICE, replica) for replica in replicas(count)}) == count


@pytest.mark.parametrize("service", SINGLE_INSTANCE)
def test_single_instance_service_cannot_be_scaled(service: str) -> None:
    with pytest.raises(DeployError, match=f"^{service} has a single instance because .*; scalable services: features"):
        require_scalable(service, 2, PARTITIONS)


@pytest.mark.parametrize("service", SHARDED)
def test_a_service_by_shard_has_at_most_a_process_per_shard(service: str) -> None:
    for count in (0, PARTITIONS + 1):
        with pytest.raises(DeployError, match=f"^{service} can run as 1 to {PARTITIONS} processes.* found {count}$"):
            require_scalable(service, count, PARTITIONS)
    require_scalable(service, PARTITIONS, PARTITIONS)


def test_incomplete_layout_is_reported(tmp_path: Path) -> None:
    (tmp_path / "recovery" / SERVICE / "1of3").mkdir(parents=True)
    with pytest.raises(DeployError, match="must have the states of 3 processes, found 1of3"):
        replicas_of(Home(tmp_path), SERVICE)
