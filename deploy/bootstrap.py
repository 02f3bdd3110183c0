"""Prepare the locked Python environment and run the command line in it. Uses the standard library alone.

The environment is a virtual environment in the state folder, installed from the committed lock with hash checks. There
is one for each lock and Python version. `PLATFORM_PYTHON_ENV=current` uses the running Python instead. An environment
without its completion marker is rebuilt and never used. `start --build` creates another environment beside the existing
ones, because running processes may use them; afterwards, old environments that no process uses are removed.

Where the running Python is neither 3.11 nor 3.12, the command runs again under one that is: from PATH, from pyenv, or
downloaded by uv into the state folder.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.util
import itertools
import os
import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator, Mapping
from pathlib import Path

from configs.env_file import ENV_FILE_VARIABLE, OFF, use_env_file
from deploy.run_program import last_error_line, run_program
from schemas.errors import BadInput

REPOSITORY = Path(__file__).resolve().parents[1]
LOCKS = REPOSITORY / "deploy" / "locks"
SUPPORTED_PYTHONS = ((3, 12), (3, 11))
"""In order of preference."""
DOWNLOADED_PYTHON = "3.12"
DEV_COMMANDS = {"test", "test-env", "lint", "format"}
DEV_SUBCOMMANDS = {("security", "scan"), ("security", "vulnerabilities")}
PLATFORM_LOCK, DEV_LOCK = "requirements.txt", "requirements-dev.txt"
LOCK_OF_COMMAND = {"notebook": "requirements-notebook.txt"}
"""Commands that need packages which `start` does not install. Their first use creates an environment of its own."""
DISK_MIN_BYTES = 2_000_000_000
ENVIRONMENTS_RETAINED = 2
PROGRAM_VARIABLE = "PLATFORM_PROGRAM"
"""The name under which the user called the command line, for help texts and shell completion."""
_COMPLETE_MARKER = "complete"
_DOWNLOAD_TIMEOUT_S = 600
_MODULES_OF_LOCK = {
    PLATFORM_LOCK: (),
    DEV_LOCK: ("pytest", "mypy", "bandit"),
    "requirements-notebook.txt": ("jupyterlab", "ipykernel", "plotly"),
}
"""Modules that show that the running Python has the packages of a lock."""
# Prints the path of a usable Python. Without ensurepip (Debian without python3-venv), only uv can install packages.
_PROBE = (
    "import importlib.util, shutil, sys, venv\n"
    "usable = importlib.util.find_spec('ensurepip') or shutil.which('uv')\n"
    f"print(sys.executable if sys.version_info[:2] in {SUPPORTED_PYTHONS} and usable else '')"
)


class BootstrapError(Exception):
    """The environment cannot be prepared. The message is one line for the user."""


def main(arguments: list[str]) -> int:
    """Run a platform command. Replaces this process on success; else prints one line and returns the exit status."""
    running = tuple(sys.version_info[:2])
    try:
        check_system(sys.platform)
        if running >= (3, 9):  # older ones cannot run the parser; the Python found below reads the file
            read_env_file(arguments)
        if arguments == ["--version"]:
            print(version_text())
            return 0
        if running >= (3, 9):
            check_ports(arguments)
        is_current = os.environ.get("PLATFORM_PYTHON_ENV") == "current"
        if running not in SUPPORTED_PYTHONS:
            if is_current:
                raise unsupported_python(running)
            python = find_python(state_folder())
            command = [str(python), str(REPOSITORY / "cli.py"), *arguments]
        else:
            if is_current:
                python = Path(sys.executable)
            else:
                rebuild = is_build_requested(arguments)
                python = require_environment(state_folder(), required_lock(arguments), rebuild=rebuild)
            command = [str(python), "-m", "deploy.cli", *arguments]
    except BootstrapError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the next command prepares the environment again", file=sys.stderr)
        return 130
    paths = [str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**without_bytecode_ban(os.environ), "PYTHONPATH": os.pathsep.join(paths)}
    sys.stdout.flush()
    os.execve(python, command, environment)  # noqa: S606 - our own Python


def console() -> int:
    """Run `trading-platform`, the command that `pip install -e .` adds.

    Uses the packages of the running Python where they are installed, else the locked environment, as cli.py does.
    """
    modules = ("typer", "bytewax", "confluent_kafka", *_MODULES_OF_LOCK[required_lock(sys.argv[1:])])
    if all(importlib.util.find_spec(module) is not None for module in modules):
        os.environ.setdefault("PLATFORM_PYTHON_ENV", "current")
    os.environ[PROGRAM_VARIABLE] = "trading-platform"
    return main(sys.argv[1:])


def without_bytecode_ban(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without PYTHONDONTWRITEBYTECODE, which many container images set.

    A start runs fifteen Python processes. Without the cached bytecode, each would compile the same modules again, which
    takes a fifth of its start.
    """
    return {name: value for name, value in environment.items() if name != "PYTHONDONTWRITEBYTECODE"}


