"""TLS and SASL to a real Kafka, and TLS to PostgreSQL and Redis, with authorities made here."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg2
import pytest
import redis as redis_client

from configs.settings import Settings, load_settings
from dataflows.sources.kafka import KafkaTicks, Until, wait_for_topics
from deploy.errors import DeployError
from deploy.home import REPOSITORY, Home
from deploy.local.endpoints import Endpoints, Ports
from deploy.local.kafka import broker
from deploy.local.ports import free_ports
from deploy.local.stack import Stack
from deploy.supervisor.probes import KafkaProbe
from deploy.supervisor.topics import Topic, create_topics
from operators.alignment import Log
from operators.stage import Tick
from schemas.errors import BadInput, Unavailable
from schemas.records import Bar
from sinks.commands import CommandLog, new_command
from sinks.database import libpq_url, open_engine
from sinks.kafka import KafkaTickSink
from tests.integration.certificates import Certificate, authority, issued, tls_front

USER, PASSWORD = "platform", "not-to-be-seen"
_LISTENERS = """
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_SSL:SASL_SSL,CONTROLLER:PLAINTEXT
listeners=PLAINTEXT://127.0.0.1:{plain},SSL://127.0.0.1:{ssl},SASL_SSL://127.0.0.1:{sasl},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{plain},SSL://127.0.0.1:{ssl},SASL_SSL://127.0.0.1:{sasl}
ssl.keystore.type=PEM
ssl.keystore.location={server}
ssl.truststore.type=PEM
ssl.truststore.location={authority}
listener.name.ssl.ssl.client.auth=required
sasl.enabled.mechanisms=PLAIN
listener.name.sasl_ssl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \
user_{user}="{password}";
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("certificates")


@pytest.fixture(scope="module")
def ours(folder: Path) -> Certificate:
    return authority(folder, "ours")


@pytest.fixture(scope="module")
def server(folder: Path, ours: Certificate) -> Certificate:
    return issued(folder, "server", ours)


@pytest.fixture(scope="module")
def brokers(
    kafka: str, tmp_path_factory: pytest.TempPathFactory, ours: Certificate, server: Certificate
) -> Iterator[dict[str, str]]:
    """The embedded Kafka with listeners of TLS beside its own: addresses by protocol. (Asks for `kafka` so that plain
    pytest fails at once.)
    """
    home = Home(tmp_path_factory.mktemp("kafka"))
    home.make()
    plain, ssl, sasl = free_ports(3)
    embedded = broker.prepare(home, plain, lambda line: None)
    told = {"plain": plain, "ssl": ssl, "sasl": sasl}
    files = {"server": server.both, "authority": ours.certificate}
    properties = home.run / "kafka.properties"
    text = properties.read_text()
    controller = re.findall(r"CONTROLLER://127\.0\.0\.1:(\d+)", text)[0]
    # Of a name that comes twice in a file of properties the last counts.
    properties.write_text(
        text + _LISTENERS.format(**told, **files, controller=controller, user=USER, password=PASSWORD)
    )
    stack = Stack(home, Ports.free(), Endpoints(embedded.url, "", "", (embedded,)))
    try:
        stack.start_one("kafka")
        create_topics(embedded.url, [Topic("market-bars", 1, "delete", 1), Topic("commands", 1, "delete", 1)])
        yield {name: f"127.0.0.1:{port}" for name, port in told.items()}
    finally:
        stack.stop()


def settings_of(servers: str, security: dict[str, Any]) -> Settings:
    told = {f"KAFKA__SECURITY__{key.upper()}": str(value) for key, value in security.items() if key != "password"}
    named = {"KAFKA_BOOTSTRAP_SERVERS": servers, "DATABASE_URL": "postgresql://me@127.0.0.1/x"}
    password = {"KAFKA_PASSWORD": security["password"]} if "password" in security else {}
    return load_settings(environment={**told, **named, **password})


