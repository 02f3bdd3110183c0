"""The ends of a service on the running platform: Kafka topics in, Kafka topics and Postgres tables out, Redis beside."""

from __future__ import annotations

import os
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

from configs.settings import Settings, load_settings
from dataflows import stopping, topology
from dataflows.sources.kafka import KafkaTicks, wait_for_topics
from dataflows.stats import Stats
from dataflows.wiring import TickSink
from sinks.kafka import KafkaTickSink
from sinks.postgres import PostgresSink
from sinks.redis import RedisLatest


class Ends(NamedTuple):
    """What a service is connected to. `sinks` by step name, in the order they are served: what others wait for first."""

    settings: Settings
    stats: Stats
    sinks: dict[str, TickSink]


def ends(service: str) -> Ends:
    """Settings, sinks and the stats file of one service of this platform; from here on the process ends well on SIGTERM.

    Raises BadInput for wrong settings and Unavailable when the topics are not there.
    """
    stopping.install()
    settings = load_settings()
    servers, partitions = settings.kafka.bootstrap_servers, settings.kafka.symbol_partitions
    stats = Stats(service, stats_folder())
    shards = topology.shards(service, partitions)
    outputs = topology.SERVICES[service].outputs
    wait_for_topics(servers, [*outputs, *(given.topic for given in topology.SERVICES[service].inputs), "dead-letters"])

    def written(count: int) -> None:
        stats.records_out += count

    sinks: dict[str, TickSink] = {
        "kafka": KafkaTickSink(
            servers,
            writer=f"{service}@{release()}",
            topics=[*outputs, "dead-letters"] if service != "market_data" else ["market-bars", "dead-letters"],
            clocked={shard: topology.clocked(service, shard, partitions) for shard in shards},
            partitions=partitions,
            written=written,
        ),
        "postgres": PostgresSink(settings.database.postgres.url, parts=shards, retry_s=settings.database.postgres.retry_s),
        "redis": RedisLatest(settings.database.redis.url, parts=shards),
    }
    return Ends(settings, stats, sinks)


def topics_source(service: str, at: Ends) -> KafkaTicks:
    """The service's input topics, aligned by time."""
    partitions = at.settings.kafka.symbol_partitions
    return KafkaTicks(
        at.settings.kafka.bootstrap_servers,
        service,
        {shard: topology.logs(service, shard, partitions) for shard in topology.shards(service, partitions)},
        stopping=stopping.asked,
        stats=at.stats,
    )


def stats_folder() -> Path | None:
    """Where the stats files go: under PLATFORM_HOME, or nowhere when a dataflow is run by hand without one."""
    home = os.environ.get("PLATFORM_HOME")
    return Path(home) / "run" / "stats" if home else None


def release() -> str:
    """The platform's version, as installed or as in pyproject.toml beside the code."""
    try:
        return version("institutional-trading-platform")
    except PackageNotFoundError:
        lines = (Path(__file__).parent.parent / "pyproject.toml").read_text().splitlines()
        return next(line.split('"')[1] for line in lines if line.startswith("version"))
