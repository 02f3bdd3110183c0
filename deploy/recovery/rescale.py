"""Lays the recovery stores of a stopped service by shard out anew, for another number of processes.

Each process of such a service owns some shards, and a store of its own. The states of a shard move as they are, from
the store of the process that had it to that of the one that gets it. Shards share nothing, so the stores need not be
of the same moment: a process that was killed had its last snapshot, and repeats from there what readers drop.

`python -m deploy.recovery.rescale features 3` runs it as the supervisor does: a process that has opened a
store with Python's SQLite must not open it with Bytewax's (two SQLite libraries in one process lose each other's
locks).
"""

from __future__ import annotations

import pickle
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from configs.settings import load_settings
from dataflows.runtime import topology
from deploy.errors import DeployError
from deploy.home import Home, home_from_environment
from deploy.recovery.recovery_store import copy_store
from deploy.supervisor.initialise import make_recovery_store
from deploy.supervisor.replicas import finish_rescale, replicas, replicas_of, require_scalable, store_of
from schemas.errors import BadInput

_PICKLED_NONES = {pickle.dumps(None, protocol) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)}


class StoredState(NamedTuple):
    """The state of one step and key at a store's resume epoch. `part`: the file that Bytewax keeps this key in."""

    part: str
    step: str
    key: str
    pickled: bytes


def rescale_stores(home: Home, service: str, count: int, partitions: int) -> None:
    """Make the stores for `count` processes out of those that are there. The service must not run.

    Cut off at any moment it leaves either layout whole (`replicas.settle` finishes the last step). Raises DeployError,
    with the old layout in place, where a store cannot be read or holds a state that belongs to no shard.
    """
    require_scalable(service, count, partitions)
    finish_rescale(home)
    folder = home.recovery / service
    new_store, old_store = folder.with_name(f"{service}.scaled"), folder.with_name(f"{service}.unscaled")
    sources = [store_of(home, service, replica) for replica in replicas_of(home, service)]
    shards = topology.shards(service, partitions)
    with tempfile.TemporaryDirectory(prefix="rescale-") as name:
        copies = [_copy(source, Path(name) / str(number)) for number, source in enumerate(sources)]
        used_copies = [copy for copy in copies if _resume_epoch(copy) is not None]
        rows = [row for copy in used_copies for row in _stored_states(copy)]
        _require_shards(rows, shards, service)
        for replica in replicas(count):
            target = new_store if count == 1 else new_store / str(replica)
            target.parent.mkdir(parents=True, exist_ok=True)
            if used_copies:
                _create_store(target, used_copies[0], [row for row in rows if row.key in replica.select(shards)])
            else:
                make_recovery_store(target)
    folder.rename(old_store)
    new_store.rename(folder)
    shutil.rmtree(old_store)


def _copy(source: Path, target: Path) -> Path:
    copy_store(source, target)
    return target


def _resume_epoch(store: Path) -> int | None:
    """Where Bytewax would go on; None for a store that was never used.

    A worker of the last start that has not finished an epoch yet stands where that start began.
    """
    starts: list[tuple[int, int, int]] = []
    fronts: dict[int, list[int]] = {}
    for part in sorted(store.glob("part-*.sqlite3")):
        with closing(sqlite3.connect(part)) as database:
            starts += database.execute("SELECT ex_num, worker_count, resume_epoch FROM exs")
            for number, frontier in database.execute("SELECT ex_num, worker_frontier FROM fronts"):
                fronts.setdefault(number, []).append(frontier)
    if not starts:
        return None
    number, workers, start_epoch = max(starts)
    frontiers = fronts.get(number, [])
    return min(frontiers) if len(frontiers) == workers else start_epoch


def _stored_states(store: Path) -> Iterable[StoredState]:
    """What a restart would load: of each step and key the newest state before the resume epoch."""
    resume_epoch = _resume_epoch(store)
    query = (
        "SELECT step_id, state_key, ser_change, MAX(snap_epoch) FROM snaps WHERE snap_epoch < ? "
        "GROUP BY step_id, state_key ORDER BY step_id, state_key"
    )
    for part in sorted(store.glob("part-*.sqlite3")):
        with closing(sqlite3.connect(part)) as database:
            for step, key, pickled, _ in database.execute(query, (resume_epoch,)):
                if pickled is not None:
                    yield StoredState(part.name, step, key, pickled)


def _require_shards(rows: Sequence[StoredState], shards: Sequence[str], service: str) -> None:
    """A state must never be dropped without a word: whatever belongs to no shard has to be empty."""
    for row in rows:
        if row.key not in shards and row.pickled not in _PICKLED_NONES:
            raise DeployError(
                f"state of {row.step} key {row.key} in the store of {service} belongs to no shard "
                f"({', '.join(shards)}), so no process can be given it"
            )


def _create_store(target: Path, template: Path, rows: Sequence[StoredState]) -> None:
    """A store like `template`, which says where to resume, that holds these states and no other."""
    resume_epoch = _resume_epoch(template)
    assert resume_epoch is not None, "only a store that was used says where to resume"
    shutil.copytree(template, target)
    for part in sorted(target.glob("part-*.sqlite3")):
        with closing(sqlite3.connect(part)) as database:
            database.execute("DELETE FROM snaps")
            database.executemany(
                "INSERT INTO snaps (step_id, state_key, snap_epoch, ser_change) VALUES (?, ?, ?, ?)",
                [(row.step, row.key, resume_epoch - 1, row.pickled) for row in rows if row.part == part.name],
            )
            database.commit()


def main() -> int:
    """`SERVICE COUNT` on the command line, the partitions from the settings."""
    try:
        service, count = sys.argv[1], int(sys.argv[2])
        rescale_stores(home_from_environment(), service, count, load_settings().kafka.symbol_partitions)
    except (DeployError, BadInput) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
