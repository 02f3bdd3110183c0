"""Redistribute the recovery stores of a stopped service by shard, for another number of processes.

Each process of such a service owns some shards and has its own store. The states of a shard move unchanged from the
store of its old process to that of its new one. Shards are independent, so the stores need not be from the same time: a
killed process has its last snapshot, and readers drop the duplicates that it repeats from there.

`python -m deploy.recovery.rescale features 3` runs it as the supervisor does. It needs its own process: a process that
has opened a store with Python's SQLite must not open it with Bytewax's, because two SQLite libraries in one process
release each other's locks.
"""

from __future__ import annotations

import pickle
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path

from configs.settings import load_settings
from dataflows.runtime import topology
from dataflows.runtime.store_lock import locked_store
from deploy.errors import DeployError
from deploy.home import Home, home_from_environment
from deploy.recovery.recovery_store import StoredState, copy_store, resume_epoch, stored_states
from deploy.supervisor.initialize import make_recovery_store
from deploy.supervisor.replicas import finish_rescale, replicas, replicas_of, require_scalable, store_of
from schemas.errors import BadInput, Unavailable

_PICKLED_NONES = {pickle.dumps(None, protocol) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)}


def rescale_stores(home: Home, service: str, count: int, partitions: int) -> None:
    """Replace the stores of a service by stores for `count` processes. The service must not run.

    After an interruption, the old or the new layout is complete (`finish_rescale` completes the last step). Raises
    DeployError, with the old layout in place, if a store is unreadable or has a state that belongs to no shard, and
    Unavailable if a process uses a store.
    """
    require_scalable(service, count, partitions)
    finish_rescale(home)
    folder = home.recovery / service
    new_store, old_store = folder.with_name(f"{service}.scaled"), folder.with_name(f"{service}.unscaled")
    sources = [store_of(home, service, replica) for replica in replicas_of(home, service)]
    shards = topology.shards(service, partitions)
    with ExitStack() as locks, tempfile.TemporaryDirectory(prefix="rescale-") as name:
        for source in sources:
            locks.enter_context(locked_store(source))
        copies = [_copy(source, Path(name) / str(number)) for number, source in enumerate(sources)]
        used_copies = [copy for copy in copies if resume_epoch(copy) is not None]
        rows = [row for copy in used_copies for row in stored_states(copy)]
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


def _require_shards(rows: Sequence[StoredState], shards: Sequence[str], service: str) -> None:
    """Raises DeployError if a non-empty state belongs to no shard: it would be lost."""
    for row in rows:
        if row.key not in shards and row.pickled not in _PICKLED_NONES:
            raise DeployError(
                f"cannot rescale {service}: the state of step {row.step}, key {row.key} belongs to no shard, "
                f"expected one of {', '.join(shards)}"
            )


def _create_store(target: Path, template: Path, rows: Sequence[StoredState]) -> None:
    """Create a store with only these states, and the resume epoch of `template`."""
    template_epoch = resume_epoch(template)
    assert template_epoch is not None, "a used store has a resume epoch"
    shutil.copytree(template, target)
    for file in sorted(target.glob("part-*.sqlite3")):
        with closing(sqlite3.connect(file)) as database:
            database.execute("DELETE FROM snaps")
            database.executemany(
                "INSERT INTO snaps (step_id, state_key, snap_epoch, ser_change) VALUES (?, ?, ?, ?)",
                [(row.step, row.key, template_epoch - 1, row.pickled) for row in rows if row.file_name == file.name],
            )
            database.commit()


def main() -> int:
    """Rescale `SERVICE COUNT` of the command line, with the partitions of the settings. Return the exit status."""
    try:
        service, count = sys.argv[1], int(sys.argv[2])
        rescale_stores(home_from_environment(), service, count, load_settings().kafka.symbol_partitions)
    except (DeployError, BadInput, Unavailable) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