def version_text() -> str:
    """The line that `--version` prints: `trading-platform 0.2.0`."""
    match = re.search(r'^version = "(.+)"$', (REPOSITORY / "pyproject.toml").read_text(), re.MULTILINE)
    assert match is not None, "pyproject.toml has a version"
    return f"trading-platform {match[1]}"


def read_env_file(arguments: list[str]) -> None:
    """Load `.env` into the environment, except for developer commands: tests must not depend on it or use its database.

    Raises BadInput if the file is malformed.
    """
    if is_dev_command(arguments):
        os.environ[ENV_FILE_VARIABLE] = OFF
    use_env_file(os.environ)


def is_dev_command(arguments: list[str]) -> bool:
    return bool(DEV_COMMANDS.intersection(arguments[:1])) or tuple(arguments[:2]) in DEV_SUBCOMMANDS


def required_lock(arguments: list[str]) -> str:
    """Return the lock with the packages of a command. The help of a command needs only the platform's own packages.

    >>> required_lock(["start"]), required_lock(["test"]), required_lock(["test", "--help"])
    ('requirements.txt', 'requirements-dev.txt', 'requirements.txt')
    >>> required_lock(["notebook", "first_idea"])
    'requirements-notebook.txt'
    """
    own_arguments = arguments[: arguments.index("--")] if "--" in arguments else arguments
    if "--help" in own_arguments:
        return PLATFORM_LOCK
    if is_dev_command(arguments):
        return DEV_LOCK
    return LOCK_OF_COMMAND.get(arguments[0], PLATFORM_LOCK) if arguments else PLATFORM_LOCK


def is_build_requested(arguments: list[str]) -> bool:
    return arguments[:1] == ["start"] and "--build" in arguments and "--help" not in arguments


def state_folder() -> Path:
    return Path(os.environ.get("PLATFORM_HOME") or REPOSITORY / "var").resolve()


def check_system(platform: str) -> None:
    """Raises BootstrapError on a system that the locked packages do not support."""
    if platform != "linux":
        raise BootstrapError(f"the platform requires Linux x86_64, found {platform}")


def check_ports(arguments: list[str]) -> None:
    """Raises BootstrapError if the first start of a platform would find a port taken.

    The environment takes minutes to create, so this is checked before. The supervisor checks later starts, because it
    knows the processes of the platform.
    """
    from deploy.errors import DeployError
    from deploy.local.ports import Ports, require_free_ports

    is_first_start = arguments[:1] == ["start"] and not (state_folder() / "run" / "state.json").exists()
    if not is_first_start or "--help" in arguments:
        return
    try:
        require_free_ports(Ports.from_environment(), os.environ)
    except DeployError as error:
        raise BootstrapError(str(error)) from error


def unsupported_python(version: tuple[int, ...], reason: str = "") -> BootstrapError:
    """Return the error that says what to install; `reason` says why no other Python could be downloaded."""
    found = ".".join(str(part) for part in version)
    return BootstrapError(
        f"Python 3.11 or 3.12 is required, found {found} ({sys.executable}); install one, for example with "
        f"`apt install python3.12 python3.12-venv` or `pyenv install 3.12`{f' ({reason})' if reason else ''}"
    )


def find_python(home: Path) -> Path:
    """Return a Python 3.11 or 3.12 that runs: from PATH, pyenv or the state folder, else downloaded by uv.

    Raises BootstrapError with what to install if there is none.
    """
    for candidate in candidate_pythons(home):
        python = probe_python(candidate)
        if python is not None:
            return python
    try:
        home.mkdir(parents=True, exist_ok=True)
        with _exclusive_lock(home / "env.lock"):
            return _download_python(home)
    except OSError as error:
        raise BootstrapError(f"cannot write to the state folder {home}: {error.strerror or error}") from error


def candidate_pythons(home: Path) -> Iterator[Path]:
    """Files named python3.12 or python3.11 on PATH, under pyenv and in the state folder. Not all of them run."""
    names = [f"python{major}.{minor}" for major, minor in SUPPORTED_PYTHONS]
    path_folders = [Path(folder) for folder in os.environ.get("PATH", os.defpath).split(os.pathsep) if folder]
    for name in names:
        yield from (folder / name for folder in path_folders if (folder / name).exists())
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    for folder in (pyenv / "versions", home / "python"):
        for name in names:
            yield from sorted(folder.glob(f"*/bin/{name}"), reverse=True)


