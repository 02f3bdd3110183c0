"""Log in, stay logged in, log out. An access token is good for minutes, a refresh token once."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Request
from pydantic import Field

from api import tokens
from api.access import Caller, anybody, deny
from api.accounts import Issued
from api.json_types import Line, Shape, utc
from api.problems import documented
from api.resources import Open, Resources
from api.roles import GRANTS
from api.routers import PREFIX
from api.tokens import ACCESS, REFRESH

router = APIRouter(prefix=f"{PREFIX}/auth", tags=["auth"], responses=documented(400, 401, 422, 429, 503))

Secret = Annotated[str, Field(max_length=4096)]


class Credentials(Shape):
    username: Line
    password: Secret


class RefreshRequest(Shape):
    refresh_token: Secret


class PasswordChange(Shape):
    current_password: Secret
    new_password: Secret


class TokenPair(Shape):
    """Send `access_token` as `Authorization: Bearer …`. `must_change_password`: nothing else works before that."""

    access_token: str
    refresh_token: str
    token_type: Literal["bearer"]
    expires_at: str
    refresh_expires_at: str
    username: str
    role: str
    must_change_password: bool


class Me(Shape):
    """`permissions`: names of what the role may do, for a screen that shows no button which would be refused."""

    username: str
    role: str
    permissions: list[str]
    must_change_password: bool
    expires_at: str


@router.post("/login")
def log_in(body: Credentials, request: Request, resources: Open) -> TokenPair:
    """A new session. 401 in the same words for an unknown name and a wrong password."""
    address = "unknown" if request.client is None else request.client.host
    resources.rates.count("login", address)
    resources.rates.count("login", f"name {body.username}")
    resources.accounts.make_first_user()
    return _pair(resources, resources.accounts.log_in(body.username, body.password))


@router.post("/refresh")
def refresh(body: RefreshRequest, resources: Open) -> TokenPair:
    """The next pair of tokens. A refresh token shown twice ends its session."""
    token = tokens.read(resources.jwt_key, REFRESH, body.refresh_token)
    resources.rates.count("command", token.username)
    return _pair(resources, resources.accounts.refresh(token))


@router.post("/logout", status_code=204)
def log_out(caller: Annotated[Caller, Depends(anybody)], resources: Open) -> None:
    """End the session: neither of its tokens is good any more."""
    resources.accounts.log_out(caller.token.session_id)
    deny(resources, caller.token)


@router.post("/password")
def change_password(body: PasswordChange, caller: Annotated[Caller, Depends(anybody)], resources: Open) -> TokenPair:
    """A new password, a new session; all sessions of before end."""
    caller.require_certain()
    resources.rates.count("login", f"name {caller.username}")
    issued = resources.accounts.change_password(caller.username, body.current_password, body.new_password)
    return _pair(resources, issued)


@router.get("/me")
def get_me(caller: Annotated[Caller, Depends(anybody)]) -> Me:
    """Who the token belongs to."""
    return Me(
        username=caller.username,
        role=caller.role,
        permissions=sorted(permission.name for permission in GRANTS[caller.role]),
        must_change_password=caller.must_change_password,
        expires_at=utc(caller.token.expires_at * 1_000_000_000),
    )


def _pair(resources: Resources, issued: Issued) -> TokenPair:
    key, user = resources.jwt_key, issued.user
    return TokenPair(
        access_token=tokens.signed(key, ACCESS, issued.access),
        refresh_token=tokens.signed(key, REFRESH, issued.refresh),
        token_type="bearer",  # noqa: S106  (RFC 6750's name of the scheme)
        expires_at=utc(issued.access.expires_at * 1_000_000_000),
        refresh_expires_at=utc(issued.refresh.expires_at * 1_000_000_000),
        username=user.username,
        role=user.role,
        must_change_password=user.must_change_password,
    )
