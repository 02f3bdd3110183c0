"""Seal a backup: an HMAC-SHA256 over its manifest, which holds the hash of every entry.

Encryption hides the content, but anybody who knows the public key can encrypt another backup. The seal shows that the
backup comes from a holder of the secret BACKUP_SEAL_KEY.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets as random_source
from pathlib import Path
from typing import TYPE_CHECKING

from configs.secrets import SecretFile, resolve_secrets
from schemas.errors import BadInput

if TYPE_CHECKING:
    from deploy.home import Home

SEAL_KEY_NAME = "BACKUP_SEAL_KEY"
KEY_CHARACTERS_MIN = 32
_SCHEME = "hmac-sha256"


def seal_key(home: Home) -> str | None:
    """Return BACKUP_SEAL_KEY; None if it is not set. Raises BadInput if it is too short."""
    value, source = resolve_secrets(os.environ, home.secrets).get(SEAL_KEY_NAME, ("", ""))
    if value and len(value) < KEY_CHARACTERS_MIN:
        raise BadInput(f"{SEAL_KEY_NAME} ({source}) must have at least {KEY_CHARACTERS_MIN} characters")
    return value or None


def create_seal_key(home: Home, *, by: str) -> str:
    """Generate BACKUP_SEAL_KEY in the secrets of the state folder and return it. `by`: the user."""
    key = random_source.token_urlsafe(32)
    SecretFile(home.secrets, os.environ).set(SEAL_KEY_NAME, key, by=by)
    return key


def seal(manifest: bytes, key: str) -> bytes:
    """Return the seal of a manifest as it is stored.

    >>> seal(b"{}", "k" * 32).split()[0]
    b'hmac-sha256'
    """
    return f"{_SCHEME} {_key_id(key)} {_mac(manifest, key)}\n".encode()


def require_seal(manifest: bytes, sealed: bytes, key: str | None, file: Path) -> None:
    """Raises BadInput if the seal is not that of this manifest with this key."""
    scheme, key_id, mac = [*sealed.decode("ascii", "replace").split(), "", "", ""][:3]
    if scheme != _SCHEME:
        raise BadInput(f"{file}: entry manifest.mac must start with {_SCHEME}, found {scheme[:20]!r}")
    if key is None:
        raise BadInput(
            f"{file} is sealed; set the {SEAL_KEY_NAME} of the platform that wrote it, in the environment or with "
            "`python cli.py secrets set`"
        )
    if key_id != _key_id(key):
        raise BadInput(f"{file} was sealed with another {SEAL_KEY_NAME}; set that of the platform that wrote it")
    if not hmac.compare_digest(mac, _mac(manifest, key)):
        raise BadInput(f"{file} was changed after it was written: its manifest does not match its seal")


def _mac(manifest: bytes, key: str) -> str:
    return hmac.new(key.encode(), manifest, hashlib.sha256).hexdigest()


def _key_id(key: str) -> str:
    """Return a short name of the key that does not reveal it."""
    return hmac.new(key.encode(), b"key id", hashlib.sha256).hexdigest()[:16]
