"""Publish a change of the settings at run time, as the API and the command line do."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from configs.configuration_changes import next_configuration, require_live, with_overrides
from configs.settings import Settings
from configs.strategies import configured_features
from configs.strategy_topics import require_read_topics
from schemas.errors import BadInput, Unavailable
from schemas.records import Configuration
from sinks.signing_keys import configuration_signers, sign_configuration

if TYPE_CHECKING:
    from sinks.commands import CommandLog

Changes = Mapping[str, str | None]
"""JSON by setting; None removes an override, so that the settings file applies again."""


class ConfigurationChange(NamedTuple):
    """The last configuration, and the one to publish; `record` is None if the changes change nothing."""

    last: Configuration
    record: Configuration | None


def newest_of(settings: Settings) -> Configuration:
    """Return the newest configuration in the log. Raises Unavailable, also if there is none."""
    from sinks.configuration_log import newest_configuration

    kafka = settings.kafka
    newest = newest_configuration(kafka.cluster, kafka.topic_prefix, settings.database.postgres.url)
    if newest is None:
        raise Unavailable("the log holds no configuration yet: `python cli.py restart` records the settings")
    return newest


def prepare_change(
    settings: Settings, last: Configuration, changes: Changes, *, actor: str, reason: str
) -> ConfigurationChange:
    """Return the record of changes on top of `last`, not signed yet. `settings` are those of the file.

    Raises BadInput for a setting that is unknown or takes effect only at a restart, an invalid value, a strategy that
    cannot be loaded or needs a topic that is not read, the removal of an override that does not exist, and for every
    change on a platform that requires a second person.
    """
    if settings.risk_manager.approvals:
        raise BadInput(
            "risk_manager.approvals requires a second person, and a change at run time has only one: change the "
            "settings file, then run `python cli.py restart`"
        )
    overrides = dict(last.overrides)
    for setting, value in changes.items():
        require_live(setting)
        if value is not None:
            overrides[setting] = value
        elif overrides.pop(setting, None) is None:
            names = ", ".join(sorted(last.overrides)) or "none"
            raise BadInput(f"setting {setting} was not changed at run time; changed settings: {names}")
    changed = with_overrides(settings, overrides)
    configured_features(changed)
    require_read_topics(settings, changed)
    record = next_configuration(last, settings, overrides=overrides, actor=actor, reason=reason, release=last.release)
    is_same = record.sha256 == last.sha256 and record.overrides == last.overrides
    return ConfigurationChange(last, None if is_same else record)


def publish_change(change: ConfigurationChange, settings: Settings, keys: Path, log: CommandLog) -> Configuration:
    """Sign and publish a change. Return the newest configuration in the log afterwards.

    If a concurrent change was written first, this is the record of that change. Raises Unavailable if Kafka does not
    acknowledge the record, and BadInput if this host may not sign.
    """
    if change.record is None:
        return change.last
    record = change.record._replace(signers=configuration_signers(keys))
    record = sign_configuration(keys, record, change.last.signers)
    log.send(record)
    return newest_of(settings)
