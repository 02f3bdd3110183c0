"""A second factor for log-ins: time-based one-time passwords (TOTP, RFC 6238) and recovery codes.

A code has six digits, belongs to a step of 30 s, and is accepted from one step before to one step after the current
one, each step at most once. A recovery code replaces one TOTP code once. The algorithm is short and has test vectors in
the RFC, so it needs no package.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import struct
import time
from typing import NamedTuple
from urllib.parse import quote

from sqlalchemy import Connection, delete, select, update
from sqlalchemy.dialects.postgresql import insert

from api.tokens import SecondFactorRequired, Unauthenticated
from sinks.accounts import second_factors

STEP_S, DIGITS, STEPS_TOLERATED = 30, 6, 1
SECRET_BYTES = 20
RECOVERY_CODES, RECOVERY_CODE_BYTES = 10, 10
ISSUER = "Trading Platform"


class Enrolment(NamedTuple):
    """`secret` is base32 text for an authenticator, `uri` the same as a QR code's content."""

    secret: str
    uri: str


def totp(secret: bytes, step: int) -> str:
    """Returns the code of a step (RFC 6238 with SHA-1, which every authenticator supports).

    >>> totp(b"12345678901234567890", 59 // 30)
    '287082'
    """
    digest = hmac.digest(secret, struct.pack(">Q", step), hashlib.sha1)
    offset = digest[-1] & 0xF
    number = struct.unpack(">I", digest[offset : offset + 4])[0] & 0x7FFF_FFFF
    return f"{number % 10**DIGITS:0{DIGITS}d}"


def begin(db: Connection, username: str) -> Enrolment:
    """Stores a new secret that takes effect with `confirm`. Replaces an unconfirmed one.

    Raises Unauthenticated if the account already has a second factor.
    """
    secret = base64.b32encode(secrets.token_bytes(SECRET_BYTES)).decode()
    row = {"username": username, "secret": secret, "confirmed": False, "last_step": 0, "recovery_digests": []}
    statement = insert(second_factors).values(row)
    changed = db.execute(
        statement.on_conflict_do_update(
            index_elements=[second_factors.c.username],
            set_={"secret": secret, "last_step": 0},
            where=~second_factors.c.confirmed,
        )
    )
    if not changed.rowcount:
        raise Unauthenticated("The account has a second factor. Disable it first.")
    label = quote(f"{ISSUER}:{username}")
    return Enrolment(secret, f"otpauth://totp/{label}?secret={secret}&issuer={quote(ISSUER)}")


def confirm(db: Connection, username: str, code: str) -> list[str]:
    """Turns the second factor on and returns its recovery codes, which are shown only once.

    Raises Unauthenticated for a wrong code or without `begin`.
    """
    row = db.execute(select(second_factors).where(second_factors.c.username == username).with_for_update()).first()
    step = None if row is None or row.confirmed else _matching_step(row.secret, code, row.last_step)
    if step is None:
        raise Unauthenticated("The code is wrong or has expired. Enter the current code of the authenticator.")
    codes = [_recovery_code() for _ in range(RECOVERY_CODES)]
    values = {"confirmed": True, "last_step": step, "recovery_digests": [_digest(one) for one in codes]}
    db.execute(update(second_factors).where(second_factors.c.username == username).values(values))
    return codes


def remove(db: Connection, username: str) -> bool:
    """Turns the second factor off. Returns whether there was one."""
    return bool(db.execute(delete(second_factors).where(second_factors.c.username == username)).rowcount)


def verify(db: Connection, username: str, code: str | None) -> None:
    """Checks the code of a log-in and marks it as used. Without a second factor, every code is accepted.

    Raises SecondFactorRequired if a code is required and missing, Unauthenticated if it is wrong or was used before.
    """
    row = db.execute(select(second_factors).where(second_factors.c.username == username).with_for_update()).first()
    if row is None or not row.confirmed:
        return
    if not code:
        raise SecondFactorRequired("A code of your authenticator, or a recovery code, is required.")
    step, digest = _matching_step(row.secret, code, row.last_step), _digest(code)
    values: dict[str, object]
    if step is not None:
        values = {"last_step": step}
    elif digest in row.recovery_digests:
        values = {"recovery_digests": [one for one in row.recovery_digests if one != digest]}
    else:
        raise Unauthenticated("The code is wrong, has expired or was used before.")
    db.execute(update(second_factors).where(second_factors.c.username == username).values(values))


def _matching_step(secret: str, code: str, last_step: int) -> int | None:
    """Returns the step of the code; None if it is wrong, expired or not later than the last accepted one."""
    key, current = base64.b32decode(secret), int(time.time()) // STEP_S
    entered = code.replace(" ", "").encode()
    for step in range(current - STEPS_TOLERATED, current + STEPS_TOLERATED + 1):
        if step > last_step and hmac.compare_digest(entered, totp(key, step).encode()):
            return step
    return None


def _recovery_code() -> str:
    text = base64.b32encode(secrets.token_bytes(RECOVERY_CODE_BYTES)).decode().lower()
    return "-".join(text[start : start + 4] for start in range(0, len(text), 4))


def _digest(code: str) -> str:
    # A recovery code has 80 random bits, so that a fast hash is enough.
    normalized = code.replace(" ", "").replace("-", "").lower()
    return hashlib.sha256(normalized.encode(errors="replace")).hexdigest()
