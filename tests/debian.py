"""Programs from Debian packages: found on PATH, or unpacked into a folder of the test. Nothing is installed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest


def find_program(name: str, package: str, folder: Path) -> Path:
    """Return the path of the program. Fail the test with one sentence if the program is not available."""
    path = shutil.which(name)
    if path is not None:
        return Path(path)
    if not (folder / "usr").exists():
        for command in (("apt-get", "download", package), ("dpkg", "-x", None, str(folder))):
            arguments = [str(next(folder.glob(f"{package}_*.deb"))) if part is None else part for part in command]
            failure = _run(arguments, folder)
            if failure is not None and command[0] == "apt-get":
                # The package index is missing or out of date.
                _run(["apt-get", "update"], folder)
                failure = _run(arguments, folder)
            if failure is not None:
                pytest.fail(f"this test needs {name} of Debian's package {package}: {failure}", pytrace=False)
    return folder / "usr" / "bin" / name


def _run(arguments: list[str], folder: Path) -> str | None:
    """Run a command. Return None on success, else the last line of its error output."""
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
