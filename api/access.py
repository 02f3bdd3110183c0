"""Authenticate and authorize callers: the dependency of every endpoint that requires a token.

PostgreSQL stores the sessions and the current role and state of each user: an access token is valid as long as its
session exists. Redis stores the request counts, and the revoked sessions so that all API processes see them at once.
While one of them is unavailable, a session cannot be verified. An unverified caller can still read and reduce risk
(cancel, halt). Requests that add risk (orders, release) or change users are rejected.
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
from api.accounts import SESSION_CACHE_S
from api.problems import Forbidden
from api.resources import Resources, ResourcesDep
from api.roles import GRANTS, Permission, Role
from api.tokens import Token, Unauthenticated
from schemas.errors import Unavailable

log = structlog.get_logger(__name__)

ALLOWED_UNVERIFIED = frozenset(
    {Permission.READ, Permission.VALIDATE, Permission.AUDIT, Permission.CANCEL, Permission.BREAKER}
)
"""Permissions that are granted while a session cannot be verified."""

_bearer = HTTPBearer(auto_error=False, description="The `access_token` that POST /api/v1/auth/login returns.")
Bearer = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]


class Caller(NamedTuple):
    """An authenticated caller. `unverified_reason` explains why the session could not be verified, or is None."""

    username: str
    role: Role
    must_change_password: bool
    token: Token
    unverified_reason: str | None

    def require_verified(self) -> None:
        """Raises Unavailable if the session could not be verified."""
        if self.unverified_reason is not None:
            raise Unavailable(f"{self.unverified_reason}, so your session cannot be verified. Try again later.")


def identify(resources: Resources, access_token: str | None, rate: str) -> Caller:
    """Return the caller with this access token and count one request. Raises Unauthenticated or TooManyRequests."""
    if not access_token:
        raise Unauthenticated("Access token missing: log in with POST /api/v1/auth/login.")
    token = tokens.verify(resources.jwt_key, tokens.ACCESS, access_token)
    unverified_reason = None if resources.rate_limiter.count(rate, token.username) else "Redis is unavailable"
    if unverified_reason is None:
        unverified_reason = _check_not_revoked(resources, token)
    return _verified_caller(resources, token, unverified_reason)


def revalidate(resources: Resources, caller: Caller) -> None:
    """Check the session of a caller again without counting a request. Raises Unauthenticated."""
    if time.time() >= caller.token.expires_at:
        raise Unauthenticated("The access token has expired.")
    _verified_caller(resources, caller.token, _check_not_revoked(resources, caller.token))


def caller_with(permission: Permission, rate: str = "read") -> Callable[..., Caller]:
    """Return a dependency that checks the permission, counts a request of the `rate`, and returns the caller."""

    def dependency(resources: ResourcesDep, bearer: Bearer) -> Caller:
        current_caller = identify(resources, None if bearer is None else bearer.credentials, rate)
        require_permission(current_caller, permission)
        return current_caller

    return dependency


def require_permission(caller: Caller, permission: Permission) -> None:
    """Raises Forbidden, or Unavailable if the permission requires a verified session."""
    if caller.must_change_password:
        raise Forbidden("You must change the one-time password first: POST /api/v1/auth/password.")
    if permission not in GRANTS[caller.role]:
        raise Forbidden(f"The role {caller.role} may not {permission}.")
    if permission not in ALLOWED_UNVERIFIED:
        caller.require_verified()


def any_caller(resources: ResourcesDep, bearer: Bearer) -> Caller:
    """A dependency: returns any authenticated caller, including one with a one-time password."""
    return identify(resources, None if bearer is None else bearer.credentials, "command")


def revoke_session(resources: Resources, token: Token) -> None:
    """Revoke the access tokens of an ended session at once in all API processes.

    PostgreSQL already ends them, but other processes may still cache the session for `SESSION_CACHE_S`. Raises
    Unavailable if Redis is unavailable.
    """
    ttl_s = max(1, resources.settings.api.access_token_s)
    try:
        resources.redis.set(_revocation_key(token.session_id), "1", ex=ttl_s)
    except redis.RedisError as error:
        raise Unavailable(
            "The session is closed, but Redis is unavailable: the access token stays valid for up to "
            f"{SESSION_CACHE_S:g} s."
        ) from error


def _revocation_key(session_id: str) -> str:
    return f"auth:denied:{session_id}"


def _check_not_revoked(resources: Resources, token: Token) -> str | None:
    """Return None, or the reason why the check is not possible. Raises Unauthenticated if the session is revoked."""
    try:
        revoked = resources.redis.exists(_revocation_key(token.session_id))
    except redis.RedisError:
        return "Redis is unavailable"
    if revoked:
        raise Unauthenticated("The session has ended. Log in again.")
    return None


def _verified_caller(resources: Resources, token: Token, unverified_reason: str | None) -> Caller:
    try:
        user = resources.accounts.user_of_session(token.session_id, token.username)
    except (OperationalError, PoolTimeoutError) as error:
        log.warning("user lookup failed", error=str(error).splitlines()[0])
        role, must_change = Role(token.role), token.must_change_password
        return Caller(
            username=token.username,
            role=role,
            must_change_password=must_change,
            token=token,
            unverified_reason="The database is unavailable",
        )
    if user is None or user.disabled or user.token_version != token.version:
        raise Unauthenticated("The session has ended. Log in again.")
    return Caller(
        username=token.username,
        role=user.role,
        must_change_password=user.must_change_password,
        token=token,
        unverified_reason=unverified_reason,
    )


Reader = Annotated[Caller, Depends(caller_with(Permission.READ))]
RiskOfficer = Annotated[Caller, Depends(caller_with(Permission.BREAKER, "command"))]
Configurer = Annotated[Caller, Depends(caller_with(Permission.CONFIGURE, "command"))]
