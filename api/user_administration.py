"""Administer users, and record each change as a command in the topic `commands`.

The command is published before the change is committed: no change exists without its command. If the commit then fails,
the log contains an attempt. Risk stores these commands in the audit chain and takes no other action on them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from api.accounts import Accounts, User
from api.roles import Role
from schemas.records import Command, CommandKind
from sinks.commands import new_command

USER_ADDED: Final = "USER_ADDED"
USER_CHANGED: Final = "USER_CHANGED"
USER_TOTP_ENABLED: Final = "USER_TOTP_ENABLED"
USER_TOTP_DISABLED: Final = "USER_TOTP_DISABLED"
USER_TOTP_RESET: Final = "USER_TOTP_RESET"
USER_PASSWORD_RESET: Final = "USER_PASSWORD_RESET"  # noqa: S105  (a command's kind)


class UserAdministration:
    """Changes users in the name of `actor`, an admin or a user of the host. Every method raises Unavailable if Kafka
    does not acknowledge the command; then nothing changes.
    """

    def __init__(self, accounts: Accounts, publish: Callable[[Command], None], actor: str) -> None:
        self._accounts, self._publish, self._actor = accounts, publish, actor

    def add(self, username: str, role: Role) -> str:
        """Add a user and return the one-time password. Raises Conflict if the name is in use."""
        record = self._recorder(USER_ADDED, username, {"role": role.value})
        return self._accounts.add_user(username, role, before_commit=record)

    def change(self, username: str, *, role: Role | None = None, disabled: bool | None = None) -> User:
        """Change the role, or disable or enable the user. Raises NotFound, Conflict and BadInput."""
        arguments = {} if role is None else {"role": role.value}
        if disabled is not None:
            arguments["disabled"] = "true" if disabled else "false"
        record = self._recorder(USER_CHANGED, username, arguments)
        return self._accounts.change_user(username, role=role, disabled=disabled, by=self._actor, before_commit=record)

    def reset_password(self, username: str) -> str:
        """Set and return a one-time password. Ends all sessions of the user. Raises NotFound."""
        record = self._recorder(USER_PASSWORD_RESET, username, {})
        return self._accounts.reset_password(username, before_commit=record)

    def reset_totp(self, username: str) -> None:
        """Turn the second factor of a user off. Raises NotFound if there is none."""
        self._accounts.reset_second_factor(username, before_commit=self._recorder(USER_TOTP_RESET, username, {}))

    def enable_own_totp(self, code: str) -> list[str]:
        """Turn the actor's second factor on and return the recovery codes. Raises Unauthenticated."""
        record = self._recorder(USER_TOTP_ENABLED, self._actor, {})
        return self._accounts.confirm_second_factor(self._actor, code, before_commit=record)

    def disable_own_totp(self, password: str) -> None:
        """Turn the actor's second factor off. Raises Unauthenticated and NotFound."""
        record = self._recorder(USER_TOTP_DISABLED, self._actor, {})
        self._accounts.disable_second_factor(self._actor, password, before_commit=record)

    def _recorder(self, kind: CommandKind, username: str, arguments: Mapping[str, str]) -> Callable[[], None]:
        command = new_command(
            kind, actor=self._actor, reason="user administration", arguments={"username": username, **arguments}
        )
        return lambda: self._publish(command)