@pytest.fixture(scope="module")
def secured(brokers: dict[str, str], folder: Path, ours: Certificate) -> dict[str, Settings]:
    """Settings that the cluster lets in, by protocol."""
    client = issued(folder, "client", ours)
    shown = {"certificate_file": client.certificate, "key_file": client.key}
    by_password = {"mechanism": "PLAIN", "user": USER, "password": PASSWORD}
    return {
        "SSL": settings_of(brokers["ssl"], {"protocol": "SSL", "ca_file": ours.certificate, **shown}),
        "SASL_SSL": settings_of(brokers["sasl"], {"protocol": "SASL_SSL", "ca_file": ours.certificate, **by_password}),
    }


@pytest.mark.parametrize("protocol", ["SSL", "SASL_SSL"])
def test_ticks_written_over_tls_are_read_over_tls(secured: dict[str, Settings], protocol: str) -> None:
    cluster = secured[protocol].kafka.cluster
    assert cluster.security["security.protocol"] == protocol
    wait_for_topics(cluster, ["market-bars"])
    assert KafkaProbe(cluster)() is None
    began = time.time_ns()
    # A symbol of its own: a `seq` that was there before would be a repeat.
    bar = Bar(protocol, 1, began, began, 1.5, 2.25, 0.5, 1.0, 1e9, "REGULAR", 20240102, True)
    sink = KafkaTickSink(
        cluster, writer="test@1", topics=["market-bars"], clocked={"books": [("market-bars", 0)]}, partitions=1
    )
    part = sink.build_part("kafka", "books", None)
    part.write_batch([[Tick(began, [bar])]])
    part.close()
    source = KafkaTicks(cluster, "test", {"books": [Log("market-bars", 0, 0)]}, until=Until(end_of_logs=True))
    found: list[Tick] = []
    with closing(source.build_part("kafka", "books", None)) as shard:
        while not any(tick.ts_ns == began for tick in found):
            found += [tick for _, ticks in shard.next_batch() for tick in ticks]
    assert found[-1] == Tick(began, [bar])
    CommandLog(cluster).send(new_command("BREAKER_RELEASE", actor="me", reason="test"))


def seconds_and_words(servers: str, security: dict[str, Any]) -> tuple[float, str]:
    cluster = settings_of(servers, security).kafka.cluster
    began = time.monotonic()
    with pytest.raises(Unavailable) as caught:
        wait_for_topics(cluster, ["market-bars"], timeout_s=3)
    took = time.monotonic() - began
    with pytest.raises(DeployError, match=re.escape(str(caught.value).split(": ", 1)[1][:20])):
        create_topics(cluster, [Topic("commands", 1, "delete", 1)], timeout_s=2)
    assert "no metadata" in str(KafkaProbe(cluster)())
    return took, str(caught.value)


def test_a_broker_of_another_authority_is_refused_in_one_sentence(
    brokers: dict[str, str], folder: Path, ours: Certificate
) -> None:
    theirs = authority(folder, "theirs")
    security = {"protocol": "SASL_SSL", "mechanism": "PLAIN", "user": USER, "password": PASSWORD}
    took, said = seconds_and_words(brokers["sasl"], {**security, "ca_file": theirs.certificate})
    assert took < 10
    assert said.startswith(f"Kafka at {brokers['sasl']}: ")
    assert "certificate verify failed" in said
    assert "\n" not in said


def test_a_wrong_password_is_refused_in_one_sentence_without_it(brokers: dict[str, str], ours: Certificate) -> None:
    security = {"protocol": "SASL_SSL", "mechanism": "PLAIN", "user": USER, "ca_file": ours.certificate}
    took, said = seconds_and_words(brokers["sasl"], {**security, "password": "wrong-password"})
    assert took < 10
    assert "Authentication failed" in said
    assert "wrong-password" not in said


def test_without_a_client_certificate_nobody_gets_in(brokers: dict[str, str], ours: Certificate) -> None:
    _, said = seconds_and_words(brokers["ssl"], {"protocol": "SSL", "ca_file": ours.certificate})
    assert said.startswith(f"Kafka at {brokers['ssl']}: ")


