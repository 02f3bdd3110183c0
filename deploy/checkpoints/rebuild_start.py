"""The states in a checkpoint from which `rebuild` continues."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from dataflows.replay.layout_stores import KafkaTopics, service_states
from dataflows.replay.recorded_log import RebuildStart
from dataflows.replay.store_rebuild import last_common_slice_ns
from dataflows.runtime import topology
from dataflows.runtime.topology import COMPACT_SERVICES
from deploy.checkpoints.selection import OnSkipped, newest_checkpoint
from schemas.errors import BadInput

if TYPE_CHECKING:
    from configs.settings import Settings
    from dataflows.replay.recorded_source import RecordedSource
    from deploy.home import Home


def rebuild_starts(
    home: Home, settings: Settings, source: RecordedSource, skipped: OnSkipped
) -> dict[str, RebuildStart]:
    """Return where the rebuild of each service starts: the newest usable checkpoint before the end of all topics.

    Empty without one. Raises Unavailable.
    """
    partitions = settings.kafka.symbol_partitions
    logs = [
        log
        for service in COMPACT_SERVICES
        for shard in topology.shards(service, partitions)
        for log in topology.clocked_logs(service, shard, partitions)
    ]
    upto_ns = last_common_slice_ns(settings.kafka, logs)
    checkpoint = newest_checkpoint(home, settings, upto_ns, skipped, source)
    if checkpoint is None:
        return {}
    try:
        with closing(KafkaTopics(settings.kafka)) as topics:
            states = service_states(topics, checkpoint.compact, checkpoint.outputs)
    except BadInput as error:
        skipped(f"{checkpoint.checkpoint_id} cannot be used: {error}; the topics are replayed from their beginning")
        return {}
    return {
        service: RebuildStart(checkpoint.slice_ns, shards, checkpoint.outputs) for service, shards in states.items()
    }
