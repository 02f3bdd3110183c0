"""A restore never deletes state: it moves it to a dated folder, and back if the restore fails or is killed."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.backup.replaced_state import (
    replaced_state,
    require_finished_restore,
    require_no_state,
    state_of,
    undo_interrupted_restore,
)
from deploy.errors import DeployError
from deploy.home import Home


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A state folder with topics, a store and the options of the last start."""
    home = Home(tmp_path)
    home.create_folders()
    (home.data / "kafka").mkdir()
    (home.data / "kafka" / "meta.properties").write_text("old")
    (home.recovery / "risk").mkdir()
    (home.recovery / "risk" / "part-0.sqlite3").write_text("old")
    (home.run / "start.json").write_text("old")
    return home


def contents(home: Home) -> dict[str, str]:
    return {
        path.relative_to(home.root).as_posix(): path.read_text()
        for folder in (home.data, home.recovery, home.run, home.root / "models")
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def write_new_state(home: Home) -> None:
    for folder in (home.data / "kafka", home.recovery / "risk", home.root / "models"):
        folder.mkdir(parents=True)
    (home.data / "kafka" / "meta.properties").write_text("new")
    (home.recovery / "risk" / "part-0.sqlite3").write_text("new")
    (home.root / "models" / "m").write_text("new")
    (home.run / "start.json").write_text("new")


def test_state_is_replaced_only_by_force(home: Home, tmp_path: Path) -> None:
    assert state_of(home) == ["topics", "recovery stores"]
    with pytest.raises(DeployError, match="already has topics, recovery stores; use --force"):
        require_no_state(home, force=False)
    require_no_state(home, force=True)
    require_no_state(Home(tmp_path / "new"), force=False)


def test_the_old_state_stays_in_a_dated_folder(home: Home) -> None:
    before = contents(home)
    with replaced_state(home) as old_state:
        write_new_state(home)
    assert old_state is not None
    assert old_state.name.startswith("before-restore-")
    assert (old_state / "data" / "kafka" / "meta.properties").read_text() == "old"
    assert (old_state / "recovery" / "risk" / "part-0.sqlite3").read_text() == "old"
    assert (old_state / "start.json").read_text() == "old"
    assert set(contents(home).values()) == {"new"}
    assert len(contents(home)) == len(before) + 1
    require_finished_restore(home)


def test_a_failed_restore_changes_nothing(home: Home) -> None:
    before = contents(home)
    with pytest.raises(ZeroDivisionError), replaced_state(home):
        write_new_state(home)
        raise ZeroDivisionError
    assert contents(home) == before
    assert not list(home.root.glob("before-restore-*"))
    require_finished_restore(home)


@pytest.mark.parametrize("moved", [(), ("data",), ("data", "recovery")])
def test_a_killed_restore_prevents_the_start_and_is_undone_by_the_next(
    home: Home, moved: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process dies after it has moved some of the folders."""
    before = contents(home)
    renamed: list[str] = []
    rename = Path.rename

    def rename_or_die(self: Path, target: Path) -> Path:
        if self.name not in moved:
            raise KeyboardInterrupt
        renamed.append(self.name)
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", rename_or_die)
    with pytest.raises(KeyboardInterrupt), replaced_state(home):
        write_new_state(home)
        monkeypatch.undo()
        monkeypatch.setattr("deploy.backup.replaced_state.undo_interrupted_restore", lambda home: None)
        raise KeyboardInterrupt
    monkeypatch.undo()
    with pytest.raises(DeployError, match=r"was interrupted, so its state is incomplete; run `python cli.py restore"):
        require_finished_restore(home)
    undo_interrupted_restore(home)
    assert contents(home) == before
    require_finished_restore(home)


def test_an_empty_state_folder_leaves_no_dated_folder(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.create_folders()
    with replaced_state(home) as old_state:
        (home.data / "kafka").mkdir()
    assert old_state is None
    assert not list(tmp_path.glob("before-restore-*"))
    with pytest.raises(ZeroDivisionError), replaced_state(home):
        (home.run / "start.json").write_text("new")
        raise ZeroDivisionError
    assert not (home.run / "start.json").exists()
