"""TLS and SASL to a real Kafka, and TLS to PostgreSQL and Redis, with certificate authorities of the test."""

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
from dataflows.broker.live_preconditions import kafka_problems
from dataflows.sources.existing_topics import wait_for_topics
from dataflows.sources.kafka import KafkaSliceSource
from dataflows.sources.shared_consumer import ReplayEnd
from deploy.errors import DeployError
from deploy.home import REPOSITORY, Home
from deploy.local.endpoints import Endpoints
from deploy.local.kafka import broker
from deploy.local.ports import Ports, free_ports
from deploy.local.stack import ServiceStack
from deploy.supervisor.probes import KafkaProbe
from deploy.supervisor.topics import TopicSpec, create_topics
from operators.log_cursor import LogInput
from operators.stage import TimeSlice
from schemas.errors import BadInput, Unavailable
from schemas.records import RELEASE
from sinks.commands import CommandLog, new_command
from sinks.database import libpq_url, open_engine
from sinks.kafka import KafkaSliceSink
from tests.builders import bar
from tests.integration.certificates import Certificate, create_authority, issue_certificate, tls_proxy

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
def own_authority(folder: Path) -> Certificate:
    return create_authority(folder, "ours")


@pytest.fixture(scope="module")
def server_certificate(folder: Path, own_authority: Certificate) -> Certificate:
    return issue_certificate(folder, "server", own_authority)


@pytest.fixture(scope="module")
def brokers(
    kafka: str, tmp_path_factory: pytest.TempPathFactory, own_authority: Certificate, server_certificate: Certificate
) -> Iterator[dict[str, str]]:
    """The embedded Kafka with additional TLS listeners. Returns the addresses by protocol.

    Requests `kafka` only so that the tests fail at once under plain pytest.
    """
    home = Home(tmp_path_factory.mktemp("kafka"))
    home.create_folders()
    plain, ssl, sasl = free_ports(3)
    embedded = broker.prepare(home, plain, lambda line: None, authenticated=False)
    ports = {"plain": plain, "ssl": ssl, "sasl": sasl}
    files = {"server": server_certificate.combined, "authority": own_authority.certificate}
    properties = home.run / "kafka.properties"
    text = properties.read_text()
    controller = re.findall(r"CONTROLLER://127\.0\.0\.1:(\d+)", text)[0]
    # In a properties file with duplicate keys, the last value takes effect.
    properties.write_text(
        text + _LISTENERS.format(**ports, **files, controller=controller, user=USER, password=PASSWORD)
    )
    stack = ServiceStack(home, Ports.free(), Endpoints(embedded.url, "", "", (embedded,)))
    try:
        stack.start_one("kafka")
        create_topics(embedded.url, [TopicSpec("market-bars", 1, "delete", 1), TopicSpec("commands", 1, "delete", 1)])
        yield {name: f"127.0.0.1:{port}" for name, port in ports.items()}
    finally:
        stack.stop()


def settings_of(servers: str, security: dict[str, Any]) -> Settings:
    security_variables = {
        f"KAFKA__SECURITY__{key.upper()}": str(value) for key, value in security.items() if key != "password"
    }
    addresses = {"KAFKA_BOOTSTRAP_SERVERS": servers, "DATABASE_URL": "postgresql://me@127.0.0.1/x"}
    password = {"KAFKA_PASSWORD": security["password"]} if "password" in security else {}
    return load_settings(environment={**security_variables, **addresses, **password})


@pytest.fixture(scope="module")
def secured_settings(brokers: dict[str, str], folder: Path, own_authority: Certificate) -> dict[str, Settings]:
    """Settings with valid credentials, by protocol."""
    client = issue_certificate(folder, "client", own_authority)
    client_files = {"certificate_file": client.certificate, "key_file": client.key}
    password_login = {"mechanism": "PLAIN", "user": USER, "password": PASSWORD}
    return {
        "SSL": settings_of(brokers["ssl"], {"protocol": "SSL", "ca_file": own_authority.certificate, **client_files}),
        "SASL_SSL": settings_of(
            brokers["sasl"], {"protocol": "SASL_SSL", "ca_file": own_authority.certificate, **password_login}
        ),
    }


