"""Provide Kafka and PostgreSQL to backup and restore: running, from the environment, or started for the purpose."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, NamedTuple

from configs.recorded_endpoints import ADMIN
from dataflows.runtime.store_lock import LOCK_FILE, locked_store
from deploy.errors import DeployError
from deploy.home import Home
from deploy.recovery.recorded_topics import platform_settings, require_kafka, supervisor_lock, wait_until_open
from deploy.supervisor.state import read_state, running_state
from deploy.supervisor.takeover import survivors
from schemas.errors import Unavailable

if TYPE_CHECKING:
    from configs.settings import Settings
    from deploy.local.stack import ServiceStack
    from deploy.supervisor.process_spec import ProgressCallback

KAFKA_VARIABLE, DATABASE_VARIABLE = "KAFKA_BOOTSTRAP_SERVERS", "DATABASE_URL"


class PlatformServers(NamedTuple):
    """Settings with the addresses of Kafka and PostgreSQL. `is_running`: whether dataflows may be writing."""

    settings: Settings
    is_running: bool


@contextmanager
def platform_servers(home: Home, report: ProgressCallback) -> Iterator[PlatformServers]:
    """Yield the services of an existing platform. Servers that are started for the block are stopped at its end."""
    from deploy.supervisor.service_addresses import use_running_services

    if running_state(home) is not None:
        use_running_services(home)
        settings = platform_settings(home, {}, principal=ADMIN)
        require_kafka(settings.kafka.cluster)
        yield PlatformServers(settings, is_running=True)
        return
    require_no_leftover_processes(home)
    missing = [
        what
        for variable, path, what in (
            (KAFKA_VARIABLE, home.data / "kafka" / "meta.properties", "topics"),
            (DATABASE_VARIABLE, home.data / "postgres" / "PG_VERSION", "database"),
        )
        if not os.environ.get(variable) and not path.exists()
    ]
    if missing:
        raise DeployError(
            f"{home.root} has no {' and no '.join(missing)}; start the platform with `python cli.py start`"
        )
    home.create_folders()
    with supervisor_lock(home), started_servers(home, report) as settings:
        # Dataflows that were started by hand, on servers in the environment
        yield PlatformServers(settings, is_running=store_in_use(home) is not None)


def require_no_leftover_processes(home: Home) -> None:
    """Raises DeployError if processes of a dead supervisor still run: a second server would use the same data."""
    leftover = survivors(read_state(home))
    if leftover and running_state(home) is None:
        names = ", ".join(child.name for child in leftover)
        raise DeployError(
            f"the supervisor has ended, but {names} still run; take them over with `python cli.py start`, or stop them "
            "with `python cli.py stop`"
        )


def store_in_use(home: Home) -> str | None:
    """Return the message that names a recovery store which a dataflow uses; None if there is none."""
    for lock in home.recovery.rglob(LOCK_FILE):
        try:
            with locked_store(lock.parent):
                pass
        except Unavailable as error:
            return str(error)
    return None


@contextmanager
def started_servers(home: Home, report: ProgressCallback, *, with_kafka: bool = True) -> Iterator[Settings]:
    """Start the embedded Kafka and PostgreSQL, unless the environment has an address. Creates them if necessary.

    The caller holds the supervisor's lock. Yields the settings of the last start with the addresses.
    """
    from deploy.local import postgres
    from deploy.local.endpoints import Endpoints
    from deploy.local.kafka import broker
    from deploy.local.ports import Ports
    from deploy.local.stack import ServiceStack

    ports, servers = Ports.free(), []
    addresses = {name: os.environ.get(name, "") for name in (KAFKA_VARIABLE, DATABASE_VARIABLE)}
    if not addresses[KAFKA_VARIABLE] and with_kafka:
        servers.append(broker.prepare(home, ports.kafka, report))  # never the in-memory substitute
        addresses[KAFKA_VARIABLE] = servers[-1].url
    if not addresses[DATABASE_VARIABLE]:
        servers.append(postgres.prepare(home, ports.postgres))
        addresses[DATABASE_VARIABLE] = servers[-1].url
    endpoints = Endpoints(
        kafka=addresses[KAFKA_VARIABLE],
        database_url=addresses[DATABASE_VARIABLE],
        redis_url="",
        embedded=tuple(servers),
    )
    stack = ServiceStack(home, ports, endpoints)
    with ExitStack() as cleanup:
        cleanup.callback(stack.stop)
        _start_all(home, stack, report)
        variables = {name: address for name, address in addresses.items() if address}
        settings = platform_settings(home, variables | endpoints.kafka_credentials(home, ADMIN))
        if with_kafka:
            require_kafka(settings.kafka.cluster)
            wait_until_open(settings.kafka.cluster)
        yield settings


def _start_all(home: Home, stack: ServiceStack, report: ProgressCallback) -> None:
    from deploy.local import postgres

    for service in stack.endpoints.services:
        report(f"starting {service.name}")
        stack.start_one(service.name)
    if "postgres" in stack.children:
        postgres.make_database(home, stack.ports.postgres)
