"""Health probes of the services: Kafka metadata, SELECT 1, PING, a dataflow's statistics file, HTTP GET."""

import json
import socket
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import psycopg2
import redis
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from sinks.cluster import Servers, client_config
from sinks.kafka_errors import KafkaErrorListener

STATS_AGE_MAX_S = 5.0
_QUIET_OPTIONS = {"log_level": 0, "socket.timeout.ms": 3000}


def libpq_url(url: str) -> str:
    """Return a PostgreSQL address for libpq: the driver of `postgresql+driver://` is removed."""
    scheme, rest = url.split("://", 1)
    return f"{scheme.split('+')[0]}://{rest}"


@dataclass
class KafkaProbe:
    """Requests metadata. Reuses one client until an error, because a client costs threads and a connection."""

    bootstrap: Servers
    _client: AdminClient | None = field(default=None, repr=False)
    _errors: KafkaErrorListener = field(default_factory=KafkaErrorListener, repr=False, compare=False)

    def __call__(self, pid: int = 0) -> str | None:
        host, _, port = str(self.bootstrap).split(",")[0].rpartition(":")
        try:
            # Try a plain connection first: librdkafka retries a refused one every 50 ms until its own timeout.
            socket.create_connection((host, int(port)), timeout=2).close()
            if self._client is None:
                self._client = AdminClient(client_config(self.bootstrap, self._errors.options(_QUIET_OPTIONS)))
            brokers = self._errors.metadata(self._client, 3).brokers
        except OSError as error:
            self._client = None
            return f"no connection to {self.bootstrap}: {error.strerror or error}"
        except KafkaException as error:
            self._client = None
            return f"no metadata from {self.bootstrap}: {error.args[0].str()}"
        return None if brokers else f"metadata from {self.bootstrap} lists no broker"


@dataclass(frozen=True)
class PostgresProbe:
    """SELECT 1 on `url`."""

    url: str

    def __call__(self, pid: int = 0) -> str | None:
        try:
            connection = psycopg2.connect(libpq_url(self.url), connect_timeout=2)
        except psycopg2.Error as error:
            return " ".join(str(error).split())
        try:
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1")
                cursor.fetchone()
        except psycopg2.Error as error:
            return " ".join(str(error).split())
        finally:
            connection.close()
        return None


@dataclass(frozen=True)
class RedisProbe:
    """PING on `url`."""

    url: str

    def __call__(self, pid: int = 0) -> str | None:
        client = redis.Redis.from_url(self.url, socket_timeout=2, socket_connect_timeout=2)
        try:
            client.ping()
        except redis.RedisError as error:
            return " ".join(str(error).split())
        finally:
            client.close()
        return None


@dataclass(frozen=True)
class DataflowProbe:
    """Reads the statistics file that a dataflow writes about every second.

    Healthy: the supervised process (`pid`) wrote the file, less than `age_max_s` ago.
    """

    path: Path
    age_max_s: float = STATS_AGE_MAX_S

    def __call__(self, pid: int = 0) -> str | None:
        stats = read_stats(self.path)
        if stats is None:
            return "no statistics yet"
        if pid and stats.get("pid") != pid:
            return "no statistics since its start"
        try:
            # Use the file's time and not the process's: a wrong clock does not make it unhealthy.
            age_s = time.time() - self.path.stat().st_mtime
        except FileNotFoundError:
            return "no statistics yet"
        return None if age_s < self.age_max_s else f"no statistics for {age_s:.0f} s"


@dataclass(frozen=True)
class HttpProbe:
    """Healthy: GET `url` returns status 200."""

    url: str

    def __call__(self, pid: int = 0) -> str | None:
        if urlsplit(self.url).scheme not in {"http", "https"}:
            return f"{self.url} is not an HTTP address"
        try:
            with urllib.request.urlopen(self.url, timeout=3) as response:  # noqa: S310 - the scheme is checked above
                return None if response.status == 200 else f"{self.url} returned status {response.status}"
        except urllib.error.HTTPError as error:
            return f"{self.url} returned status {error.code}"
        except (OSError, urllib.error.URLError) as error:
            reason = getattr(error, "reason", error)
            return f"{self.url}: {getattr(reason, 'strerror', None) or reason}"


def read_stats(path: Path) -> dict[str, object] | None:
    """Return the last statistics of a dataflow; None if there are none or the file is incomplete."""
    try:
        stats = json.loads(path.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    return stats if isinstance(stats, dict) else None
