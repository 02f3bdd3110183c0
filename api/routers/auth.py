"""Log in, refresh tokens, log out. An access token is valid for minutes, a refresh token once."""

from __future__ import annotations

import contextlib
import re
from typing import Annotated, Literal

import structlog
from fastapi import APIRouter, Depends, Request
from pydantic import Field
from sqlalchemy.exc import SQLAlchemyError

from api import tokens
from api.access import Caller, any_caller, revoke_session
from api.accounts import IssuedTokens
from api.json_types import ApiModel, TextLine, utc
from api.login_pool import LoginQueueFull
from api.problems import TooManyRequests, problem_responses
from api.resources import Resources, ResourcesDep
from api.roles import GRANTS, USERNAME_PATTERN
from api.routers import PREFIX
from api.tokens import ACCESS, REFRESH, SecondFactorRequired, Unauthenticated
from api.user_administration import UserAdministration
from schemas.errors import Unavailable

log = structlog.get_logger(__name__)

router = APIRouter(prefix=f"{PREFIX}/auth", tags=["auth"], responses=problem_responses(400, 401, 422, 429, 503))

Secret = Annotated[str, Field(max_length=4096)]
Code = Annotated[str, Field(min_length=1, max_length=64)]


class Credentials(ApiModel):
    """`code` is a code of the authenticator or a recovery code, if the account has a second factor."""

    username: TextLine
    password: Secret
    code: Code | None = None


class PasswordProof(ApiModel):
    current_password: Secret


class SecondFactorCode(ApiModel):
    code: Code


class TotpEnrolment(ApiModel):
    """Enter `secret` into an authenticator, or show `uri` as a QR code, and confirm with the code that it displays."""

    secret: str
    uri: str


class RecoveryCodes(ApiModel):
    """Each code replaces a code of the authenticator once. They are shown only here."""

    recovery_codes: list[str]


class RefreshRequest(ApiModel):
    refresh_token: Secret


class PasswordChange(ApiModel):
    current_password: Secret
    new_password: Secret


class TokenPair(ApiModel):
    """Send `access_token` as `Authorization: Bearer …`. If `must_change_password` is true, set a new password first:
    the other endpoints reject the token.
    """

    access_token: str
    refresh_token: str
    token_type: Literal["bearer"]
    expires_at: str
    refresh_expires_at: str
    username: str
    role: str
    must_change_password: bool


class Me(ApiModel):
    """`permissions` are the permissions of the role, so that a user interface can hide controls the user may not
    use.
    """

    username: str
    role: str
    permissions: list[str]
    must_change_password: bool
    expires_at: str


@router.post("/login")
async def log_in(body: Credentials, request: Request, resources: ResourcesDep) -> TokenPair:
    """Open a session. 401 with the same message for an unknown name and a wrong password. 429 with `Retry-After` after
    too many failed log-ins.
    """
    address = "unknown" if request.client is None else request.client.host
    try:
        return await resources.login_pool.run(lambda: _log_in(resources, body, address))
    except LoginQueueFull:
        _count_failed_login(resources, "queue full", body.username, address)
        raise


def _log_in(resources: Resources, body: Credentials, address: str) -> TokenPair:
    """Runs in the threads of the log-ins."""
    try:
        attempt = resources.login_limiter.begin(body.username, address)
    except TooManyRequests:
        _count_failed_login(resources, "delayed", body.username, address)
        raise
    try:
        resources.accounts.make_first_user()
        issued = resources.accounts.log_in(body.username, body.password, body.code)
    except SecondFactorRequired:
        # The password is right: ask for the code. A wrong code counts as a failed log-in.
        resources.login_limiter.withdraw(attempt)
        raise
    except Unauthenticated:
        _count_failed_login(resources, "wrong password or code", body.username, address)
        raise
    except SQLAlchemyError:
        resources.login_limiter.withdraw(attempt)
        raise
    resources.login_limiter.succeed(attempt)
    return _token_pair(resources, issued)


def _count_failed_login(resources: Resources, reason: str, username: str, address: str) -> None:
    resources.failed_logins.labels(reason).inc()
    # A password typed into the wrong field must not reach the log, so that only possible usernames are logged.
    shown = username if re.fullmatch(USERNAME_PATTERN, username) else "not a username"
    log.warning("log-in rejected", reason=reason, username=shown, address=address)


