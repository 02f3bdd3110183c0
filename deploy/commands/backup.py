"""`backup` and `restore`: save a whole platform to one file, and continue from it."""

from __future__ import annotations

import getpass
import json
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from deploy.errors import DeployError
from deploy.home import Home, home_from_environment
from schemas.errors import BadInput

if TYPE_CHECKING:
    from pyrage.x25519 import Identity

    from deploy.backup.archive import ArchiveReader
    from deploy.backup.database_restore import DatabaseRestore

File = Annotated[
    Path | None, typer.Argument(help="File to write (default: backups/trading-TIME.tar in the state folder).")
]
BackupFile = Annotated[Path, typer.Argument(help="Backup file to restore, as written by `backup`.")]
Force = Annotated[bool, typer.Option("--force", help="First move existing state to a dated folder or schema.")]
DatabaseOnly = Annotated[
    bool,
    typer.Option("--database-only", help="Restore only the tables, then rebuild them from the existing topics."),
]
Rebuild = Annotated[
    bool,
    typer.Option(
        "--rebuild", help="After the restore of a database, rebuild every table whose records are in a topic."
    ),
]
TrustUnsealed = Annotated[
    bool,
    typer.Option(
        "--trust-unsealed",
        help="Accept a backup of release 0.2.0 or earlier. It has no seal and contains only the database.",
    ),
]
Encrypt = Annotated[
    bool,
    typer.Option("--encrypt", help="Encrypt with the key in the secret BACKUP_KEY, which is created if it is not set."),
]
RecipientKey = Annotated[
    str | None, typer.Option("--recipient", help="Encrypt for this age public key (age1…) instead of BACKUP_KEY.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the manifest of the backup as JSON.")]


def register(app: typer.Typer) -> None:
    app.command("backup", help="Write database, topics, recovery stores and settings to one sealed file.")(backup)
    app.command("restore", help="Restore a platform from a backup, so that it continues from there.")(restore)


def backup(
    file: File = None, encrypt: Encrypt = False, recipient: RecipientKey = None, as_json: AsJson = False
) -> None:
    from dataflows.runtime.live_endpoints import platform_version
    from deploy.backup.encryption import KEY_NAME, recipient_for
    from deploy.backup.platform_backup import write_platform_backup
    from deploy.backup.seal import SEAL_KEY_NAME, create_seal_key, seal_key
    from deploy.backup.servers import platform_servers

    home, user = home_from_environment(), getpass.getuser()
    target = (file or _default_file(home)).absolute()
    if target.exists():
        raise DeployError(f"backup file {target} already exists; choose another name")
    backup_recipient = recipient_for(home, recipient, by=user) if encrypt or recipient is not None else None
    known_key = seal_key(home)
    console = Console(stderr=True)
    with console.status("backing up") as status, platform_servers(home, status.update) as services:
        key = known_key or create_seal_key(home, by=user)
        manifest = write_platform_backup(
            home,
            services,
            target,
            release=platform_version(),
            key=key,
            recipient=backup_recipient.recipient if backup_recipient is not None else None,
            report=status.update,
        )
    if as_json:
        print(json.dumps({"file": str(target), **manifest.summary()}, indent=2))
    else:
        print(
            f"{manifest.rows:,} rows of {len(manifest.tables)} tables, {manifest.messages:,} messages and "
            f"{len(manifest.stores)} recovery stores as of {manifest.created_at}: {target}"
        )
    sys.stdout.flush()
    new_keys = [] if known_key else [SEAL_KEY_NAME]
    new_keys += [KEY_NAME] if backup_recipient is not None and backup_recipient.is_new_key else []
    for name in new_keys:
        print(
            f"the secret {name} was created and stored in this state folder only. Print it with `python cli.py secrets "
            f"get {name}` and store a copy elsewhere: the backup cannot be restored without it.",
            file=sys.stderr,
        )


def restore(
    file: BackupFile,
    force: Force = False,
    database_only: DatabaseOnly = False,
    rebuild: Rebuild = False,
    trust_unsealed: TrustUnsealed = False,
    as_json: AsJson = False,
) -> None:
    from deploy.backup.archive import ArchiveReader
    from deploy.backup.encryption import backup_identity
    from deploy.backup.manifest import SEAL

    home = home_from_environment()
    identity = backup_identity(home)
    with closing(ArchiveReader(file)) as archive:
        if SEAL not in archive.entries:
            _restore_dump(home, archive, identity, force, rebuild, trust_unsealed, as_json)
        elif database_only:
            _restore_tables(home, archive, identity, force, as_json)
        elif rebuild:
            raise BadInput("--rebuild requires --database-only: a whole platform is restored with its topics")
        else:
            _restore_platform(home, archive, identity, force, as_json)


