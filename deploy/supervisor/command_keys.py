"""Create the keys that sign commands and record their public halves in the topic `commands`. Idempotent.

The first record of a root key is the cut-over: every command after it needs a signature. `initialize` writes it before
any service starts. After an interruption, the next start repeats the records that Kafka has not acknowledged; readers
discard a repeated record by its id. The root key may be kept elsewhere: it is needed only to record other keys.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from deploy.errors import DeployError
from operators.command_signatures import ROOT_WRITER, decode_base64, key_id_of
from schemas.errors import BadInput, Unavailable
from schemas.records import SIGNING_KEY, SIGNING_KEY_REVOKED, SIGNING_ROOT, Command
from sinks.signing_keys import (
    FOLDER,
    RECORDED_FILE,
    WRITERS,
    PrivateKey,
    key_file,
    key_record,
    new_key,
    read_key,
    read_recorded,
    revocation_record,
    root_record,
    write_key,
    write_private_file,
)

if TYPE_CHECKING:
    from configs.settings import Settings
    from deploy.home import Home


def signing_folder(home: Home) -> Path:
    return home.secrets / FOLDER


def record_command_keys(home: Home, settings: Settings, platform_id: str) -> list[str]:
    """Create the missing keys of a platform and record them. Return the ids of the new records.

    Raises DeployError if a key cannot be read, written or recorded, or if the log has the root key of another state
    folder.
    """
    folder = signing_folder(home)
    try:
        _move_foreign_keys(folder, platform_id)
        root = read_key(folder, ROOT_WRITER)
        in_log = recorded_keys(settings.database.postgres.url)
        _require_known_root(root, in_log.roots, folder)
        if root is None and read_recorded(folder) is not None:
            return []  # the root key is kept elsewhere
        if root is None:
            root = _create(folder, platform_id, ROOT_WRITER)
        if _pending_folder(folder).exists():
            _rotate_root(folder, settings, root, None)
            root = read_key(folder, ROOT_WRITER) or root
        keys = [read_key(folder, writer) or _create(folder, platform_id, writer) for writer in WRITERS]
        records = [root_record(root), *(key_record(root, key) for key in keys)]
        # Keys of files that are gone, as after a restore: nobody may sign with them any more.
        lost = in_log.writers - {key.key_id for key in keys}
        records += [revocation_record(root, key_id, time.time_ns(), "its file is gone") for key_id in sorted(lost)]
        return publish_records(folder, settings, records)
    except BadInput as error:
        raise DeployError(str(error)) from error
    except OSError as error:
        raise DeployError(f"cannot write the signing keys in {folder}: {error.strerror}") from error


def publish_records(folder: Path, settings: Settings, records: Sequence[Command]) -> list[str]:
    """Publish the key records that Kafka has not acknowledged yet, in order. Return their ids. Raises DeployError."""
    from sinks.commands import START_TIMEOUT_S, CommandLog

    recorded = read_recorded(folder) or []
    missing = [record for record in records if record.command_id not in recorded]
    if not missing:
        return []
    command_log = CommandLog(settings.kafka.cluster, prefix=settings.kafka.topic_prefix, timeout_s=START_TIMEOUT_S)
    for record in missing:
        try:
            command_log.send(record)
        except Unavailable as error:
            raise DeployError(f"cannot record a signing key in topic commands: {error}") from error
        recorded.append(record.command_id)
        write_private_file(folder / RECORDED_FILE, json.dumps(recorded, indent=1))
    return [record.command_id for record in missing]


def rotate_key(
    home: Home, settings: Settings, writer: str, *, valid_until_ns: int, overlap_s: float, reason: str
) -> tuple[str, str]:
    """Replace the key of a writer, and revoke the old one after `overlap_s`. Return the new and the old key id.

    Running processes sign with the new key from their next command on. "root" replaces the root key: the old one signs
    the record of the new one, and is thereby revoked. Raises DeployError.
    """
    folder = signing_folder(home)
    try:
        root = read_key(folder, ROOT_WRITER)
        if root is None:
            raise DeployError(
                f"the root key {key_file(folder, ROOT_WRITER)} is missing; put it back for the rotation, or start the "
                "platform once, if it has no keys yet"
            )
        old = root if writer == ROOT_WRITER else read_key(folder, writer)
        key = new_key(root.platform_id, writer, time.time_ns(), valid_until_ns)
        if writer == ROOT_WRITER:
            return _rotate_root(folder, settings, root, key)
        publish_records(folder, settings, [key_record(root, key)])
        write_key(folder, key)
        if old is not None:
            time.sleep(overlap_s)  # commands that are being sent still have the old signature
            publish_records(folder, settings, [revocation_record(root, old.key_id, time.time_ns(), reason)])
        return key.key_id, "" if old is None else old.key_id
    except BadInput as error:
        raise DeployError(str(error)) from error
    except OSError as error:
        raise DeployError(f"cannot write the signing keys in {folder}: {error.strerror}") from error


def _rotate_root(folder: Path, settings: Settings, old: PrivateKey, new: PrivateKey | None) -> tuple[str, str]:
    """Replace the root key, or finish an interrupted replacement if `new` is None. Return the new and the old key id.

    The new key is on the disk before its record is published: otherwise, a crash between the two would lose it.
    """
    pending = _pending_folder(folder)
    interrupted = read_key(pending, ROOT_WRITER)
    if interrupted is None and new is not None:
        write_key(pending, new)
    key = interrupted or new
    if key is None:
        pending.rmdir()
        return old.key_id, ""
    publish_records(folder, settings, [old.sign(root_record(key))])
    key_file(pending, ROOT_WRITER).replace(key_file(folder, ROOT_WRITER))
    pending.rmdir()
    return key.key_id, old.key_id


def _pending_folder(folder: Path) -> Path:
    return folder / f"{ROOT_WRITER}.new"


class RecordedKeys(NamedTuple):
    """What table `commands` has: public root keys in base64, and the ids of the writers' keys that are not revoked."""

    roots: list[str]
    writers: set[str]


