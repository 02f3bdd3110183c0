"""TCP ports on loopback. `deploy/bootstrap.py` uses this module before any package is installed."""

from __future__ import annotations

import fcntl
import os
import random
import socket
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from deploy.errors import DeployError

PORT_MIN, PORT_MAX = 15_000, 22_700
"""`free_ports` searches here. Linux takes ports from 32,768 on for outgoing connections, so no client takes a port
between the search and the start of the server. Kafka's controller listens 10,000 ports above Kafka."""
_DEFAULT_PORTS = {"kafka": 9092, "postgres": 5432, "redis": 6379, "api": 8000, "dashboard": 3000}
_SERVERS = (
    ("kafka", "Kafka", "KAFKA_BOOTSTRAP_SERVERS"),
    ("postgres", "PostgreSQL", "DATABASE_URL"),
    ("redis", "Redis", "REDIS_URL"),
)
"""The servers: name, title, and the variable with the address of an external one."""


@dataclass(frozen=True)
class Ports:
    """TCP ports on 127.0.0.1 of the embedded servers, the API and the dashboard."""

    kafka: int
    postgres: int
    redis: int
    api: int
    dashboard: int

    @staticmethod
    def from_environment() -> Ports:
        """Read `PLATFORM_KAFKA_PORT`, `PLATFORM_POSTGRES_PORT`, … or use the defaults. Raises DeployError."""
        ports = {}
        for name, default in _DEFAULT_PORTS.items():
            text = os.environ.get(port_variable(name), str(default))
            if not text.isdigit() or not 0 < int(text) < 65536:
                raise DeployError(f"{port_variable(name)} must be a port from 1 to 65535, found {text!r}")
            ports[name] = int(text)
        return Ports(**ports)

    @staticmethod
    def free() -> Ports:
        """Choose ports that are free now, for tests."""
        return Ports(*free_ports(5))


def port_variable(service: str) -> str:
    return f"PLATFORM_{service.upper()}_PORT"


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


def require_free_ports(ports: Ports, environ: Mapping[str, str], *, owners: Collection[int] = ()) -> None:
    """Raises DeployError if something else listens on a port of the API or of an embedded server.

    A server whose address the environment specifies is not embedded.
    """
    require_free("the API", ports.api, port_variable("api"), owners=owners)
    for name, title, address_variable in _SERVERS:
        if not environ.get(address_variable):
            require_free(title, getattr(ports, name), port_variable(name), owners=owners)


def _listens(pid: int, port: int) -> bool:
    """Return whether this process listens on the port."""
    import psutil

    try:
        connections = psutil.Process(pid).net_connections("tcp")
    except psutil.Error:
        return False
    return any(one.status == psutil.CONN_LISTEN and one.laddr.port == port for one in connections)