@pytest.mark.parametrize("protocol", ["SSL", "SASL_SSL"])
def test_records_written_over_tls_are_read_over_tls(secured_settings: dict[str, Settings], protocol: str) -> None:
    cluster = secured_settings[protocol].kafka.cluster
    assert cluster.security["security.protocol"] == protocol
    wait_for_topics(cluster, ["market-bars"])
    assert KafkaProbe(cluster)() is None
    now_ns = time.time_ns()
    # Use a separate symbol: with an existing symbol, this `seq` would count as a duplicate.
    written_bar = bar(protocol, 1, now_ns, 1.0, open=1.5, high=2.25, low=0.5)
    sink = KafkaSliceSink(
        cluster, writer="test@1", topics=["market-bars"], clock_partitions={"books": [("market-bars", 0)]}, partitions=1
    )
    sink_partition = sink.build_part("kafka", "books", None)
    sink_partition.write_batch([[TimeSlice(now_ns, [written_bar])]])
    sink_partition.close()
    source = KafkaSliceSource(
        cluster, "test", {"books": [LogInput("market-bars", 0, 0)]}, until=ReplayEnd(end_of_logs=True)
    )
    time_slices: list[TimeSlice] = []
    with closing(source.build_part("kafka", "books", None)) as source_partition:
        while not any(time_slice.ts_ns == now_ns for time_slice in time_slices):
            time_slices += [time_slice for _, batch in source_partition.next_batch() for time_slice in batch]
    assert time_slices[-1] == TimeSlice(now_ns, [written_bar])
    CommandLog(cluster).send(new_command(RELEASE, actor="me", reason="test"))


def failed_connection(servers: str, security: dict[str, Any]) -> str:
    cluster = settings_of(servers, security).kafka.cluster
    with pytest.raises(Unavailable) as error:
        wait_for_topics(cluster, ["market-bars"], timeout_s=3)
    with pytest.raises(DeployError, match=re.escape(str(error.value).split(": ", 1)[1][:20])):
        create_topics(cluster, [TopicSpec("commands", 1, "delete", 1)], timeout_s=2)
    assert "no metadata" in str(KafkaProbe(cluster)())
    return str(error.value)


def test_a_broker_of_another_authority_is_refused_in_one_sentence(
    brokers: dict[str, str], folder: Path, own_authority: Certificate
) -> None:
    foreign_authority = create_authority(folder, "theirs")
    security = {"protocol": "SASL_SSL", "mechanism": "PLAIN", "user": USER, "password": PASSWORD}
    message = failed_connection(brokers["sasl"], {**security, "ca_file": foreign_authority.certificate})
    assert message.startswith(f"Kafka at {brokers['sasl']}: ")
    assert "certificate verify failed" in message
    assert "\n" not in message


def test_a_wrong_password_is_rejected_and_not_shown(brokers: dict[str, str], own_authority: Certificate) -> None:
    security = {"protocol": "SASL_SSL", "mechanism": "PLAIN", "user": USER, "ca_file": own_authority.certificate}
    message = failed_connection(brokers["sasl"], {**security, "password": "wrong-password"})
    assert "Authentication failed" in message
    assert "wrong-password" not in message


def test_a_client_without_a_certificate_is_rejected(brokers: dict[str, str], own_authority: Certificate) -> None:
    message = failed_connection(brokers["ssl"], {"protocol": "SSL", "ca_file": own_authority.certificate})
    assert message.startswith(f"Kafka at {brokers['ssl']}: ")


@pytest.mark.parametrize("protocol", ["SSL", "SASL_SSL"])
def test_live_trading_finds_that_a_client_without_credentials_is_refused(
    secured_settings: dict[str, Settings], protocol: str
) -> None:
    kafka = secured_settings[protocol].kafka
    (problem,) = kafka_problems(kafka)
    assert problem.startswith("2 topics of Kafka have fewer than 2 copies (commands, market-bars); ")
    assert kafka_problems(kafka.model_copy(update={"replication_acknowledged": 1})) == []


def test_live_trading_finds_that_a_client_without_credentials_is_accepted(brokers: dict[str, str]) -> None:
    kafka = settings_of(brokers["plain"], {}).kafka.model_copy(update={"replication_acknowledged": 1})
    assert kafka_problems(kafka) == [
        f"Kafka at {brokers['plain']} accepts clients without credentials; require SASL or client certificates on "
        "every listener of the cluster"
    ]


