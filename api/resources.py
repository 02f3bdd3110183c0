"""Resources of the endpoints: PostgreSQL, Redis, Kafka, the settings and the state folder."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import redis
from confluent_kafka.admin import AdminClient
from fastapi import Depends
from prometheus_client import CollectorRegistry, Counter
from redis.backoff import NoBackoff
from redis.retry import Retry
from sqlalchemy import Connection, Engine, desc, select
from starlette.requests import HTTPConnection

from api import tokens
from api.accounts import Accounts
from api.login_limits import LoginLimiter
from api.login_pool import LoginPool
from api.metrics_token import load_metrics_token
from api.rate_limits import RateLimiter
from api.read_pool import ReadPool
from api.stream_hub import Hub
from configs.recorded_settings import settings_of
from configs.settings import Settings
from schemas.errors import BadInput
from schemas.records import Configuration
from sinks.cluster import client_config
from sinks.commands import CommandLog
from sinks.database import open_engine
from sinks.record_tables import record_of
from sinks.signing_keys import API, FOLDER, CommandSigner
from sinks.tables import configurations

REPOSITORY = Path(__file__).resolve().parents[1]
REDIS_TIMEOUT_S = 0.5
IN_FORCE_CACHE_S = 1.0


class Resources:
    """Connections and settings of one API process. Each connection opens on first use."""

    def __init__(self, settings: Settings, home: Path | None = None) -> None:
        """`home` is the platform's state folder; the default is PLATFORM_HOME, then `var/` in the repository."""
        self.settings = settings
        self.home = home or Path(os.environ.get("PLATFORM_HOME") or REPOSITORY / "var")
        postgres = settings.database.postgres
        self.engine: Engine = open_engine(postgres.url, pool_size=postgres.pool_size)
        replica = postgres.replica_url
        self.read_pool = ReadPool(
            self.engine, open_engine(replica, pool_size=postgres.pool_size) if replica is not None else None
        )
        # No retries: a request falls back to PostgreSQL instead of waiting for Redis.
        self.redis: redis.Redis = redis.Redis.from_url(
            settings.database.redis.url,
            socket_timeout=REDIS_TIMEOUT_S,
            socket_connect_timeout=REDIS_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
        )
        self.registry = CollectorRegistry()
        api = settings.api
        self.accounts = Accounts(
            self.engine, self.home / "secrets", access_s=api.access_token_s, refresh_s=api.refresh_token_s
        )
        self.rate_limiter = RateLimiter(
            self.redis,
            {"read": api.read_rate, "command": api.command_rate, "login": api.login_rate, "stream": api.stream_rate},
            self.registry,
        )
        self.login_limiter = LoginLimiter(self.redis, api.login_rate)
        self.login_pool = LoginPool()
        self.failed_logins = Counter(
            "platform_api_failed_logins", "log-ins that were rejected", ["reason"], registry=self.registry
        )
        self._in_force, self._in_force_until_s = settings, 0.0
        self.hub = Hub(settings.database.redis.url, self.registry, clients_max=api.streams_max)

    @property
    def settings_in_force(self) -> Settings:
        """The settings with the newest configuration that risk has stored, read at most once a second."""
        now_s = time.monotonic()
        if now_s >= self._in_force_until_s:
            with self.engine.connect() as db:
                query = select(configurations).order_by(desc(configurations.c.number)).limit(1)
                row = db.execute(query).mappings().first()
            try:
                newest = None if row is None else settings_of(record_of(Configuration, row), self.settings)
            except BadInput:
                newest = self._in_force  # the stages ignore an invalid record too
            self._in_force, self._in_force_until_s = newest or self.settings, now_s + IN_FORCE_CACHE_S
        return self._in_force

    @cached_property
    def jwt_key(self) -> str:
        configured_key = self.settings.api.jwt_key
        return (
            tokens.load_or_create_secret(self.home / "secrets", tokens.JWT_KEY_FILE)
            if configured_key is None
            else configured_key.get_secret_value()
        )

    @cached_property
    def metrics_token(self) -> str:
        return load_metrics_token(self.settings.api, self.home / "secrets")

    def is_valid_token(self, access_token: str) -> bool:
        """Check the signature and expiry of an access token, without a request to a server."""
        try:
            tokens.verify(self.jwt_key, tokens.ACCESS, access_token)
        except tokens.Unauthenticated:
            return False
        return True

    @cached_property
    def command_log(self) -> CommandLog:
        """Write to the topic `commands`; one producer for all requests."""
        kafka, timeout_s = self.settings.kafka, self.settings.api.command_timeout_s
        signer = CommandSigner(self.home / "secrets" / FOLDER, API)
        return CommandLog(kafka.cluster, prefix=kafka.topic_prefix, timeout_s=timeout_s, signer=signer)

    @cached_property
    def kafka_admin(self) -> AdminClient:
        """One client for all requests, because health checks arrive about every second. It does not log failures."""
        return AdminClient(client_config(self.settings.kafka.cluster, {"log_level": 0}))

    def close(self) -> None:
        self.login_pool.close()
        self.engine.dispose()
        self.read_pool.close()
        self.redis.close()


def _resources(connection: HTTPConnection) -> Resources:
    """Return the resources of a request or WebSocket."""
    resources: Resources = connection.app.state.resources
    return resources


ResourcesDep = Annotated[Resources, Depends(_resources)]


def _read_connection(resources: ResourcesDep) -> Iterator[Connection]:
    """One read-only transaction per request: all its queries see the same committed state."""
    with resources.read_pool.connect().execution_options(**_READ_ONLY) as connection:
        yield connection


def _primary_connection(resources: ResourcesDep) -> Iterator[Connection]:
    with resources.engine.connect().execution_options(**_READ_ONLY) as connection:
        yield connection


_READ_ONLY: dict[str, Any] = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
Db = Annotated[Connection, Depends(_read_connection)]
"""A read-only transaction on the read replica, or on the primary if there is no replica."""
PrimaryDb = Annotated[Connection, Depends(_primary_connection)]
"""A read-only transaction on the primary: for data that the caller has just written and for decisions."""
