"""Connect a service to the running platform: Kafka topics in; Kafka topics, PostgreSQL tables and Redis out."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

import structlog

from configs import logs
from configs.recorded_endpoints import use_recorded_addresses
from configs.secrets import secrets_folder
from configs.settings import KafkaSection, Settings, load_settings
from dataflows.runtime import record_log, shutdown, store_lock, suspension_files, topology
from dataflows.runtime.repeated_records import ComparingSink, RepeatedRecords
from dataflows.runtime.stats import Stats
from dataflows.runtime.wiring import SliceSink
from dataflows.sources.existing_topics import first_topic_with_messages, wait_for_topics
from dataflows.sources.kafka import KafkaSliceSource
from schemas.errors import Unavailable
from schemas.records import TOPIC_OF, Record
from sinks.audit import AUDITED_TYPE_SET
from sinks.kafka import KafkaSliceSink
from sinks.leases import ServiceLease
from sinks.postgres import PostgresSink, PostgresWriter

log = structlog.get_logger(__name__)

REDIS_SERVICES = frozenset({"market_data", "portfolio"})
"""Services whose latest values the API reads from Redis."""


class ServiceEndpoints(NamedTuple):
    """The connections of a service. `sinks` are by step name, in the order of execution: Kafka first, because other
    services wait for its topics. `lease` is held by a service of which only one process may act. The source of topics
    stores in `resumed_ns` the last time slice of each shard's snapshot, -1 without one.
    """

    settings: Settings
    stats: Stats
    sinks: dict[str, SliceSink]
    lease: ServiceLease | None
    resumed_ns: dict[str, int]


def connect(service: str) -> ServiceEndpoints:
    """Load the settings and open the sinks and the stats file of one service.

    A process that a user starts by hand finds the addresses and its credentials in the state folder. The process then
    logs under the service's name and shuts down cleanly on SIGTERM.

    Raises BadInput if the settings are invalid. Raises Unavailable if the topics do not exist, if another process uses
    the recovery store or holds the lease, if the store is missing, or if it is empty although the service's topics hold
    its records.
    """
    shutdown.install_signal_handler()
    logs.configure(service)
    store = store_lock.store_arguments(sys.argv[1:])
    if store.folder is not None and not store.folder.is_dir():
        raise Unavailable(
            f"the recovery store of {service} is missing: {store.folder} does not exist; "
            f"restore the store with `python cli.py rebuild {service}`"
        )
    store_lock.lock_own_store(store)
    use_recorded_addresses(os.environ, secrets_folder(os.environ), service)
    settings = load_settings()
    logs.configure(service, settings.platform.log_level)
    kafka, postgres = settings.kafka, settings.database.postgres
    replica = own_replica()
    stats = Stats(service, stats_folder(), replica=None if replica == topology.SINGLE_REPLICA else str(replica))
    spec = topology.SERVICES[service]
    log.info("service started", release=platform_version(), reads=[i.topic for i in spec.inputs], writes=spec.outputs)
    pass_through_topics = {TOPIC_OF[record_type] for record_type in topology.PASS_THROUGH.get(service, ())}
    output_topics = [*spec.outputs, *spec.unclocked, "dead-letters", "late-records"]
    topics = [*output_topics, *spec.follows, *(service_input.topic for service_input in spec.inputs)]
    wait_for_topics(kafka.cluster, [kafka.topic_prefix + topic for topic in topics])
    lease = _take_lease(service, settings) if store.process == 0 else None
    has_run = store.folder is not None and not store_lock.is_unused(store.folder)
    if not has_run:
        _require_no_records(service, settings)

    def count_written(count: int) -> None:
        stats.records_out += count

    sinks: dict[str, SliceSink] = {
        "kafka": KafkaSliceSink(
            kafka.cluster,
            writer=f"{service}@{platform_version()}",
            # Pass-through records reach this sink, but they came from these topics: writing them back would loop.
            topics=[topic for topic in output_topics if topic not in pass_through_topics],
            clock_partitions={
                shard: topology.clocked_logs(service, shard, kafka.symbol_partitions)
                for shard in own_shards(service, kafka.symbol_partitions)
            },
            partitions=kafka.symbol_partitions,
            prefix=kafka.topic_prefix,
            on_written=count_written,
            logged_types=record_log.LOG_LINES,
            log_record=record_log.RecordLog(),
            pass_through=topology.PASS_THROUGH.get(service, ()),
        ),
        "postgres": PostgresSink(
            postgres.url, name=service, unavailable_after_s=postgres.retry_s, excluded=stored_elsewhere(service)
        ),
    }
    if service in REDIS_SERVICES:
        # Imported here: the Redis client takes a fifth of the start time of the services that do not use it.
        from sinks.redis import RedisLatestSink

        sinks["redis"] = RedisLatestSink(settings.database.redis.url)
    resumed_ns: dict[str, int] = {}
    if spec.inputs and has_run:
        sinks["kafka"] = ComparingSink(
            sinks["kafka"], lambda shard: _repeated_records(service, kafka, shard, resumed_ns)
        )
    return ServiceEndpoints(settings, stats, sinks, lease, resumed_ns)


def stored_elsewhere(service: str) -> frozenset[type]:
    """Return the types of audited records that another service stores in tables, in the order of their log.

    `risk` stores the commands, also those of the feed: two writers would link them in the order in which they commit.
    """
    others = (kinds for name, kinds in topology.PASS_THROUGH.items() if name != service)
    return frozenset(kind for kinds in others for kind in kinds if kind in AUDITED_TYPE_SET)


def _repeated_records(
    service: str, kafka: KafkaSection, shard: str, resumed_ns: Mapping[str, int]
) -> RepeatedRecords | None:
    """Return what a shard repeats; None if another process of a cluster reads the shard's inputs."""
    if shard not in resumed_ns:
        return None
    logs_written = topology.clocked_logs(service, shard, kafka.symbol_partitions)
    return RepeatedRecords(kafka.cluster, kafka.topic_prefix, service, logs_written, resumed_ns[shard])


