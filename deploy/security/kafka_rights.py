"""The rights of each Kafka principal, derived from the service diagram: who may read and write which topic.

A principal is the name with which a process authenticates. Each dataflow has its own, named like it. Kafka denies what
no right allows. Reading or writing a topic includes the right to see that it exists.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Literal, NamedTuple

from configs.recorded_endpoints import COMMAND_LINE, VIEWER
from dataflows.runtime.topology import COMPACT, SERVICES, Layout, ServiceSpec, compact_services
from deploy.supervisor.platform_identity import TOPIC as IDENTITY_TOPIC
from deploy.supervisor.topics import read_topics

API, CHECKS = "api", "checks"
WRITTEN_BY_ALL = ("dead-letters", "late-records")
COMMANDS_TOPIC = "commands"
CONFIGURATION_TOPIC = "configuration"
RESTORED_PREFIX = "archived-"
"""Begins the names of the topics to which `archive restore` writes archived days."""

EXTRA_WRITES: dict[str, tuple[str, ...]] = {
    # The halt of a kill switch that could not be published while Kafka was down.
    "execution": (COMMANDS_TOPIC,),
    API: (COMMANDS_TOPIC, CONFIGURATION_TOPIC),
    COMMAND_LINE: (COMMANDS_TOPIC, CONFIGURATION_TOPIC, "reference-data", "audit-heads"),
    CHECKS: ("audit-heads",),
}
"""Topics that a principal writes although the service diagram does not show it."""

Resource = Literal["TOPIC", "GROUP"]
Operation = Literal["READ", "WRITE", "DESCRIBE", "DESCRIBE_CONFIGS"]
EVERY_GROUP = "*"


class KafkaRight(NamedTuple):
    """One permission. `name` is the name of the topic or consumer group, or `*` for every one.

    With `is_prefix`, it is the beginning of the names.
    """

    principal: str
    resource: Resource
    name: str
    operation: Operation
    is_prefix: bool = False


def principals(services: Collection[str] = SERVICES) -> tuple[str, ...]:
    """Return every principal except the superuser: one for each dataflow and for the process that runs several of them
    in the compact layout, the API, the command line and readers.
    """
    return (*services, COMPACT, API, COMMAND_LINE, CHECKS, VIEWER)


def topic_names() -> list[str]:
    """Return the names of all topics of the platform, without the prefix."""
    return [*(topic.name for topic in read_topics()), IDENTITY_TOPIC]


def all_rights(
    topic_prefix: str,
    services: Mapping[str, ServiceSpec] = SERVICES,
    topics: Collection[str] | None = None,
    layout: Layout = Layout.SERVICES,
    beside: Collection[str] = (),
) -> frozenset[KafkaRight]:
    """Return the rights of all principals except the superuser, which needs none.

    Services read their inputs and, after a restart, what they wrote themselves. The API, the command line, the checks
    and the viewer read every topic. In the layout `compact`, one principal has the rights of all services of that
    process, and those services have none. The services `beside` it have their own.
    """
    every_topic = topic_names() if topics is None else topics
    rights: set[KafkaRight] = set()

    def grant(principal: str, operation: Operation, names: Collection[str]) -> None:
        rights.update(KafkaRight(principal, "TOPIC", topic_prefix + name, operation) for name in names)

    processes = {
        service: COMPACT if layout is Layout.COMPACT and service in compact_services(beside) else service
        for service in services
    }
    for service, spec in services.items():
        written = (*spec.outputs, *spec.unclocked, *WRITTEN_BY_ALL, *EXTRA_WRITES.get(service, ()))
        grant(processes[service], "WRITE", written)
        read = (*written, *spec.follows, *(service_input.topic for service_input in spec.inputs))
        grant(processes[service], "READ", read)
    for process in processes.values():
        # Committed offsets only show the lag.
        rights.add(KafkaRight(process, "GROUP", f"{topic_prefix}platform-{process}", "READ"))
    for principal in (API, COMMAND_LINE, CHECKS, VIEWER):
        grant(principal, "READ", every_topic)
    for principal in (API, COMMAND_LINE, CHECKS):
        grant(principal, "DESCRIBE_CONFIGS", every_topic)
        grant(principal, "WRITE", EXTRA_WRITES[principal])
    # Consumers look up the coordinator of their group, also those that commit nothing.
    active = {*processes.values(), API, COMMAND_LINE, CHECKS, VIEWER}
    rights.update(KafkaRight(principal, "GROUP", EVERY_GROUP, "DESCRIBE") for principal in active)
    rights.add(KafkaRight(VIEWER, "GROUP", f"{topic_prefix}{VIEWER}", "READ"))
    rights.add(KafkaRight(VIEWER, "TOPIC", topic_prefix + RESTORED_PREFIX, "READ", is_prefix=True))
    return frozenset(rights)
