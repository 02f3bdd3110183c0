"""Encrypt and decrypt backups: each entry is a file in the age format, https://age-encryption.org/v1.

The key is the secret BACKUP_KEY. Its public part is sufficient to write a backup.
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
    """The recipient of a backup. `is_new_key`: the key was just generated, and no copy exists yet."""

    recipient: Recipient
    is_new_key: bool


def recipient_for(home: Home, recipient_text: str | None, *, by: str) -> BackupRecipient:
    """Return the recipient `recipient_text` (age1…), else that of BACKUP_KEY. Generates BACKUP_KEY if it is not set.

    A generated key is stored in the secrets of the state folder, by the user `by`. Raises BadInput.
    """
    from pyrage import RecipientError, x25519

    if recipient_text is not None:
        try:
            return BackupRecipient(x25519.Recipient.from_str(recipient_text.strip()), is_new_key=False)
        except RecipientError as error:
            raise BadInput(f"--recipient must be an age public key (age1…), found {recipient_text!r}") from error
    identity = backup_identity(home)
    if identity is not None:
        return BackupRecipient(identity.to_public(), is_new_key=False)
    identity = x25519.Identity.generate()
    SecretFile(home.secrets, os.environ).set(KEY_NAME, str(identity), by=by)
    return BackupRecipient(identity.to_public(), is_new_key=True)


def backup_identity(home: Home) -> Identity | None:
    """Return the key in BACKUP_KEY; None if it is not set. Raises BadInput if it is malformed."""
    from pyrage import IdentityError, x25519

    value, source = resolve_secrets(os.environ, home.secrets).get(KEY_NAME, ("", ""))
    if not value:
        return None
    try:
        return x25519.Identity.from_str(value.strip())
    except IdentityError as error:
        raise BadInput(f"{KEY_NAME} ({source}) must be an age key (AGE-SECRET-KEY-1…)") from error


def copy_encrypted(source: Any, target: IO[bytes], recipient: Recipient | None) -> None:
    """Copy `source` to `target`, encrypted if there is a recipient. Raises DeployError and OSError."""
    if recipient is None:
        shutil.copyfileobj(source, target, 1 << 20)
        return
    import pyrage

    try:
        pyrage.encrypt_io(source, target, [recipient])
    except pyrage.EncryptError as error:
        raise DeployError(f"cannot encrypt the backup: {error}") from error


def copy_decrypted(source: IO[bytes], target: Any, identity: Identity | None, file: Path) -> None:
    """Decrypt `source` into `target.write`. Raises BadInput if the key is missing or wrong."""
    import pyrage

    if identity is None:
        raise BadInput(
            f"{file} is encrypted; set its key in {KEY_NAME}, in the environment or with `python cli.py secrets set`"
        )
    try:
        pyrage.decrypt_io(source, target, [identity])
    except pyrage.DecryptError as error:
        raise BadInput(f"cannot decrypt {file}: {KEY_NAME} is not the key of this backup") from error
