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


def make_environment(home: Path, name: str, age_s: int) -> Path:
    """A complete environment by this name, made so long ago."""
    folder = home / name
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").symlink_to(sys.executable)
    (folder / "complete").touch()
    mtime = time.time() - age_s
    os.utime(folder / "complete", (mtime, mtime))
    return folder


@pytest.mark.parametrize("version", [(3, 10), (3, 13), (2, 7)])
def test_unsupported_python_gives_one_line_with_supported_versions(version: tuple[int, int]) -> None:
    with pytest.raises(BootstrapError, match=r"Python 3\.11 or 3\.12 is needed, this is \d\.\d+ .*") as error:
        check_python(version, "linux")
    assert "\n" not in str(error.value)


def test_supported_pythons_are_accepted() -> None:
    check_python((3, 11), "linux")
    check_python((3, 12), "linux")
    with pytest.raises(BootstrapError, match="runs on Linux"):
        check_python((3, 12), "darwin")


def test_incomplete_environment_is_rebuilt_and_never_used(tmp_path: Path, locks: Path) -> None:
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
    before = [make_environment(home, f"env-{name}", 20) for name in ("b", "c", "d")]
    with pytest.raises(BootstrapError, match="is the package registry reachable") as error:
        require_environment(home, dev=False)
    assert "\n" not in str(error.value)
    assert {marker.parent for marker in home.glob("env-*/complete")} == {*before}, (
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
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr


def test_build_creates_a_new_environment_and_keeps_the_one_in_use(tmp_path: Path, locks: Path) -> None:
    first = require_environment(tmp_path, dev=False)
    second = require_environment(tmp_path, dev=False, rebuild=True)
    assert first != second and first.exists()
    assert require_environment(tmp_path, dev=False) == second, "the one made last is used from then on"
    (second.parents[1] / "complete").unlink()
    assert require_environment(tmp_path, dev=False) == first, "half-made, it is not"


def test_build_option_applies_only_to_start() -> None:
    assert bootstrap.is_build_requested(["start", "--dev", "--build"])
    assert not bootstrap.is_build_requested(["start", "--dev"])
    assert not bootstrap.is_build_requested(["exec", "risk", "make", "--build"])


def test_old_environments_are_removed_after_a_new_one_is_built(tmp_path: Path, locks: Path) -> None:
    old, before, latest = (
        make_environment(tmp_path, f"env-{name}", age) for name, age in (("a", 30), ("b", 20), ("c", 10))
    )
    python = require_environment(tmp_path, dev=False)
    assert python.exists() and latest.exists(), "the newest two stay"
    assert not before.exists() and not old.exists()


def test_an_environment_that_a_process_uses_stays(tmp_path: Path, locks: Path) -> None:
    used = make_environment(tmp_path, "env-used", 30)
    for name in ("b", "c", "d"):
        make_environment(tmp_path, f"env-{name}", 20)
    process = subprocess.Popen([str(used / "bin" / "python"), "-S", "-c", "input()"], stdin=subprocess.PIPE)
    try:
        bootstrap.remove_old_environments(tmp_path)
        assert used.exists()
    finally:
        process.communicate(b"\n")
    bootstrap.remove_old_environments(tmp_path)
    assert not used.exists()


def test_an_environment_whose_library_a_process_has_loaded_is_in_use(tmp_path: Path) -> None:
    folder = tmp_path / "env-a"
    folder.mkdir()
    (folder / "library").write_bytes(b"x" * 4096)
    with (folder / "library").open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ):
        assert bootstrap.is_in_use(folder)
    assert not bootstrap.is_in_use(folder)


def test_environment_of_the_current_lock_is_kept_at_any_age(tmp_path: Path, locks: Path) -> None:
    current = make_environment(tmp_path, f"env-{bootstrap.lock_fingerprint(locks / 'requirements.txt')}", 90)
    for name in ("b", "c", "d"):
        make_environment(tmp_path, f"env-{name}", 20)
    bootstrap.remove_old_environments(tmp_path)
    assert current.exists() and len(bootstrap.environments(tmp_path)) == 3
