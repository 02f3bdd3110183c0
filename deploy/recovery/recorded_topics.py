"""Give access to the recorded topics of a platform, running or stopped.

For a stopped platform, only its Kafka is started, on a free port, and stopped again. Meanwhile, `start` reports that
another platform runs in the state folder.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from configs.recorded_endpoints import ADMIN, PRINCIPAL_VARIABLE, kafka_variables
from deploy.errors import DeployError
from deploy.home import Home
from deploy.supervisor.start_options import load_options
from deploy.supervisor.state import running_state

if TYPE_CHECKING:
    from configs.settings import Settings
    from deploy.supervisor.process_spec import ProgressCallback
    from sinks.cluster import Servers


@contextlib.contextmanager
def recorded_settings(home: Home, report: ProgressCallback, *, principal: str | None = None) -> Iterator[Settings]:
    """Yield the settings of the last start, with the address of a Kafka that runs until the block ends.

    `principal` is the one with which this process uses the Kafka of a running platform. Raises BadInput and
    DeployError, also if the archive of these settings belongs to another platform.
    """
    with _kafka_variables(home, report) as variables:
        settings = platform_settings(home, variables, principal=None if PRINCIPAL_VARIABLE in variables else principal)
        _require_own_archive(settings)
        yield settings


@contextlib.contextmanager
def recorded_variables(home: Home, report: ProgressCallback) -> Iterator[dict[str, str]]:
    """Yield the environment variables with which another process loads the settings of `recorded_settings`.

    They contain the credentials of Kafka. Kafka runs until the block ends. Raises BadInput and DeployError.
    """
    with _kafka_variables(home, report) as variables:
        _require_own_archive(platform_settings(home, variables))
        yield {**load_options(home).environment(), "PLATFORM_HOME": str(home.root), **variables}


def _require_own_archive(settings: Settings) -> None:
    from deploy.archive.owner import archive_owner, require_owner
    from schemas.errors import Unavailable

    archive = settings.kafka.archive
    try:
        if archive is not None and archive.owner() is not None:
            require_owner(archive, archive_owner(settings.kafka))
    except Unavailable as error:
        raise DeployError(str(error)) from error


def platform_settings(home: Home, changes: Mapping[str, str], *, principal: str | None = None) -> Settings:
    """Return the settings of the last start, with `changes` as environment variables. Raises BadInput.

    `principal` is the one with which this process uses the embedded Kafka, by default that of the command line.
    """
    from configs.settings import load_settings

    variables = {**os.environ, **load_options(home).environment(), "PLATFORM_HOME": str(home.root), **changes}
    if principal is not None:
        variables[PRINCIPAL_VARIABLE] = principal
    return load_settings(environment=variables)


@contextlib.contextmanager
def _kafka_variables(home: Home, report: ProgressCallback) -> Iterator[dict[str, str]]:
    """Yield the variables with the address of Kafka, and with the credentials of one that is started here."""
    configured = os.environ.get("KAFKA_BOOTSTRAP_SERVERS")
    state = running_state(home)
    if configured or (state is not None and state.kafka):
        servers = configured or (state.kafka if state else "")
        variables = {"KAFKA_BOOTSTRAP_SERVERS": servers}
        require_kafka(platform_settings(home, variables).kafka.cluster)
        yield variables
        return
    if state is not None:
        raise DeployError("the platform is still preparing its services; try again in a moment")
    if not (home.data / "kafka" / "meta.properties").exists():
        raise DeployError(f"no recorded topics in {home.root}; start the platform first with `python cli.py start`")
    with supervisor_lock(home), _embedded_kafka(home, report) as variables:
        yield variables


def require_kafka(servers: Servers) -> None:
    """Raises DeployError if Kafka is unreachable. Without this check, a consumer reports it twenty times a second."""
    from deploy.supervisor.probes import KafkaProbe

    reason = KafkaProbe(servers)(os.getpid())
    if reason is not None:
        raise DeployError(f"Kafka at {servers} is unreachable: {reason}")


@contextlib.contextmanager
def supervisor_lock(home: Home) -> Iterator[None]:
    """Hold the supervisor's lock, because two Kafkas on one log folder corrupt it. Raises DeployError."""
    with (home.run / "supervisor.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DeployError(
                f"another command uses the topics in {home.root}; try again when it has finished"
            ) from error
        yield


@contextlib.contextmanager
def _embedded_kafka(home: Home, report: ProgressCallback) -> Iterator[dict[str, str]]:
    from deploy.local.endpoints import Endpoints
    from deploy.local.kafka import broker
    from deploy.local.kafka.authentication import admin_cluster
    from deploy.local.ports import Ports
    from deploy.local.stack import ServiceStack

    ports = Ports.free()
    # Not `endpoints.prepare`: its fallback has no recorded topics.
    kafka = broker.prepare(home, ports.kafka, report)
    stack = ServiceStack(home, ports, Endpoints(kafka.url, "", "", (kafka,)))
    report("starting Kafka to read the topics")
    try:
        stack.start_one("kafka")
        wait_until_open(admin_cluster(home, kafka.url))
        # The superuser: nobody else can use this Kafka, and an old log folder has no other users yet.
        yield {"KAFKA_BOOTSTRAP_SERVERS": kafka.url, **kafka_variables(home.secrets, ADMIN)}
    finally:
        stack.stop()


def wait_until_open(servers: Servers, timeout_s: float = 30.0) -> None:
    """Wait until the broker leads all its partitions, which is later than its first response. Raises DeployError."""
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    from sinks.cluster import client_config
    from sinks.log_offsets import wait_for_leaders

    admin = AdminClient(client_config(servers, {"log_level": 0}))
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            topics = admin.list_topics(timeout=5).topics
            wait_for_leaders(admin, {name: len(topic.partitions) for name, topic in topics.items()}, timeout_s=5)
            return
        except KafkaException as error:
            if time.monotonic() > deadline:
                raise DeployError(
                    f"Kafka did not open its partitions within {timeout_s:.0f} s: {error.args[0].str()}"
                ) from error
            time.sleep(0.2)
