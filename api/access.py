"""Who calls, and whether they may: the dependency in front of every endpoint that is not open.

Redis knows which tokens were logged out and how often somebody called, Postgres whether the user still is what the
token says. While one of them is away there is a doubt. Looking and whatever takes risk away (cancel, halt) go on in
doubt; what adds risk (orders, release) and what changes users is refused.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Annotated, NamedTuple

import redis
import structlog
from fastapi import Depends
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from api import tokens
from api.problems import Forbidden
from api.resources import Open, Resources
from api.roles import GRANTS, Permission, Role
from api.tokens import Token, Unauthenticated
from schemas.errors import Unavailable

log = structlog.get_logger(__name__)

IN_DOUBT = frozenset({Permission.READ, Permission.VALIDATE, Permission.AUDIT, Permission.CANCEL, Permission.BREAKER})
"""What goes on while it cannot be known whether the token was revoked."""

_bearer = HTTPBearer(auto_error=False, description="The `access_token` of POST /api/v1/auth/login.")
Bearer = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]


class Caller(NamedTuple):
    """Somebody with a token that is good as far as is known; `doubt` says what is not known, or is None."""

    username: str
    role: Role
    must_change_password: bool
    token: Token
    doubt: str | None

    def require_certain(self) -> None:
        """Raises Unavailable while it cannot be known whether the token was revoked."""
        if self.doubt is not None:
            raise Unavailable(f"{self.doubt}; until it is back this is refused.")


def identify(resources: Resources, text: str | None, rate: str) -> Caller:
    """The caller with this access token; counts one request. Raises Unauthenticated or TooManyRequests."""
    if not text:
        raise Unauthenticated("This needs a token: log in with POST /api/v1/auth/login.")
    token = tokens.read(resources.jwt_key, tokens.ACCESS, text)
    doubt = None if resources.rates.count(rate, token.username) else "Redis does not answer"
    if doubt is None:
        doubt = _require_not_denied(resources, token)
    return _as_known(resources, token, doubt)


def still_good(resources: Resources, caller: Caller) -> None:
    """Look again, later, without counting. Raises Unauthenticated."""
    if time.time() >= caller.token.expires_at:
        raise Unauthenticated("The token has expired.")
    _as_known(resources, caller.token, _require_not_denied(resources, caller.token))


def allowed(permission: Permission, rate: str = "read") -> Callable[..., Caller]:
    """A dependency: the caller, who has this permission."""

    def caller(resources: Open, bearer: Bearer) -> Caller:
        found = identify(resources, None if bearer is None else bearer.credentials, rate)
        require(found, permission)
        return found

    return caller


def require(caller: Caller, permission: Permission) -> None:
    """Raises Forbidden, or Unavailable where in doubt it is refused."""
    if caller.must_change_password:
        raise Forbidden("The one-time password must be changed first: POST /api/v1/auth/password.")
    if permission not in GRANTS[caller.role]:
        raise Forbidden(f"The role {caller.role} may not {permission}.")
    if permission not in IN_DOUBT:
        caller.require_certain()


def anybody(resources: Open, bearer: Bearer) -> Caller:
    """A dependency: whoever is logged in, whatever their role, also with a one-time password."""
    return identify(resources, None if bearer is None else bearer.credentials, "command")


def deny(resources: Resources, token: Token) -> None:
    """No access token of this session is good any more. Raises Unavailable while Redis is away."""
    left_s = max(1, resources.settings.api.access_token_s)
    try:
        resources.redis.set(_denied(token.session_id), "1", ex=left_s)
    except redis.RedisError as error:
        raise Unavailable(
            f"The session is closed, but Redis does not answer: the token stays good for up to {left_s} s."
        ) from error


def _denied(session_id: str) -> str:
    return f"auth:denied:{session_id}"


def _require_not_denied(resources: Resources, token: Token) -> str | None:
    """None, or the doubt."""
    try:
        denied = resources.redis.exists(_denied(token.session_id))
    except redis.RedisError:
        return "Redis does not answer"
    if denied:
        raise Unauthenticated("The session has ended: log in.")
    return None


def _as_known(resources: Resources, token: Token, doubt: str | None) -> Caller:
    try:
        user = resources.accounts.known(token.username)
    except (OperationalError, PoolTimeoutError) as error:
        log.warning("database did not answer for a user", error=str(error).splitlines()[0])
        role, must_change = Role(token.role), token.must_change_password
        return Caller(token.username, role, must_change, token, "The database does not answer")
    if user is None or user.disabled or user.token_version != token.version:
        raise Unauthenticated("The session has ended: log in.")
    return Caller(token.username, user.role, user.must_change_password, token, doubt)


Reader = Annotated[Caller, Depends(allowed(Permission.READ))]
