"""Configure and describe the one-node Kafka broker."""

import base64
import shutil
import subprocess
import uuid
from collections.abc import Callable
from pathlib import Path

from deploy.errors import DeployError
from deploy.home import Home, cache_folder
from deploy.local.kafka.jars import PACKAGE_FOLDER, require_jars
from deploy.local.kafka.java import require_java
from deploy.local.ports import free_ports, is_free
from deploy.supervisor.probes import KafkaProbe
from deploy.supervisor.process_spec import EmbeddedServer, ProcessKind, ProcessSpec, ProgressCallback

_HEAP = ("-Xms128m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto")
_PROPERTIES = """\
process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{advertised}
controller.listener.names=CONTROLLER
controller.quorum.voters=1@127.0.0.1:{controller_port}
log.dirs={data}
# Only deploy/supervisor/topics.py creates topics: a misspelt name must fail and not create a topic.
auto.create.topics.enable=false
# The log is the record of every decision. Topics can set a shorter retention.
log.retention.hours=87600
num.partitions=1
# One node
default.replication.factor=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=8
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=4
group.initial.rebalance.delay.ms=0
# For a small machine; the defaults are for a dedicated server
num.network.threads=2
num.io.threads=4
background.threads=2
# The default writes an empty record to the metadata log twice a second
metadata.max.idle.interval.ms=5000
log.cleaner.dedupe.buffer.size=16777216
"""


def prepare(home: Home, port: int, report: ProgressCallback, *, advertised_port: int | None = None) -> EmbeddedServer:
    """Download the jars and format the log folder at first use, and describe the server.

    Clients connect to `advertised_port`: `port`, or that of a proxy in front of it. Raises DeployError if Java or the
    jars are unavailable or the folder cannot be formatted.
    """
    java = require_java()
    libs = require_jars(cache_folder(home), report)
    data = home.data / "kafka"
    # Keep away from the ports next to Kafka's, which users often assign to the other services.
    nearby_port = port + 10_000 if port <= 55_535 else port - 10_000
    controller_port = nearby_port if is_free(nearby_port) else free_ports(1)[0]
    properties = home.run / "kafka.properties"
    advertised_port = advertised_port or port
    text = _PROPERTIES.format(port=port, advertised=advertised_port, controller_port=controller_port, data=data)
    properties.write_text(text)
    if not (data / "meta.properties").exists():
        _format_log_folder(java, libs, properties, data, report)
    command = _java_command(java, libs, "kafka.Kafka", str(properties))
    url = f"127.0.0.1:{advertised_port}"
    service = ProcessSpec(
        "kafka", ProcessKind.SERVICE, tuple(command), KafkaProbe(url), stop_timeout_s=20.0, start_grace_s=60.0
    )
    return EmbeddedServer(service, url, "Apache Kafka 4.2 (embedded, one node)")


def _java_command(java: Path, libs: Path, main: str, *arguments: str) -> list[str]:
    log_option = f"-Dlog4j2.configurationFile={PACKAGE_FOLDER / 'log4j2.properties'}"
    return [str(java), *_HEAP, "-Djava.awt.headless=true", log_option, "-cp", f"{libs}/*", main, *arguments]


def cluster_id(random: Callable[[], uuid.UUID] = uuid.uuid4) -> str:
    """Return a new cluster id in Kafka's format, without a leading dash, which the tool would parse as an option."""
    while True:
        text = base64.urlsafe_b64encode(random().bytes).decode().rstrip("=")
        if not text.startswith("-"):
            return text


def _format_log_folder(java: Path, libs: Path, properties: Path, data: Path, report: ProgressCallback) -> None:
    """Format the log folder with a new cluster id. A partly formatted folder has no records and is removed first."""
    report("formatting Kafka's log folder")
    shutil.rmtree(data, ignore_errors=True)
    command = _java_command(java, libs, "kafka.tools.StorageTool", "format", "-t", cluster_id(), "-c", str(properties))
    completed = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    if completed.returncode != 0:
        output_lines = (completed.stderr + completed.stdout).strip().splitlines() or ["no message"]
        raise DeployError(f"cannot format Kafka's log folder {data}: {output_lines[-1]}")
