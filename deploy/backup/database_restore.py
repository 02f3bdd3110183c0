"""Restore only the database of a platform whose topics exist, and bring it up to date from the topics.

This is for a lost database, and for backups of release 0.2.0 or earlier, which hold the database alone. Users, sessions
and submissions come from the backup. After a rebuild, everything else comes from the topics.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from configs.recorded_endpoints import ADMIN, kafka_variables
from deploy.backup.database_tables import (
    emptied_database,
    extend_audit_chain,
    forget_identity,
    require_empty_database,
)
from deploy.backup.servers import DATABASE_VARIABLE, KAFKA_VARIABLE, require_no_leftover_processes, started_servers
from deploy.errors import DeployError
from deploy.home import Home
from deploy.recovery.recorded_topics import supervisor_lock
from deploy.supervisor.migrate import migrate
from deploy.supervisor.platform_identity import read_folder_identity, read_topic_identity, write_database_identity
from deploy.supervisor.process_spec import ProcessKind
from deploy.supervisor.state import ChildStatus, running_state

if TYPE_CHECKING:
    from deploy.supervisor.process_spec import ProgressCallback

START_TIMEOUT_S = 240.0


class DatabaseRestore(NamedTuple):
    """`rebuilt`: one line per rebuilt table. `old_schema`: the schema with the previous tables, "" without any."""

    rebuilt: list[str]
    old_schema: str


def restore_database(
    home: Home,
    load: Callable[[str], None],
    *,
    platform_id: str | None,
    force: bool,
    rebuild: bool,
    report: ProgressCallback,
) -> DatabaseRestore:
    """Replace the tables with `load(database_url)`. With `rebuild`, rewrite every table whose records are in a topic.

    The database gets the identity of the platform only with a rebuild, because without one it does not fit the topics,
    and `start` refuses it. `platform_id`: that of the backup, if known. Raises BadInput and DeployError.
    """
    identity = read_folder_identity(home)
    if platform_id is not None and identity is not None and identity.platform_id != platform_id:
        raise DeployError(
            f"the backup belongs to platform {platform_id}, but {home.root} belongs to platform {identity.platform_id}"
        )
    with _servers(home, report, with_kafka=rebuild) as url:
        require_empty_database(url, force=force)
        with _writers_stopped(home):
            with emptied_database(url) as old_schema:
                report("loading the database")
                load(url)
                migrate(url)
                forget_identity(url)
            rebuilt = _rebuild(home, url, report) if rebuild else []
    return DatabaseRestore(rebuilt, old_schema)


def _rebuild(home: Home, url: str, report: ProgressCallback) -> list[str]:
    from deploy.commands.rebuild import rebuild_table, tables_of_topics
    from deploy.recovery.recorded_topics import platform_settings

    lines = []
    for name in tables_of_topics():
        report(f"rebuilding table {name}")
        lines.append(rebuild_table(home, name))
    extend_audit_chain(url)
    kafka = platform_settings(home, {}).kafka
    identity, of_topics = read_folder_identity(home), read_topic_identity(kafka.cluster, kafka.topic_prefix)
    if identity is not None and identity == of_topics:
        write_database_identity(url, identity)
    return lines


@contextmanager
def _servers(home: Home, report: ProgressCallback, *, with_kafka: bool) -> Iterator[str]:
    """Yield the URL of the database. Meanwhile, the environment has the addresses of the servers."""
    from deploy.supervisor.service_addresses import use_running_services

    if running_state(home) is not None:
        use_running_services(home)
        yield os.environ[DATABASE_VARIABLE]
        return
    require_no_leftover_processes(home)
    if with_kafka and not os.environ.get(KAFKA_VARIABLE) and not (home.data / "kafka" / "meta.properties").exists():
        raise DeployError(f"--rebuild reads the topics, and {home.root} has none")
    home.create_folders()
    with supervisor_lock(home), started_servers(home, report, with_kafka=with_kafka) as settings:
        addresses = {DATABASE_VARIABLE: settings.database.postgres.url, KAFKA_VARIABLE: str(settings.kafka.cluster)}
        if settings.kafka.security.user == ADMIN and not os.environ.get(KAFKA_VARIABLE):
            addresses |= kafka_variables(home.secrets, ADMIN)
        # The rebuild uses no Redis, but requires an address.
        with _environment({**addresses, "REDIS_URL": os.environ.get("REDIS_URL") or "redis://127.0.0.1:1/0"}):
            yield settings.database.postgres.url


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _writers_stopped(home: Home) -> Iterator[None]:
    """Stop the dataflows and the API of the running platform, and start those that ran again at the end."""
    from deploy.supervisor.control import request, wait_for_status

    state = running_state(home)
    writers = [child for child in state.children if child.kind != ProcessKind.SERVICE] if state is not None else []
    running = [child.name for child in writers if child.pid is not None]
    for name in running:
        request(home, "stop", name)
    for name in running:
        wait_for_status(home, name, ChildStatus.STOPPED)
    try:
        yield
    finally:
        for name in running:
            request(home, "start", name)
        # All services start at once, possibly on a busy machine.
        for name in running:
            wait_for_status(home, name, ChildStatus.HEALTHY, timeout_s=START_TIMEOUT_S)
