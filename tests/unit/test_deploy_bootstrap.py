"""The bootstrap finds or downloads a Python, builds the locked environment, and reports each failure in one line."""

import hashlib
import mmap
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import tomllib
import venv
import zipfile
from dataclasses import asdict
from pathlib import Path

import pytest

from deploy import bootstrap
from deploy.bootstrap import BootstrapError, check_system, find_python, require_environment, unsupported_python
from deploy.home import REPOSITORY
from deploy.local.ports import Ports, port_variable


@pytest.fixture(scope="module")
def new_environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with pip, as `venv` makes it in several seconds. Tests copy it."""
    folder = tmp_path_factory.mktemp("template") / "env"
    venv.EnvBuilder(with_pip=True, symlinks=True).create(folder)
    return folder


@pytest.fixture
def locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, new_environment: Path) -> Path:
    """Create test lock files and disable package registries: pip and uv use a port without a listener."""
    monkeypatch.setattr(
        venv.EnvBuilder, "create", lambda self, folder: shutil.copytree(new_environment, folder, symlinks=True)
    )
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
    """Create a complete environment that is `age_s` seconds old."""
    folder = home / name
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").symlink_to(sys.executable)
    (folder / "complete").touch()
    mtime = time.time() - age_s
    os.utime(folder / "complete", (mtime, mtime))
    return folder


FAKE_UV = """#!/bin/sh
# Stands in for uv: `python install` links the Python of the tests, `python find` prints the link.
echo "$@" >> "$FAKE_UV_CALLS"
case "$2" in
install)
    if [ -n "$FAKE_UV_ERROR" ]; then echo "error: Failed to install" >&2; echo "  cause: $FAKE_UV_ERROR" >&2; exit 1; fi
    mkdir -p "$UV_PYTHON_INSTALL_DIR/cpython-3.12/bin"
    ln -s "$FAKE_UV_PYTHON" "$UV_PYTHON_INSTALL_DIR/cpython-3.12/bin/python3.12" ;;
