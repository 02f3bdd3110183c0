"""The way from a bare Python to the locked environment says in one line why it cannot be gone."""

import mmap
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deploy import bootstrap
from deploy.bootstrap import BootstrapError, check_python, require_environment
from deploy.home import REPOSITORY


@pytest.fixture
def locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Locks of our own, and no package registry: pip and uv are pointed at a port where nobody listens."""
    folder = tmp_path / "locks"
    folder.mkdir()
    for name in ("requirements.txt", "build.txt"):
        (folder / name).write_text("")
    (folder / "uv.txt").write_text(f"uv==0.13.9 --hash=sha256:{'0' * 64}\n")
    monkeypatch.setattr(bootstrap, "LOCKS", folder)
    for variable in ("PIP_INDEX_URL", "UV_DEFAULT_INDEX"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    monkeypatch.setenv("UV_NO_CACHE", "1")
    return folder


def made(home: Path, name: str, age_s: int) -> Path:
    """A complete environment by this name, made so long ago."""
    folder = home / name
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").symlink_to(sys.executable)
    (folder / "complete").touch()
    at = time.time() - age_s
    os.utime(folder / "complete", (at, at))
    return folder


@pytest.mark.parametrize("version", [(3, 10), (3, 13), (2, 7)])
def test_a_wrong_python_gives_one_line_that_names_the_right_ones(version: tuple[int, int]) -> None:
    with pytest.raises(BootstrapError, match=r"Python 3\.11 or 3\.12 is needed, this is \d\.\d+ .*") as error:
        check_python(version, "linux")
    assert "\n" not in str(error.value)


def test_both_pythons_are_taken() -> None:
    check_python((3, 11), "linux")
    check_python((3, 12), "linux")
    with pytest.raises(BootstrapError, match="runs on Linux"):
        check_python((3, 12), "darwin")


def test_a_half_made_environment_is_made_anew_and_never_used(tmp_path: Path, locks: Path) -> None:
    home = tmp_path / "home"
    python = require_environment(home, dev=False)
    folder = python.parents[1]
    assert python.exists()
    (folder / "complete").unlink()
    (folder / "left-over").touch()
    assert require_environment(home, dev=False) == python
    assert (folder / "complete").exists()
    assert not (folder / "left-over").exists()


def test_an_unreachable_registry_gives_one_line(tmp_path: Path, locks: Path) -> None:
    (locks / "requirements.txt").write_text(f"structlog==26.1.0 --hash=sha256:{'0' * 64}\n")
    home = tmp_path / "home"
    before = [made(home, f"env-{name}", 20) for name in ("b", "c", "d")]
    with pytest.raises(BootstrapError, match="is the package registry reachable") as error:
        require_environment(home, dev=False)
    assert "\n" not in str(error.value)
    assert {mark.parent for mark in home.glob("env-*/complete")} == {*before}, (
        "it is not used, and none is removed for it"
    )


def test_a_full_disk_gives_one_line(tmp_path: Path, locks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "DISK_MIN_BYTES", 10**18)
    with pytest.raises(BootstrapError, match=r"GB free, .* GB are needed"):
        require_environment(tmp_path / "home", dev=False)


def test_a_state_folder_that_cannot_be_made_gives_one_line(tmp_path: Path, locks: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BootstrapError, match="cannot make the environment"):
        require_environment(tmp_path / "file" / "home", dev=False)


@pytest.mark.parametrize(
    "name", ["requirements.txt", "requirements-dev.txt", "requirements-optimization.txt", "uv.txt", "build.txt"]
)
def test_locks_hold_a_hash_for_every_package_and_no_registry(name: str) -> None:
    text = (REPOSITORY / "deploy" / "locks" / name).read_text()
    packages = [line for line in text.splitlines() if re.match(r"\S+==", line)]
    entries = re.findall(r"^\S+==.*\\\n    --hash=sha256:[0-9a-f]{64}", text, re.MULTILINE)
    assert packages
    assert len(entries) == len(packages)
    assert "://" not in text


def test_the_command_line_starts_with_the_standard_library_alone() -> None:
    # Whoever has a wrong Python or no environment must get our line, not an ImportError.
    command = [
        sys.executable,
        "-I",
        "-S",
        "-c",
        f"import sys; sys.path.insert(0, {str(REPOSITORY)!r}); import {bootstrap.__name__}",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_build_makes_another_environment_and_leaves_the_one_that_may_be_in_use(tmp_path: Path, locks: Path) -> None:
    first = require_environment(tmp_path, dev=False)
    second = require_environment(tmp_path, dev=False, anew=True)
    assert first != second and first.exists()
    assert require_environment(tmp_path, dev=False) == second, "the one made last is used from then on"
    (second.parents[1] / "complete").unlink()
    assert require_environment(tmp_path, dev=False) == first, "half-made, it is not"


def test_build_belongs_to_start() -> None:
    assert bootstrap.asks_to_build(["start", "--dev", "--build"])
    assert not bootstrap.asks_to_build(["start", "--dev"])
    assert not bootstrap.asks_to_build(["exec", "risk", "make", "--build"])


def test_old_environments_go_when_a_new_one_was_made(tmp_path: Path, locks: Path) -> None:
    old, before, latest = (made(tmp_path, f"env-{name}", age) for name, age in (("a", 30), ("b", 20), ("c", 10)))
    python = require_environment(tmp_path, dev=False)
    assert python.exists() and latest.exists(), "the newest two stay"
    assert not before.exists() and not old.exists()


def test_an_environment_that_a_process_uses_stays(tmp_path: Path, locks: Path) -> None:
    used = made(tmp_path, "env-used", 30)
    for name in ("b", "c", "d"):
        made(tmp_path, f"env-{name}", 20)
    process = subprocess.Popen([str(used / "bin" / "python"), "-S", "-c", "input()"], stdin=subprocess.PIPE)
    try:
        bootstrap.forget_old(tmp_path)
        assert used.exists()
    finally:
        process.communicate(b"\n")
    bootstrap.forget_old(tmp_path)
    assert not used.exists()


def test_an_environment_whose_library_a_process_has_loaded_is_in_use(tmp_path: Path) -> None:
    folder = tmp_path / "env-a"
    folder.mkdir()
    (folder / "library").write_bytes(b"x" * 4096)
    with (folder / "library").open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ):
        assert bootstrap.in_use(folder)
    assert not bootstrap.in_use(folder)


def test_the_environment_of_a_present_lock_stays_however_old(tmp_path: Path, locks: Path) -> None:
    present = made(tmp_path, f"env-{bootstrap.stamp(locks / 'requirements.txt')}", 90)
    for name in ("b", "c", "d"):
        made(tmp_path, f"env-{name}", 20)
    bootstrap.forget_old(tmp_path)
    assert present.exists() and len(bootstrap.environments(tmp_path)) == 3
