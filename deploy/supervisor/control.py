"""Send requests to the running supervisor: one line of JSON over a unix socket in the state folder, one line back.

`python -m deploy.supervisor.control stop kafka` stops one service and returns when it has stopped; `start` starts it
and returns when it is healthy.
"""

import contextlib
import json
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from typing import Literal

from deploy.errors import DeployError
from deploy.home import Home, home_from_environment
from deploy.supervisor.state import ChildStatus, running_state

ACTIONS = ("start", "stop", "scale", "shutdown")
_SOCKET_NAME = "control.sock"
ControlAction = Literal["start", "stop", "scale", "shutdown"]


@contextlib.contextmanager
def _socket_path(home: Home) -> Iterator[str]:
    """Yield the socket's path through a descriptor of its folder, because a unix socket path has at most 107 bytes."""
    folder = os.open(home.run, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{_SOCKET_NAME}"
    finally:
        os.close(folder)


def listen(home: Home) -> socket.socket:
    """Open the supervisor's socket. Only its owner can connect."""
    (home.run / _SOCKET_NAME).unlink(missing_ok=True)
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with _socket_path(home) as address:
        server.bind(address)
    (home.run / _SOCKET_NAME).chmod(0o600)
    server.listen(8)
    return server


def answer_request(server: socket.socket, handle: Callable[[str, str, int], str | None]) -> None:
    """Handle one request, if one arrives within the socket's timeout.

    `handle(action, service, count)` returns an error message or None; `count` is 0 for actions without one.
    """
    try:
        connection, _ = server.accept()
    except TimeoutError:
        return
    with connection:
        connection.settimeout(1.0)
        try:
            request = json.loads(connection.recv(4096))
            error = handle(str(request["action"]), str(request["service"]), int(request.get("count", 0)))
            connection.sendall(json.dumps({"error": error}).encode())
        except (OSError, ValueError, KeyError, TypeError):
            return  # a client that disconnects or sends a malformed request must not stop the supervisor


def request(home: Home, action: ControlAction, service: str = "", count: int = 0) -> None:
    """Send a request to the running supervisor. Return when it has accepted the request, before it has completed it.

    Raises DeployError if no supervisor runs or it rejects the request.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(30.0)
        try:
            with _socket_path(home) as address:
                client.connect(address)
            client.sendall(json.dumps({"action": action, "service": service, "count": count}).encode())
            reply = json.loads(client.recv(4096))
        except (OSError, ValueError) as error:
            raise DeployError(f"no platform runs in {home.root}: its supervisor does not respond") from error
    if reply["error"]:
        raise DeployError(str(reply["error"]))


def wait_for_status(home: Home, service: str, status: ChildStatus, timeout_s: float = 60.0) -> None:
    """Wait until all processes of a service are in `status`. Raises DeployError after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while True:
        state = running_state(home)
        children = state.processes_of(service) if state else ()
        waiting = [child for child in children if child.status != status]
        if children and not waiting:
            return
        if time.monotonic() > deadline:
            current = f"{waiting[0].status} ({waiting[0].reason})" if waiting else "unknown"
            raise DeployError(f"{service} is {current}, expected {status} within {timeout_s:.0f} s")
        time.sleep(0.1)


def start_one(home: Home, service: str, timeout_s: float = 60.0) -> None:
    """Start a stopped or failed service and wait until it is healthy. Raises DeployError."""
    request(home, "start", service)
    wait_for_status(home, service, ChildStatus.HEALTHY, timeout_s)


def scale_one(home: Home, service: str, count: int, timeout_s: float = 120.0) -> None:
    """Scale a dataflow to `count` processes and wait until all of them are healthy.

    Raises DeployError with the supervisor's reason if that fails; the dataflow then runs as before.
    """
    request(home, "scale", service, count)
    deadline = time.monotonic() + timeout_s
    while (state := running_state(home)) is None or not state.rescale.endswith("done"):
        if state is not None and "failed" in state.rescale:
            raise DeployError(state.rescale)
        if time.monotonic() > deadline:
            raise DeployError(f"{service} was not scaled to {count} processes within {timeout_s:.0f} s; see `status`")
        time.sleep(0.1)
    wait_for_status(home, service, ChildStatus.HEALTHY, timeout_s)


def stop_one(home: Home, service: str, timeout_s: float = 60.0) -> None:
    """Stop one service and keep it stopped. The others continue. Raises DeployError."""
    request(home, "stop", service)
    wait_for_status(home, service, ChildStatus.STOPPED, timeout_s)


if __name__ == "__main__":
    try:
        {"start": start_one, "stop": stop_one}[sys.argv[1]](home_from_environment(), sys.argv[2])
    except (KeyError, IndexError):
        sys.exit("usage: python -m deploy.supervisor.control start|stop SERVICE")
    except DeployError as error:
        sys.exit(f"error: {error}")
