"""`backup` and `restore`: save the database to a file and load it. A backup does not contain the topics."""

from __future__ import annotations

import getpass
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from deploy.errors import DeployError
from deploy.home import Home, home_from_environment
from deploy.supervisor.process_spec import ProcessKind
from deploy.supervisor.state import Status, running_state

File = Annotated[
    Path | None, typer.Argument(help="File to write (default: backups/trading-TIME.tar in the state folder).")
]
BackupFile = Annotated[Path, typer.Argument(help="Backup file to restore, as written by `backup`.")]
Force = Annotated[bool, typer.Option("--force", help="Replace the existing contents of the database.")]
Rebuild = Annotated[
    bool, typer.Option("--rebuild", help="After the restore, rebuild every table whose records are in a topic.")
]
Encrypt = Annotated[
    bool,
    typer.Option("--encrypt", help="Encrypt with the key in the secret BACKUP_KEY, which is created if it is not set."),
]
RecipientKey = Annotated[
    str | None, typer.Option("--recipient", help="Encrypt for this age public key (age1…) instead of BACKUP_KEY.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the manifest of the backup as JSON.")]

START_TIMEOUT_S = 240.0


def register(app: typer.Typer) -> None:
    app.command("backup", help="Write a consistent snapshot of the whole database to a file.")(backup)
    app.command("restore", help="Load a backup into the database, in one transaction.")(restore)


def backup(
    file: File = None, encrypt: Encrypt = False, recipient: RecipientKey = None, as_json: AsJson = False
) -> None:
    from dataflows.runtime.live_endpoints import platform_version
    from deploy.backup.backup_file import write_backup
    from deploy.backup.encryption import recipient_for

    home = home_from_environment()
    target = (file or _default_file(home)).absolute()
    if target.exists():
        raise DeployError(f"backup file {target} already exists; choose another name")
    backup_recipient = (
        recipient_for(home, recipient, by=getpass.getuser()) if encrypt or recipient is not None else None
    )
    with _database_url(home) as url:
        public_key = backup_recipient.recipient if backup_recipient is not None else None
        manifest = write_backup(
            url, target, release=platform_version(), topics=_end_offsets(home), recipient=public_key
        )
    if as_json:
        print(json.dumps({"file": str(target), **manifest._asdict()}, indent=2))
    else:
        print(f"{manifest.rows:,} rows of {len(manifest.tables)} tables as of {manifest.created_at}: {target}")
    if backup_recipient is not None and backup_recipient.is_new_key:
        print(
            "a new backup key was created and stored in this state folder only. Print it with `python cli.py secrets "
            "get BACKUP_KEY` and store a copy elsewhere: the backup cannot be restored without it.",
            file=sys.stderr,
        )


def restore(file: BackupFile, force: Force = False, rebuild: Rebuild = False, as_json: AsJson = False) -> None:
    from deploy.backup.backup_file import extend_audit_chain, read_manifest, require_empty_database, restore_backup
    from deploy.backup.encryption import backup_identity
    from deploy.commands.rebuild import rebuild_table, tables_of_topics
    from deploy.supervisor.migrate import migrate

    home = home_from_environment()
    identity = backup_identity(home)
    read_manifest(file, identity)  # report an invalid backup before any service is stopped
    if rebuild and running_state(home) is None and not os.environ.get("KAFKA_BOOTSTRAP_SERVERS"):
        raise DeployError("--rebuild reads the topics, and Kafka is not running; run `python cli.py start` first")
    with _database_url(home) as url:
        require_empty_database(url, force=force)
        with _writers_stopped(home):
            manifest = restore_backup(url, file, force=force, identity=identity)
            migrate(url)
            rebuilt = [rebuild_table(home, name) for name in tables_of_topics()] if rebuild else []
            if rebuild:
                extend_audit_chain(url)
    if as_json:
        print(json.dumps({"file": str(file), **manifest._asdict()}, indent=2))
        return
    print(f"{manifest.rows:,} rows of {len(manifest.tables)} tables as of {manifest.created_at} restored")
    for line in rebuilt:
        print(line)
    if not rebuilt:
        print(
            "later rows are in the topics: load them with `python cli.py rebuild TABLE --table`, or all with "
            "`restore --rebuild`"
        )


def _default_file(home: Home) -> Path:
    folder = home.root / "backups"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise DeployError(f"cannot create {folder}: {error.strerror}") from error
    return folder / f"trading-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.tar"


@contextmanager
def _database_url(home: Home) -> Iterator[str]:
    """Yield `DATABASE_URL`, or the URL of the embedded PostgreSQL, which is started for the duration if necessary."""
    from deploy.recovery.recorded_topics import supervisor_lock
    from deploy.supervisor.service_addresses import use_running_services

    if os.environ.get("DATABASE_URL"):
        yield os.environ["DATABASE_URL"]
        return
    if running_state(home) is not None:
        use_running_services(home)
        yield os.environ["DATABASE_URL"]
        return
    home.create_folders()
    with supervisor_lock(home), _embedded_postgres(home) as url:
        yield url


@contextmanager
def _embedded_postgres(home: Home) -> Iterator[str]:
    from deploy.local import postgres
    from deploy.local.endpoints import Endpoints, Ports
    from deploy.local.stack import ServiceStack

    ports = Ports.free()
    server = postgres.prepare(home, ports.postgres)
    stack = ServiceStack(home, ports, Endpoints("", server.url, "", (server,)))
    Console(stderr=True).print("starting PostgreSQL only", highlight=False)
    try:
        stack.start_one("postgres")
        postgres.make_database(home, ports.postgres)
        yield server.url
    finally:
        stack.stop()


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
        wait_for_status(home, name, Status.STOPPED)
    try:
        yield
    finally:
        for name in running:
            request(home, "start", name)
        # All services start at once, possibly on a busy machine.
        for name in running:
            wait_for_status(home, name, Status.HEALTHY, timeout_s=START_TIMEOUT_S)


def _end_offsets(home: Home) -> dict[str, int]:
    """Return the end offset of every partition of the platform's topics; empty if Kafka does not respond."""
    from confluent_kafka import Consumer, KafkaException, TopicPartition

    from deploy.recovery.recorded_topics import platform_settings
    from deploy.supervisor.probes import KafkaProbe
    from sinks.cluster import client_config

    state = running_state(home)
    servers = os.environ.get("KAFKA_BOOTSTRAP_SERVERS") or (state.kafka if state is not None else "")
    if not servers:
        return {}
    kafka = platform_settings(home, {"KAFKA_BOOTSTRAP_SERVERS": servers}).kafka
    if KafkaProbe(kafka.cluster)(os.getpid()) is not None:
        return {}
    consumer = Consumer(client_config(kafka.cluster, {"group.id": "backup", "log_level": 0}))
    try:
        topics = consumer.list_topics(timeout=10).topics
        return {
            f"{name}/{partition}": consumer.get_watermark_offsets(TopicPartition(name, partition), timeout=10)[1]
            for name in (kafka.topic_prefix + topic for topic in kafka.topics)
            if name in topics
            for partition in topics[name].partitions
        }
    except KafkaException:
        return {}
    finally:
        consumer.close()