def test_postgres_is_reached_by_verified_tls(make_database: Any, folder: Path, ours: Certificate) -> None:
    """Through a front: the embedded server is built without TLS."""
    url = make_database()
    plain = urlsplit(url)
    theirs = authority(folder, "of-others")
    with tls_front(issued(folder, "postgres", ours), plain.port or 0, asked_first=True) as port:
        address = url.replace(f":{plain.port}/", f":{port}/")
        trusted = f"{address}?sslmode=verify-full&sslrootcert={ours.certificate}"
        with closing(psycopg2.connect(libpq_url(trusted))) as connection:
            assert connection.info.ssl_in_use
        engine = open_engine(trusted)
        with engine.connect() as pooled:
            assert pooled.connection.dbapi_connection.info.ssl_in_use  # type: ignore[union-attr]
        engine.dispose()
        with pytest.raises(psycopg2.OperationalError, match="certificate verify failed"):
            psycopg2.connect(libpq_url(f"{address}?sslmode=verify-full&sslrootcert={theirs.certificate}"))


def test_redis_is_reached_by_verified_tls(redis_url: str, folder: Path, ours: Certificate) -> None:
    """Through a front: the embedded server is built without TLS."""
    plain = urlsplit(redis_url)
    theirs = authority(folder, "of-nobody")
    with tls_front(issued(folder, "redis", ours), plain.port or 0) as port:
        address = redis_url.replace("redis://", "rediss://").replace(f":{plain.port}/", f":{port}/")
        with redis_client.Redis.from_url(f"{address}?ssl_ca_certs={ours.certificate}") as client:
            assert client.ping()
        with (
            redis_client.Redis.from_url(f"{address}?ssl_ca_certs={theirs.certificate}") as client,
            pytest.raises(redis_client.ConnectionError, match="certificate verify failed"),
        ):
            client.ping()


@pytest.mark.parametrize(
    ("security", "said"),
    [
        ({"protocol": "SASL_SSL"}, "protocol SASL_SSL needs `user` and the secret KAFKA_PASSWORD"),
        ({"protocol": "SSL", "ca_file": "absent.pem"}, r"ca_file absent\.pem: No such file"),
        ({"protocol": "SSL", "ca_file": REPOSITORY / "pyproject.toml"}, "expected certificates in PEM, found none"),
        ({"protocol": "SSL", "key_file": "a.key"}, "certificate_file and key_file go together"),
        ({"protocol": "TLS"}, r"kafka\.security\.protocol: .*'SASL_PLAINTEXT', found 'TLS'"),
    ],
)
def test_wrong_settings_are_one_sentence(security: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput, match=said) as caught:
        settings_of("127.0.0.1:1", {**security, "password": PASSWORD})
    assert PASSWORD not in str(caught.value)


def test_a_key_of_another_certificate_is_said_before_any_connection(folder: Path, ours: Certificate) -> None:
    one, other = issued(folder, "one", ours), issued(folder, "other", ours)
    with pytest.raises(BadInput, match="expected a certificate in PEM and its key, found KEY_VALUES_MISMATCH"):
        settings_of("127.0.0.1:1", {"protocol": "SSL", "certificate_file": one.certificate, "key_file": other.key})


def test_every_client_of_kafka_is_configured_in_one_place() -> None:
    """A client that is not would stay plain where the others are encrypted."""
    folders = ("api", "configs", "dataflows", "deploy", "operators", "schemas", "sinks")
    files = [path for folder in folders for path in (REPOSITORY / folder).rglob("*.py")]
    naming = [path.relative_to(REPOSITORY).as_posix() for path in files if "bootstrap.servers" in path.read_text()]
    assert naming == ["sinks/cluster.py"]
    unsecured = re.compile(r"(?<!def )\b(?:Consumer|Producer|AdminClient)\((?!client\()[^)]")
    assert not [path for path in files if unsecured.search(path.read_text())]


def test_the_password_is_in_no_text_of_the_settings_and_plain_is_as_before() -> None:
    security = {"protocol": "SASL_PLAINTEXT", "user": USER, "password": PASSWORD}
    kafka = settings_of("127.0.0.1:1", security).kafka
    assert kafka.cluster.security["sasl.password"] == PASSWORD
    for text in (repr(kafka), str(kafka.cluster), repr(kafka.cluster), kafka.model_dump_json()):
        assert PASSWORD not in text
    assert settings_of("127.0.0.1:1", {}).kafka.cluster.security == {}
