"""From a bare Python to the locked environment, with the standard library alone.

Makes a virtual environment under the state folder out of the committed lock (hashes are checked), once per lock and
Python version, and goes on in it as `python -m deploy.cli`. With `PLATFORM_PYTHON_ENV=current` it uses the running
Python as it is. An environment without its mark of completeness is made anew, never used. `start --build` makes one
more beside those that are there, which processes may be using; who makes one removes old ones that nothing uses.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.util
import itertools
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path

from configs.env_file import ENV_FILE_VARIABLE, OFF, use_env_file
from schemas.errors import BadInput

REPOSITORY = Path(__file__).resolve().parents[1]
LOCKS = REPOSITORY / "deploy" / "locks"
SUPPORTED_PYTHONS = ((3, 11), (3, 12))
DEV_COMMANDS = {"test", "test-env", "lint", "format", "security"}
DISK_MIN_BYTES = 2_000_000_000
ENVIRONMENTS_RETAINED = 2
_COMPLETE_MARKER = "complete"


class BootstrapError(Exception):
    """One line for the user."""


def main(arguments: list[str]) -> int:
    """Run a command of the platform; does not return when the environment can be had."""
    try:
        check_python(sys.version_info[:2], sys.platform)
        read_env_file(arguments)
        if os.environ.get("PLATFORM_PYTHON_ENV") == "current":
            python = Path(sys.executable)
        else:
            dev, rebuild = bool(DEV_COMMANDS.intersection(arguments[:1])), is_build_requested(arguments)
            python = require_environment(state_folder(), dev=dev, rebuild=rebuild)
    except BootstrapError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the next run starts the environment anew", file=sys.stderr)
        return 130
    paths = [str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    sys.stdout.flush()
    os.execve(python, [str(python), "-m", "deploy.cli", *arguments], environment)  # noqa: S606 - our own Python


def read_env_file(arguments: list[str]) -> None:
    """Take in `.env`, except for the commands of developers: a test must not depend on it, nor find a database there.

    Raises BadInput.
    """
    if DEV_COMMANDS.intersection(arguments[:1]):
        os.environ[ENV_FILE_VARIABLE] = OFF
    use_env_file(os.environ)


def is_build_requested(arguments: list[str]) -> bool:
    return arguments[:1] == ["start"] and "--build" in arguments and "--help" not in arguments


def state_folder() -> Path:
    return Path(os.environ.get("PLATFORM_HOME") or REPOSITORY / "var").resolve()


def check_python(version: tuple[int, ...], platform: str) -> None:
    """Raises BootstrapError on a Python or system that the locked packages do not exist for."""
    if tuple(version) not in SUPPORTED_PYTHONS:
        version_text = ".".join(str(part) for part in version)
        raise BootstrapError(
            f"Python 3.11 or 3.12 is needed, this is {version_text} ({sys.executable}); try `python3.12 cli.py`"
        )
    if platform != "linux":
        raise BootstrapError(f"the platform runs on Linux x86_64, this is {platform}")


def require_environment(home: Path, *, dev: bool, rebuild: bool = False) -> Path:
    """The Python of the complete environment for this lock; makes it first where it is missing, or `rebuild`."""
    lock = LOCKS / ("requirements-dev.txt" if dev else "requirements.txt")
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
        raise BootstrapError(f"cannot make the environment in {home}: {error.strerror or error}") from error
    return folder / "bin" / "python"


def newest_environment(home: Path, lock: Path) -> Path | None:
    """The environment of this lock and this Python that was made last."""
    matches = [folder for folder in environments(home) if folder.name.split(".")[0] == f"env-{lock_fingerprint(lock)}"]
    return matches[0] if matches else None


def environments(home: Path) -> list[Path]:
    """All complete ones, that which was made last first."""
    markers = sorted(home.glob(f"env-*/{_COMPLETE_MARKER}"), key=lambda marker: marker.stat().st_mtime_ns, reverse=True)
    return [marker.parent for marker in markers]


def lock_fingerprint(lock: Path) -> str:
    return hashlib.sha256(lock.read_bytes() + sys.version.encode()).hexdigest()[:12]


def _new_folder(home: Path, lock: Path) -> Path:
    """`env-STAMP`, with a number behind it where a complete one has that name."""
    names = (f"env-{lock_fingerprint(lock)}{f'.{number}' if number else ''}" for number in itertools.count())
    return next(home / name for name in names if not (home / name / _COMPLETE_MARKER).exists())


def remove_old_environments(home: Path) -> None:
    """Remove environments but the newest two, that of each present lock, and any that a running process uses."""
    complete = environments(home)
    current = [newest_environment(home, lock) for lock in sorted(LOCKS.glob("requirements*.txt"))]
    for folder in complete[ENVIRONMENTS_RETAINED:]:
        if folder not in current and not is_in_use(folder):
            print(f"removing the Python environment {folder}, which nothing uses", file=sys.stderr, flush=True)
            (folder / _COMPLETE_MARKER).unlink()  # first: what is half removed is never used
            shutil.rmtree(folder, ignore_errors=True)


def is_in_use(folder: Path) -> bool:
    """Whether a process runs this environment's Python or has loaded a library of it.

    Of other users' processes only the command line can be read.
    """
    prefix = os.fsencode(folder) + b"/"
    for process in Path("/proc").glob("[0-9]*"):
        for name in ("cmdline", "maps"):
            # A process may end meanwhile, and may be somebody else's.
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
        raise BootstrapError(f"{home} has {free_bytes / 1e9:.1f} GB free, {DISK_MIN_BYTES / 1e9:.0f} GB are needed")
    print(f"making the Python environment {folder} (a minute or two)", file=sys.stderr, flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    has_pip = importlib.util.find_spec("ensurepip") is not None
    if not has_pip and shutil.which("uv") is None:
        raise BootstrapError("this Python has neither ensurepip nor uv on PATH; on Debian: apt install python3-venv")
    try:
        venv.EnvBuilder(with_pip=has_pip, symlinks=True).create(folder)
    except subprocess.CalledProcessError as error:
        raise BootstrapError(f"no virtual environment can be made: ensurepip ended with {error.returncode}") from error
    _install_packages(folder, lock, home)
    (folder / _COMPLETE_MARKER).touch()


def _install_packages(folder: Path, lock: Path, home: Path) -> None:
    """Install the lock by uv (fast), else by pip. Raises BootstrapError with the last words of what failed."""
    python = str(folder / "bin" / "python")
    uv = _find_uv(folder, python)
    errors = []
    if uv is not None:
        command = [uv, "pip", "install", "--quiet", "--no-progress", "--python", python, "--require-hashes"]
        # Compiled once here, not by ten processes at once at every start.
        command += ["--compile-bytecode", "--build-constraints", str(LOCKS / "build.txt"), "-r", str(lock)]
        errors.append(_run(command, uv_environment(home)))
        if errors[-1] is None:
            return
    if (folder / "bin" / "pip").exists():
        command = [python, "-m", "pip", "install", "--quiet", "--retries", "2", "--require-hashes", "-r", str(lock)]
        errors.append(_run(command, dict(os.environ)))
        if errors[-1] is None:
            return
    reason = next(filter(None, reversed(errors)), "neither uv nor pip is there")
    raise BootstrapError(f"the locked packages cannot be installed (is the package registry reachable?): {reason}")


def _find_uv(folder: Path, python: str) -> str | None:
    """The pinned uv in the new environment, else one on PATH, else None."""
    if (folder / "bin" / "pip").exists():
        command = [python, "-m", "pip", "install", "--quiet", "--retries", "1", "--no-deps", "--require-hashes"]
        _run([*command, "-r", str(LOCKS / "uv.txt")], dict(os.environ))
        if (folder / "bin" / "uv").exists():
            return str(folder / "bin" / "uv")
    return shutil.which("uv")


def uv_environment(home: Path) -> dict[str, str]:
    """uv does not read pip's settings: carry over the ones that say where packages come from."""
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


def _run(command: list[str], environment: dict[str, str]) -> str | None:
    """None when the command succeeded, else its most telling line."""
    completed = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if completed.returncode == 0:
        return None
    lines = [line.strip(" \t×├─▶╰│") for line in (completed.stdout + completed.stderr).splitlines() if line.strip()]
    error_lines = [line for line in lines if line.lower().startswith(("error", "failed", "could not", "caused by"))]
    return (error_lines or lines or [f"{command[0]} ended with {completed.returncode}"])[-1][:300]
