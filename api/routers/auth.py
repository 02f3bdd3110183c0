"""Log in, refresh tokens, log out. An access token is valid for minutes, a refresh token once."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Request
from pydantic import Field

from api import tokens
from api.access import Caller, any_caller, revoke_session
from api.accounts import IssuedTokens
from api.json_types import ApiModel, TextLine, utc
from api.problems import problem_responses
from api.resources import Resources, ResourcesDep
from api.roles import GRANTS
from api.routers import PREFIX
from api.tokens import ACCESS, REFRESH

router = APIRouter(prefix=f"{PREFIX}/auth", tags=["auth"], responses=problem_responses(400, 401, 422, 429, 503))

Secret = Annotated[str, Field(max_length=4096)]


class Credentials(ApiModel):
    username: TextLine
    password: Secret


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
def log_in(body: Credentials, request: Request, resources: ResourcesDep) -> TokenPair:
    """Open a session. 401 with the same message for an unknown name and a wrong password."""
    address = "unknown" if request.client is None else request.client.host
    resources.rate_limiter.count("login", address)
    resources.rate_limiter.count("login", f"name {body.username}")
    resources.accounts.make_first_user()
    return _token_pair(resources, resources.accounts.log_in(body.username, body.password))


@router.post("/refresh")
def refresh(body: RefreshRequest, resources: ResourcesDep) -> TokenPair:
    """Get the next pair of tokens. Reuse of a refresh token ends its session."""
    token = tokens.verify(resources.jwt_key, REFRESH, body.refresh_token)
    resources.rate_limiter.count("command", token.username)
    return _token_pair(resources, resources.accounts.refresh(token))


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
    caller.require_verified()
    resources.rate_limiter.count("login", f"name {caller.username}")
    issued = resources.accounts.change_password(caller.username, body.current_password, body.new_password)
    return _token_pair(resources, issued)


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
