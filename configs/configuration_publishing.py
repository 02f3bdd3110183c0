"""Publish a change of the settings at run time, as the API and the command line do."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from configs.configuration_changes import next_configuration, require_live, with_overrides
from configs.recorded_settings import DECISION_SECTIONS, settings_of
from configs.settings import Settings
from configs.strategies import configured_features
from configs.strategy_topics import require_read_topics
from operators.configuration_chain import approvals_of
from schemas.errors import BadInput, Unavailable
from schemas.records import Configuration
from sinks.signing_keys import configuration_signers, sign_configuration

if TYPE_CHECKING:
    from sinks.commands import CommandLog

Changes = Mapping[str, str | None]
"""JSON by setting; None removes an override, so that the settings file applies again."""


class Origin(NamedTuple):
    """Who makes a change and why. For an approved change, `actor` is the approver.

    `request_id` is the id of the request, empty without one. `requested_by` is empty for a change by one person.
    """

    actor: str
    reason: str
    requested_by: str = ""
    request_id: str = ""


class ConfigurationChange(NamedTuple):
    """The last configuration, and the one to publish; `record` is None if the changes change nothing."""

    last: Configuration
    record: Configuration | None


def newest_of(settings: Settings) -> Configuration:
    """Return the newest configuration in the log. Raises Unavailable, also if there is none."""
    return _recent_of(settings)[0]


def _recent_of(settings: Settings) -> list[Configuration]:
    from sinks.configuration_log import recent_configurations

    kafka = settings.kafka
    recent = recent_configurations(kafka.cluster, kafka.topic_prefix, settings.database.postgres.url)
    if not recent:
        raise Unavailable("the log holds no configuration yet: `python cli.py restart` records the settings")
    return recent


def configuration_of(settings: Settings, request_id: str) -> Configuration | None:
    """Return the configuration that applied a request, None without one. Raises Unavailable."""
    from sinks.configuration_log import configuration_of_request

    kafka = settings.kafka
    return configuration_of_request(kafka.cluster, kafka.topic_prefix, settings.database.postgres.url, request_id)


def needs_second_person(configuration: Configuration) -> bool:
    """Whether a change at run time needs a second person while this configuration is in force."""
    return bool(approvals_of(configuration))


def prepare_change(settings: Settings, last: Configuration, changes: Changes, origin: Origin) -> ConfigurationChange:
    """Return the record of changes on top of `last`, not signed yet. `settings` are those of the file.

    Raises BadInput for a setting that is unknown or takes effect only at a restart, an invalid value, a strategy that
    cannot be loaded or needs a topic that is not read, the removal of an override that does not exist, and for every
    change while the settings file differs from the last start.
    """
    overrides = dict(last.overrides)
    for setting, value in changes.items():
        if value is not None or setting not in overrides:  # an override of an earlier release can always end
            require_live(setting)
        if value is not None:
            overrides[setting] = value
        elif overrides.pop(setting, None) is None:
            names = ", ".join(sorted(last.overrides)) or "none"
            raise BadInput(f"setting {setting} was not changed at run time; changed settings: {names}")
    _require_recorded_file(settings, last)
    changed = with_overrides(settings, overrides)
    configured_features(changed)
    require_read_topics(settings, changed)
    record = next_configuration(
        last, settings, overrides=overrides, actor=origin.actor, reason=origin.reason, release=last.release
    )
    record = record._replace(requested_by=origin.requested_by, request_id=origin.request_id)
    is_same = record.sha256 == last.sha256 and record.overrides == last.overrides
    return ConfigurationChange(last, None if is_same else record)


def _require_recorded_file(settings: Settings, last: Configuration) -> None:
    """Raises BadInput if the settings of the file are not those of the last start.

    The change would otherwise also put the edits of the file into force, without a restart and without a second person.
    """
    recorded, own = settings_of(last, settings), with_overrides(settings, last.overrides)
    changed = [name for name in DECISION_SECTIONS if getattr(recorded, name) != getattr(own, name)]
    if changed:
        raise BadInput(
            f"the settings file differs from {last.configuration_id} in {', '.join(changed)}: run "
            "`python cli.py restart` to apply the file, or undo its edits, and change the settings after that"
        )


def publish_change(change: ConfigurationChange, settings: Settings, keys: Path, log: CommandLog) -> Configuration:
    """Sign and publish a change. Return the configuration that the log has under its number afterwards.

    If a concurrent change was written first, this is the record of that change. Raises Unavailable if Kafka does not
    acknowledge the record, and BadInput if this host may not sign.
    """
    if change.record is None:
        return change.last
    record = change.record._replace(signers=configuration_signers(keys))
    record = sign_configuration(keys, record, change.last.signers)
    log.send(record)
    recent = _recent_of(settings)
    return next((one for one in recent if one.number == record.number), recent[0])


def is_published(change: ConfigurationChange, record: Configuration) -> bool:
    """Whether `record`, as `publish_change` returned it, is this change and not a concurrent one.

    A concurrent attempt of the same request makes the same change.
    """
    own = change.record
    if own is None or (own.request_id and own.request_id == record.request_id):
        return True
    return (own.ts_ns, own.actor, own.request_id, own.sha256) == (
        record.ts_ns,
        record.actor,
        record.request_id,
        record.sha256,
    )
