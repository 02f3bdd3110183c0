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
from confluent_kafka import Producer

from configs import logs
from configs.recorded_endpoints import use_recorded_addresses
from configs.secrets import secrets_folder
from configs.settings import KafkaSection, Settings, load_settings
from dataflows.runtime import record_log, shutdown, store_lock, suspension_files, topology
from dataflows.runtime.live_configuration import observe_live_stages
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
    stores in `resumed_ns` the last time slice of each shard's snapshot, -1 without one. The Kafka sink of a feed stores
    in `delivered` the offset after the last record of each (topic, partition) that Kafka has acknowledged.
    """

    settings: Settings
    stats: Stats
    sinks: dict[str, SliceSink]
    lease: ServiceLease | None
    resumed_ns: dict[str, int]
    delivered: dict[tuple[str, int], int]


class StartedProcess(NamedTuple):
    """The settings and the report of a process. `has_run`: whether its recovery store was used before."""

    settings: Settings
    stats: Stats
    is_first_of_cluster: bool
    has_run: bool


def start_process(name: str) -> StartedProcess:
    """Load the settings and open the stats file of a process. `name` is a service or `compact`.

    A process that a user starts by hand finds the addresses and its credentials in the state folder. The process then
    logs under its name and shuts down cleanly on SIGTERM.

    Raises BadInput if the settings are invalid, and Unavailable if another process uses the recovery store or the store
    is missing.
    """
    shutdown.install_signal_handler()
    logs.configure(name)
    store = store_lock.store_arguments(sys.argv[1:])
    if store.folder is not None and not store.folder.is_dir():
        raise Unavailable(
            f"the recovery store of {name} is missing: {store.folder} does not exist; "
            f"restore the store with `python cli.py rebuild {name}`"
        )
    store_lock.lock_own_store(store)
    use_recorded_addresses(os.environ, secrets_folder(os.environ), name)
    settings = load_settings()
    logs.configure(name, settings.platform.log_level)
    replica = own_replica()
    stats = Stats(name, stats_folder(), replica=None if replica == topology.SINGLE_REPLICA else str(replica))
    has_run = store.folder is not None and not store_lock.is_unused(store.folder)
    folder = stats_folder()
    observe_live_stages(settings, stats.report_configuration, None if folder is None else folder.parent)
    return StartedProcess(settings, stats, store.process == 0, has_run)


def connect(service: str) -> ServiceEndpoints:
    """Load the settings and open the sinks and the stats file of one service, as `start_process` describes.

    Raises BadInput if the settings are invalid. Raises Unavailable if the topics do not exist, if another process uses
    the recovery store or holds the lease, if the store is missing, or if it is empty although the service's topics hold
    its records.
    """
    settings, stats, is_first, has_run = start_process(service)
    kafka, postgres = settings.kafka, settings.database.postgres
    spec = topology.SERVICES[service]
    log.info("service started", release=platform_version(), reads=[i.topic for i in spec.inputs], writes=spec.outputs)
    wait_for_topics(kafka.cluster, [kafka.topic_prefix + topic for topic in topics_of(service)])
    lease = acquire_lease(service, settings) if is_first else None
    if not has_run:
        require_no_records(service, settings, service)
    delivered: dict[tuple[str, int], int] = {}
    sinks: dict[str, SliceSink] = {
        "kafka": kafka_sink(service, settings, stats, delivered=None if spec.inputs else delivered),
        "postgres": PostgresSink(
            postgres.url, name=service, unavailable_after_s=postgres.retry_s, excluded=stored_elsewhere(service)
        ),
    }
    if service in REDIS_SERVICES:
        # Imported here: the Redis client takes a fifth of the start time of the services that do not use it.
        from sinks.redis import RedisLatestSink

        sinks["redis"] = RedisLatestSink(settings.database.redis.url)
    resumed_ns: dict[str, int] = {}
    if has_run:
        sinks["kafka"] = ComparingSink(
            sinks["kafka"], lambda shard: _repeated_records(service, kafka, shard, resumed_ns)
        )
    return ServiceEndpoints(
        settings=settings, stats=stats, sinks=sinks, lease=lease, resumed_ns=resumed_ns, delivered=delivered
    )


def topics_of(service: str) -> list[str]:
    """Return the topics that a service reads or writes."""
    spec = topology.SERVICES[service]
    return [*_written_topics(service), *spec.follows, *(service_input.topic for service_input in spec.inputs)]


def _written_topics(service: str) -> list[str]:
    spec = topology.SERVICES[service]
    return [*spec.outputs, *spec.unclocked, "dead-letters", "late-records"]


def kafka_sink(
    service: str,
    settings: Settings,
    stats: Stats,
    open_producer: Callable[[], Producer] | None = None,
    *,
    delivered: dict[tuple[str, int], int] | None = None,
) -> KafkaSliceSink:
    """Return the sink of a service's topics. `open_producer` opens a producer that several sinks share.

    `delivered` gets the offset after the last record of each (topic, partition) that Kafka has acknowledged.
    """
    kafka = settings.kafka
    pass_through_topics = {TOPIC_OF[record_type] for record_type in topology.PASS_THROUGH.get(service, ())}

    def count_written(count: int) -> None:
        stats.records_out += count

    return KafkaSliceSink(
        kafka.cluster,
        writer=f"{service}@{platform_version()}",
        # Pass-through records reach this sink, but they came from these topics: writing them back would loop.
        topics=[topic for topic in _written_topics(service) if topic not in pass_through_topics],
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
        open_producer=open_producer,
        delivered=delivered,
    )


def stored_elsewhere(service: str) -> frozenset[type]:
    """Return the types of audited records that another service stores in tables, in the order of their log.

    `risk` stores the commands, also those of the feed: two writers would link them in the order in which they commit.
    """
    others = (kinds for name, kinds in topology.PASS_THROUGH.items() if name != service)
    return frozenset(kind for kinds in others for kind in kinds if kind in AUDITED_TYPE_SET)


def _repeated_records(
    service: str, kafka: KafkaSection, shard: str, resumed_ns: Mapping[str, int]
) -> RepeatedRecords | None:
    """Return what a shard repeats; None for a feed that repeats nothing, or if another process of a cluster reads the
    shard's inputs.
    """
    if shard not in resumed_ns:
        return None
    logs_written = topology.clocked_logs(service, shard, kafka.symbol_partitions)
    return RepeatedRecords(kafka.cluster, kafka.topic_prefix, service, logs_written, resumed_ns[shard])


def acquire_lease(service: str, settings: Settings) -> ServiceLease | None:
    """Take the lease of the feed or of the gateway to a broker; other services need none. Raises Unavailable."""
    if service != "market_data" and not (service == "execution" and settings.execution.broker != "simulated"):
        return None
    lease = ServiceLease(settings.database.postgres.url, settings.kafka.topic_prefix + service)
    lease.acquire()
    lease.watch()
    return lease


def require_no_records(service: str, settings: Settings, process: str) -> None:
    """Raises Unavailable if this service has written records: without its store, it would count from 1 again.

    `process` is the process that runs the service.
    """
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
            f"the recovery store of {process} is empty or missing, but topic {topic} holds records of {service}; "
            f"restore the store with `python cli.py rebuild {process}`"
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
    read_released_ns, on_suspend = suspension_callbacks(endpoints.stats)
    return KafkaSliceSource(
        kafka.cluster,
        service,
        {shard: topology.input_logs(service, shard, partitions, unread) for shard in own_shards(service, partitions)},
        prefix=kafka.topic_prefix,
        archive=kafka.archive,  # a service that is new in this release starts at the first message
        stop_requested=shutdown.stop_requested,
        stats=endpoints.stats,
        on_resume=endpoints.resumed_ns.__setitem__,
        limits=endpoints.settings.platform.dead_letters.limits_for(service),
        read_released_ns=read_released_ns,
        on_suspend=on_suspend,
        saves_checkpoints=True,
    )


def suspension_callbacks(stats: Stats) -> tuple[Callable[[], int], Callable[[int, str], None]]:
    """Return functions that read the last release of suspended processes, and write a suspension of this process."""
    folder, name = stats_folder(), stats.name
    if folder is None:
        return (lambda: -1), (lambda at_ns, reason: None)
    run_dir = folder.parent
    return (
        lambda: suspension_files.last_released_ns(run_dir),
        lambda at_ns, reason: suspension_files.write_suspension(run_dir, name, at_ns, reason),
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
