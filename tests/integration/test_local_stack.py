"""The embedded services as real processes: they keep their state and report clearly why they cannot start."""

import json
import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pytest
import redis
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from configs.settings import load_settings
from deploy.errors import DeployError
from deploy.home import REPOSITORY, Home
from deploy.local import tansu
from deploy.local.endpoints import prepare
from deploy.local.kafka.broker import JVM_OPTIONS_VARIABLE, prepare_fast_starts
from deploy.local.ports import Ports
from deploy.local.stack import ServiceStack, running_stack
from deploy.supervisor.initialize import initialize
from deploy.supervisor.probes import KafkaProbe, PostgresProbe, RedisProbe
from deploy.supervisor.process_spec import DATAFLOW_NAMES, HealthProbe
from deploy.supervisor.topics import TopicSpec, create_topics, read_topics


def ignore_line(line: str) -> None:
    """Accept a progress line and print nothing."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home(tmp_path_factory.mktemp("stack"))


@pytest.fixture(scope="module")
def own_stack(home: Home, kafka: str) -> Iterator[ServiceStack]:
    """Services of this module only: its tests stop them. Requests `kafka` so that plain pytest fails at once."""
    prepare_fast_starts(home, ignore_line)
    with running_stack(home, Ports.free(), ignore_line, environ={}) as stack:
        yield stack


def produce(bootstrap: str, topic: str, value: bytes) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all", "message.timeout.ms": 10_000})
    producer.produce(topic, value)
    assert producer.flush(15) == 0


def consume_all(bootstrap: str, topic: str) -> list[bytes]:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": uuid.uuid4().hex, "enable.auto.commit": False})
    try:
        partition = TopicPartition(topic, 0, 0)
        _, high = consumer.get_watermark_offsets(partition, timeout=60)
        consumer.assign([partition])
        return [message.value() or b"" for message in consumer.consume(high, timeout=60)]
    finally:
        consumer.close()


def execute(url: str, statement: str) -> list[tuple[object, ...]]:
    connection = psycopg2.connect(url)
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()


def test_data_survives_a_restart_of_each_service(own_stack: ServiceStack) -> None:
    endpoints = own_stack.endpoints
    create_topics(endpoints.kafka, [TopicSpec("kept", 1, "delete", 3650)])
    produce(endpoints.kafka, "kept", b"before")
    execute(endpoints.database_url, "CREATE TABLE kept (n int); INSERT INTO kept VALUES (1)")
    with redis.Redis.from_url(endpoints.redis_url) as client:
        client.set("kept", "before")
    probes: dict[str, HealthProbe] = {
        "kafka": KafkaProbe(endpoints.kafka),
        "postgres": PostgresProbe(endpoints.database_url),
        "redis": RedisProbe(endpoints.redis_url),
    }
    for name, probe in probes.items():
        assert probe(0) is None
        own_stack.stop_one(name)
        assert probe(0) is not None
        own_stack.start_one(name)
        assert probe(0) is None
    produce(endpoints.kafka, "kept", b"after")
    assert consume_all(endpoints.kafka, "kept") == [b"before", b"after"]
    assert execute(endpoints.database_url, "SELECT n FROM kept") == [(1,)]
    with redis.Redis.from_url(endpoints.redis_url) as client:
        assert client.get("kept") == b"before"


def test_kafka_maps_the_archive_of_its_classes(own_stack: ServiceStack) -> None:
    kafka = own_stack.children["kafka"]
    assert isinstance(kafka.args, list)
    [archive] = [str(part).split("=")[1] for part in kafka.args if "SharedArchiveFile" in str(part)]
    assert archive in Path(f"/proc/{kafka.pid}/maps").read_text()


def test_kafka_gets_the_java_options_of_the_user_last(own_stack: ServiceStack) -> None:
    command = own_stack.children["kafka"].args
    assert isinstance(command, list)
    options = [part for part in command if str(part).startswith("-X")]
    assert options[-1] == os.environ[JVM_OPTIONS_VARIABLE]


def test_topics_are_created_once_and_a_changed_partition_count_is_refused(own_stack: ServiceStack) -> None:
    declared = read_topics()
    assert create_topics(own_stack.endpoints.kafka, declared) == [topic.name for topic in declared]
    assert create_topics(own_stack.endpoints.kafka, declared) == []
    widened = TopicSpec(declared[0].name, declared[0].partitions + 1, "delete", 1)
    with pytest.raises(DeployError, match=rf"topic {widened.name} has {declared[0].partitions} partitions"):
        create_topics(own_stack.endpoints.kafka, [widened])


def test_a_misspelt_topic_is_not_created(own_stack: ServiceStack) -> None:
    client = AdminClient({"bootstrap.servers": own_stack.endpoints.kafka})
    client.list_topics("mraket-bars", timeout=60)
    assert "mraket-bars" not in client.list_topics(timeout=60).topics


def test_initializing_twice_changes_nothing(own_stack: ServiceStack, home: Home) -> None:
    settings = load_settings(environment={**os.environ, **own_stack.endpoints.environment(home)})
    initialize(home, settings)
    stores = {path: path.stat().st_mtime_ns for path in sorted(home.recovery.glob("*/part-*.sqlite3"))}
    assert len(stores) == 4 * len(DATAFLOW_NAMES)
    initialize(home, settings)
    assert {path: path.stat().st_mtime_ns for path in stores} == stores


def test_passwords_are_required_and_stored_in_owner_only_files(own_stack: ServiceStack, home: Home) -> None:
    endpoints = own_stack.endpoints
    secret_files = [path for path in home.secrets.rglob("*") if path.is_file()]
    for path in secret_files:
        assert path.stat().st_mode & 0o077 == 0
    address = endpoints.database_url.split("@")[1]
    assert "password" in (PostgresProbe(f"postgresql://platform:wrong@{address}")(0) or "")
    assert "authenticate" in (RedisProbe(f"redis://{endpoints.redis_url.split('@')[1]}")(0) or "")
    command_lines = " ".join(" ".join(service.command) for service in endpoints.services)
    assert not any(path.read_text().strip() in command_lines for path in secret_files)


def test_services_listen_on_loopback_only(own_stack: ServiceStack) -> None:
    address_by_port = {int(line.split()[1].split(":")[1], 16): line.split()[1].split(":")[0] for line in _listeners()}
    for port in (own_stack.ports.kafka, own_stack.ports.postgres, own_stack.ports.redis):
        assert address_by_port[port] in ("0100007F", "0000000000000000FFFF00000100007F"), (
            f"port {port} is open to others"
        )


def _listeners() -> list[str]:
    """Return the kernel's TCP table lines in state LISTEN; the second field is the local address in hexadecimal."""
    lines = [line for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    return [line for line in lines if line.split()[3] == "0A"]


def test_an_occupied_port_fails_the_start_before_any_service_runs(tmp_path: Path, kafka: str) -> None:
    home, ports = Home(tmp_path), Ports.free()
    with socket.socket() as occupied:
        occupied.bind(("127.0.0.1", ports.redis))
        occupied.listen()
        home.create_folders()
        environment = {"KAFKA_BOOTSTRAP_SERVERS": kafka, "DATABASE_URL": "postgresql://db.example/trading"}
        with pytest.raises(DeployError, match=f"port {ports.redis} on 127.0.0.1 that Redis needs is taken"):
            prepare(home, ports, ignore_line, environment)


def test_without_kafka_jars_the_start_is_degraded_with_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kafka: str, database_url: str, redis_url: str
) -> None:
    monkeypatch.setenv("KAFKA_HOME", str(tmp_path / "nowhere"))
    home = Home(tmp_path)
    home.create_folders()
    environment = {"DATABASE_URL": database_url, "REDIS_URL": redis_url}
    with running_stack(home, Ports.free(), ignore_line, environment) as stack:
        (banner,) = stack.endpoints.degraded
        assert banner.startswith("Kafka is replaced by Tansu (KAFKA_HOME=")
        assert banner.endswith(tansu.LIMITS)
        assert stack.endpoints.environment(home)["PLATFORM_DEGRADED"] == banner
        create_topics(stack.endpoints.kafka, read_topics())
        produce(stack.endpoints.kafka, "orders", b"record")
        assert consume_all(stack.endpoints.kafka, "orders") == [b"record"]


