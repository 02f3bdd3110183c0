"""Starts `python -m` programs as forks of one process that has already imported their modules.

A dataflow process needs about two seconds of processor time to import its libraries, and the end-to-end tests start
more than a hundred of them. A fork skips the imports. It is a real process with its own environment, memory, signals
and exit code. `python cli.py start` and the tests that use it start processes the normal way.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

POLL_S = 0.02
PR_SET_PDEATHSIG = 1


class Program(NamedTuple):
    """A module to run as `__main__`, with its arguments, its environment and the file for its output."""

    module: str
    arguments: list[str]
    environment: dict[str, str]
    cwd: str
    log: str


class ForkServer:
    """Client of the server process. The server ends when this process closes the connection or ends."""

    def __init__(self, modules: Sequence[str], environment: Mapping[str, str], cwd: Path) -> None:
        own_end, server_end = socket.socketpair()
        with server_end:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.e2e.fork_server", str(server_end.fileno()), *modules],
                cwd=cwd,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                pass_fds=[server_end.fileno()],
            )
        self._connection = own_end
        self._responses = own_end.makefile("r")

    def start(self, program: Program) -> ForkedProcess:
        return ForkedProcess(self, self.request({"start": program._asdict()}))

    def request(self, message: Mapping[str, Any]) -> Any:
        self._connection.sendall(json.dumps(message).encode() + b"\n")
        line = self._responses.readline()
        assert line, f"the fork server ended with {self._process.wait()}"
        return json.loads(line)

    def close(self) -> None:
        self._responses.close()
        self._connection.close()
        self._process.wait()


class ForkedProcess:
    """The subset of the `subprocess.Popen` interface that the tests use, for a process that the server started."""

    def __init__(self, server: ForkServer, pid: int) -> None:
        self._server, self.pid = server, pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        if self.returncode is None:
            self.returncode = self._server.request({"poll": self.pid})
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        deadline = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if deadline is not None and time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(f"forked process {self.pid}", timeout or 0.0)
            time.sleep(POLL_S)
        return code

    def send_signal(self, number: int) -> None:
        # Until `poll` returns an exit code, the server has not reaped the process, so the pid is still valid.
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def serve(connection: socket.socket) -> Program | None:
    """Answer requests until the connection closes. In a forked process, return the program to run."""
    with connection, connection.makefile("r") as requests:
        for line in requests:
            message = json.loads(line)
            if "start" in message:
                assert len(os.listdir("/proc/self/task")) == 1, "a fork copies one thread only"
                response: int | None = os.fork()
                if response == 0:
                    return Program(**message["start"])
            else:
                pid, status = os.waitpid(message["poll"], os.WNOHANG)
                response = os.waitstatus_to_exitcode(status) if pid else None
            connection.sendall(json.dumps(response).encode() + b"\n")
    return None


def run(program: Program) -> None:
    """Turn this process into the program: set its environment, working directory, output and arguments."""
    # The kernel kills this process when the server ends, so an interrupted test run leaves no process running.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    os.environ.clear()
    os.environ.update(program.environment)
    os.chdir(program.cwd)
    log = os.open(program.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    sys.argv = [program.module, *program.arguments]
    runpy.run_module(program.module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    for name in sys.argv[2:]:
        importlib.import_module(name)
    gc.freeze()  # a collection in a fork would otherwise write to, and so copy, all memory of the imports
    requested = serve(socket.socket(fileno=int(sys.argv[1])))
    if requested is not None:
        run(requested)
