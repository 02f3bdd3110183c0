"""The ends of a service on the running platform: Kafka topics in, Kafka topics and Postgres tables out, Redis
beside.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import closing
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

import structlog

from configs import logs
from configs.settings import Settings, load_settings
from dataflows.runtime import halting, record_log, stopping, topology
from dataflows.runtime.stats import Stats
from dataflows.runtime.wiring import TickSink
from dataflows.sources.kafka import KafkaTicks, wait_for_topics
from schemas.records import TOPIC_OF, Record
from sinks.kafka import KafkaTickSink
from sinks.postgres import PostgresSink, PostgresWriter

log = structlog.get_logger(__name__)

SHOWN_AT_ONCE = frozenset({"market_data", "portfolio"})
"""Services whose latest values the API shows from Redis."""


class Ends(NamedTuple):
    """What a service is connected to. `sinks` by step name, in the order they are served: what others wait for
    first.
    """

    settings: Settings
    stats: Stats
    sinks: dict[str, TickSink]


def ends(service: str) -> Ends:
    """Settings, sinks and the stats file of one service of this platform; from here on the process logs as that service
    and ends well on SIGTERM.

    Raises BadInput for wrong settings and Unavailable when the topics are not there.
    """
    stopping.install()
    logs.configure(service)
    settings = load_settings()
    logs.configure(service, settings.platform.log_level)
    kafka, postgres = settings.kafka, settings.database.postgres
    replica = own_replica()
    stats = Stats(service, stats_folder(), replica=None if replica == topology.ALONE else str(replica))
    described = topology.SERVICES[service]
    log.info("service starts", release=release(), reads=[i.topic for i in described.inputs], writes=described.outputs)
    kept = {TOPIC_OF[kind] for kind in topology.KEPT.get(service, ())}
    written_to = [*described.outputs, *described.unclocked, "dead-letters", "late-records"]
    topics = [*written_to, *(given.topic for given in described.inputs)]
    wait_for_topics(kafka.cluster, [kafka.topic_prefix + topic for topic in topics])

    def written(count: int) -> None:
        stats.records_out += count

    sinks: dict[str, TickSink] = {
        "kafka": KafkaTickSink(
            kafka.cluster,
            writer=f"{service}@{release()}",
            # What a service keeps of an edge's topic passes its sinks; written there again it would go round for ever.
            topics=[topic for topic in written_to if topic not in kept],
            clocked={
                shard: topology.clocked(service, shard, kafka.symbol_partitions)
                for shard in own_shards(service, kafka.symbol_partitions)
            },
            partitions=kafka.symbol_partitions,
            prefix=kafka.topic_prefix,
            written=written,
            noted=record_log.LINES,
            note=record_log.RecordLog(),
            passing=topology.KEPT.get(service, ()),
        ),
        "postgres": PostgresSink(postgres.url, name=service, unavailable_after_s=postgres.retry_s),
    }
    if service in SHOWN_AT_ONCE:
        # Here, for its client takes a fifth of the time in which the others start.
        from sinks.redis import RedisLatest

        sinks["redis"] = RedisLatest(settings.database.redis.url)
    return Ends(settings, stats, sinks)


def store(at: Ends, name: str) -> Callable[[Sequence[Record]], None]:
    """Writes records to their tables once more, outside the flow; where they are already nothing changes."""
    postgres = at.settings.database.postgres

    def write(records: Sequence[Record]) -> None:
        writer = PostgresWriter(
            postgres.url, name=f"{name}:stored", unavailable_after_s=postgres.retry_s, audited=False
        )
        with closing(writer):
            writer.write(records)

    return write


def topics_source(service: str, at: Ends) -> KafkaTicks:
    """The service's input topics, aligned by time."""
    kafka = at.settings.kafka
    partitions = kafka.symbol_partitions
    folder, name = stats_folder(), at.stats.name
    run = None if folder is None else folder.parent
    return KafkaTicks(
        kafka.cluster,
        service,
        {shard: topology.logs(service, shard, partitions) for shard in own_shards(service, partitions)},
        prefix=kafka.topic_prefix,
        stopping=stopping.asked,
        stats=at.stats,
        limits=at.settings.platform.dead_letters.of(service),
        released=lambda: -1 if run is None else halting.released_ns(run),
        halted=lambda at_ns, reason: None if run is None else halting.write_halt(run, name, at_ns, reason),
    )


def own_replica() -> topology.Replica:
    """Which process of its service this is: what `PLATFORM_REPLICA` says, such as `2of3`, else the only one."""
    named = os.environ.get("PLATFORM_REPLICA")
    return topology.Replica.read(named) if named else topology.ALONE


def own_shards(service: str, partitions: int) -> list[str]:
    """The shards that this process runs."""
    return own_replica().of(topology.shards(service, partitions))


def stats_folder() -> Path | None:
    """Where the stats files go: under PLATFORM_HOME, or nowhere when a dataflow is run by hand without one."""
    home = os.environ.get("PLATFORM_HOME")
    return Path(home) / "run" / "stats" if home else None


def release() -> str:
    """The platform's version, as installed or as in pyproject.toml beside the code."""
    try:
        return version("institutional-trading-platform")
    except PackageNotFoundError:
        lines = (Path(__file__).parents[2] / "pyproject.toml").read_text().splitlines()
        return next(line.split('"')[1] for line in lines if line.startswith("version"))
