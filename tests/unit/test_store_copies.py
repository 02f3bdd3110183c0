"""A recovery store is copied as of one moment, and only if Bytewax could resume from the copy."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from bytewax.recovery import init_db_dir

from deploy.backup import recovery_stores
from deploy.backup.recovery_stores import copied_stores, copy_consistently
from deploy.errors import DeployError
from deploy.home import Home
from deploy.recovery.recovery_store import copy_store


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store of two parts that resumes at epoch 7."""
    monkeypatch.setattr(recovery_stores, "PAUSE_S", 0.0)
    folder = tmp_path / "risk"
    folder.mkdir()
    init_db_dir(folder, 2)
    execute(folder / "part-0.sqlite3", "INSERT INTO exs (ex_num, worker_count, resume_epoch) VALUES (0, 1, 1)")
    execute(folder / "part-1.sqlite3", "INSERT INTO fronts (ex_num, worker_index, worker_frontier) VALUES (0, 0, 7)")
    execute(folder / "part-0.sqlite3", "INSERT INTO commits (part_index, commit_epoch) VALUES (0, 6)")
    return folder


def execute(part: Path, statement: str) -> None:
    with closing(sqlite3.connect(part)) as database, database:
        database.execute(statement)


def test_a_copy_has_the_rows_of_the_write_ahead_log(store: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(store / "part-0.sqlite3")) as writer:
        writer.execute("PRAGMA wal_autocheckpoint = 0")
        writer.execute("INSERT INTO snaps (step_id, state_key, snap_epoch, ser_change) VALUES ('s', 'k', 6, x'01')")
        writer.commit()
        assert (store / "part-0.sqlite3-wal").stat().st_size > 0
        copy_consistently(store, tmp_path / "copy")
    assert sorted(path.name for path in (tmp_path / "copy").iterdir()) == ["part-0.sqlite3", "part-1.sqlite3"]
    with closing(sqlite3.connect(tmp_path / "copy" / "part-0.sqlite3")) as copy:
        assert copy.execute("SELECT step_id, state_key FROM snaps").fetchall() == [("s", "k")]


def test_files_from_different_times_are_not_accepted(store: Path, tmp_path: Path) -> None:
    """A part that is committed beyond the resume epoch has already lost states that the others need."""
    execute(store / "part-1.sqlite3", "INSERT INTO commits (part_index, commit_epoch) VALUES (1, 8)")
    with pytest.raises(DeployError, match=r"changed during each of 100 copies"):
        copy_consistently(store, tmp_path / "copy")
    execute(store / "part-1.sqlite3", "UPDATE fronts SET worker_frontier = 9")
    copy_consistently(store, tmp_path / "copy")


def test_a_store_that_changes_during_the_copy_is_copied_again(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first part is written again after it was copied, so the copy is not of one moment."""
    copies = 0

    def copy_and_write(folder: Path, target: Path) -> None:
        nonlocal copies
        copies += 1
        copy_store(folder, target)
        if copies == 1:
            execute(folder / "part-0.sqlite3", "UPDATE commits SET commit_epoch = 7 WHERE part_index = 0")

    monkeypatch.setattr("deploy.backup.recovery_stores.copy_store", copy_and_write)
    copy_consistently(store, tmp_path / "copy")
    assert copies == 2
    with closing(sqlite3.connect(tmp_path / "copy" / "part-0.sqlite3")) as copy:
        assert copy.execute("SELECT commit_epoch FROM commits").fetchall() == [(7,)]


def test_a_missing_file_or_store_is_an_error(store: Path, tmp_path: Path) -> None:
    (store / "part-1.sqlite3").unlink()
    with pytest.raises(DeployError, match="recovery store has 1 of its 2 parts"):
        copy_consistently(store, tmp_path / "copy")
    home = Home(tmp_path / "home")
    home.create_folders()
    with pytest.raises(DeployError, match="has no recovery store of market_data, news"), copied_stores(home):
        pass