def test_without_kafka_jars_a_home_with_state_is_refused_and_nothing_is_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, database_url: str, redis_url: str
) -> None:
    monkeypatch.setenv("KAFKA_HOME", str(tmp_path / "nowhere"))
    for content in ("recovery/risk/part-0.sqlite3", "data/kafka/meta.properties"):
        home = Home(tmp_path / content.replace("/", "-"))
        home.create_folders()
        file = home.root / content
        file.parent.mkdir()
        file.write_text("state")
        environment = {"DATABASE_URL": database_url, "REDIS_URL": redis_url}
        with pytest.raises(DeployError, match="its in-memory substitute is not allowed because"):
            prepare(home, Ports.free(), ignore_line, environment)
        assert file.read_text() == "state"


def run_cli(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "cli.py", *arguments],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


def bars_written(environment: dict[str, str]) -> int:
    """Return the bar count from `status`. Wait for the first bars, which may arrive shortly after all is healthy."""
    deadline = time.monotonic() + 60
    while True:
        status = json.loads(run_cli(environment, "status", "--json").stdout)
        stats = {child["name"]: child["stats"] for child in status["children"] if child["kind"] == "dataflow"}
        count: int = stats["market_data"]["records_out"]
        if count or time.monotonic() > deadline:
            return count
        time.sleep(0.5)


