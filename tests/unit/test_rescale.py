"""Another number of processes takes over every shard's state as it was, whatever became of the processes before."""

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
from deploy.supervisor.initialise import make_recovery_store
from deploy.supervisor.replicas import replica_name, replicas, replicas_of, require_scalable, settle, store_of

SERVICE, PARTITIONS = "features", load_settings(environment={}).kafka.symbol_partitions
SHARDS = topology.shards(SERVICE, PARTITIONS)
BY_SHARD = [name for name, service in SERVICES.items() if service.by_shard]
SINGLE = [name for name, service in SERVICES.items() if not service.by_shard]


class Numbers(FixedPartitionedSource[tuple[str, int], int]):
    """1, 2, 3 … of each shard up to `last`; dies at `dies_at`."""

    def __init__(self, shards: Sequence[str], last: int, dies_at: int | None) -> None:
        self.shards, self.last, self.dies_at = shards, last, dies_at

    def list_parts(self) -> list[str]:
        return list(self.shards)

    def build_part(self, step_id: str, for_part: str, resume_state: int | None) -> Any:
        return _Counting(self, for_part, resume_state or 0)


class _Counting(StatefulSourcePartition[tuple[str, int], int]):
    def __init__(self, source: Numbers, shard: str, at: int) -> None:
        self.source, self.shard, self.at = source, shard, at

    def next_batch(self) -> list[tuple[str, int]]:
        if self.at == self.source.dies_at:
            raise RuntimeError("dies here")
        if self.at >= self.source.last:
            raise StopIteration
        self.at += 1
        return [(self.shard, self.at)]

    def snapshot(self) -> int:
        return self.at


class Written(FixedPartitionedSink[tuple[str, int, int], None]):
    """The sums by shard and number; like a table, it does not mind repeats but for different ones."""

    def __init__(self) -> None:
        self.sums: dict[tuple[str, int], int] = {}
        self.times: dict[tuple[str, int], int] = {}

    def list_parts(self) -> list[str]:
        return ["0000"]  # as the Postgres sink: one part, whatever the shards

    def part_fn(self, item_key: str) -> int:
        return 0

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> Any:
        return _Rows(self)


class _Rows(StatefulSinkPartition[tuple[str, int, int], None]):
    def __init__(self, written: Written) -> None:
        self.written = written

    def write_batch(self, values: list[tuple[str, int, int]]) -> None:
        for shard, number, total in values:
            assert self.written.sums.setdefault((shard, number), total) == total, "a repeat says the same"
            self.written.times[shard, number] = self.written.times.get((shard, number), 0) + 1

    def snapshot(self) -> None:
        """Nothing to remember."""


class Processes:
    """A service of `SHARDS` that sums up numbers, as so many processes one after the other."""

    def __init__(self, root: Path) -> None:
        self.home, self.written = Home(root), Written()
        self.home.make()
        make_recovery_store(self.home.recovery / SERVICE)

    def run(self, last: int, *, dies: dict[str, int] | None = None) -> None:
        """All processes to `last`; those named in `dies` end with an error at a number."""
        for replica in replicas_of(self.home, SERVICE):
            dies_at = (dies or {}).get(str(replica))
            try:
                self._run(replica, last, dies_at)
            except BytewaxRuntimeError:
                assert dies_at is not None
            else:
                assert dies_at is None

    def _run(self, replica: Replica, last: int, dies_at: int | None) -> None:
        flow = Dataflow(SERVICE)
        numbers = op.input("ticks", flow, Numbers(replica.of(SHARDS), last, dies_at))
        sums = op.stateful_map("stage", numbers, _add)
        op.output("postgres", op.map("row", sums, lambda kv: (kv[0], (kv[0], *kv[1]))), self.written)
        store = RecoveryConfig(str(store_of(self.home, SERVICE, replica)), timedelta(0))
        run_main(flow, epoch_interval=timedelta(0), recovery_config=store)

    def scale(self, count: int) -> None:
        done = scale(self.home, SERVICE, count)
        assert done.returncode == 0, done.stderr


def _add(total: int | None, number: int) -> tuple[int, tuple[int, int]]:
    total = (total or 0) + number
    return total, (number, total)


def scale(home: Home, service: str, count: int) -> subprocess.CompletedProcess[str]:
    """In a process of its own, as the supervisor does it."""
    return subprocess.run(
        [sys.executable, "-m", "deploy.recovery.rescale", service, str(count)],
        cwd=REPOSITORY,
        env={**os.environ, "PLATFORM_HOME": str(home.root)},
        capture_output=True,
        text=True,
        check=False,
    )


