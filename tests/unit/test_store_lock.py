"""One process per recovery store: the lock, the store that the arguments name, and stores that were never used."""

from __future__ import annotations

import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import bytewax.operators as op
import pytest
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig
from bytewax.testing import TestingSink, TestingSource, run_main

from dataflows.runtime.store_lock import StoreArguments, is_unused, lock_own_store, locked_store, store_arguments
from deploy.home import REPOSITORY
from deploy.supervisor.initialize import make_recovery_store
from schemas.errors import Unavailable

HOLD = """
import sys, time
from pathlib import Path
from dataflows.runtime.store_lock import StoreArguments, lock_own_store
lock_own_store(StoreArguments(Path(sys.argv[1]), int(sys.argv[2])))
print("held", flush=True)
time.sleep(60)
"""


def hold(folder: Path, process: int = 0) -> subprocess.Popen[str]:
    """Start a process that holds the lock of a store."""
    command = [sys.executable, "-c", HOLD, str(folder), str(process)]
    holder = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    return holder


def test_a_store_has_one_process_until_that_process_is_killed(tmp_path: Path) -> None:
    holder = hold(tmp_path)
    try:
        sentence = rf"recovery store {tmp_path} is in use by process {holder.pid}; stop that process first"
        with pytest.raises(Unavailable, match=sentence):
            lock_own_store(StoreArguments(tmp_path, 0))
        with pytest.raises(Unavailable, match=sentence), locked_store(tmp_path):
            pass
        lock_own_store(StoreArguments(tmp_path, 1))  # another process of the same cluster
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    with locked_store(tmp_path):
        pass


def test_a_missing_store_cannot_be_locked_by_a_dataflow(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="restore the recovery store first"):
        lock_own_store(StoreArguments(tmp_path / "none", 0))
    with locked_store(tmp_path / "none"):
        assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("arguments", "environment", "expected"),
    [
        (["dataflows.risk", "-r", "a/b", "-s", "1", "-b", "0"], {}, ("a/b", 0)),
        (["dataflows.risk", "--recovery-directory=a/b", "-i", "2", "-a", "x;y;z"], {}, ("a/b", 2)),
        (["dataflows.risk"], {"BYTEWAX_RECOVERY_DIRECTORY": "c", "BYTEWAX_PROCESS_ID": "1"}, ("c", 1)),
        (["dataflows.risk", "-w", "2"], {}, (None, 0)),
    ],
)
def test_the_store_is_read_from_the_arguments_of_bytewax(
    arguments: list[str], environment: dict[str, str], expected: tuple[str | None, int]
) -> None:
    folder, process = expected
    assert store_arguments(arguments, environment) == StoreArguments(Path(folder) if folder else None, process)


def test_a_store_is_unused_until_a_dataflow_starts_with_it(tmp_path: Path) -> None:
    store = tmp_path / "store"
    make_recovery_store(store)
    (store / "store.lock").touch()
    assert is_unused(store)
    flow = Dataflow("test")
    op.output("out", op.input("in", flow, TestingSource([1])), TestingSink([]))
    run_main(flow, epoch_interval=timedelta(0), recovery_config=RecoveryConfig(store))
    assert not is_unused(store)
