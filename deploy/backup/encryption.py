"""Backups that only a key opens: each entry encrypted in age's format, https://age-encryption.org/v1.

The key is the secret BACKUP_KEY; what is public of it is enough to write a backup.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from configs.secrets import SecretFile, found_secrets
from deploy.errors import DeployError
from schemas.errors import BadInput

if TYPE_CHECKING:
    from pyrage.x25519 import Identity, Recipient

    from deploy.home import Home

ENDING = ".age"
KEY = "BACKUP_KEY"


class Made(NamedTuple):
    """Whom a backup is encrypted for. `new`: the key was made just now, and nobody has a copy."""

    recipient: Recipient
    new: bool


def recipient_for(home: Home, named: str | None, *, by: str) -> Made:
    """`named` (age1…), else that of BACKUP_KEY, which is made in the state folder's secrets where it is set nowhere.

    Raises BadInput.
    """
    from pyrage import RecipientError, x25519

    if named is not None:
        try:
            return Made(x25519.Recipient.from_str(named.strip()), new=False)
        except RecipientError as error:
            raise BadInput(f"--recipient: expected what is public of an age key (age1…), found {named!r}") from error
    identity = own_identity(home)
    if identity is not None:
        return Made(identity.to_public(), new=False)
    identity = x25519.Identity.generate()
    SecretFile(home.secrets, os.environ).set(KEY, str(identity), by=by)
    return Made(identity.to_public(), new=True)


def own_identity(home: Home) -> Identity | None:
    """The key in BACKUP_KEY, None where it is set nowhere. Raises BadInput where it is none."""
    from pyrage import IdentityError, x25519

    value, source = found_secrets(os.environ, home.secrets).get(KEY, ("", ""))
    if not value:
        return None
    try:
        return x25519.Identity.from_str(value.strip())
    except IdentityError as error:
        raise BadInput(f"{KEY} ({source}) holds no age key (AGE-SECRET-KEY-1…)") from error


def sealed_copy(source: Any, to: IO[bytes], recipient: Recipient | None) -> None:
    """Copy what `source.read` gives, encrypted where there is a recipient. Raises DeployError and OSError."""
    if recipient is None:
        shutil.copyfileobj(source, to, 1 << 20)
        return
    import pyrage

    try:
        pyrage.encrypt_io(source, to, [recipient])
    except pyrage.EncryptError as error:
        raise DeployError(f"the backup cannot be encrypted: {error}") from error


def unsealed_copy(source: IO[bytes], to: Any, identity: Identity | None, file: Path) -> None:
    """Decrypt `source` into `to.write`. Raises BadInput without a key, or where it does not fit."""
    import pyrage

    if identity is None:
        raise BadInput(f"{file} is encrypted: give its key in {KEY}, by the environment or `python cli.py secrets set`")
    try:
        pyrage.decrypt_io(source, to, [identity])
    except pyrage.DecryptError as error:
        raise BadInput(f"{file} cannot be opened: the key in {KEY} is not that of this backup") from error