EXPECTED = {(shard, n): n * (n + 1) // 2 for shard in SHARDS for n in range(1, 41)}


def test_the_states_move_to_more_processes_and_back(tmp_path: Path) -> None:
    service = Processes(tmp_path)
    service.run(10)
    service.scale(3)
    service.run(20)
    service.scale(2)
    service.run(30)
    service.scale(1)
    service.run(40)
    assert service.written.sums == EXPECTED
    assert set(service.written.times.values()) == {1}, "after a clean stop nothing is repeated"


def test_processes_that_died_at_different_moments_leave_nothing_out(tmp_path: Path) -> None:
    service = Processes(tmp_path)
    service.run(10)
    service.scale(3)
    service.run(20, dies={"1of3": 13, "3of3": 10})
    service.scale(2)
    service.run(30, dies={"2of2": 25})
    service.scale(4)
    service.run(40)
    assert service.written.sums == EXPECTED


def test_stores_that_were_never_used_and_a_process_that_never_ran_can_be_laid_out_anew(tmp_path: Path) -> None:
    service = Processes(tmp_path)
    service.scale(4)
    service.run(20, dies={"2of4": 0, "3of4": 0})
    service.scale(1)
    service.run(40)
    assert service.written.sums == EXPECTED


def test_a_lost_shard_would_be_seen(tmp_path: Path) -> None:
    """The tests above can fail: without one process's store its sums begin anew."""
    service = Processes(tmp_path)
    service.run(10)
    service.scale(2)
    for part in store_of(service.home, SERVICE, Replica(2, 2)).iterdir():
        part.unlink()
    make_recovery_store(store_of(service.home, SERVICE, Replica(2, 2)))
    service.run(20)
    assert {shard for (shard, _), times in service.written.times.items() if times > 1} == {"1", "3"}


def test_a_state_that_belongs_to_no_shard_is_not_dropped(tmp_path: Path) -> None:
    service = Processes(tmp_path)
    flow = Dataflow(SERVICE)
    numbers = op.input("ticks", flow, Numbers(["all"], 3, None))
    op.output("postgres", op.map("row", numbers, lambda kv: ("all", ("all", kv[1], 0))), service.written)
    store = service.home.recovery / SERVICE
    run_main(flow, epoch_interval=timedelta(0), recovery_config=RecoveryConfig(str(store), timedelta(0)))
    done = scale(service.home, SERVICE, 2)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "state of features.ticks key all in the store of features belongs to no shard" in done.stderr
    assert replicas_of(service.home, SERVICE) == replicas(1)
    assert read_store(store).snapshots, "the old layout stays"


@pytest.mark.parametrize("moment", ["while it was made", "between the two renames", "before the old one was removed"])
def test_a_rescale_that_was_cut_off_is_finished_or_forgotten(tmp_path: Path, moment: str) -> None:
    service = Processes(tmp_path)
    service.run(10)
    folder = service.home.recovery / SERVICE
    made, before = folder.with_name(f"{SERVICE}.scaled"), folder.with_name(f"{SERVICE}.unscaled")
    if moment == "while it was made":
        (made / "1of2").mkdir(parents=True)
    else:
        service.scale(2)
        folder.rename(made)
        Processes(tmp_path)  # an old layout in its place
        folder.rename(before)
        if moment == "before the old one was removed":
            made.rename(folder)
    settle(service.home)
    assert [path.name for path in service.home.recovery.iterdir()] == [SERVICE]
    assert len(replicas_of(service.home, SERVICE)) == (1 if moment == "while it was made" else 2)
    service.run(40)
    assert service.written.sums == EXPECTED
    assert set(service.written.times.values()) == {1}


@pytest.mark.parametrize("count", range(1, PARTITIONS + 1))
def test_each_shard_is_in_exactly_one_process(count: int) -> None:
    dealt = [shard for replica in replicas(count) for shard in replica.of(SHARDS)]
    assert sorted(dealt) == SHARDS
    assert all(replica.of(SHARDS) for replica in replicas(count)), "none without work"
    assert len({replica_name(SERVICE, replica) for replica in replicas(count)}) == count


@pytest.mark.parametrize("service", SINGLE)
def test_a_service_with_a_single_instance_is_refused_with_the_reason(service: str) -> None:
    with pytest.raises(
        DeployError, match=f"^{service} has a single instance because .*; these can be scaled: features"
    ):
        require_scalable(service, 2, PARTITIONS)


@pytest.mark.parametrize("service", BY_SHARD)
def test_a_service_by_shard_has_at_most_a_process_per_shard(service: str) -> None:
    for count in (0, PARTITIONS + 1):
        with pytest.raises(DeployError, match=f"^{service} can run as 1 to {PARTITIONS} processes.* found {count}$"):
            require_scalable(service, count, PARTITIONS)
    require_scalable(service, PARTITIONS, PARTITIONS)


def test_half_a_layout_is_said(tmp_path: Path) -> None:
    (tmp_path / "recovery" / SERVICE / "1of3").mkdir(parents=True)
    with pytest.raises(DeployError, match="must hold the states of 3 processes, found 1of3"):
        replicas_of(Home(tmp_path), SERVICE)
