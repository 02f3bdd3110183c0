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
from api.resources import Resources, ResourcesDep
from api.roles import GRANTS, Permission, Role
from api.tokens import Token, Unauthenticated
from schemas.errors import Unavailable

log = structlog.get_logger(__name__)

ALLOWED_UNVERIFIED = frozenset(
    {Permission.READ, Permission.VALIDATE, Permission.AUDIT, Permission.CANCEL, Permission.BREAKER}
)
"""What goes on while it cannot be known whether the token was revoked."""

_bearer = HTTPBearer(auto_error=False, description="The `access_token` of POST /api/v1/auth/login.")
Bearer = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]


class Caller(NamedTuple):
    """Somebody with a token that is good as far as is known; `unverified_reason` says what is not known, or is None."""

    username: str
    role: Role
    must_change_password: bool
    token: Token
    unverified_reason: str | None

    def require_verified(self) -> None:
        """Raises Unavailable while it cannot be known whether the token was revoked."""
        if self.unverified_reason is not None:
            raise Unavailable(f"{self.unverified_reason}; until it is back this is refused.")


def identify(resources: Resources, access_token: str | None, rate: str) -> Caller:
    """The caller with this access token; counts one request. Raises Unauthenticated or TooManyRequests."""
    if not access_token:
        raise Unauthenticated("This needs a token: log in with POST /api/v1/auth/login.")
    token = tokens.verify(resources.jwt_key, tokens.ACCESS, access_token)
    unverified_reason = None if resources.rate_limiter.count(rate, token.username) else "Redis does not answer"
    if unverified_reason is None:
        unverified_reason = _check_not_revoked(resources, token)
    return _verified_caller(resources, token, unverified_reason)


def revalidate(resources: Resources, caller: Caller) -> None:
    """Look again, later, without counting. Raises Unauthenticated."""
    if time.time() >= caller.token.expires_at:
        raise Unauthenticated("The token has expired.")
    _verified_caller(resources, caller.token, _check_not_revoked(resources, caller.token))


def caller_with(permission: Permission, rate: str = "read") -> Callable[..., Caller]:
    """A dependency: the caller, who has this permission."""

    def dependency(resources: ResourcesDep, bearer: Bearer) -> Caller:
        current_caller = identify(resources, None if bearer is None else bearer.credentials, rate)
        require_permission(current_caller, permission)
        return current_caller

    return dependency


def require_permission(caller: Caller, permission: Permission) -> None:
    """Raises Forbidden, or Unavailable where in doubt it is refused."""
    if caller.must_change_password:
        raise Forbidden("The one-time password must be changed first: POST /api/v1/auth/password.")
    if permission not in GRANTS[caller.role]:
        raise Forbidden(f"The role {caller.role} may not {permission}.")
    if permission not in ALLOWED_UNVERIFIED:
        caller.require_verified()


def any_caller(resources: ResourcesDep, bearer: Bearer) -> Caller:
    """A dependency: whoever is logged in, whatever their role, also with a one-time password."""
    return identify(resources, None if bearer is None else bearer.credentials, "command")


def revoke_session(resources: Resources, token: Token) -> None:
    """No access token of this session is good any more. Raises Unavailable while Redis is away."""
    ttl_s = max(1, resources.settings.api.access_token_s)
    try:
        resources.redis.set(_revocation_key(token.session_id), "1", ex=ttl_s)
    except redis.RedisError as error:
        raise Unavailable(
            f"The session is closed, but Redis does not answer: the token stays good for up to {ttl_s} s."
        ) from error


def _revocation_key(session_id: str) -> str:
    return f"auth:denied:{session_id}"


def _check_not_revoked(resources: Resources, token: Token) -> str | None:
    """None, or the doubt."""
    try:
        revoked = resources.redis.exists(_revocation_key(token.session_id))
    except redis.RedisError:
        return "Redis does not answer"
    if revoked:
        raise Unauthenticated("The session has ended: log in.")
    return None


def _verified_caller(resources: Resources, token: Token, unverified_reason: str | None) -> Caller:
    try:
        user = resources.accounts.cached_user(token.username)
    except (OperationalError, PoolTimeoutError) as error:
        log.warning("database did not answer for a user", error=str(error).splitlines()[0])
        role, must_change = Role(token.role), token.must_change_password
        return Caller(token.username, role, must_change, token, "The database does not answer")
    if user is None or user.disabled or user.token_version != token.version:
        raise Unauthenticated("The session has ended: log in.")
    return Caller(token.username, user.role, user.must_change_password, token, unverified_reason)


Reader = Annotated[Caller, Depends(caller_with(Permission.READ))]
