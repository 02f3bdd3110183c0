"""Configure and describe the one-node Kafka broker."""

import base64
import os
import shlex
import shutil
import subprocess
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from deploy.errors import DeployError
from deploy.home import Home, cache_folder
from deploy.local.kafka import authentication
from deploy.local.kafka.class_archive import archive_options, create_archive
from deploy.local.kafka.jars import PACKAGE_FOLDER, require_jars
from deploy.local.kafka.java import require_java
from deploy.local.ports import free_ports, is_free
from deploy.supervisor.probes import KafkaProbe
from deploy.supervisor.process_spec import EmbeddedServer, ProcessKind, ProcessSpec, ProgressCallback

JVM_OPTIONS_VARIABLE = "PLATFORM_KAFKA_JVM_OPTIONS"
"""Options of Kafka's Java that are added to those of the platform, such as `-Xmx2g`. Java uses the last of several."""
_FORMAT_TIMEOUT_S = 60
_JVM_OPTIONS = ("-Xms192m", "-Xmx512m", "-Xmn96m", "-XX:+UseSerialGC", "-Xshare:auto")
_OPEN_LISTENERS = """\
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{advertised}
"""
_PROPERTIES = """\
process.roles=broker,controller
node.id=1
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


class _Jvm(NamedTuple):
    """A Java with Kafka's jars, and further options."""

    java: Path
    libs: Path
    options: tuple[str, ...] = ()

    def command(self, main: str, *arguments: str) -> list[str]:
        log_option = f"-Dlog4j2.configurationFile={PACKAGE_FOLDER / 'log4j2.properties'}"
        user_options = shlex.split(os.environ.get(JVM_OPTIONS_VARIABLE, ""))
        options = [*_JVM_OPTIONS, *self.options, *user_options, "-Djava.awt.headless=true", log_option]
        return [str(self.java), *options, "-cp", f"{self.libs}/*", main, *arguments]


def prepare(
    home: Home,
    port: int,
    report: ProgressCallback,
    *,
    advertised_port: int | None = None,
    authenticated: bool = True,
) -> EmbeddedServer:
    """Download the jars and format the log folder at first use, and describe the server.

    Clients connect to `advertised_port`: `port`, or that of a proxy in front of it. They must authenticate, except in
    tests (`authenticated=False`). A log folder of a release without authentication is upgraded first; no other broker
    may use it then. Raises DeployError if Java or the jars are unavailable or the folder cannot be formatted.
    """
    java, cache = require_java(), cache_folder(home)
    libs = require_jars(cache, report)
    jvm = _Jvm(java, libs, archive_options(java, libs, cache))
    return _describe(home, port, report, jvm, advertised_port=advertised_port, authenticated=authenticated)


def prepare_fast_starts(home: Home, report: ProgressCallback) -> None:
    """Create the class archive of the broker in the cache unless it exists. Raises DeployError as `prepare` does."""
    java, cache = require_java(), cache_folder(home)
    libs = require_jars(cache, report)

    def make_broker(own_home: Home, options: tuple[str, ...]) -> EmbeddedServer:
        return _describe(own_home, free_ports(1)[0], lambda line: None, _Jvm(java, libs, options))

    create_archive(java, libs, cache, report, make_broker)


def _describe(
    home: Home,
    port: int,
    report: ProgressCallback,
    jvm: _Jvm,
    *,
    advertised_port: int | None = None,
    authenticated: bool = True,
) -> EmbeddedServer:
    """Format the log folder at first use, or add authentication to it, and describe the server."""
    data = home.data / "kafka"
    # Keep away from the ports next to Kafka's, which users often assign to the other services.
    nearby_port = port + 10_000 if port <= 55_535 else port - 10_000
    ports = {
        "port": port,
        "advertised": advertised_port or port,
        "controller_port": nearby_port if is_free(nearby_port) else free_ports(1)[0],
    }
    # The name tells a process with authentication from one of release 0.2.0, which is not taken over.
    properties = home.run / ("kafka-server.properties" if authenticated else "kafka.properties")
    listeners = authentication.listeners(home, **ports) if authenticated else _OPEN_LISTENERS.format(**ports)
    template = _PROPERTIES.replace("{data}", str(data))
    controller_port = str(ports["controller_port"])
    authentication.write_private(properties, listeners + template.replace("{controller_port}", controller_port))
    if not (data / "meta.properties").exists():
        _format_log_folder(home, jvm, properties, data, report, authenticated=authenticated)
    elif authenticated and not authentication.has_superuser(home, data):
        report("adding authentication to Kafka (once)")
        authentication.add_superuser(home, data, lambda file: jvm.command("kafka.Kafka", str(file)), template)
    url = f"127.0.0.1:{ports['advertised']}"
    service = ProcessSpec(
        name="kafka",
        kind=ProcessKind.SERVICE,
        command=tuple(jvm.command("kafka.Kafka", str(properties))),
        probe=KafkaProbe(authentication.admin_cluster(home, url) if authenticated else url),
        stop_timeout_s=20.0,
        start_grace_s=60.0,
    )
    return EmbeddedServer(service, url, "Apache Kafka 4.2 (embedded, one node)", authenticated=authenticated)


def needs_upgrade(home: Home) -> bool:
    """Return whether Kafka's log folder comes from a release without authentication, or has another superuser."""
    data = home.data / "kafka"
    return (data / "meta.properties").exists() and not authentication.has_superuser(home, data)


def cluster_id(random: Callable[[], uuid.UUID] = uuid.uuid4) -> str:
    """Return a new cluster id in Kafka's format, without a leading dash, which the tool would parse as an option."""
    while True:
        text = base64.urlsafe_b64encode(random().bytes).decode().rstrip("=")
        if not text.startswith("-"):
            return text


def _format_log_folder(
    home: Home,
    jvm: _Jvm,
    properties: Path,
    data: Path,
    report: ProgressCallback,
    *,
    authenticated: bool,
) -> None:
    """Format the log folder with a new cluster id. A partly formatted folder has no records and is removed first."""
    report("formatting Kafka's log folder")
    shutil.rmtree(data, ignore_errors=True)
    arguments = ["format", "-t", cluster_id(), "-c", str(properties)]
    if authenticated:
        arguments += ["--add-scram", authentication.format_option(home)]
    command = jvm.command("kafka.tools.StorageTool", *arguments)
    # A file, because all users can read a command line.
    argument_file = home.run / "kafka-format.arguments"
    authentication.write_private(argument_file, "\n".join(_quoted(argument) for argument in command[1:]))
    try:
        completed = subprocess.run(
            [command[0], f"@{argument_file}"],
            capture_output=True,
            text=True,
            check=False,
            timeout=_FORMAT_TIMEOUT_S,
            umask=0o077,
        )
    except subprocess.TimeoutExpired as error:
        raise DeployError(f"cannot format Kafka's log folder {data} within {error.timeout:.0f} s") from error
    finally:
        argument_file.unlink()
    if completed.returncode != 0:
        output_lines = (completed.stderr + completed.stdout).strip().splitlines() or ["no message"]
        raise DeployError(f"cannot format Kafka's log folder {data}: {output_lines[-1]}")
    if authenticated:
        authentication.mark_superuser(home, data)


def _quoted(argument: str) -> str:
    """Quote an argument for an argument file of `java`: a backslash is an escape within quotes."""
    return '"' + argument.replace("\\", "\\\\").replace('"', '\\"') + '"'
