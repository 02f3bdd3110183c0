"""Signed tokens (JWT, RFC 7519; HS256): what a caller shows with each request, and what a new pair is had for."""

from __future__ import annotations

import os
import secrets
import time
from pathlib import Path
from typing import Any, NamedTuple

import jwt

from schemas.errors import PlatformError

ISSUER = "institutional-trading-platform"
ACCESS, REFRESH = "access", "refresh"
_ALGORITHM = "HS256"
_REQUIRED = ["iss", "sub", "jti", "iat", "exp", "sid", "typ", "ver", "role", "chg"]


class Unauthenticated(PlatformError):
    """Nobody, or nobody any more: the caller has to log in."""


class Token(NamedTuple):
    """What a token says of its user as of when it was issued. `expires_at` in seconds since 1970."""

    username: str
    role: str
    must_change_password: bool
    version: int
    token_id: str
    session_id: str
    expires_at: int


def new_id() -> str:
    return secrets.token_urlsafe(16)


def sign(key: str, kind: str, token: Token) -> str:
    """The token as text."""
    claims: dict[str, Any] = {
        "iss": ISSUER,
        "sub": token.username,
        "jti": token.token_id,
        "sid": token.session_id,
        "ver": token.version,
        "role": token.role,
        "chg": token.must_change_password,
        "typ": kind,
        "iat": int(time.time()),
        "exp": token.expires_at,
    }
    return jwt.encode(claims, key, _ALGORITHM)


def verify(key: str, kind: str, text: str) -> Token:
    """What the token says. Raises Unauthenticated for one that is not ours, not of this kind, or expired."""
    try:
        claims = jwt.decode(text, key, [_ALGORITHM], options={"require": _REQUIRED}, issuer=ISSUER)
    except jwt.ExpiredSignatureError as error:
        raise Unauthenticated("The token has expired: refresh it or log in.") from error
    except jwt.InvalidTokenError as error:
        raise Unauthenticated("The token is not valid: log in.") from error
    if claims["typ"] != kind:
        raise Unauthenticated(f"This takes an {kind} token, found another kind.")
    user_claims = (claims["sub"], claims["role"], claims["chg"], claims["ver"])
    return Token(*user_claims, claims["jti"], claims["sid"], int(claims["exp"]))


def load_or_create_key(secrets_folder: Path) -> str:
    """The signing key of this platform, made at first use and readable by its owner only.

    Several API processes may start at once: the one that links its file first decides.
    """
    path = secrets_folder / "api-jwt-key"
    if not path.exists():
        secrets_folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = path.with_name(f"{path.name}.{os.getpid()}.{new_id()}")
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(48) + "\n")
        try:
            os.link(temporary, path)
        except FileExistsError:
            pass  # another process was first
        finally:
            temporary.unlink()
    return path.read_text().strip()
