"""Programs of Debian packages: from PATH, else unpacked into a folder of the test; nothing is installed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest


def program(name: str, package: str, folder: Path) -> Path:
    """The program's path. Fails the test with one sentence where it cannot be had."""
    found = shutil.which(name)
    if found is not None:
        return Path(found)
    if not (folder / "usr").exists():
        for command in (("apt-get", "download", package), ("dpkg", "-x", None, str(folder))):
            arguments = [str(next(folder.glob(f"{package}_*.deb"))) if part is None else part for part in command]
            ended = _run(arguments, folder)
            if ended is not None and command[0] == "apt-get":
                # A machine that never asked what there is, or asked long ago.
                _run(["apt-get", "update"], folder)
                ended = _run(arguments, folder)
            if ended is not None:
                pytest.fail(f"this test needs {name} of Debian's package {package}: {ended}", pytrace=False)
    return folder / "usr" / "bin" / name


def _run(arguments: list[str], folder: Path) -> str | None:
    """The last line of what a command that failed said; None when it did not fail."""
    try:
        done = subprocess.run(arguments, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    except OSError as error:
        return str(error)
    said = (done.stderr or done.stdout).strip().splitlines()
    return None if done.returncode == 0 else (said[-1] if said else f"{arguments[0]} ended with {done.returncode}")
