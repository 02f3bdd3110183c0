"""The layout `compact`: the services that make decisions in one process.

A service that sends requests to a broker or a language model runs beside this process. Topics, tables, records and
decisions are those of the layout `services` (`docs/decisions/0017-layouts.md`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import bytewax.operators as op
import structlog
from bytewax.dataflow import Dataflow

from configs.settings import Settings
from dataflows import execution
from dataflows.runtime import live_endpoints, shutdown, stages, topology
from dataflows.runtime.compact_sinks import CompactKafkaSink, all_records, service_items, stored_records
from dataflows.runtime.compact_stages import CompactStages
from dataflows.runtime.configured_stage import StageFactory
from dataflows.runtime.edge_services import recorded_beside_compact
from dataflows.runtime.limited_handlers import limited_stages
from dataflows.runtime.repeated_records import ComparingSink, RepeatedRecords
from dataflows.runtime.stage_timers import with_timers
from dataflows.runtime.stats import Stats
from dataflows.runtime.wiring import SliceSink, SliceSource
from dataflows.sources.compact import CompactSource
from dataflows.sources.existing_topics import wait_for_topics
from dataflows.sources.rejection_guard import RejectionGuard
from operators.stage import Stage
from schemas.errors import BadInput
from sinks.kafka import open_slice_producer
from sinks.postgres import PostgresSink

log = structlog.get_logger(__name__)


def build(settings: Settings, source: SliceSource, sinks: Mapping[str, SliceSink]) -> Dataflow:
    """Build the flow.

    Source items: ("compact", slices of the outputs of all services). `sinks`, by step name: `kafka` receives these
    items, `postgres` the records to store, `redis` the outputs of portfolio.
    """
    flow = Dataflow(topology.COMPACT)
    outputs = op.input("ticks", flow, source)
    op.output("kafka", outputs, sinks["kafka"])
    op.output("postgres", op.map("rows", outputs, stored_records), sinks["postgres"])
    op.output("redis", op.map("portfolio", outputs, service_items("portfolio")), sinks["redis"])
    return flow


def flow() -> Dataflow:
    """Connect the flow to the running platform. Run it with `python -m bytewax.run dataflows.compact`."""
    settings, stats, _, has_run = live_endpoints.start_process(topology.COMPACT)
    beside = recorded_beside_compact(settings, os.environ)
    if (conflict := topology.compact_conflict(beside)) is not None:
        raise BadInput(conflict)
    kafka, services = settings.kafka, topology.compact_services(beside)
    log.info("process started", release=live_endpoints.platform_version(), services=services)
    topics = {topic for service in services for topic in live_endpoints.topics_of(service)}
    wait_for_topics(kafka.cluster, [kafka.topic_prefix + topic for topic in sorted(topics)])
    if not has_run:
        for service in services:
            live_endpoints.require_no_records(service, settings, topology.COMPACT)
    resumed_ns: dict[str, int] = {}
    sinks = _open_sinks(settings, services, stats, resumed_ns if has_run else None)
    if "execution" in services:
        execution.start_simulated_guard(settings)
    make_stages, unread = live_stages(settings, services, stats), {"strategies": stages.unread_topics(settings)}
    read_released_ns, on_suspend = live_endpoints.suspension_callbacks(stats)

    def guard_of(service: str, state: Any) -> RejectionGuard:
        limits = settings.platform.dead_letters.limits_for(service)
        return RejectionGuard(limits, state, read_released_ns, on_suspend)

    source = CompactSource(
        kafka.cluster,
        lambda state: CompactStages(
            make_stages, kafka.symbol_partitions, unread=unread, guard_of=guard_of, state=state
        ),
        prefix=kafka.topic_prefix,
        stop_requested=shutdown.stop_requested,
        stats=stats,
        on_resume=lambda passed_ns: resumed_ns.update({topology.COMPACT: passed_ns}),
    )
    return build(settings, source, sinks)


def live_stages(settings: Settings, services: Sequence[str], stats: Stats) -> dict[str, Callable[[], Stage]]:
    """Return, for each of these services, a function that makes its live stage with its timers. Stages that run code of
    the user have time limits.
    """
    limited = ("features", "predictions", "signals", "strategies")
    make_limited = [stages.features, stages.predictions, stages.signals, stages.strategies]
    makers = dict(zip(limited, limited_stages(make_limited, settings, stats.name), strict=True))
    return {
        service: with_timers(
            service,
            makers[service] if service in limited else StageFactory(getattr(stages, service), settings),
            settings,
        )
        for service in services
    }


def _open_sinks(
    settings: Settings, services: Sequence[str], stats: Stats, resumed_ns: Mapping[str, int] | None
) -> dict[str, SliceSink]:
    """Return the sinks of every layout. With `resumed_ns`, records that are repeated after a crash are compared."""
    # Imported here: the Redis client is slow to import.
    from sinks.redis import RedisLatestSink

    kafka, postgres = settings.kafka, settings.database.postgres
    shared_producer = cache(lambda: open_slice_producer(kafka.cluster))
    kafka_sinks = {
        service: live_endpoints.kafka_sink(service, settings, stats, shared_producer) for service in services
    }
    kafka_sink: SliceSink = CompactKafkaSink(kafka_sinks)
    if resumed_ns is not None:
        logs = [
            log_name
            for service in services
            for shard in topology.shards(service, kafka.symbol_partitions)
            for log_name in topology.clocked_logs(service, shard, kafka.symbol_partitions)
        ]
        kafka_sink = ComparingSink(
            kafka_sink,
            lambda part: RepeatedRecords(kafka.cluster, kafka.topic_prefix, part, logs, resumed_ns[part]),
            all_records,
        )
    return {
        "kafka": kafka_sink,
        "postgres": PostgresSink(postgres.url, name=topology.COMPACT, unavailable_after_s=postgres.retry_s),
        "redis": RedisLatestSink(settings.database.redis.url),
    }