def probe_python(candidate: Path) -> Path | None:
    """Run a Python and return its real path; None if it does not run or is not supported.

    A pyenv shim exists for every version that any pyenv environment has, and fails where that version is not selected.
    """
    output = run_program([str(candidate), "-I", "-c", _PROBE], timeout_s=30).output.strip()
    return Path(output) if output else None


def _download_python(home: Path) -> Path:
    """Download Python 3.12 with uv into the state folder. Raises BootstrapError with the reason if that fails."""
    running = sys.version_info[:2]
    folder = home / "python"
    print(f"downloading Python {DOWNLOADED_PYTHON} into {folder} (once)", file=sys.stderr, flush=True)
    uv = shutil.which("uv") or _install_uv(home)
    if uv is None:
        raise unsupported_python(running, "uv, which downloads Python, cannot be installed")
    environment = {
        **uv_environment(home),
        "UV_PYTHON_DOWNLOADS": "manual",
        "UV_PYTHON_PREFERENCE": "only-managed",
        "UV_PYTHON_INSTALL_DIR": str(folder),
        "UV_PYTHON_INSTALL_BIN": "0",
    }
    for action in ("install", "find"):
        options = ["--no-project"] if action == "find" else ["--no-progress"]
        result = run_program(
            [str(uv), "python", action, *options, DOWNLOADED_PYTHON],
            environment=environment,
            cwd=home,
            timeout_s=_DOWNLOAD_TIMEOUT_S,
            error_line=last_error_line,
        )
        if result.error is not None:
            raise unsupported_python(running, f"the download failed: {result.error}")
    python = probe_python(Path(result.output.strip()))
    if python is None:
        raise unsupported_python(running, f"the downloaded {result.output.strip() or 'Python'} does not run")
    return python


def _install_uv(home: Path) -> Path | None:
    """Install the locked uv into the state folder with the running Python's pip; None if that fails."""
    folder = home / f"uv-{hashlib.sha256((LOCKS / 'uv.txt').read_bytes()).hexdigest()[:12]}"
    uv = folder / "bin" / "uv"
    if uv.exists():
        return uv
    python, options = sys.executable, ["--target", str(folder)]
    if importlib.util.find_spec("pip") is None:
        if importlib.util.find_spec("ensurepip") is None:
            return None
        try:
            venv.EnvBuilder(with_pip=True).create(folder)
        except subprocess.CalledProcessError:
            return None
        python, options = str(folder / "bin" / "python"), []
    command = [python, "-m", "pip", "install", "--quiet", "--retries", "1", "--no-deps", "--require-hashes"]
    run_program([*command, *options, "-r", str(LOCKS / "uv.txt")], timeout_s=_DOWNLOAD_TIMEOUT_S)
    return uv if uv.exists() else None


def require_environment(home: Path, lock_name: str = PLATFORM_LOCK, *, rebuild: bool = False) -> Path:
    """Return the Python of a complete environment for a lock. Creates the environment if none exists or `rebuild`.

    Raises BootstrapError if it cannot be created.
    """
    lock = LOCKS / lock_name
    folder = None if rebuild else newest_environment(home, lock)
    if folder is not None:
        return folder / "bin" / "python"
    try:
        home.mkdir(parents=True, exist_ok=True)
        with _exclusive_lock(home / "env.lock"):
            folder = None if rebuild else newest_environment(home, lock)
            if folder is None:
                folder = _new_folder(home, lock)
                _create_environment(folder, lock, home)
                remove_old_environments(home)
    except OSError as error:
        raise BootstrapError(f"cannot create the Python environment in {home}: {error.strerror or error}") from error
    return folder / "bin" / "python"


def newest_environment(home: Path, lock: Path) -> Path | None:
    """Return the newest environment for this lock and the running Python; None if there is none."""
    matches = [folder for folder in environments(home) if folder.name.split(".")[0] == f"env-{lock_fingerprint(lock)}"]
    return matches[0] if matches else None


def environments(home: Path) -> list[Path]:
    """All complete environments, newest first."""
    markers = sorted(home.glob(f"env-*/{_COMPLETE_MARKER}"), key=lambda marker: marker.stat().st_mtime_ns, reverse=True)
    return [marker.parent for marker in markers]


def lock_fingerprint(lock: Path) -> str:
    return hashlib.sha256(lock.read_bytes() + sys.version.encode()).hexdigest()[:12]


def _new_folder(home: Path, lock: Path) -> Path:
    """Return `env-FINGERPRINT`, with a number appended if a complete environment has that name."""
    names = (f"env-{lock_fingerprint(lock)}{f'.{number}' if number else ''}" for number in itertools.count())
    return next(home / name for name in names if not (home / name / _COMPLETE_MARKER).exists())


