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
from tempfile import TemporaryFile
from typing import IO

from configs.settings import Settings, load_settings
from dataflows.research.run_store import REPOSITORY
from schemas.errors import BadInput, Unavailable

_COMMAND = (sys.executable, "-P", "-m", "deploy.cli", "kafka", "open")
_BAD_INPUT_STATUS = 2


@contextmanager
def recorded_platform() -> Iterator[Settings]:
    """Yield the settings of the platform's last start, with the address of a Kafka that runs until the block ends.

    The state folder is that of PLATFORM_HOME. KAFKA_BOOTSTRAP_SERVERS names another Kafka. Raises BadInput, and
    Unavailable if there are no topics or Kafka does not respond.
    """
    path = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")]))
    with (
        TemporaryFile("w+") as errors,  # a pipe that nobody reads could fill up
        subprocess.Popen(
            _COMMAND,
            env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        try:
            variables = _read_variables(process, errors)
            yield load_settings(environment={**os.environ, **variables})
        finally:
            _end(process)


def _read_variables(process: subprocess.Popen[str], errors: IO[str]) -> dict[str, str]:
    assert process.stdout is not None, "it is a pipe"
    line = process.stdout.readline()
    if line:
        variables: dict[str, str] = json.loads(line)
        return variables
    status = process.wait()
    errors.seek(0)
    message = errors.read().strip().splitlines()
    reason = message[-1].removeprefix("error: ") if message else "the command `kafka open` printed nothing"
    raise (BadInput if status == _BAD_INPUT_STATUS else Unavailable)(reason)


def _end(process: subprocess.Popen[str]) -> None:
    """Close the standard input of the process, which stops its Kafka and ends. A signal would leave the Kafka."""
    assert process.stdin is not None, "it is a pipe"
    process.stdin.close()
    process.wait()
