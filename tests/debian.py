"""Programs of Debian packages: from PATH, else unpacked into a folder of the test; nothing is installed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest


def find_program(name: str, package: str, folder: Path) -> Path:
    """The program's path. Fails the test with one sentence where it cannot be had."""
    path = shutil.which(name)
    if path is not None:
        return Path(path)
    if not (folder / "usr").exists():
        for command in (("apt-get", "download", package), ("dpkg", "-x", None, str(folder))):
            arguments = [str(next(folder.glob(f"{package}_*.deb"))) if part is None else part for part in command]
            failure = _run(arguments, folder)
            if failure is not None and command[0] == "apt-get":
                # A machine that never asked what there is, or asked long ago.
                _run(["apt-get", "update"], folder)
                failure = _run(arguments, folder)
            if failure is not None:
                pytest.fail(f"this test needs {name} of Debian's package {package}: {failure}", pytrace=False)
    return folder / "usr" / "bin" / name


def _run(arguments: list[str], folder: Path) -> str | None:
    """The last line of what a command that failed said; None when it did not fail."""
    try:
        completed = subprocess.run(arguments, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    except OSError as error:
        return str(error)
    output_lines = (completed.stderr or completed.stdout).strip().splitlines()
    return (
        None
        if completed.returncode == 0
        else (output_lines[-1] if output_lines else f"{arguments[0]} ended with {completed.returncode}")
    )