@router.post("/refresh")
def refresh(body: RefreshRequest, resources: ResourcesDep) -> TokenPair:
    """Get the next pair of tokens. Reuse of a refresh token ends its session, including its access tokens."""
    token = tokens.verify(resources.jwt_key, REFRESH, body.refresh_token)
    resources.rate_limiter.count("command", token.username)
    try:
        return _token_pair(resources, resources.accounts.refresh(token))
    except Unauthenticated:
        # Reuse signals theft: the access tokens of the session end as well.
        with contextlib.suppress(Unavailable):
            revoke_session(resources, token)
        raise


@router.post("/logout", status_code=204)
def log_out(caller: Annotated[Caller, Depends(any_caller)], resources: ResourcesDep) -> None:
    """End the session and revoke both of its tokens."""
    resources.accounts.log_out(caller.token.session_id)
    revoke_session(resources, caller.token)


@router.post("/password")
def change_password(
    body: PasswordChange, caller: Annotated[Caller, Depends(any_caller)], resources: ResourcesDep
) -> TokenPair:
    """Set a new password. Ends all sessions of the user and opens a new one."""
    _count_password_check(resources, caller)
    issued = resources.accounts.change_password(caller.username, body.current_password, body.new_password)
    return _token_pair(resources, issued)


@router.post("/totp")
def begin_totp(
    body: PasswordProof, caller: Annotated[Caller, Depends(any_caller)], resources: ResourcesDep
) -> TotpEnrolment:
    """Begin to set up a second factor (TOTP). It takes effect with `/auth/totp/confirm`."""
    _count_password_check(resources, caller)
    enrolment = resources.accounts.begin_second_factor(caller.username, body.current_password)
    return TotpEnrolment(secret=enrolment.secret, uri=enrolment.uri)


@router.post("/totp/confirm")
def confirm_totp(
    body: SecondFactorCode, caller: Annotated[Caller, Depends(any_caller)], resources: ResourcesDep
) -> RecoveryCodes:
    """Turn the second factor on with a current code. From now on, a log-in requires a code."""
    _count_password_check(resources, caller)
    return RecoveryCodes(recovery_codes=_own_administration(resources, caller).enable_own_totp(body.code))


@router.post("/totp/disable", status_code=204, responses=problem_responses(404))
def disable_totp(body: PasswordProof, caller: Annotated[Caller, Depends(any_caller)], resources: ResourcesDep) -> None:
    """Turn your second factor off. 404 if there is none."""
    _count_password_check(resources, caller)
    _own_administration(resources, caller).disable_own_totp(body.current_password)


def _own_administration(resources: Resources, caller: Caller) -> UserAdministration:
    return UserAdministration(resources.accounts, resources.command_log.send, caller.username)


def _count_password_check(resources: Resources, caller: Caller) -> None:
    """Raises Unavailable or TooManyRequests. A stolen access token must not permit fast guesses of the password."""
    caller.require_verified()
    resources.rate_limiter.count("login", f"name {caller.username}")


@router.get("/me")
def get_me(caller: Annotated[Caller, Depends(any_caller)]) -> Me:
    """The user of the token."""
    return Me(
        username=caller.username,
        role=caller.role,
        permissions=sorted(permission.name for permission in GRANTS[caller.role]),
        must_change_password=caller.must_change_password,
        expires_at=utc(caller.token.expires_at * 1_000_000_000),
    )


def _token_pair(resources: Resources, issued: IssuedTokens) -> TokenPair:
    key, user = resources.jwt_key, issued.user
    return TokenPair(
        access_token=tokens.sign(key, ACCESS, issued.access),
        refresh_token=tokens.sign(key, REFRESH, issued.refresh),
        token_type="bearer",  # noqa: S106  (RFC 6750's name of the scheme)
        expires_at=utc(issued.access.expires_at * 1_000_000_000),
        refresh_expires_at=utc(issued.refresh.expires_at * 1_000_000_000),
        username=user.username,
        role=user.role,
        must_change_password=user.must_change_password,
    )
