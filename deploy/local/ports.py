"""TCP ports on loopback."""

import socket

from deploy.errors import DeployError


def is_free(port: int) -> bool:
    """True when a server can bind this port on 127.0.0.1 now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: a connection of the last run in TIME_WAIT does not make a port taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def free_ports(count: int) -> list[int]:
    """Different free ports, all held until all are found."""
    probes = [socket.socket(socket.AF_INET, socket.SOCK_STREAM) for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def require_free(service: str, port: int, variable: str) -> None:
    """Raises DeployError, naming the way out, when something else listens on the port."""
    if not is_free(port):
        raise DeployError(
            f"port {port} on 127.0.0.1 that {service} needs is taken by another program; free it or set {variable}"
        )
