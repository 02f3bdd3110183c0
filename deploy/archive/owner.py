"""The platform to which an archive belongs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.errors import DeployError
from deploy.supervisor.platform_identity import read_topic_identity
from sinks.archive.topic_archive import ArchiveOwner, TopicArchive

if TYPE_CHECKING:
    from configs.settings import KafkaSection


def archive_owner(kafka: KafkaSection) -> ArchiveOwner:
    """Return the owner of an archive of these topics; topics of release 0.2.0 or earlier have no platform id."""
    identity = read_topic_identity(kafka.cluster, kafka.topic_prefix)
    platform_id = "" if identity is None else identity.platform_id
    return ArchiveOwner(platform_id, kafka.topic_prefix, kafka.symbol_partitions)


def require_owner(archive: TopicArchive, owner: ArchiveOwner) -> None:
    """Raises DeployError if the archive belongs to another platform. Every platform can use an empty archive."""
    found = archive.owner()
    if found is None or found == owner:
        return
    raise DeployError(
        f"the archive {archive.folder} belongs to platform {found.platform_id} (topic prefix {found.topic_prefix!r}, "
        f"{found.symbol_partitions} partitions), but the topics belong to platform {owner.platform_id} "
        f"({owner.topic_prefix!r}, {owner.symbol_partitions}); set kafka.archive_folder to the archive of this platform"
    )