def test_postgres_is_reached_by_verified_tls(make_database: Any, folder: Path, own_authority: Certificate) -> None:
    """Connects through a TLS proxy, because the embedded server is built without TLS."""
    url = make_database()
    plain = urlsplit(url)
    foreign_authority = create_authority(folder, "of-others")
    with tls_proxy(
        issue_certificate(folder, "postgres", own_authority), plain.port or 0, postgres_handshake=True
    ) as port:
        address = url.replace(f":{plain.port}/", f":{port}/")
        trusted = f"{address}?sslmode=verify-full&sslrootcert={own_authority.certificate}"
        with closing(psycopg2.connect(libpq_url(trusted))) as connection:
            assert connection.info.ssl_in_use
        engine = open_engine(trusted)
        with engine.connect() as pooled:
            assert pooled.connection.dbapi_connection.info.ssl_in_use  # type: ignore[union-attr]
        engine.dispose()
        with pytest.raises(psycopg2.OperationalError, match="certificate verify failed"):
            psycopg2.connect(libpq_url(f"{address}?sslmode=verify-full&sslrootcert={foreign_authority.certificate}"))


def test_redis_is_reached_by_verified_tls(redis_url: str, folder: Path, own_authority: Certificate) -> None:
    """Connects through a TLS proxy, because the embedded server is built without TLS."""
    plain = urlsplit(redis_url)
    foreign_authority = create_authority(folder, "of-nobody")
    with tls_proxy(issue_certificate(folder, "redis", own_authority), plain.port or 0) as port:
        address = redis_url.replace("redis://", "rediss://").replace(f":{plain.port}/", f":{port}/")
        with redis_client.Redis.from_url(f"{address}?ssl_ca_certs={own_authority.certificate}") as client:
            assert client.ping()
        with (
            redis_client.Redis.from_url(f"{address}?ssl_ca_certs={foreign_authority.certificate}") as client,
            pytest.raises(redis_client.ConnectionError, match="certificate verify failed"),
        ):
            client.ping()


@pytest.mark.parametrize(
    ("security", "message"),
    [
        ({"protocol": "SASL_SSL"}, "protocol SASL_SSL requires `user` and the secret KAFKA_PASSWORD"),
        ({"protocol": "SSL", "ca_file": "absent.pem"}, r"ca_file absent\.pem: No such file"),
        ({"protocol": "SSL", "ca_file": REPOSITORY / "pyproject.toml"}, "expected certificates in PEM, found none"),
        ({"protocol": "SSL", "key_file": "a.key"}, "certificate_file and key_file must be set together"),
        ({"protocol": "TLS"}, r"kafka\.security\.protocol.*: .*'SASL_PLAINTEXT', found 'TLS'"),
    ],
)
def test_wrong_settings_are_one_sentence(security: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message) as error:
        settings_of("127.0.0.1:1", {**security, "password": PASSWORD})
    assert PASSWORD not in str(error.value)


def test_a_key_of_another_certificate_is_reported_before_connecting(folder: Path, own_authority: Certificate) -> None:
    one, other = issue_certificate(folder, "one", own_authority), issue_certificate(folder, "other", own_authority)
    with pytest.raises(BadInput, match="expected a certificate in PEM and its key, found KEY_VALUES_MISMATCH"):
        settings_of("127.0.0.1:1", {"protocol": "SSL", "certificate_file": one.certificate, "key_file": other.key})


def test_every_client_of_kafka_is_configured_in_one_place() -> None:
    """A client with its own configuration would connect without encryption."""
    folders = ("api", "configs", "dataflows", "deploy", "operators", "schemas", "sinks")
    files = [path for folder in folders for path in (REPOSITORY / folder).rglob("*.py")]
    files_with_servers = [
        path.relative_to(REPOSITORY).as_posix() for path in files if "bootstrap.servers" in path.read_text()
    ]
    assert files_with_servers == ["sinks/cluster.py"]
    unsecured = re.compile(r"(?<!def )\b(?:Consumer|Producer|AdminClient)\((?!\s*client_config\()\s*[^)\s]")
    assert not [path for path in files if unsecured.search(path.read_text())]


def test_the_password_is_hidden_and_plain_connections_are_unchanged() -> None:
    security = {"protocol": "SASL_PLAINTEXT", "user": USER, "password": PASSWORD}
    kafka = settings_of("127.0.0.1:1", security).kafka
    assert kafka.cluster.security["sasl.password"] == PASSWORD
    for text in (repr(kafka), str(kafka.cluster), repr(kafka.cluster), kafka.model_dump_json()):
        assert PASSWORD not in text
    assert settings_of("127.0.0.1:1", {}).kafka.cluster.security == {}
