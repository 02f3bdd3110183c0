"""Health of the platform: one request to each server, and the age of each dataflow's report."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import redis
from confluent_kafka import KafkaException
from fastapi import APIRouter
from fastapi.responses import JSONResponse
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from api.dataflow_stats import (
    COUNTS,
    SUPERVISOR_SILENT_AFTER_S,
    read_degraded_reasons,
    read_stats,
    supervisor_age_s,
)
from api.json_types import ApiModel, utc
from api.resources import Resources, ResourcesDep
from operators.strategy_limits import LOSS_STOP
from sinks.suspensions import suspended_strategies

STALE_AFTER_S = 15.0
KAFKA_TIMEOUT_S = 1.0

router = APIRouter(tags=["health"])


class ComponentHealth(ApiModel):
    """`status` is "ok" or the reason why the component is unhealthy. `latency_ms` is the response time of a server.

    For a dataflow, `age_s` is the age of its last report in seconds, `last_tick_ns` the event time of its last time
    slice, and `started_at` its start in seconds since 1970. The counts begin at the start.
    """

    status: str
    latency_ms: float | None = None
    age_s: float | None = None
    last_tick_ns: int | None = None
    dead_letters: int | None = None
    records_in: int | None = None
    records_out: int | None = None
    late_records: int | None = None
    duplicates: int | None = None
    seq_gaps: int | None = None
    started_at: float | None = None


class Health(ApiModel):
    """`status` is "ok" if every component is healthy. `degraded` is true if a substitute replaces a service or a
    strategy is suspended; `degraded_reasons` names each one.
    """

    status: str
    degraded: bool
    degraded_reasons: list[str]
    parts: dict[str, ComponentHealth]
    dataflows: dict[str, ComponentHealth]


@router.get("/health", response_model=Health, responses={503: {"model": Health}})
def get_health(resources: ResourcesDep) -> JSONResponse:
    """200 if PostgreSQL, Redis, Kafka, the supervisor and every dataflow are healthy, otherwise 503.

    Both have the same body. Without a supervisor, as in containers, the body has no such part.
    """
    checks: dict[str, Callable[[Resources], None]] = {"postgres": _postgres, "redis": _redis, "kafka": _kafka}
    parts = {name: _run_check(check, resources) for name, check in checks.items()}
    if (supervisor := _supervisor(resources)) is not None:
        parts["supervisor"] = supervisor
    dataflows = dataflow_health(resources, time.time())
    healthy = all(part.status == "ok" for part in (*parts.values(), *dataflows.values()))
    reasons = read_degraded_reasons(resources.home)
    if resources.read_pool.replica is not None:
        # A missing replica is not a failure: queries go to the primary.
        parts["postgres_replica"] = replica = _run_check(_replica, resources)
        if replica.status != "ok":
            reasons = [*reasons, f"the read replica is unavailable, queries go to the primary: {replica.status}"]
    reasons = [*reasons, *_suspension_reasons(resources)]
    health = Health(
        status="ok" if healthy else "failing",
        degraded=bool(reasons),
        degraded_reasons=reasons,
        parts=parts,
        dataflows=dataflows,
    )
    return JSONResponse(health.model_dump(exclude_none=True), 200 if healthy else 503)


def _suspension_reasons(resources: Resources) -> list[str]:
    """Return a sentence for each suspended strategy. No file and no symbol, because /health needs no token."""
    try:
        with resources.engine.connect() as db:
            return [
                f"strategy {suspension.strategy} has been suspended since {utc(suspension.ts_ns)}: "
                + ("its loss stop was reached" if suspension.error_type == LOSS_STOP else "it raised an exception")
                for suspension in suspended_strategies(db)
            ]
    except SQLAlchemyError:
        return []  # `parts.postgres` has the reason


def _supervisor(resources: Resources) -> ComponentHealth | None:
    age_s = supervisor_age_s(resources.home)
    if age_s is None:
        return None
    if age_s <= SUPERVISOR_SILENT_AFTER_S:
        return ComponentHealth(status="ok", age_s=round(max(0.0, age_s), 3))
    last_report = "no valid report" if age_s == float("inf") else f"last report {age_s:.0f} s ago"
    return ComponentHealth(
        status=f"unknown: {last_report}, expected at most {SUPERVISOR_SILENT_AFTER_S:.0f} s; no service is restarted"
    )


def dataflow_health(resources: Resources, now: float) -> dict[str, ComponentHealth]:
    """Return the health of every dataflow that owns a topic, by service. `now` is in seconds since 1970."""
    stats = read_stats(resources.home)
    owners = {topic.owner for topic in resources.settings.kafka.topics.values() if topic.owner}
    return {service: _freshness(stats.get(service), now) for service in sorted(owners | stats.keys())}


def _freshness(row: dict[str, Any] | None, now: float) -> ComponentHealth:
    if row is None:
        return ComponentHealth(status="not running: no report yet")
    age = max(0.0, now - float(row["updated_at"]))
    # A feed that has replayed all its files sends no more reports.
    healthy = age <= STALE_AFTER_S or bool(row.get("feed_finished"))
    return ComponentHealth(
        status="ok" if healthy else f"stale: last report {age:.0f} s ago, expected at most {STALE_AFTER_S:.0f} s",
        age_s=round(age, 3),
        last_tick_ns=row.get("last_tick_ns"),
        started_at=row.get("started_at"),
        **{name: row.get(name) for name in COUNTS},
    )


def _run_check(check: Callable[[Resources], None], resources: Resources) -> ComponentHealth:
    began = time.perf_counter()
    try:
        check(resources)
    except (SQLAlchemyError, redis.RedisError, KafkaException) as error:
        return ComponentHealth(status=_reason(error))
    return ComponentHealth(status="ok", latency_ms=round((time.perf_counter() - began) * 1000, 3))


def _reason(error: Exception) -> str:
    """Return the first line of the error. The drivers do not put passwords into their messages."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _postgres(resources: Resources) -> None:
    with resources.engine.connect() as connection:
        connection.execute(text("SELECT 1 FROM alembic_version"))


def _replica(resources: Resources) -> None:
    assert resources.read_pool.replica is not None, "called only if a replica is configured"
    with resources.read_pool.replica.connect() as connection:
        connection.execute(text("SELECT 1 FROM alembic_version"))


def _redis(resources: Resources) -> None:
    resources.redis.ping()


def _kafka(resources: Resources) -> None:
    """Raises KafkaException if no broker responds in time."""
    resources.kafka_admin.list_topics(timeout=KAFKA_TIMEOUT_S)
