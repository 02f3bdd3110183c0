"""A request for a change of the configuration, which a second person approves (`operators/approvals.py`).

The request is a command RELEASE_REQUESTED of the kind CONFIGURE. It contains the values of the settings when it was
made. The approval applies the change on top of the configuration in force then, and is refused if one of these values
has changed meanwhile.
"""

from __future__ import annotations

import json
from typing import Any, Final, NamedTuple

from configs.configuration_changes import value_in
from configs.configuration_publishing import Changes, ConfigurationChange, Origin, prepare_change
from configs.recorded_settings import canonical_json
from configs.settings import Settings
from operators.approvals import CONFIGURE
from schemas.errors import BadInput
from schemas.records import Command, Configuration

KIND: Final = "kind"
ARGUMENTS_BYTES_MAX: Final = 200_000
"""A message of Kafka holds at most one megabyte."""


class ConfigurationRequest(NamedTuple):
    """What a request changes. `before` has the value of each setting when it was made; None for one without a value."""

    request_id: str
    requested_by: str
    ts_ns: int
    reason: str
    set: dict[str, Any]
    unset: list[str]
    before: dict[str, Any]

    @property
    def changes(self) -> Changes:
        """The changes as JSON by setting."""
        return {**{name: canonical_json(value) for name, value in self.set.items()}, **dict.fromkeys(self.unset)}


def request_arguments(last: Configuration, changes: Changes) -> dict[str, str]:
    """Return the arguments of the command that requests changes on top of `last`. Raises BadInput if they are too long.

    >>> last = Configuration("config-1", 0, 1, "", "", "", '{"feedback": {"horizon_bars": 5}}', "", {}, {}, {})
    >>> request_arguments(last, {"feedback.horizon_bars": "6"})["before"]
    '{"feedback.horizon_bars":5}'
    """
    arguments = {
        KIND: CONFIGURE,
        "set": canonical_json({name: json.loads(text) for name, text in changes.items() if text is not None}),
        "unset": canonical_json(sorted(name for name, text in changes.items() if text is None)),
        "before": canonical_json({name: value_in(last, name) for name in changes}),
        "configuration_id": last.configuration_id,
    }
    length = sum(len(text.encode()) for text in arguments.values())
    if length > ARGUMENTS_BYTES_MAX:
        raise BadInput(f"the change has {length} bytes, expected at most {ARGUMENTS_BYTES_MAX}: change fewer settings")
    return arguments


def read_request(command: Command) -> ConfigurationRequest:
    """Return what a command requests. Raises BadInput if it is malformed."""
    arguments = command.arguments
    try:
        return ConfigurationRequest(
            request_id=command.command_id,
            requested_by=command.actor,
            ts_ns=command.ts_ns,
            reason=command.reason,
            set=dict(json.loads(arguments["set"])),
            unset=list(json.loads(arguments["unset"])),
            before=dict(json.loads(arguments["before"])),
        )
    except (KeyError, ValueError, TypeError) as error:
        raise BadInput(f"request {command.command_id} is malformed: {error}") from error


def prepare_approved(
    settings: Settings, last: Configuration, request: ConfigurationRequest, approver: str
) -> ConfigurationChange:
    """Return the record of an approved request on top of `last`, the configuration in force.

    Raises BadInput if the change is no longer valid, or if a setting has changed since the request.
    """
    for setting, before in request.before.items():
        current = value_in(last, setting)
        if current != before:
            raise BadInput(
                f"setting {setting} has changed since the request: it was {canonical_json(before)} and is "
                f"{canonical_json(current)} in {last.configuration_id}; request the change again"
            )
    origin = Origin(approver, request.reason, requested_by=request.requested_by, request_id=request.request_id)
    return prepare_change(settings, last, request.changes, origin)