def _take_lease(service: str, settings: Settings) -> ServiceLease | None:
    """Take the lease of the feed or of the gateway to a broker; other services need none. Raises Unavailable."""
    if service != "market_data" and not (service == "execution" and settings.execution.broker != "simulated"):
        return None
    lease = ServiceLease(settings.database.postgres.url, settings.kafka.topic_prefix + service)
    lease.acquire()
    lease.watch()
    return lease


def _require_no_records(service: str, settings: Settings) -> None:
    """Raises Unavailable if this service wrote records before: it must not start from empty and count from 1 again."""
    kafka = settings.kafka
    shards = own_shards(service, kafka.symbol_partitions)
    logs_written = [
        (topic, partition)
        for shard in shards
        for topic, partition in topology.clocked_logs(service, shard, kafka.symbol_partitions)
        if topic in topology.own_topics(service)
    ]
    topic = first_topic_with_messages(kafka.cluster, kafka.topic_prefix, logs_written)
    if topic is not None:
        raise Unavailable(
            f"the recovery store of {service} is empty or missing, but topic {topic} holds records of {service}; "
            f"restore the store with `python cli.py rebuild {service}`"
        )


def table_store(endpoints: ServiceEndpoints, name: str) -> Callable[[Sequence[Record]], None]:
    """Return a function that writes records to their tables outside the flow; records already stored do not change."""
    postgres = endpoints.settings.database.postgres

    def write(records: Sequence[Record]) -> None:
        writer = PostgresWriter(
            postgres.url, name=f"{name}:stored", unavailable_after_s=postgres.retry_s, audited=False
        )
        with closing(writer):
            writer.write(records)

    return write


def topics_source(service: str, endpoints: ServiceEndpoints, unread: Collection[str] = ()) -> KafkaSliceSource:
    """Return the source of the service's input topics, aligned by time, without the topics `unread`."""
    kafka = endpoints.settings.kafka
    partitions = kafka.symbol_partitions
    folder, name = stats_folder(), endpoints.stats.name
    run_dir = None if folder is None else folder.parent
    return KafkaSliceSource(
        kafka.cluster,
        service,
        {shard: topology.input_logs(service, shard, partitions, unread) for shard in own_shards(service, partitions)},
        prefix=kafka.topic_prefix,
        stop_requested=shutdown.stop_requested,
        stats=endpoints.stats,
        on_resume=endpoints.resumed_ns.__setitem__,
        limits=endpoints.settings.platform.dead_letters.limits_for(service),
        read_released_ns=lambda: -1 if run_dir is None else suspension_files.last_released_ns(run_dir),
        on_suspend=lambda at_ns, reason: (
            None if run_dir is None else suspension_files.write_suspension(run_dir, name, at_ns, reason)
        ),
    )


def own_replica() -> topology.Replica:
    """Return which replica of its service this process is: `PLATFORM_REPLICA` (`2of3`), by default the only one."""
    replica_text = os.environ.get("PLATFORM_REPLICA")
    return topology.Replica.parse(replica_text) if replica_text else topology.SINGLE_REPLICA


def own_shards(service: str, partitions: int) -> list[str]:
    """Return the shards that this process runs."""
    return own_replica().select(topology.shards(service, partitions))


def stats_folder() -> Path | None:
    """Return the folder of the stats files under PLATFORM_HOME, or None if that variable is unset."""
    home = os.environ.get("PLATFORM_HOME")
    return Path(home) / "run" / "stats" if home else None


def platform_version() -> str:
    """Return the platform's version: of the installed package, else of pyproject.toml beside the code."""
    try:
        return version("institutional-trading-platform")
    except PackageNotFoundError:
        lines = (Path(__file__).parents[2] / "pyproject.toml").read_text().splitlines()
        return next(line.split('"')[1] for line in lines if line.startswith("version"))
