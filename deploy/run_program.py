"""Run a program to its end and report why it failed, in one line. Uses the standard library alone."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple


class ProgramResult(NamedTuple):
    """`output` is the standard output. `error` is None after exit status 0, else one line with the reason."""

    output: str
    error: str | None


def first_error_line(output: str, status: int) -> str:
    """Return the first line of `output` that reports an error.

    >>> first_error_line("npm error code E404\\nnpm error 404 Not Found\\nnpm error A complete log", 1)
    '404 Not Found'
    >>> first_error_line("src/format.ts(3,1): error TS2322: no number.\\n", 2)
    'src/format.ts(3,1): error TS2322: no number.'
    >>> first_error_line("# Subtest: an error\\nnot ok 1 - an error\\n", 1)
    'not ok 1 - an error'
    >>> first_error_line("", 7)
    'exited with status 7'
    """
    lines = [line.strip().removeprefix("npm error ") for line in output.splitlines() if line.strip()]
    relevant = [line for line in lines if not re.match(r"(code|errno|syscall|npm warn|# Subtest)\b", line)]
    error_lines = [
        line for line in relevant if re.search(r"error|fail|not ok|\b40[0-9]\b|cannot|expected", line, re.IGNORECASE)
    ]
    return (error_lines or relevant or lines or [f"exited with status {status}"])[0][:300]


def last_error_line(output: str, status: int) -> str:
    """Return the last line of `output` that starts as an error does: pip and uv print the cause last.

    >>> last_error_line("error: Failed to fetch\\n  cause: connection refused\\n", 1)
    'cause: connection refused'
    """
    lines = [line.strip(" \t×├─▶╰│") for line in output.splitlines() if line.strip()]
    error_lines = [line for line in lines if line.lower().startswith(("error", "failed", "could not", "cause"))]
    return (error_lines or lines or [f"exited with status {status}"])[-1][:300]


def run_program(
    command: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout_s: float | None = None,
    error_line: Callable[[str, int], str] = first_error_line,
) -> ProgramResult:
    """Run `command` without standard input. Never raises: a missing program and a timeout are errors of the result."""
    try:
        completed = subprocess.run(
            command,
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_s,
        )
    except subprocess.TimeoutExpired as error:
        return ProgramResult("", f"did not finish within {error.timeout:.0f} s")
    except OSError as error:
        return ProgramResult("", error.strerror or str(error))
    if completed.returncode == 0:
        return ProgramResult(completed.stdout, None)
    return ProgramResult(completed.stdout, error_line(completed.stdout + "\n" + completed.stderr, completed.returncode))