find) echo "$UV_PYTHON_INSTALL_DIR/cpython-3.12/bin/python3.12" ;;
esac
"""


@pytest.fixture
def bare_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Hide every supported Python on PATH and under pyenv. Return the only folder on PATH (`sh`, `mkdir` and `ln`)."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("sh", "mkdir", "ln"):
        program = shutil.which(name)
        assert program is not None
        (folder / name).symlink_to(program)
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    monkeypatch.setenv("FAKE_UV_CALLS", str(tmp_path / "uv-calls"))
    monkeypatch.setenv("FAKE_UV_PYTHON", sys.executable)
    monkeypatch.setattr(sys, "version_info", (3, 13, 0, "final", 0))
    return folder


def write_program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def test_an_unsupported_python_error_names_the_version_and_what_to_install() -> None:
    text = str(unsupported_python((3, 10), "the download failed: no network"))
    assert text.startswith("Python 3.11 or 3.12 is required, found 3.10 (")
    assert "apt install python3.12" in text and text.endswith("(the download failed: no network)")
    assert "\n" not in text


def test_other_systems_are_rejected() -> None:
    check_system("linux")
    with pytest.raises(BootstrapError, match="requires Linux"):
        check_system("darwin")


def test_a_supported_python_on_path_is_used(bare_machine: Path, tmp_path: Path) -> None:
    # The pyenv shim of an unselected version fails. `python3.11` runs the Python of the tests.
    write_program(bare_machine / "python3.12", "#!/bin/sh\necho 'pyenv: python3.12: command not found' >&2\nexit 127\n")
    write_program(bare_machine / "python3.11", f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    assert find_python(tmp_path / "home") == Path(sys.executable)
    assert not (tmp_path / "home").exists(), "nothing is downloaded"


def test_a_supported_python_under_pyenv_is_used(bare_machine: Path, tmp_path: Path) -> None:
    for version in ("3.11.7", "3.12.1"):
        folder = tmp_path / "pyenv" / "versions" / version / "bin"
        write_program(folder / f"python{version[:4]}", f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    broken = tmp_path / "pyenv" / "versions" / "3.12.2" / "bin" / "python3.12"
    write_program(broken, "#!/bin/sh\nexit 1\n")
    assert [path.parts[-3] for path in bootstrap.candidate_pythons(tmp_path)] == ["3.12.2", "3.12.1", "3.11.7"]
    assert find_python(tmp_path / "home") == Path(sys.executable)


def test_a_missing_python_is_downloaded_once_by_uv(bare_machine: Path, tmp_path: Path) -> None:
    write_program(bare_machine / "uv", FAKE_UV)
    home = tmp_path / "home"
    python = find_python(home)
    assert python.is_relative_to(home / "python") and bootstrap.probe_python(python) == python
    assert find_python(home) == python
    calls = (tmp_path / "uv-calls").read_text().splitlines()
    assert calls == ["python install --no-progress 3.12", "python find --no-project 3.12"]


def test_a_failed_download_reports_its_cause(
    bare_machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_program(bare_machine / "uv", FAKE_UV)
    monkeypatch.setenv("FAKE_UV_ERROR", "no network")
    with pytest.raises(BootstrapError, match=r"found 3\.13 .*apt install.*\(the download failed: cause: no network\)$"):
        find_python(tmp_path / "home")


def test_uv_is_installed_from_the_lock_where_path_has_none(
    bare_machine: Path, tmp_path: Path, locks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages = tmp_path / "packages"
    packages.mkdir()
    wheel = packages / "uv-0.13.9-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        script = zipfile.ZipInfo("uv-0.13.9.data/scripts/uv")
        script.external_attr = 0o100755 << 16
        archive.writestr(script, FAKE_UV)
        archive.writestr("uv-0.13.9.dist-info/METADATA", "Metadata-Version: 2.1\nName: uv\nVersion: 0.13.9\n")
        archive.writestr("uv-0.13.9.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("uv-0.13.9.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(packages))
    with pytest.raises(BootstrapError, match=r"\(uv, which downloads Python, cannot be installed\)$"):
        find_python(tmp_path / "home")  # the lock file has another hash
    (locks / "uv.txt").write_text(f"uv==0.13.9 --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}\n")
    assert find_python(tmp_path / "home").is_relative_to(tmp_path / "home" / "python")


def test_version_is_printed_without_an_environment(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-S", str(REPOSITORY / "cli.py"), "--version"],
        env={"PLATFORM_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        check=False,
    )
    version = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["version"]
    assert (result.returncode, result.stdout) == (0, f"trading-platform {version}\n"), result.stderr
    assert not (tmp_path / "home").exists()


def test_processes_of_the_platform_cache_their_bytecode() -> None:
    environment = {"PATH": "/bin", "PYTHONDONTWRITEBYTECODE": "1"}
    assert bootstrap.without_bytecode_ban(environment) == {"PATH": "/bin"}
    assert "PYTHONDONTWRITEBYTECODE" in environment, "the caller's environment does not change"


@pytest.mark.parametrize("program", ["cli.py", "trading-platform"])
def test_help_and_shell_completion_use_the_name_of_the_command(program: str) -> None:
    environment = {**os.environ, bootstrap.PROGRAM_VARIABLE: program, "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-m", "deploy.cli"]
    text = subprocess.run([*command, "--help"], env=environment, capture_output=True, text=True, check=True).stdout
    assert f"Usage: {program} " in text and "--install-completion" in text
    variable = f"_{program.replace('-', '_').upper()}_COMPLETE"
    completed = subprocess.run(
        command,
        env={**environment, variable: "complete_bash", "COMP_WORDS": f"{program} back", "COMP_CWORD": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert completed.stdout.split() == ["backtest", "backup"]


def test_the_first_start_finds_a_taken_port_before_it_creates_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ports = Ports.free()
    for name, port in asdict(ports).items():
        monkeypatch.setenv(port_variable(name), str(port))
    monkeypatch.setenv("PLATFORM_HOME", str(tmp_path))
    monkeypatch.delenv("PLATFORM_PYTHON_ENV", raising=False)
    monkeypatch.setattr(bootstrap, "require_environment", lambda home, **_: pytest.fail("creates the environment"))
    for address in ("KAFKA_BOOTSTRAP_SERVERS", "DATABASE_URL", "REDIS_URL"):
        monkeypatch.delenv(address, raising=False)
    for name in ("api", "postgres"):
        with socket.create_server(("127.0.0.1", getattr(ports, name))):
            assert bootstrap.main(["start"]) == 1
            error = capsys.readouterr().err
            assert f"port {getattr(ports, name)} on 127.0.0.1" in error and f"set {port_variable(name)}" in error
            bootstrap.check_ports(["start", "--help"])
            bootstrap.check_ports(["status"])
    with socket.create_server(("127.0.0.1", ports.postgres)):
        monkeypatch.setenv("DATABASE_URL", "postgresql://elsewhere/trading")
        bootstrap.check_ports(["start"])
        monkeypatch.delenv("DATABASE_URL")
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "state.json").write_text("{}")
        bootstrap.check_ports(["start"])  # the supervisor knows whether a process of the platform has the port


def test_incomplete_environment_is_rebuilt_and_never_used(tmp_path: Path, locks: Path) -> None:
    home = tmp_path / "home"
    python = require_environment(home)
    folder = python.parents[1]
    assert python.exists()
    (folder / "complete").unlink()
    (folder / "left-over").touch()
    assert require_environment(home) == python
    assert (folder / "complete").exists()
    assert not (folder / "left-over").exists()


def test_an_unreachable_registry_gives_one_line(tmp_path: Path, locks: Path) -> None:
    (locks / "requirements.txt").write_text(f"structlog==26.1.0 --hash=sha256:{'0' * 64}\n")
    home = tmp_path / "home"
    before = [make_environment(home, f"env-{name}", 20) for name in ("b", "c", "d")]
    with pytest.raises(BootstrapError, match="is the package registry reachable") as error:
        require_environment(home)
    assert "\n" not in str(error.value)
    assert {marker.parent for marker in home.glob("env-*/complete")} == {*before}, (
        "it is not used, and none is removed for it"
    )


def test_a_full_disk_gives_one_line(tmp_path: Path, locks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "DISK_MIN_BYTES", 10**18)
    with pytest.raises(BootstrapError, match=r"needs .* GB, .* GB free"):
        require_environment(tmp_path / "home")


def test_a_state_folder_that_cannot_be_created_gives_one_line(tmp_path: Path, locks: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BootstrapError, match="cannot create the Python environment"):
        require_environment(tmp_path / "file" / "home")


@pytest.mark.parametrize(
    "name",
    [
        "requirements.txt",
        "requirements-dev.txt",
        "requirements-optimization.txt",
        "requirements-research.txt",
        "requirements-notebook.txt",
        "uv.txt",
        "build.txt",
    ],
)
def test_locks_hold_a_hash_for_every_package_and_no_registry(name: str) -> None:
    text = (REPOSITORY / "deploy" / "locks" / name).read_text()
    packages = [line for line in text.splitlines() if re.match(r"\S+==", line)]
    entries = re.findall(r"^\S+==.*\\\n    --hash=sha256:[0-9a-f]{64}", text, re.MULTILINE)
    assert packages
    assert len(entries) == len(packages)
    assert "://" not in text


def test_the_command_line_starts_with_the_standard_library_alone() -> None:
    # Without an environment, the user must see the one-line error and not an ImportError.
    command = [
        sys.executable,
        "-I",
        "-S",
        "-c",
        f"import sys; sys.path.insert(0, {str(REPOSITORY)!r}); import {bootstrap.__name__}",
    ]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stderr


def test_build_creates_a_new_environment_and_keeps_the_one_in_use(tmp_path: Path, locks: Path) -> None:
    first = require_environment(tmp_path)
    second = require_environment(tmp_path, rebuild=True)
    assert first != second and first.exists()
    assert require_environment(tmp_path) == second, "the one made last is used from then on"
    (second.parents[1] / "complete").unlink()
    assert require_environment(tmp_path) == first, "half-made, it is not"


def test_build_option_applies_only_to_start() -> None:
    assert bootstrap.is_build_requested(["start", "--dev", "--build"])
    assert not bootstrap.is_build_requested(["start", "--dev"])
    assert not bootstrap.is_build_requested(["exec", "risk", "make", "--build"])


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("security audit", False),
        ("security audit --help", False),
        ("security compliance", False),
        ("security", False),
        ("security scan", True),
        ("security scan --help", False),
        ("test --help", False),
        ("test tests/unit", True),
        ("test -- --help", True),
        ("lint", True),
        ("start", False),
    ],
)
def test_only_commands_that_test_or_scan_install_the_development_packages(command: str, expected: bool) -> None:
    assert (bootstrap.required_lock(command.split()) == bootstrap.DEV_LOCK) is expected


def test_help_of_every_command_needs_only_the_packages_of_the_platform() -> None:
    """Run the help of every command in one process in which the development packages cannot be imported."""
    script = """
