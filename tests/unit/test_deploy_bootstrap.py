"""The way from a bare Python to the locked environment says in one line why it cannot be gone."""

import re
import subprocess
import sys
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
    with pytest.raises(BootstrapError, match="is the package registry reachable") as error:
        require_environment(home, dev=False)
    assert "\n" not in str(error.value)
    assert not list(home.glob("env-*/complete"))


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
