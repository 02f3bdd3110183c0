"""The recorded topics of the platform in a state folder, whether it runs or not.

A stopped platform's log needs its Kafka: it is started alone, on a free port, and stopped again. Nothing else starts,
and while it lasts `start` says that another platform runs there.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from deploy.errors import DeployError
from deploy.home import Home
from deploy.supervisor.start_options import load_options
from deploy.supervisor.state import running_state

if TYPE_CHECKING:
    from configs.settings import Settings
    from deploy.supervisor.process_spec import ProgressCallback
    from sinks.cluster import Servers


@contextlib.contextmanager
def recorded_settings(home: Home, report: ProgressCallback) -> Iterator[Settings]:
    """The settings that the platform was started with, with a Kafka that answers in them while the block lasts.

    Raises BadInput and DeployError.
    """
    with _kafka_servers(home, report) as servers:
        yield platform_settings(home, {"KAFKA_BOOTSTRAP_SERVERS": servers})


def platform_settings(home: Home, changes: Mapping[str, str]) -> Settings:
    """The settings that the platform was started with, and `changes` to them as environment variables.

    Raises BadInput.
    """
    from configs.settings import load_settings

    variables = {**os.environ, **load_options(home).environment(), "PLATFORM_HOME": str(home.root), **changes}
    return load_settings(environment=variables)


@contextlib.contextmanager
def _kafka_servers(home: Home, report: ProgressCallback) -> Iterator[str]:
    configured = os.environ.get("KAFKA_BOOTSTRAP_SERVERS")
    state = running_state(home)
    if configured or (state is not None and state.kafka):
        servers = configured or (state.kafka if state else "")
        require_kafka(platform_settings(home, {"KAFKA_BOOTSTRAP_SERVERS": servers}).kafka.cluster)
        yield servers
        return
    if state is not None:
        raise DeployError("the platform is still preparing its services; try again in a moment")
    if not (home.data / "kafka" / "meta.properties").exists():
        raise DeployError(f"nothing is recorded in {home.root}: `python cli.py start` the platform first")
    with supervisor_lock(home), _embedded_kafka(home, report) as servers:
        yield servers


def require_kafka(servers: Servers) -> None:
    """Raises DeployError when it does not answer. Asked first: a consumer would say so twenty times a second."""
    from deploy.supervisor.probes import KafkaProbe

    reason = KafkaProbe(servers)(os.getpid())
    if reason is not None:
        raise DeployError(f"Kafka at {servers} does not answer: {reason}")


@contextlib.contextmanager
def supervisor_lock(home: Home) -> Iterator[None]:
    """Hold the supervisor's lock: two Kafkas on one log folder would be the end of it."""
    with (home.run / "supervisor.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DeployError(f"another command uses the log in {home.root}; try again when it has ended") from error
        yield


@contextlib.contextmanager
def _embedded_kafka(home: Home, report: ProgressCallback) -> Iterator[str]:
    from deploy.local.endpoints import Endpoints, Ports
    from deploy.local.kafka import broker
    from deploy.local.stack import ServiceStack

    ports = Ports.free()
    # The broker itself and not `endpoints.prepare`: its fallback would forget the recovery stores.
    kafka = broker.prepare(home, ports.kafka, report)
    stack = ServiceStack(home, ports, Endpoints(kafka.url, "", "", (kafka,)))
    report("starting Kafka alone, to read the log")
    try:
        stack.start_one("kafka")
        _wait_for_leaders(kafka.url)
        yield kafka.url
    finally:
        stack.stop()


def _wait_for_leaders(servers: str, timeout_s: float = 30.0) -> None:
    """A broker answers before it leads its partitions; return when it leads them all."""
    from confluent_kafka import Consumer, KafkaException, TopicPartition

    from sinks.cluster import client_config

    consumer = Consumer(client_config(servers, {"group.id": "replay-start", "log_level": 0}))
    deadline = time.monotonic() + timeout_s
    try:
        while True:
            try:
                topics = consumer.list_topics(timeout=5).topics
                for name, topic in topics.items():
                    for partition in topic.partitions:
                        consumer.get_watermark_offsets(TopicPartition(name, partition), timeout=5)
                return
            except KafkaException as error:
                if time.monotonic() > deadline:
                    raise DeployError(f"Kafka does not open its log: {error.args[0].str()}") from error
                time.sleep(0.2)
    finally:
        consumer.close()
