"""The root key of signed commands in a backup, encrypted with the key that seals the backup and that a restore needs.

The private keys of the writers are not in a backup. The first start after a restore makes new ones, and the root key
records them and revokes the old ones, so that no command signed after the backup is valid in the restored history.
"""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.backup.manifest import SIGNING_ROOT_ENTRY
from deploy.errors import DeployError
from deploy.supervisor.command_keys import signing_folder
from operators.command_signatures import ROOT_WRITER
from schemas.errors import BadInput
from sinks.signing_keys import (
    RECORDED_FILE,
    WRITERS,
    PrivateKey,
    decode_key,
    encode_key,
    key_file,
    read_key,
    write_key,
)

if TYPE_CHECKING:
    from cryptography.fernet import Fernet

    from deploy.home import Home


def sealed_root(home: Home, seal_key: str) -> bytes | None:
    """Return the encrypted root key; None if this state folder has none. Raises DeployError if it cannot be read."""
    try:
        root = read_key(signing_folder(home), ROOT_WRITER)
    except BadInput as error:
        raise DeployError(str(error)) from error
    return None if root is None else _cipher(seal_key).encrypt(json.dumps(encode_key(root)).encode())


def open_root(content: bytes, seal_key: str, file: Path) -> PrivateKey:
    """Return the root key of a backup. Raises BadInput."""
    from cryptography.fernet import InvalidToken

    try:
        return decode_key(json.loads(_cipher(seal_key).decrypt(content)), ROOT_WRITER)
    except (InvalidToken, ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{file}: entry {SIGNING_ROOT_ENTRY} is damaged: {type(error).__name__}") from error


def replace_keys(home: Home, root: PrivateKey | None) -> None:
    """Install the root key of the restored history, and remove the keys of the writers. Raises DeployError."""
    folder = signing_folder(home)
    try:
        for name in WRITERS:
            key_file(folder, name).unlink(missing_ok=True)
        (folder / RECORDED_FILE).unlink(missing_ok=True)
        if root is not None:
            write_key(folder, root)
    except OSError as error:
        raise DeployError(f"cannot write the signing keys in {folder}: {error.strerror}") from error


def _cipher(seal_key: str) -> Fernet:
    from cryptography.fernet import Fernet

    return Fernet(base64.urlsafe_b64encode(hashlib.sha256(f"signing root {seal_key}".encode()).digest()))
