"""The dashboard's bundle: built once for each state of its sources, kept in the state folder, never committed."""

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
    """The folder of the built dashboard; builds it first where these sources were not built yet, or `rebuild`.

    Raises DeployError with one sentence when it cannot be built.
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
                report("building the dashboard (once, some seconds)")
                _build(node, sources, built)
                _remove_old_builds(folder, built)
    except OSError as error:
        raise DeployError(f"cannot write into {folder}: {error.strerror or error}") from error
    return built


def fingerprint(sources: Path) -> str:
    """Of every source file's path and content, the lock of the packages among them."""
    digest = hashlib.sha256()
    for path in source_files(sources):
        digest.update(f"{path.relative_to(sources)}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def source_files(sources: Path) -> list[Path]:
    """In order of their names, without what npm and the build put beside them."""
    paths = []
    for folder, folders, files in os.walk(sources):
        folders[:] = [name for name in folders if name not in _NOT_SOURCES]
        paths += [Path(folder) / name for name in files]
    return sorted(paths)


def install_copy(node: NodeRuntime, sources: Path, folder: Path, *, dev: bool) -> None:
    """Copy the sources into `folder` and install what the lock names; scripts of packages are not run.

    With `dev` also the compiler that checks types. Raises DeployError.
    """
    _mirror(sources, folder)
    options = ["--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline"]
    # A registry that does not answer must not hold up the start for minutes.
    options += ["--fetch-retries=1", "--fetch-retry-mintimeout=1000", "--fetch-timeout=20000"]
    error = node.run([*node.npm, "ci", *options, *([] if dev else ["--omit=dev"])], folder)
    if error is not None:
        raise DeployError(f"the dashboard's packages cannot be installed (is the npm registry reachable?): {error}")


def _build(node: NodeRuntime, sources: Path, built: Path) -> None:
    with tempfile.TemporaryDirectory(dir=built.parent, prefix="making-") as temporary:
        folder = Path(temporary)
        install_copy(node, sources, folder, dev=False)
        vite = folder / "node_modules" / "vite" / "bin" / "vite.js"
        error = node.run([str(node.program), str(vite), "build", "--outDir", "dist", "--logLevel", "error"], folder)
        if error is not None:
            raise DeployError(f"the dashboard does not build: {error}")
        if not (folder / "dist" / "index.html").exists():
            raise DeployError("the dashboard does not build: vite wrote no index.html")
        shutil.rmtree(built, ignore_errors=True)
        (folder / "dist").replace(built)


def _remove_old_builds(folder: Path, built: Path) -> None:
    """What earlier sources were built to; nobody serves it any more."""
    for path in folder.iterdir():
        if path.is_dir() and path != built:
            shutil.rmtree(path, ignore_errors=True)


def check(home: Home, report: ProgressCallback, sources: Path = SOURCES) -> list[str]:
    """Type check and unit tests of the sources; the checks that failed, each with its most telling line.

    What the lock names is installed once into the state folder. Raises DeployError when that cannot be done.
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
    """The sources as they are now: a file that is gone must not be checked."""
    for path in source_files(folder):
        path.unlink()
    for path in source_files(sources):
        copy = folder / path.relative_to(sources)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