import importlib.metadata, re, sys
import typer.testing

def names(lock):
    text = open(f"deploy/locks/{lock}").read()
    return {re.sub("[-_.]+", "-", name).lower() for name in re.findall(r"^([A-Za-z0-9._-]+)==", text, re.MULTILINE)}

dev_only = names("requirements-dev.txt") - names("requirements.txt")
owners = importlib.metadata.packages_distributions()
blocked = {
    module for module, packages in owners.items()
    if packages and all(re.sub("[-_.]+", "-", package).lower() in dev_only for package in packages)
}
assert {"pytest", "mypy", "bandit"} & blocked == {"pytest", "mypy", "bandit"}, blocked

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in blocked:
            raise ModuleNotFoundError(f"{name} is a development package", name=name)

sys.meta_path.insert(0, Blocker())
from deploy import cli
cli.register_all()
runner, checked = typer.testing.CliRunner(), 0

def check(command, path):
    global checked
    result = runner.invoke(cli.app, [*path, "--help"])
    assert result.exit_code == 0 and "Usage" in result.output, (path, result.output, result.exception)
    checked += 1
    for name, child in getattr(command, "commands", {}).items():
        check(child, [*path, name])

check(typer.main.get_command(cli.app), [])
print(checked)
"""
    result = subprocess.run(
        [sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, timeout=300, check=False
    )
    assert result.returncode == 0, result.stderr[-2000:]
    assert int(result.stdout) > 50


def test_old_environments_are_removed_after_a_new_one_is_built(tmp_path: Path, locks: Path) -> None:
    old, before, latest = (
        make_environment(tmp_path, f"env-{name}", age) for name, age in (("a", 30), ("b", 20), ("c", 10))
    )
    python = require_environment(tmp_path)
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


def test_environment_of_the_current_lock_is_retained_at_any_age(tmp_path: Path, locks: Path) -> None:
    current = make_environment(tmp_path, f"env-{bootstrap.lock_fingerprint(locks / 'requirements.txt')}", 90)
    for name in ("b", "c", "d"):
        make_environment(tmp_path, f"env-{name}", 20)
    bootstrap.remove_old_environments(tmp_path)
    assert current.exists() and len(bootstrap.environments(tmp_path)) == 3
