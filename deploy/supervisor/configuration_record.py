"""Record the settings of a start in the topic `configuration`, unless they equal the last record. Idempotent.

`initialize` writes the record before any service starts. Changes at run time (overrides) stay in force after a restart.
An override that is not valid on top of the present settings file is dropped; the record contains the reason.
"""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING, Final

from configs.configuration_changes import SortedOverrides, next_configuration, sort_overrides
from deploy.errors import DeployError
from schemas.errors import BadInput, Unavailable

if TYPE_CHECKING:
    from pathlib import Path

    from configs.settings import Settings
    from schemas.records import Configuration

START_REASON: Final = "settings of the start"
_ATTEMPTS: Final = 3
DROPPED_PREFIX: Final = "change at run time dropped: "
"""Begins the lines in the log of `initialize` that `start` prints."""


def record_start(settings: Settings, release: str, keys: Path | None) -> Configuration | None:
    """Record the settings of a start. Return the new record, None if the last one is equal. Raises DeployError.

    `keys` is the folder of the signing keys; None on a platform that does not sign. If a change at run time is written
    at the same time, the record of the start follows it.
    """
    from sinks.commands import START_TIMEOUT_S, CommandLog
    from sinks.configuration_log import recent_configurations

    kafka = settings.kafka
    place = (kafka.cluster, kafka.topic_prefix, settings.database.postgres.url)
    try:
        recent = recent_configurations(*place)
        for _ in range(_ATTEMPTS):
            record = _next_of_start(recent[0] if recent else None, settings, release, keys)
            if record is None:
                return None
            CommandLog(kafka.cluster, prefix=kafka.topic_prefix, timeout_s=START_TIMEOUT_S).send(record)
            recent = recent_configurations(*place)
            if any((one.number, one.ts_ns, one.actor) == (record.number, record.ts_ns, record.actor) for one in recent):
                return record
    except (BadInput, Unavailable) as error:
        raise DeployError(f"cannot record the settings: {error}") from error
    raise DeployError(
        f"cannot record the settings: {_ATTEMPTS} times, another change was written at the same time; run "
        "`python cli.py start` again"
    )


def _next_of_start(
    last: Configuration | None, settings: Settings, release: str, keys: Path | None
) -> Configuration | None:
    """Return the signed record of a start after `last`; None if it would be equal. Raises BadInput and DeployError."""
    from sinks.signing_keys import configuration_signers, sign_configuration

    overrides = SortedOverrides({}, {}) if last is None else sort_overrides(settings, last.overrides)
    record = next_configuration(
        last, settings, overrides=overrides.usable, actor=_user(), reason=START_REASON, release=release
    )
    record = record._replace(dropped=overrides.dropped)
    last_signers = {} if last is None else last.signers
    record = record._replace(signers=last_signers if keys is None else configuration_signers(keys))
    is_same = last is not None and not record.dropped and (record.sha256, record.signers) == (last.sha256, last_signers)
    if is_same:
        return None
    if keys is not None:
        # The first record is signed by a key that it names itself, so that a replay can authenticate its source.
        return sign_configuration(keys, record, last_signers or record.signers)
    if last_signers:
        raise DeployError(
            "the settings have changed, but this start has no signing keys, unlike the last start: use the state "
            "folder that contains them (secrets/signing)"
        )
    return record


def _user() -> str:
    """Return the name of the user of the operating system."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container without an entry for its user
        return "start"


def dropped_lines(record: Configuration) -> list[str]:
    """Return a line for each override that a start dropped."""
    return [f"{DROPPED_PREFIX}{setting}: {reason}" for setting, reason in sorted(record.dropped.items())]


def dropped_of_start(log: Path) -> list[str]:
    """Return these lines of the log of `initialize`, empty without a log."""
    try:
        lines = log.read_text(errors="replace").splitlines()
    except OSError:
        return []
    return [line for line in lines if line.startswith(DROPPED_PREFIX)]
