"""Check before a start that recovery stores, topics and database belong together. Nothing is changed by the check.

`find_problem` compares what `deploy/supervisor/state_contents.py` has read. A platform never starts from empty where
something was before: a missing, older or newer part is refused with one sentence that names the repair.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from dataflows.runtime import topology
from deploy.errors import DeployError
from deploy.home import Home
from deploy.recovery.recovery_store import count_starts
from deploy.recovery.store_positions import StorePositions, missing_stores
from deploy.supervisor.layout import dataflow_names
from deploy.supervisor.platform_identity import (
    PlatformIdentity,
    configured_identity,
    read_folder_identity,
    write_identities,
)
from deploy.supervisor.replicas import replicas_of, store_of
from deploy.supervisor.state_contents import StateContents, read_contents, write_starts

if TYPE_CHECKING:
    from configs.settings import Settings

_FEED_KINDS = {"Simulator": "simulator", "FileFeed": "files", "LiveFeed": "live"}
_OTHER_HOME = "or use another PLATFORM_HOME for a new platform"


# -- the check ---------------------------------------------------------------------------------------------------------


def check_state(home: Home, settings: Settings, *, substitute: bool = False, with_stores: bool = True) -> StateContents:
    """Require that the state is consistent and belongs to these settings. Raises DeployError with one sentence.

    `with_stores` is False where the recovery stores are on other volumes (containers).
    """
    contents = read_contents(home, settings, with_stores=with_stores)
    configured = configured_identity(settings, contents.cluster_id, substitute=substitute)
    problem = find_problem(contents, configured)
    if problem is not None:
        raise DeployError(problem)
    return contents


def record_identity(home: Home, settings: Settings, contents: StateContents, *, substitute: bool = False) -> None:
    """Write the identity of a new or adopted platform where it is missing, and store how often each store was started.

    Without any content, an earlier start has failed: the identity of this start replaces that one, except for the id,
    because the signing keys in the topics may already be those of that platform.
    """
    identities = list(contents.identities.present().values())
    new = configured_identity(settings, contents.cluster_id, substitute=substitute)
    if contents.identities.topics is not None:
        new = replace(new, platform_id=contents.identities.topics.platform_id)
    if contents.empty or not identities:
        write_identities(home, settings, new)
    elif contents.identities.missing():
        write_identities(home, settings, identities[0])
    starts = {store.name: store.starts for store in contents.used_stores}
    if starts:
        write_starts(home, starts)


def require_same_configuration(home: Home, settings: Settings) -> None:
    """Raises DeployError if the state folder belongs to a platform with another broker, feed or number of partitions.

    Needs no server, so that `start` refuses before it starts anything. State of release 0.2.0 or earlier has no
    identity; there the stored options of the last start are compared.
    """
    recorded = read_folder_identity(home) or _identity_of_last_start(home)
    if recorded is not None:
        problem = configuration_problem(recorded, configured_identity(settings, recorded.cluster_id))
        if problem is not None and _any_store_used(home):
            raise DeployError(problem)


def _any_store_used(home: Home) -> bool:
    """Return whether any dataflow has run. Without one, a first start failed and may be repeated with other options."""
    missing = missing_stores(home)
    return any(
        count_starts(store_of(home, service, replica))
        for service in dataflow_names(home)
        if service not in missing
        for replica in replicas_of(home, service)
    )


def _identity_of_last_start(home: Home) -> PlatformIdentity | None:
    """Return what the options of the last start imply; None if no dataflow has ever run or they are no longer valid."""
    from deploy.recovery.recorded_topics import platform_settings
    from schemas.errors import BadInput

    if not any(home.recovery.glob("*/**/part-*.sqlite3")) or not (home.run / "start.json").exists():
        return None
    try:
        return configured_identity(platform_settings(home, {}), "")
    except BadInput:
        return None


def find_problem(contents: StateContents, configured: PlatformIdentity) -> str | None:
    """Return the sentence that explains why the platform must not start, or None."""
    identities = contents.identities.present()
    if contents.empty:
        return None
    if configured.substitute or any(identity.substitute for identity in identities.values()):
        return _substitute_problem(contents, configured)
    for recorded in identities.values():
        if (problem := configuration_problem(recorded, configured)) is not None:
            return problem
    return (
        _identity_problem(contents, configured)
        or _topics_problem(contents)
        or _stores_problem(contents, configured)
        or _tables_problem(contents)
    )


def configuration_problem(recorded: PlatformIdentity, configured: PlatformIdentity) -> str | None:
    """Return why the state of `recorded` cannot continue with the configured broker, feed or partitions; None if it
    can.
    """
    for name, description in (
        ("broker", "broker"),
        ("feed", "feed"),
        ("symbol_partitions", "kafka.symbol_partitions"),
        ("topic_prefix", "kafka.topic_prefix"),
    ):
        before, now = getattr(recorded, name), getattr(configured, name)
        if before != now:
            return (
                f"this platform's state was created with {description} {before!r} and cannot continue with {now!r}; "
                f"start it with the previous options (`python cli.py restart` repeats them), {_OTHER_HOME}"
            )
    return None


def _substitute_problem(contents: StateContents, configured: PlatformIdentity) -> str | None:
    if any(identity.substitute for identity in contents.identities.present().values()):
        return (
            "this state comes from a run on the substitute for Kafka, whose topics are lost, and cannot continue; "
            "use another PLATFORM_HOME (and another database) for a new platform"
        )
    where = [f"table {contents.tables[0]}"] if contents.tables else []
    where += [f"recovery store {store.name}" for store in contents.used_stores[:1]]
    where += [f"topic {topic}" for topic in contents.topics_with_records[:1]]
    return (
        f"Kafka is not available, and its in-memory substitute is not allowed: {' and '.join(where)} has records; "
        "make Kafka available (KAFKA_HOME or the network), or set KAFKA_BOOTSTRAP_SERVERS"
    )


def _identity_problem(contents: StateContents, configured: PlatformIdentity) -> str | None:
    """Compare the three places. Without an identity anywhere, the state comes from release 0.2.0 or earlier."""
    names = {"folder": "state folder", "database": "database", "topics": "topic platform-identity"}
    identities = contents.identities.present()
    if not identities:
        return None
    first_place, first = next(iter(identities.items()))
    for place, identity in identities.items():
        if identity.platform_id != first.platform_id:
            return (
                f"the {names[place]} belongs to platform {identity.platform_id}, but the {names[first_place]} to "
                f"platform {first.platform_id}; use the database, the topics and the state folder of one platform, "
                "or restore all of them with `python cli.py restore FILE`"
            )
        if identity.epoch != first.epoch:
            return (
                f"the {names[place]} belongs to epoch {identity.epoch} of platform {first.platform_id}, but the "
                f"{names[first_place]} to epoch {first.epoch}, because only a part was restored; "
                "run `python cli.py restore FILE` again"
            )
    if contents.identities.topics is None and contents.identities.database is not None:
        return (
            f"the database belongs to platform {first.platform_id}, but Kafka holds no topics of this platform; "
            f"connect the platform's Kafka, restore a backup with `python cli.py restore FILE`, {_OTHER_HOME}"
        )
    if contents.identities.database is None:
        return (
            f"the {names[first_place]} belongs to platform {first.platform_id}, but the database to none; "
            f"connect the platform's database, restore a backup with `python cli.py restore FILE`, {_OTHER_HOME}"
        )
    if first.cluster_id != contents.cluster_id:
        return (
            f"platform {first.platform_id} has its topics in Kafka cluster {first.cluster_id}, found "
            f"{contents.cluster_id}; connect the platform's Kafka, "
            "or restore a backup with `python cli.py restore FILE`"
        )
    return None


def _topics_problem(contents: StateContents) -> str | None:
    if contents.topics_with_records:
        return None
    holders = [f"table {contents.tables[0]}"] if contents.tables else []
    holders += [f"recovery store {store.name}" for store in contents.used_stores[:1]]
    return (
        f"{' and '.join(holders)} hold records of a platform, but Kafka holds none of its topics' records; connect the "
        f"platform's Kafka, restore a backup with `python cli.py restore FILE`, {_OTHER_HOME}"
    )


def _stores_problem(contents: StateContents, configured: PlatformIdentity) -> str | None:
    lost = {name: topic for name in contents.missing_stores if (topic := _topic_with_records(contents, name))}
    if len(lost) > 1:
        return (
            f"the recovery stores of {', '.join(lost)} are missing, but their topics hold records; restore each store "
            "with `python cli.py rebuild SERVICE`"
        )
    for service, topic in lost.items():
        return (
            f"the recovery store of {service} is missing, but topic {topic} holds its records; "
            f"restore the store with `python cli.py rebuild {service}`"
        )
    for service, stores in contents.stores.items():
        for store in stores:
            problem = _store_problem(contents, configured, service, store)
            if problem is not None:
                return problem
    return None


def _store_problem(
    contents: StateContents, configured: PlatformIdentity, service: str, store: StorePositions
) -> str | None:
    repair = f"restore the store with `python cli.py rebuild {service}`"
    if not store.starts:
        topic = _topic_with_records(contents, service)
        return topic and (
            f"the recovery store of {store.name} was never used, but topic {topic} holds records of {service}; {repair}"
        )
    feed = _FEED_KINDS.get(store.feed)
    if feed is not None and feed != configured.feed:
        return configuration_problem(replace(configured, feed=feed), configured)
    if store.starts < contents.starts.get(store.name, 0):
        return (
            f"the recovery store of {store.name} is older than the platform: it has {store.starts} starts, expected at "
            f"least {contents.starts[store.name]}; {repair}"
        )
    for (topic, partition), offset in store.next_offsets.items():
        first, end = contents.log_ranges.get((topic, partition), (0, 0))
        if offset > end:
            return (
                f"the recovery store of {store.name} is newer than topic {topic}/{partition}: it continues at offset "
                f"{offset}, but the topic ends at {end}; connect the platform's Kafka, or restore a backup with "
                "`python cli.py restore FILE`"
            )
        if offset < first:
            archived_first, archived_end = contents.archived.get((topic, partition), (0, 0))
            is_archived = archived_first <= offset and archived_end >= first
            return (
                f"the recovery store of {store.name} is older than topic {topic}/{partition}: it continues at offset "
                f"{offset}, but the topic starts at {first}; "
                f"{repair if is_archived else 'restore a backup with `python cli.py restore FILE`'}"
            )
    return None


def _topic_with_records(contents: StateContents, service: str) -> str | None:
    """Return a topic with records of a service. Those of a service beside the compact process are not records of it."""
    others = {*contents.stores, *contents.missing_stores} - {service}
    written_by_others = {topic for name in others for topic in topology.own_topics(name)}
    own = [topic for topic in topology.own_topics(service) if topic not in written_by_others]
    return next((topic for topic in own if topic in contents.topics_with_records), None)


def _tables_problem(contents: StateContents) -> str | None:
    for table, (in_table, in_topic) in contents.last_seqs.items():
        if in_table > in_topic:
            return (
                f"table {table} is newer than topic {table}: its last seq is {in_table}, expected at most {in_topic}; "
                "connect the platform's Kafka, or restore a backup with `python cli.py restore FILE`"
            )
        if in_topic and not in_table:
            return (
                f"table {table} is empty, but topic {table} holds records up to seq {in_topic}; connect the platform's "
                "database, or restore a backup with `python cli.py restore FILE`"
            )
    return None