def healthy_report(environment: dict[str, str]) -> Any:
    """Return the first good report of `health-check`: on a busy machine, that of the supervisor can be old."""
    deadline = time.monotonic() + 300
    while True:
        completed = run_cli(environment, "health-check", "--json")
        if completed.returncode == 0:
            return json.loads(completed.stdout)
        assert time.monotonic() < deadline, completed.stdout
        time.sleep(1)


def test_the_command_line_starts_checks_and_stops_the_platform(own_stack: ServiceStack, tmp_path: Path) -> None:
    endpoints = own_stack.endpoints
    environment = {
        **os.environ,
        "PLATFORM_HOME": str(tmp_path),
        "PLATFORM_PYTHON_ENV": "current",
        "PLATFORM_API_PORT": str(own_stack.ports.api),
        "PLATFORM_DASHBOARD": "off",
        "KAFKA_BOOTSTRAP_SERVERS": endpoints.kafka,
        # Another platform on this Kafka, with other keys, recorded its configuration in the topics without a prefix.
        "KAFKA__TOPIC_PREFIX": "own-",
        "DATABASE_URL": endpoints.database_url,
        "REDIS_URL": endpoints.redis_url,
    }
    started = run_cli(environment, "start")
    try:
        assert started.returncode == 0, started.stderr + started.stdout
        assert f"http://127.0.0.1:{own_stack.ports.api}/docs" in started.stdout
        assert "dashboard   none: PLATFORM_DASHBOARD=off" in started.stdout
        health = healthy_report(environment)
        assert health["services"].keys() == {"kafka", "postgres", "redis", *DATAFLOW_NAMES, "api", "checks", "alerts"}
        assert bars_written(environment) > 0
        table = run_cli(environment, "status", "--detailed").stdout
        assert "dead letters" in table
        assert run_cli(environment, "logs", "nothing").stderr.startswith("error: unknown service 'nothing'")
        error = run_cli(environment, "service", "stop", "kafka").stderr
        assert error == "error: cannot stop kafka: it is external, its address comes from the environment\n"
    finally:
        stopped = run_cli(environment, "stop")
    assert stopped.returncode == 0
    assert "killed" not in stopped.stdout
    status_after = run_cli(environment, "status")
    assert (status_after.returncode, status_after.stdout) == (3, "not running (stopped: stopped)\n")
    assert run_cli(environment, "stop").stdout == "nothing was running\n"