def remove_old_environments(home: Path) -> None:
    """Remove old environments. The newest two, the newest of each current lock and those in use stay."""
    complete = environments(home)
    current = [newest_environment(home, lock) for lock in sorted(LOCKS.glob("requirements*.txt"))]
    for folder in complete[ENVIRONMENTS_RETAINED:]:
        if folder not in current and not is_in_use(folder):
            print(f"removing the unused Python environment {folder}", file=sys.stderr, flush=True)
            (folder / _COMPLETE_MARKER).unlink()  # first: a partly removed environment must not be used
            shutil.rmtree(folder, ignore_errors=True)


def is_in_use(folder: Path) -> bool:
    """Return whether a process runs this environment's Python or has loaded one of its libraries.

    Of other users' processes, only the command line is readable.
    """
    prefix = os.fsencode(folder) + b"/"
    for process in Path("/proc").glob("[0-9]*"):
        for name in ("cmdline", "maps"):
            # The process may end meanwhile or belong to another user.
            with contextlib.suppress(OSError):
                if prefix in (process / name).read_bytes():
                    return True
    return False


@contextlib.contextmanager
def _exclusive_lock(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _create_environment(folder: Path, lock: Path, home: Path) -> None:
    free_bytes = shutil.disk_usage(home).free
    if free_bytes < DISK_MIN_BYTES:
        raise BootstrapError(
            f"the Python environment needs {DISK_MIN_BYTES / 1e9:.0f} GB, {home} has {free_bytes / 1e9:.1f} GB free"
        )
    print(f"creating the Python environment {folder} (one to two minutes)", file=sys.stderr, flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    has_pip = importlib.util.find_spec("ensurepip") is not None
    if not has_pip and shutil.which("uv") is None:
        raise BootstrapError("this Python has no ensurepip, and PATH has no uv; on Debian: apt install python3-venv")
    try:
        venv.EnvBuilder(with_pip=has_pip, symlinks=True).create(folder)
    except subprocess.CalledProcessError as error:
        raise BootstrapError(
            f"cannot create the virtual environment {folder}: ensurepip exited with status {error.returncode}"
        ) from error
    _install_packages(folder, lock, home)
    (folder / _COMPLETE_MARKER).touch()


def _install_packages(folder: Path, lock: Path, home: Path) -> None:
    """Install the lock with uv, which is fast, else with pip. Raises BootstrapError with the last error."""
    python = str(folder / "bin" / "python")
    uv = _find_uv(folder, python)
    errors = []
    if uv is not None:
        command = [uv, "pip", "install", "--quiet", "--no-progress", "--python", python, "--require-hashes"]
        # Compile once here, so that ten processes do not compile at every start.
        command += ["--compile-bytecode", "--build-constraints", str(LOCKS / "build.txt"), "-r", str(lock)]
        errors.append(run_program(command, environment=uv_environment(home), error_line=last_error_line).error)
        if errors[-1] is None:
            return
    if (folder / "bin" / "pip").exists():
        command = [python, "-m", "pip", "install", "--quiet", "--retries", "2", "--require-hashes", "-r", str(lock)]
        errors.append(run_program(command, error_line=last_error_line).error)
        if errors[-1] is None:
            return
    reason = next(filter(None, reversed(errors)), "neither uv nor pip is available")
    raise BootstrapError(f"cannot install the locked packages (is the package registry reachable?): {reason}")


def _find_uv(folder: Path, python: str) -> str | None:
    """Install the locked uv into the new environment and return its path; else uv from PATH, else None."""
    if (folder / "bin" / "pip").exists():
        command = [python, "-m", "pip", "install", "--quiet", "--retries", "1", "--no-deps", "--require-hashes"]
        run_program([*command, "-r", str(LOCKS / "uv.txt")])
        if (folder / "bin" / "uv").exists():
            return str(folder / "bin" / "uv")
    return shutil.which("uv")


def uv_environment(home: Path) -> dict[str, str]:
    """Return the environment for uv, with pip's registry and certificate settings, which uv does not read."""
    environment = {**os.environ, "UV_PYTHON_DOWNLOADS": "never"}
    for pip_variable, uv_variable in (("PIP_INDEX_URL", "UV_DEFAULT_INDEX"), ("PIP_EXTRA_INDEX_URL", "UV_INDEX")):
        if os.environ.get(pip_variable) and not os.environ.get(uv_variable):
            environment[uv_variable] = os.environ[pip_variable]
    if os.environ.get("PIP_CERT") and not os.environ.get("SSL_CERT_FILE"):
        environment["SSL_CERT_FILE"] = os.environ["PIP_CERT"]
    cache = Path(os.environ.get("UV_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    if not os.access(next(path for path in (cache, *cache.parents) if path.exists()), os.W_OK):
        environment["UV_CACHE_DIR"] = str(home / "cache" / "uv")
    return environment
