"""Signed tokens (JWT, RFC 7519; HS256): access tokens for requests, refresh tokens for a new pair."""

from __future__ import annotations

import os
import secrets
import time
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import jwt

from schemas.errors import PlatformError

ISSUER = "institutional-trading-platform"
TokenKind = Literal["access", "refresh"]
ACCESS: Final = "access"
REFRESH: Final = "refresh"
JWT_KEY_FILE = "api-jwt-key"
_ALGORITHM = "HS256"
_REQUIRED = ["iss", "sub", "jti", "iat", "exp", "sid", "typ", "ver", "role", "chg"]


class Unauthenticated(PlatformError):
    """The caller has no valid token and must log in."""


class SecondFactorRequired(Unauthenticated):
    """The password is right, and the account also requires a code."""


class Token(NamedTuple):
    """The contents of a token: the user at the time of issue. `expires_at` is in seconds since 1970."""

    username: str
    role: str
    must_change_password: bool
    version: int
    token_id: str
    session_id: str
    expires_at: int


def new_id() -> str:
    return secrets.token_urlsafe(16)


def sign(key: str, kind: TokenKind, token: Token) -> str:
    """Return the encoded token."""
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


def verify(key: str, kind: TokenKind, text: str) -> Token:
    """Decode a token. Raises Unauthenticated if the token is invalid, expired or of another kind."""
    try:
        claims = jwt.decode(text, key, [_ALGORITHM], options={"require": _REQUIRED}, issuer=ISSUER)
    except jwt.ExpiredSignatureError as error:
        raise Unauthenticated("The token has expired. Refresh it or log in again.") from error
    except jwt.InvalidTokenError as error:
        raise Unauthenticated("The token is invalid. Log in again.") from error
    if claims["typ"] != kind:
        raise Unauthenticated(f"Expected {'an access' if kind == ACCESS else 'a refresh'} token, found another kind.")
    user_claims = (claims["sub"], claims["role"], claims["chg"], claims["ver"])
    return Token(*user_claims, claims["jti"], claims["sid"], int(claims["exp"]))


def load_or_create_secret(secrets_folder: Path, name: str) -> str:
    """Return the secret in the file `name`. Creates it on first use, readable only by its owner.

    Several processes may start at the same time: all use the secret of the first one that links its file.
    """
    path = secrets_folder / name
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