def _restore_platform(
    home: Home, archive: ArchiveReader, identity: Identity | None, force: bool, as_json: bool
) -> None:
    from deploy.backup.platform_restore import read_sealed_manifest, restore_platform
    from deploy.backup.seal import seal_key

    console = Console(stderr=True)
    with console.status("verifying the backup") as status:
        key = seal_key(home)
        manifest = read_sealed_manifest(archive, key, identity)
        summary = restore_platform(home, archive, manifest, identity, key=key, force=force, report=status.update)
    if as_json:
        old_state = None if summary.old_state is None else str(summary.old_state)
        restored = {"file": str(archive.path), **manifest.summary(), "epoch": summary.identity.epoch}
        print(json.dumps({**restored, "old_state": old_state, "old_schema": summary.old_schema}, indent=2))
        return
    print(
        f"{manifest.rows:,} rows, {manifest.messages:,} messages and {len(manifest.stores)} recovery stores as of "
        f"{manifest.created_at} restored (platform {summary.identity.platform_id}, epoch {summary.identity.epoch})"
    )
    if summary.old_state is not None:
        print(f"the previous state is in {summary.old_state}; delete it when you no longer need it")
    _print_old_schema(summary.old_schema)
    print("start the platform with `python cli.py restart`, which repeats the options of the backed-up platform")
    missing = [path for path in manifest.options.get("bars") or () if not Path(path).exists()]
    if missing:
        print(f"the backup does not hold the bar files of the feed; {missing[0]} does not exist", file=sys.stderr)


def _restore_tables(home: Home, archive: ArchiveReader, identity: Identity | None, force: bool, as_json: bool) -> None:
    from deploy.backup.database_restore import restore_database
    from deploy.backup.platform_restore import load_tables, read_sealed_manifest
    from deploy.backup.seal import seal_key

    console = Console(stderr=True)
    with console.status("verifying the backup") as status:
        manifest = read_sealed_manifest(archive, seal_key(home), identity)
        restored = restore_database(
            home,
            lambda url: load_tables(url, archive, manifest, identity),
            platform_id=manifest.identity.platform_id,
            force=force,
            rebuild=True,
            report=status.update,
        )
    if as_json:
        print(
            json.dumps({"file": str(archive.path), **manifest.summary(), "old_schema": restored.old_schema}, indent=2)
        )
        return
    _print_tables(manifest.rows, len(manifest.tables), manifest.created_at, restored)


def _restore_dump(
    home: Home,
    archive: ArchiveReader,
    identity: Identity | None,
    force: bool,
    rebuild: bool,
    trust_unsealed: bool,
    as_json: bool,
) -> None:
    from deploy.backup.database_dump import load_dump, read_dump_manifest
    from deploy.backup.database_restore import restore_database

    if not trust_unsealed:
        raise BadInput(
            f"{archive.path} is not sealed, so nothing shows who wrote it; if it is a backup of release 0.2.0 or "
            "earlier that you trust, add --trust-unsealed"
        )
    console = Console(stderr=True)
    with console.status("verifying the backup") as status:
        manifest = read_dump_manifest(archive, identity)
        restored = restore_database(
            home,
            lambda url: load_dump(url, archive, manifest, identity),
            platform_id=None,
            force=force,
            rebuild=rebuild,
            report=status.update,
        )
    if as_json:
        print(
            json.dumps({"file": str(archive.path), **manifest._asdict(), "old_schema": restored.old_schema}, indent=2)
        )
        return
    _print_tables(manifest.rows, len(manifest.tables), manifest.created_at, restored)


def _print_tables(rows: int, tables: int, created_at: str, restored: DatabaseRestore) -> None:
    print(f"{rows:,} rows of {tables} tables as of {created_at} restored")
    for line in restored.rebuilt:
        print(line)
    _print_old_schema(restored.old_schema)
    if not restored.rebuilt:
        print(
            "the backup holds the database alone: `start` refuses it until the tables fit the topics; "
            "run `python cli.py restore FILE --force --rebuild` where the topics exist"
        )


def _print_old_schema(schema: str) -> None:
    if schema:
        print(f"the previous tables are in the database schema {schema}; drop it when you no longer need it")


def _default_file(home: Home) -> Path:
    folder = home.root / "backups"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise DeployError(f"cannot create {folder}: {error.strerror}") from error
    return folder / f"trading-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.tar"
