"""Manage users. Requires the permission USERS.

Each change is recorded in the audit log. While Kafka is unavailable, changes are rejected.
"""

from __future__ import annotations

from typing import Annotated

import structlog
from fastapi import APIRouter, Depends
from pydantic import Field

from api.access import Caller, caller_with
from api.accounts import User
from api.json_types import ApiModel
from api.problems import NotFound, problem_responses
from api.resources import Resources, ResourcesDep
from api.roles import USERNAME_PATTERN, Permission, Role
from api.routers import PREFIX
from api.user_administration import UserAdministration
from schemas.errors import BadInput

log = structlog.get_logger(__name__)

router = APIRouter(
    prefix=f"{PREFIX}/users", tags=["users"], responses=problem_responses(400, 401, 403, 409, 422, 429, 503)
)

Name = Annotated[
    str,
    Field(pattern=USERNAME_PATTERN, description="2 to 32 characters: a-z 0-9 . _ -, starting with a letter"),
]
Admin = Annotated[Caller, Depends(caller_with(Permission.USERS, "command"))]


class UserOut(ApiModel):
    username: str
    role: Role
    disabled: bool
    must_change_password: bool
    created_at: str


class NewUser(ApiModel):
    username: Name
    role: Role


class UserWithPassword(UserOut):
    """`one_time_password` is shown only once and cannot be retrieved later."""

    one_time_password: str


class UserChange(ApiModel):
    """Fields that are omitted do not change. `reset_password` creates a new one-time password. `reset_totp` turns the
    second factor off.
    """

    role: Role | None = None
    disabled: bool | None = None
    reset_password: bool = False
    reset_totp: bool = False


class ChangedUser(UserOut):
    one_time_password: str | None


@router.get("")
def get_users(caller: Admin, resources: ResourcesDep) -> list[UserOut]:
    """All users, by name."""
    return [UserOut.model_validate(_user_fields(user)) for user in resources.accounts.all_users()]


@router.post("", status_code=201)
def add_user(body: NewUser, caller: Admin, resources: ResourcesDep) -> UserWithPassword:
    """Add a user with a one-time password, which the user must change at the first login. 409 if the name is in use."""
    password = _administration(resources, caller).add(body.username, body.role)
    log.info("user added", username=body.username, role=body.role, by=caller.username)
    user = resources.accounts.user(body.username)
    assert user is not None, "users are never deleted"
    return UserWithPassword.model_validate({**_user_fields(user), "one_time_password": password})


@router.patch("/{username}", responses=problem_responses(404))
def change_user(username: str, body: UserChange, caller: Admin, resources: ResourcesDep) -> ChangedUser:
    """Change the role, disable or enable the user, reset the password or turn the second factor off. All but the last
    end the user's sessions within five seconds.
    """
    if body.role is None and body.disabled is None and not body.reset_password and not body.reset_totp:
        raise BadInput("Set at least one of role, disabled, reset_password and reset_totp.")
    password, administration = None, _administration(resources, caller)
    if body.role is not None or body.disabled is not None:
        administration.change(username, role=body.role, disabled=body.disabled)
    if body.reset_totp:
        administration.reset_totp(username)
    if body.reset_password:
        password = administration.reset_password(username)
    log.info("user changed", username=username, by=caller.username, **body.model_dump(exclude_none=True))
    user = resources.accounts.user(username)
    if user is None:
        raise NotFound(f"User {username} does not exist.")
    return ChangedUser.model_validate({**_user_fields(user), "one_time_password": password})


def _administration(resources: Resources, caller: Caller) -> UserAdministration:
    return UserAdministration(resources.accounts, resources.command_log.send, caller.username)


def _user_fields(user: User) -> dict[str, object]:
    created_at = user.created_at.isoformat().replace("+00:00", "Z")
    return {**user._asdict(), "created_at": created_at}
