"""Backups that only a key opens: each entry encrypted in age's format, https://age-encryption.org/v1.

The key is the secret BACKUP_KEY; what is public of it is enough to write a backup.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from configs.secrets import SecretFile, resolve_secrets
from deploy.errors import DeployError
from schemas.errors import BadInput

if TYPE_CHECKING:
    from pyrage.x25519 import Identity, Recipient

    from deploy.home import Home

ENCRYPTED_SUFFIX = ".age"
KEY_NAME = "BACKUP_KEY"


class BackupRecipient(NamedTuple):
    """Whom a backup is encrypted for. `is_new_key`: the key was made just now, and nobody has a copy."""

    recipient: Recipient
    is_new_key: bool


def recipient_for(home: Home, recipient_text: str | None, *, by: str) -> BackupRecipient:
    """`recipient_text` (age1…), else that of BACKUP_KEY, which is made in the state folder's secrets where it is set nowhere.

    Raises BadInput.
    """
    from pyrage import RecipientError, x25519

    if recipient_text is not None:
        try:
            return BackupRecipient(x25519.Recipient.from_str(recipient_text.strip()), is_new_key=False)
        except RecipientError as error:
            raise BadInput(
                f"--recipient: expected what is public of an age key (age1…), found {recipient_text!r}"
            ) from error
    identity = backup_identity(home)
    if identity is not None:
        return BackupRecipient(identity.to_public(), is_new_key=False)
    identity = x25519.Identity.generate()
    SecretFile(home.secrets, os.environ).set(KEY_NAME, str(identity), by=by)
    return BackupRecipient(identity.to_public(), is_new_key=True)


def backup_identity(home: Home) -> Identity | None:
    """The key in BACKUP_KEY, None where it is set nowhere. Raises BadInput where it is none."""
    from pyrage import IdentityError, x25519

    value, source = resolve_secrets(os.environ, home.secrets).get(KEY_NAME, ("", ""))
    if not value:
        return None
    try:
        return x25519.Identity.from_str(value.strip())
    except IdentityError as error:
        raise BadInput(f"{KEY_NAME} ({source}) holds no age key (AGE-SECRET-KEY-1…)") from error


def copy_encrypted(source: Any, target: IO[bytes], recipient: Recipient | None) -> None:
    """Copy what `source.read` gives, encrypted where there is a recipient. Raises DeployError and OSError."""
    if recipient is None:
        shutil.copyfileobj(source, target, 1 << 20)
        return
    import pyrage

    try:
        pyrage.encrypt_io(source, target, [recipient])
    except pyrage.EncryptError as error:
        raise DeployError(f"the backup cannot be encrypted: {error}") from error


def copy_decrypted(source: IO[bytes], target: Any, identity: Identity | None, file: Path) -> None:
    """Decrypt `source` into `target.write`. Raises BadInput without a key, or where it does not fit."""
    import pyrage

    if identity is None:
        raise BadInput(
            f"{file} is encrypted: give its key in {KEY_NAME}, by the environment or `python cli.py secrets set`"
        )
    try:
        pyrage.decrypt_io(source, target, [identity])
    except pyrage.DecryptError as error:
        raise BadInput(f"{file} cannot be opened: the key in {KEY_NAME} is not that of this backup") from error