def recorded_keys(database_url: str) -> RecordedKeys:
    """Read the key records in table `commands`. Raises DeployError."""
    from contextlib import closing

    import psycopg2

    from sinks.database import libpq_url

    query = "SELECT kind, arguments FROM commands WHERE kind IN (%s, %s, %s)"
    try:
        with closing(psycopg2.connect(libpq_url(database_url), connect_timeout=5)) as connection:
            cursor = connection.cursor()
            cursor.execute(query, (SIGNING_ROOT, SIGNING_KEY, SIGNING_KEY_REVOKED))
            rows = cursor.fetchall()
    except psycopg2.Error as error:
        raise DeployError(f"cannot read table commands: {str(error).strip().splitlines()[0]}") from error
    public_keys = [(kind, arguments.get("public_key", "")) for kind, arguments in rows]
    writers = {key_id_of(decode_base64(public_key)) for kind, public_key in public_keys if kind == SIGNING_KEY}
    revoked = {arguments.get("key_id", "") for kind, arguments in rows if kind == SIGNING_KEY_REVOKED}
    return RecordedKeys([public_key for kind, public_key in public_keys if kind == SIGNING_ROOT], writers - revoked)


def _require_known_root(root: PrivateKey | None, in_log: Sequence[str], folder: Path) -> None:
    """Raises DeployError if the log has only root keys of which this state folder has none."""
    from base64 import b64encode

    if not in_log or (root is None and read_recorded(folder) is not None):
        return
    if root is None:
        raise DeployError(
            f"the commands of this platform need signatures, but {key_file(folder, ROOT_WRITER)} is missing; copy "
            f"{folder} from the state folder that has it, or restore a backup with the key that sealed it"
        )
    if b64encode(root.public_key).decode() not in in_log:
        raise DeployError(
            f"topic commands has another root key than {key_file(folder, ROOT_WRITER)}: somebody else recorded one; "
            "see `python cli.py security keys list`, and restore a backup from before it"
        )


def _create(folder: Path, platform_id: str, writer: str) -> PrivateKey:
    key = new_key(platform_id, writer, time.time_ns())
    write_key(folder, key)
    return key


def _move_foreign_keys(folder: Path, platform_id: str) -> None:
    """Rename the folder if its keys belong to another platform, whose state was removed."""
    root = read_key(folder, ROOT_WRITER)
    if root is not None and root.platform_id != platform_id:
        target = folder.with_name(f"{folder.name}-{root.platform_id}")
        shutil.rmtree(target, ignore_errors=True)
        folder.rename(target)
