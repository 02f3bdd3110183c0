"""Record the settings of a start in the topic `configuration`, unless they equal the last record. Idempotent.

`initialize` writes the record before any service starts. Changes at run time (overrides) stay in force after a restart.
An override that is not valid on top of the present settings file is dropped.
"""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING, Final

from configs.configuration_changes import next_configuration, usable_overrides
from deploy.errors import DeployError
from schemas.errors import BadInput, Unavailable

if TYPE_CHECKING:
    from pathlib import Path

    from configs.settings import Settings
    from schemas.records import Configuration

START_REASON: Final = "settings of the start"


def record_start(settings: Settings, release: str, keys: Path | None) -> Configuration | None:
    """Record the settings of a start. Return the new record, None if the last one is equal. Raises DeployError.

    `keys` is the folder of the signing keys; None on a platform that does not sign.
    """
    from sinks.commands import START_TIMEOUT_S, CommandLog
    from sinks.configuration_log import newest_configuration
    from sinks.signing_keys import configuration_signers, sign_configuration

    kafka = settings.kafka
    try:
        last = newest_configuration(kafka.cluster, kafka.topic_prefix, settings.database.postgres.url)
        overrides = {} if last is None else usable_overrides(settings, last.overrides)
        record = next_configuration(
            last, settings, overrides=overrides, actor=_user(), reason=START_REASON, release=release
        )
        last_signers = {} if last is None else last.signers
        record = record._replace(signers=last_signers if keys is None else configuration_signers(keys))
        if last is not None and (record.sha256, record.signers) == (last.sha256, last.signers):
            return None
        if keys is not None:
            record = sign_configuration(keys, record, last_signers)
        elif last_signers:
            raise DeployError(
                "the settings have changed, but this start has no signing keys, unlike the last start: use the state "
                "folder that contains them (secrets/signing)"
            )
        CommandLog(kafka.cluster, prefix=kafka.topic_prefix, timeout_s=START_TIMEOUT_S).send(record)
    except (BadInput, Unavailable) as error:
        raise DeployError(f"cannot record the settings: {error}") from error
    return record


def _user() -> str:
    """Return the name of the user of the operating system."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container without an entry for its user
        return "start"
