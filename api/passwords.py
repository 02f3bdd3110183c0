"""Hash and verify passwords with Argon2id (RFC 9106). One check deliberately takes about 0.1 s and 64 MiB.

Call these functions from worker threads, never from the event loop. At most two run at a time: forty concurrent
guesses would need gigabytes.
"""

from __future__ import annotations

import secrets
import threading
from functools import cache

from pwdlib import PasswordHash

from schemas.errors import BadInput

LENGTH_MIN, LENGTH_MAX = 12, 256

_hasher = PasswordHash.recommended()
_hash_slots = threading.BoundedSemaphore(2)


def hash_password(password: str) -> str:
    with _hash_slots:
        return _hasher.hash(password)


def verify_password(password: str, hash_: str | None) -> bool:
    """Return whether the password matches the hash. Without a hash (unknown user), take the same time and return
    False.
    """
    with _hash_slots:
        correct = _hasher.verify(password, hash_ or _placeholder_hash())
    return correct and hash_ is not None


def one_time_password() -> str:
    """Return a random password of 144 bits, which the user must change."""
    return secrets.token_urlsafe(18)


def validate_password(password: str, *, username: str, old: str) -> None:
    """Raises BadInput if the new password has a wrong length, equals the old one or contains the username."""
    if not LENGTH_MIN <= len(password) <= LENGTH_MAX:
        raise BadInput(f"A password must have {LENGTH_MIN} to {LENGTH_MAX} characters, found {len(password)}.")
    if secrets.compare_digest(password.encode(), old.encode()):
        raise BadInput("The new password must differ from the old one.")
    if username.lower() in password.lower():
        raise BadInput("A password must not contain the username.")


@cache
def _placeholder_hash() -> str:
    return _hasher.hash(secrets.token_urlsafe())
