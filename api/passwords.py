"""Passwords as Argon2id hashes (RFC 9106). One check takes about a tenth of a second and 64 MiB: on purpose.

Called from worker threads, never from the event loop, and by at most two at a time: forty guesses at once would take
gigabytes.
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
    """Whether it is the password. Without a hash (nobody of that name) it takes as long and says no."""
    with _hash_slots:
        correct = _hasher.verify(password, hash_ or _placeholder_hash())
    return correct and hash_ is not None


def one_time_password() -> str:
    """A password for somebody else to change: 144 bits."""
    return secrets.token_urlsafe(18)


def validate_password(password: str, *, username: str, old: str) -> None:
    """Raises BadInput for a new password that is too short, the old one, or the name."""
    if not LENGTH_MIN <= len(password) <= LENGTH_MAX:
        raise BadInput(f"A password has {LENGTH_MIN} to {LENGTH_MAX} characters, found {len(password)}.")
    if secrets.compare_digest(password.encode(), old.encode()):
        raise BadInput("The new password must not be the old one.")
    if username.lower() in password.lower():
        raise BadInput("A password must not hold the user's name.")


@cache
def _placeholder_hash() -> str:
    return _hasher.hash(secrets.token_urlsafe())
