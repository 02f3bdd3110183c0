"""Build the dashboard into the state folder, once for each state of its sources."""

import fcntl
import hashlib
import os
import shutil
import tempfile
from pathlib import Path

from deploy.errors import DeployError
from deploy.home import REPOSITORY, Home
from deploy.local.node import NodeRuntime, require_node
from deploy.supervisor.process_spec import ProgressCallback

SOURCES = REPOSITORY / "deploy" / "dashboard"
_NOT_SOURCES = {"node_modules", "build", "dist"}


def bundle(home: Home, report: ProgressCallback, sources: Path = SOURCES, *, rebuild: bool = False) -> Path:
    """Return the folder of the built dashboard. Builds it if these sources have no build yet, or with `rebuild`.

    Raises DeployError if the build fails.
    """
    folder = home.root / "dashboard"
    built = folder / fingerprint(sources)
    if not rebuild and (built / "index.html").exists():
        return built
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if rebuild or not (built / "index.html").exists():
                node = require_node(home, report)
                report("building the dashboard (once, a few seconds)")
                _build(node, sources, built)
                _remove_old_builds(folder, built)
    except OSError as error:
        raise DeployError(f"cannot write to {folder}: {error.strerror or error}") from error
    return built


def fingerprint(sources: Path) -> str:
    """Hash the path and content of every source file, including the package lock."""
    digest = hashlib.sha256()
    for path in source_files(sources):
        digest.update(f"{path.relative_to(sources)}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def source_files(sources: Path) -> list[Path]:
    """List the source files by name, without the files that npm and the build create."""
    paths = []
    for folder, folders, files in os.walk(sources):
        folders[:] = [name for name in folders if name not in _NOT_SOURCES]
        paths += [Path(folder) / name for name in files]
    return sorted(paths)


def install_copy(node: NodeRuntime, sources: Path, folder: Path, *, dev: bool) -> None:
    """Copy the sources into `folder` and install the locked packages without running their scripts.

    `dev` also installs the type checker. Raises DeployError if the installation fails.
    """
    _mirror(sources, folder)
    options = ["--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline"]
    # An unreachable registry must not delay the start for minutes.
    options += ["--fetch-retries=1", "--fetch-retry-mintimeout=1000", "--fetch-timeout=20000"]
    error = node.run([*node.npm, "ci", *options, *([] if dev else ["--omit=dev"])], folder)
    if error is not None:
        raise DeployError(f"cannot install the dashboard's packages (is the npm registry reachable?): {error}")


def _build(node: NodeRuntime, sources: Path, built: Path) -> None:
    with tempfile.TemporaryDirectory(dir=built.parent, prefix="build-") as temporary:
        folder = Path(temporary)
        install_copy(node, sources, folder, dev=False)
        vite = folder / "node_modules" / "vite" / "bin" / "vite.js"
        error = node.run([str(node.program), str(vite), "build", "--outDir", "dist", "--logLevel", "error"], folder)
        if error is not None:
            raise DeployError(f"the build of the dashboard failed: {error}")
        if not (folder / "dist" / "index.html").exists():
            raise DeployError("the build of the dashboard failed: vite wrote no index.html")
        shutil.rmtree(built, ignore_errors=True)
        (folder / "dist").replace(built)


def _remove_old_builds(folder: Path, built: Path) -> None:
    """Remove the builds of earlier sources."""
    for path in folder.iterdir():
        if path.is_dir() and path != built:
            shutil.rmtree(path, ignore_errors=True)


def check(home: Home, report: ProgressCallback, sources: Path = SOURCES) -> list[str]:
    """Type-check the sources and run their unit tests. Return one line for each failed check.

    The locked packages are installed once into the state folder. Raises DeployError if that fails.
    """
    node = require_node(home, report)
    lock = hashlib.sha256((sources / "package-lock.json").read_bytes()).hexdigest()[:16]
    folder = home.root / "dashboard-check" / lock
    if not (folder / "node_modules" / ".package-lock.json").exists():
        report("installing the dashboard's packages (once)")
        install_copy(node, sources, folder, dev=True)
    _mirror(sources, folder)
    errors = {name: node.run([*node.npm, "run", "--silent", name], folder) for name in ("check", "test")}
    return [f"dashboard {name}: {line}" for name, line in errors.items() if line is not None]


def _mirror(sources: Path, folder: Path) -> None:
    """Make `folder` an exact copy of the sources, without files that no longer exist."""
    for path in source_files(folder):
        path.unlink()
    for path in source_files(sources):
        copy = folder / path.relative_to(sources)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
