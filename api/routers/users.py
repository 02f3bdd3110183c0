"""Manage users. Requires the permission USERS."""

from __future__ import annotations

from typing import Annotated

import structlog
from fastapi import APIRouter, Depends
from pydantic import Field

from api.access import Caller, caller_with
from api.accounts import User
from api.json_types import ApiModel
from api.problems import NotFound, problem_responses
from api.resources import ResourcesDep
from api.roles import Permission, Role
from api.routers import PREFIX
from schemas.errors import BadInput

log = structlog.get_logger(__name__)

router = APIRouter(
    prefix=f"{PREFIX}/users", tags=["users"], responses=problem_responses(400, 401, 403, 409, 422, 429, 503)
)

Name = Annotated[
    str,
    Field(pattern=r"^[a-z][a-z0-9._-]{1,31}$", description="2 to 32 characters: a-z 0-9 . _ -, starting with a letter"),
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
    """Fields that are omitted do not change. `reset_password` creates a new one-time password."""

    role: Role | None = None
    disabled: bool | None = None
    reset_password: bool = False


class ChangedUser(UserOut):
    one_time_password: str | None


@router.get("")
def get_users(caller: Admin, resources: ResourcesDep) -> list[UserOut]:
    """All users, by name."""
    return [UserOut.model_validate(_user_fields(user)) for user in resources.accounts.all_users()]


@router.post("", status_code=201)
def add_user(body: NewUser, caller: Admin, resources: ResourcesDep) -> UserWithPassword:
    """Add a user with a one-time password, which the user must change at the first login. 409 if the name is in use."""
    password = resources.accounts.add_user(body.username, body.role)
    log.info("user added", username=body.username, role=body.role, by=caller.username)
    user = resources.accounts.user(body.username)
    assert user is not None, "users are never deleted"
    return UserWithPassword.model_validate({**_user_fields(user), "one_time_password": password})


@router.patch("/{username}", responses=problem_responses(404))
def change_user(username: str, body: UserChange, caller: Admin, resources: ResourcesDep) -> ChangedUser:
    """Change the role, disable or enable the user, or reset the password. Ends the user's sessions within five
    seconds.
    """
    if body.role is None and body.disabled is None and not body.reset_password:
        raise BadInput("Set at least one of role, disabled and reset_password.")
    password = None
    if body.role is not None or body.disabled is not None:
        resources.accounts.change_user(username, role=body.role, disabled=body.disabled, by=caller.username)
    if body.reset_password:
        password = resources.accounts.reset_password(username)
    log.info("user changed", username=username, by=caller.username, **body.model_dump(exclude_none=True))
    user = resources.accounts.user(username)
    if user is None:
        raise NotFound(f"User {username} does not exist.")
    return ChangedUser.model_validate({**_user_fields(user), "one_time_password": password})


def _user_fields(user: User) -> dict[str, object]:
    created_at = user.created_at.isoformat().replace("+00:00", "Z")
    return {**user._asdict(), "created_at": created_at}
