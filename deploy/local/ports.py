"""TCP ports on loopback."""

import fcntl
import os
import random
import socket
import tempfile
from collections.abc import Collection
from pathlib import Path

import psutil

from deploy.errors import DeployError

PORT_MIN, PORT_MAX = 15_000, 22_700
"""`free_ports` searches here. Linux takes ports from 32,768 on for outgoing connections, so no client takes a port
between the search and the start of the server. Kafka's controller listens 10,000 ports above Kafka."""


def is_free(port: int) -> bool:
    """Return whether a server can bind this port on 127.0.0.1 now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: connections of the last run in TIME_WAIT do not block the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def free_ports(count: int) -> list[int]:
    """Return `count` different free ports.

    Calls of the same user return different ports, in concurrent processes too: a file stores the last port that was
    returned, and the next call searches behind it.
    """
    path = Path(tempfile.gettempdir()) / f"trading-platform-last-port-{os.getuid()}"
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o600), "r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        text = file.read()
        last = int(text) if text.isdigit() else random.randint(PORT_MIN, PORT_MAX)  # noqa: S311 - not a secret
        ports: list[int] = []
        for offset in range(1, PORT_MAX - PORT_MIN + 2):
            port = PORT_MIN + (last + offset - PORT_MIN) % (PORT_MAX - PORT_MIN + 1)
            if is_free(port):
                ports.append(port)
            if len(ports) == count:
                break
        else:
            raise DeployError(f"only {len(ports)} of {count} ports from {PORT_MIN} to {PORT_MAX} are free")
        file.seek(0)
        file.truncate()
        file.write(str(ports[-1]))
    return ports


def require_free(service: str, port: int, variable: str, *, owners: Collection[int] = ()) -> None:
    """Raises DeployError, naming the way out, when something else listens on the port.

    `owners` are the pids of the platform's own processes, which run on after their supervisor was killed.
    """
    if not is_free(port) and not any(_listens(pid, port) for pid in owners):
        raise DeployError(
            f"port {port} on 127.0.0.1 that {service} needs is taken by another program; free it or set {variable}"
        )


def _listens(pid: int, port: int) -> bool:
    """Return whether this process listens on the port."""
    try:
        connections = psutil.Process(pid).net_connections("tcp")
    except psutil.Error:
        return False
    return any(one.status == psutil.CONN_LISTEN and one.laddr.port == port for one in connections)
