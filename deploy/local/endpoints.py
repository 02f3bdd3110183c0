"""Choose the servers: addresses from the environment, else embedded servers."""

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from configs.recorded_endpoints import ADDRESS_VARIABLES, kafka_variables
from deploy.errors import DeployError
from deploy.home import Home
from deploy.local import postgres, redis, tansu
from deploy.local.kafka import broker
from deploy.local.ports import Ports, port_variable, require_free
from deploy.supervisor.process_spec import EmbeddedServer, ProcessSpec, ProgressCallback


def client_port(service: str, port: int, environ: Mapping[str, str]) -> int:
    """Return the port that clients use for a server on `port`: the same, or that of a proxy in
    `PLATFORM_KAFKA_CLIENT_PORT`, `PLATFORM_POSTGRES_CLIENT_PORT`, …
    """
    return int(environ.get(f"PLATFORM_{service.upper()}_CLIENT_PORT") or port)


def _client_url(url: str, service: str, port: int, environ: Mapping[str, str]) -> str:
    return url.replace(f"@127.0.0.1:{port}/", f"@127.0.0.1:{client_port(service, port, environ)}/")


@dataclass(frozen=True)
class Endpoints:
    """The addresses that clients use, and the embedded servers behind them."""

    kafka: str
    database_url: str
    redis_url: str
    embedded: tuple[EmbeddedServer, ...]

    @property
    def services(self) -> tuple[ProcessSpec, ...]:
        return tuple(server.service for server in self.embedded)

    @property
    def substitute_kafka(self) -> bool:
        """Whether Kafka is replaced by a broker that loses its topics at a restart."""
        return any(server.service.name == "kafka" and server.degraded for server in self.embedded)

    @property
    def degraded(self) -> tuple[str, ...]:
        """Why servers are degraded; empty if none is."""
        return tuple(server.degraded for server in self.embedded if server.degraded)

    @property
    def kafka_authenticated(self) -> bool:
        """Whether Kafka is the embedded one, whose clients authenticate with the principals of the state folder."""
        return any(server.authenticated for server in self.embedded)

    def kafka_credentials(self, home: Home, principal: str) -> dict[str, str]:
        """Return the variables with the credentials of a principal. Empty if Kafka is not the authenticated one: then
        the settings `kafka.security` apply.
        """
        if not self.kafka_authenticated:
            return {}
        home.kafka_password(principal)
        return kafka_variables(home.secrets, principal)

    def environment(self, home: Home) -> dict[str, str]:
        """Return the variables with these addresses for the platform's child processes."""
        variables = {
            "KAFKA_BOOTSTRAP_SERVERS": self.kafka,
            "DATABASE_URL": self.database_url,
            "REDIS_URL": self.redis_url,
            "PLATFORM_HOME": str(home.root),
        }
        return variables | ({"PLATFORM_DEGRADED": "; ".join(self.degraded)} if self.degraded else {})


def prepare(
    home: Home,
    ports: Ports,
    report: ProgressCallback,
    environ: Mapping[str, str] = os.environ,
    *,
    owners: Collection[int] = (),
    authenticated: bool = True,
) -> Endpoints:
    """Prepare (download, format, initialize) every server that the environment does not specify. Starts nothing.

    Raises DeployError if a port is in use or a server is unavailable. Without Kafka's jars, a new state folder gets a
    degraded broker. `authenticated` is False in tests that share a Kafka.
    """
    embedded = []
    kafka, database_url, redis_url = (environ.get(name, "") for name in ADDRESS_VARIABLES)
    if not kafka:
        require_free("Kafka", ports.kafka, port_variable("kafka"), owners=owners)
        embedded.append(_kafka(home, ports.kafka, report, environ, authenticated=authenticated))
        kafka = embedded[-1].url
    if not database_url:
        require_free("PostgreSQL", ports.postgres, port_variable("postgres"), owners=owners)
        embedded.append(postgres.prepare(home, ports.postgres))
        database_url = _client_url(embedded[-1].url, "postgres", ports.postgres, environ)
    if not redis_url:
        require_free("Redis", ports.redis, port_variable("redis"), owners=owners)
        embedded.append(redis.prepare(home, ports.redis))
        redis_url = _client_url(embedded[-1].url, "redis", ports.redis, environ)
    return Endpoints(kafka, database_url, redis_url, tuple(embedded))


def uses_embedded_kafka(environ: Mapping[str, str]) -> bool:
    """Return whether the environment names no Kafka, so that the embedded one is used."""
    return not environ.get("KAFKA_BOOTSTRAP_SERVERS") and environ.get("PLATFORM_KAFKA") != "tansu"


def _kafka(
    home: Home, port: int, report: ProgressCallback, environ: Mapping[str, str], *, authenticated: bool
) -> EmbeddedServer:
    if environ.get("PLATFORM_KAFKA") == "tansu":
        reason = "PLATFORM_KAFKA=tansu"
    else:
        try:
            advertised = client_port("kafka", port, environ)
            return broker.prepare(home, port, report, advertised_port=advertised, authenticated=authenticated)
        except DeployError as error:
            reason = str(error)
    tansu.require_fresh(home, reason)
    return tansu.prepare(home, port, reason)
