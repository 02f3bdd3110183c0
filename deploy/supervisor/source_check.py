"""Check before a start that the feed continues its topics: bars must not get numbers that other bars have.

After a kill or a restore, the store of `market_data` is older than its topics, so that a simulator or a file feed
repeats its last bars. With another source, the repeated bars differ from those in the topics, and readers discard them
as duplicates. `market_data` compares them too (`dataflows/runtime/repeated_records.py`), and stops at the first
difference. A live feed continues behind the end of its topics and repeats nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from configs.recorded_settings import canonical_json, recorded_text
from configs.settings.feeds import EXTRA_FILE_KINDS
from deploy.errors import DeployError
from schemas.errors import BadInput, Unavailable
from schemas.records import TOPIC_OF, Bar

if TYPE_CHECKING:
    from configs.settings import Settings
    from deploy.recovery.store_positions import StorePositions
    from deploy.supervisor.state_contents import StateContents
    from schemas.records import Configuration

FEED: Final = "market_data"
BARS: Final = TOPIC_OF[Bar]
_FILE_LISTS: Final = ("paths", *EXTRA_FILE_KINDS)
"""A feed of files knows its files by name: another folder with the same files is the same source."""
_PACE: Final = frozenset({"speed"})
"""Settings that change when bars are published, and not which."""
_REBUILD: Final = "`python cli.py rebuild market_data`"


class ChangedSetting(NamedTuple):
    """A setting of the source, with its value at the last start and now, as JSON."""

    name: str
    before: str
    now: str


def require_same_source(settings: Settings, contents: StateContents) -> None:
    """Raise DeployError if the feed would write other bars under the numbers of recorded ones.

    Needs the tables of this release.
    """
    if settings.market_data.feed not in ("simulator", "files") or BARS not in contents.topics_with_records:
        return
    for store in contents.used_stores:
        if store.name != FEED:
            continue
        problem = source_problem(settings, store, _newest_configuration(settings), lambda: _last_clock_ns(settings))
        if problem:
            raise DeployError(problem)


def source_problem(
    settings: Settings, store: StorePositions, recorded: Configuration | None, last_clock_ns: Callable[[], int]
) -> str:
    """Return why a simulator or a file feed must not continue its topic of bars, which holds records; "" if it may.

    `recorded` is the configuration of the last start. `last_clock_ns` returns the last clock of the topic.
    """
    feed = settings.market_data.feed
    if feed == "simulator" and not store.feed:
        return (
            f"the recovery store of {FEED} has no state, but topic {BARS} holds bars, whose numbers a new simulator "
            f"would use again; restore the store with {_REBUILD}"
        )
    changed = changed_setting(recorded, settings)
    if changed is None:
        return ""
    if last_clock_ns() > store.last_slice_ns:
        return (
            f"{FEED} was killed or restored, and repeats its last bars, but {changed.name} has changed from "
            f"{changed.before} to {changed.now} since they were written; start once with the previous value and stop "
            f"the platform, or run {_REBUILD}, then change the setting"
        )
    return _files_problem(settings, store.feed_state) if feed == "files" and store.feed_state is not None else ""


def changed_setting(recorded: Configuration | None, settings: Settings) -> ChangedSetting | None:
    """Return the first setting of the source that differs from the configuration of the last start, None if none does.

    A setting that only one of the two releases has is not compared.
    """
    if recorded is None:
        return None
    feed = settings.market_data.feed
    before = json.loads(recorded.settings).get(FEED, {}).get(feed, {})
    now = json.loads(recorded_text(settings))[FEED][feed]
    for key in sorted(before.keys() & now.keys() - _PACE):
        if _source_value(key, before[key]) != _source_value(key, now[key]):
            return ChangedSetting(f"{FEED}.{feed}.{key}", canonical_json(before[key]), canonical_json(now[key]))
    return None


def _source_value(key: str, value: Any) -> Any:
    return [Path(path).name for path in value] if key in _FILE_LISTS else value


def _newest_configuration(settings: Settings) -> Configuration | None:
    from sinks.configuration_log import recent_configurations

    kafka = settings.kafka
    try:
        recent = recent_configurations(kafka.cluster, kafka.topic_prefix, settings.database.postgres.url)
    except Unavailable as error:
        raise DeployError(f"cannot read the settings of the last start: {error}") from error
    return recent[0] if recent else None


def _last_clock_ns(settings: Settings) -> int:
    """Return the last clock in any log of bars."""
    from dataflows.replay.recorded_log import last_clock_ns

    try:
        return max(last_clock_ns(settings.kafka, BARS, n) for n in range(settings.kafka.symbol_partitions))
    except (BadInput, Unavailable) as error:
        raise DeployError(f"cannot read topic {BARS}: {error}") from error


def _files_problem(settings: Settings, state: Mapping[str, Any]) -> str:
    """Return why a feed of other files cannot continue, "" if it can."""
    from dataflows.sources.feed_selection import platform_feed

    try:
        platform_feed(settings).open_feed().resume(dict(state))
    except BadInput as error:
        return (
            f"{FEED} cannot continue: {error}; start it with the previous files, or use another PLATFORM_HOME for a "
            "new platform"
        )
    return ""
