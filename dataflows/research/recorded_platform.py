"""Access to the recorded topics of the platform in the state folder, running or stopped, for a Python program.

Only the command line can start the Kafka of a stopped platform. It does so in a process of its own, which ends, with
this Kafka, when the program has read the topics or is killed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from configs.settings import Settings, load_settings
from dataflows.research.run_store import REPOSITORY
from schemas.errors import BadInput, Unavailable

_COMMAND = (sys.executable, "-m", "deploy.cli", "kafka", "open")
_ENDING_S = 30.0
_BAD_INPUT_STATUS = 2


@contextmanager
def recorded_platform() -> Iterator[Settings]:
    """Yield the settings of the platform's last start, with the address of a Kafka that runs until the block ends.

    The state folder is that of PLATFORM_HOME. KAFKA_BOOTSTRAP_SERVERS names another Kafka. Raises BadInput, and
    Unavailable if there are no topics or Kafka does not respond.
    """
    process = subprocess.Popen(
        _COMMAND,
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            assert process.stdout is not None and process.stderr is not None, "both are pipes"
            variables = _read_variables(process, process.stdout, process.stderr)
            yield load_settings(environment={**os.environ, **variables})
        finally:
            _end(process)


def _read_variables(process: subprocess.Popen[str], output: IO[str], errors: IO[str]) -> dict[str, str]:
    line = output.readline()
    if line:
        variables: dict[str, str] = json.loads(line)
        return variables
    message = errors.read().strip().splitlines()
    reason = message[-1].removeprefix("error: ") if message else "the command `kafka open` printed nothing"
    raise (BadInput if process.wait() == _BAD_INPUT_STATUS else Unavailable)(reason)


def _end(process: subprocess.Popen[str]) -> None:
    """Close the standard input of the process, and wait for its end."""
    assert process.stdin is not None, "it is a pipe"
    process.stdin.close()
    try:
        process.wait(_ENDING_S)
    except subprocess.TimeoutExpired:
        process.terminate()
