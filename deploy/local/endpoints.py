"""Which servers to use: addresses from the environment win, else embedded ones are prepared."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from deploy.errors import DeployError
from deploy.home import Home
from deploy.local import postgres, redis, tansu
from deploy.local.kafka import broker
from deploy.local.ports import free_ports, require_free
from deploy.supervisor.process_spec import EmbeddedServer, ProcessSpec, ProgressCallback

_DEFAULT_PORTS = {"kafka": 9092, "postgres": 5432, "redis": 6379, "api": 8000, "dashboard": 3000}


@dataclass(frozen=True)
class Ports:
    """TCP ports on 127.0.0.1 of the embedded servers, the API and the dashboard."""

    kafka: int
    postgres: int
    redis: int
    api: int
    dashboard: int

    @staticmethod
    def from_environment() -> "Ports":
        """`PLATFORM_KAFKA_PORT` and so on for postgres, redis, api and dashboard, or the usual ones."""
        ports = {}
        for name, default in _DEFAULT_PORTS.items():
            text = os.environ.get(port_variable(name), str(default))
            if not text.isdigit() or not 0 < int(text) < 65536:
                raise DeployError(f"{port_variable(name)} must be a port from 1 to 65535, found {text!r}")
            ports[name] = int(text)
        return Ports(**ports)

    @staticmethod
    def free() -> "Ports":
        """Ports that nobody uses now, for tests."""
        return Ports(*free_ports(5))


def port_variable(service: str) -> str:
    return f"PLATFORM_{service.upper()}_PORT"


def client_port(service: str, port: int, environ: Mapping[str, str]) -> int:
    """Where clients are sent for a server on `port`: there, or to whatever stands in between and listens on
    `PLATFORM_KAFKA_CLIENT_PORT` and so on.
    """
    return int(environ.get(f"PLATFORM_{service.upper()}_CLIENT_PORT") or port)


def _client_url(url: str, service: str, port: int, environ: Mapping[str, str]) -> str:
    return url.replace(f"@127.0.0.1:{port}/", f"@127.0.0.1:{client_port(service, port, environ)}/")


@dataclass(frozen=True)
class Endpoints:
    """Addresses that clients use, what is embedded of them, and what is degraded (empty: nothing)."""

    kafka: str
    database_url: str
    redis_url: str
    embedded: tuple[EmbeddedServer, ...]

    @property
    def services(self) -> tuple[ProcessSpec, ...]:
        return tuple(each.service for each in self.embedded)

    @property
    def degraded(self) -> tuple[str, ...]:
        return tuple(each.degraded for each in self.embedded if each.degraded)

    def environment(self, home: Home) -> dict[str, str]:
        """What the children of the platform are told."""
        variables = {
            "KAFKA_BOOTSTRAP_SERVERS": self.kafka,
            "DATABASE_URL": self.database_url,
            "REDIS_URL": self.redis_url,
            "PLATFORM_HOME": str(home.root),
        }
        return variables | ({"PLATFORM_DEGRADED": "; ".join(self.degraded)} if self.degraded else {})


def prepare(home: Home, ports: Ports, report: ProgressCallback, environ: Mapping[str, str] = os.environ) -> Endpoints:
    """Prepare (fetch, format, initialise) every server that the environment does not name. Starts nothing.

    Raises DeployError for a taken port or a server that cannot be had. Without Kafka's jars the answer is degraded.
    """
    embedded = []
    kafka, database_url, redis_url = (environ.get(name, "") for name in _VARIABLES)
    if not kafka:
        require_free("Kafka", ports.kafka, port_variable("kafka"))
        embedded.append(_kafka(home, ports.kafka, report, environ))
        kafka = embedded[-1].url
    if not database_url:
        require_free("PostgreSQL", ports.postgres, port_variable("postgres"))
        embedded.append(postgres.prepare(home, ports.postgres))
        database_url = _client_url(embedded[-1].url, "postgres", ports.postgres, environ)
    if not redis_url:
        require_free("Redis", ports.redis, port_variable("redis"))
        embedded.append(redis.prepare(home, ports.redis))
        redis_url = _client_url(embedded[-1].url, "redis", ports.redis, environ)
    return Endpoints(kafka, database_url, redis_url, tuple(embedded))


_VARIABLES = ("KAFKA_BOOTSTRAP_SERVERS", "DATABASE_URL", "REDIS_URL")


def _kafka(home: Home, port: int, report: ProgressCallback, environ: Mapping[str, str]) -> EmbeddedServer:
    if environ.get("PLATFORM_KAFKA") == "tansu":
        reason = "PLATFORM_KAFKA=tansu"
    else:
        try:
            return broker.prepare(home, port, report, advertised_port=client_port("kafka", port, environ))
        except DeployError as error:
            reason = str(error)
    tansu.reset_recovery_stores(home)
    return tansu.prepare(home, port, reason)
