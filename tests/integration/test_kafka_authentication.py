"""The embedded Kafka refuses unknown clients, and each principal may do only what its service does."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psutil
import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from configs.recorded_endpoints import VIEWER
from dataflows.sources.existing_topics import wait_for_topics
from deploy.home import Home
from deploy.local.endpoints import Endpoints
from deploy.local.kafka import broker
from deploy.local.kafka.authentication import admin_cluster, principal_cluster, viewer_cluster
from deploy.local.ports import Ports
from deploy.local.stack import ServiceStack
from deploy.security.kafka_accounts import apply_rights, create_accounts
from deploy.security.kafka_rights import KafkaRight, all_rights
from deploy.supervisor.topics import TopicSpec, create_topics
from schemas.codec import decode
from schemas.errors import Unavailable
from schemas.records import KILL_SWITCH, Command
from sinks.cluster import Cluster, Servers, client_config
from sinks.commands import CommandLog, new_command
from sinks.kafka_access import anonymous_topics

TOPICS = ("orders", "commands", "market-bars")
WAIT_S = 60.0


def command(reason: str) -> Command:
    return new_command(KILL_SWITCH, actor="test", reason=reason)


def start(home: Home, *, authenticated: bool) -> ServiceStack:
    ports = Ports.free()
    embedded = broker.prepare(home, ports.kafka, lambda line: None, authenticated=authenticated)
    stack = ServiceStack(home, ports, Endpoints(embedded.url, "", "", (embedded,)))
    stack.start_one("kafka")
    return stack


@pytest.fixture(scope="module")
def upgraded(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Home, str]]:
    """A Kafka whose log folder was written by a release without authentication, with one command in it.

    Requests `kafka` only so that the tests fail at once under plain pytest.
    """
    home = Home(tmp_path_factory.mktemp("authentication"))
    home.create_folders()
    old = start(home, authenticated=False)
    try:
        create_topics(old.endpoints.kafka, [TopicSpec(name, 1, "delete", 1) for name in TOPICS])
        CommandLog(old.endpoints.kafka, timeout_s=WAIT_S).send(command("before"))
    finally:
        old.stop()
    assert broker.needs_upgrade(home)
    stack = start(home, authenticated=True)
    try:
        assert not broker.needs_upgrade(home)
        create_accounts(admin_cluster(home, stack.endpoints.kafka), home, "")
        yield home, stack.endpoints.kafka
    finally:
        stack.stop()


def delivery_error(servers: Servers, topic: str) -> str | None:
    """Write one message. Return the error of the delivery, None if the broker has it."""
    errors: list[Any] = []
    options = {"message.timeout.ms": int(WAIT_S * 1000), "log_level": 0}
    producer = Producer(client_config(servers, options))
    producer.produce(topic, b"x", partition=0, on_delivery=lambda error, _: errors.append(error and error.name()))
    assert producer.flush(WAIT_S) == 0
    [error] = errors
    return None if error is None else str(error)


def metadata_error(servers: Servers) -> str:
    with closing(Consumer(client_config(servers, {"group.id": "x", "log_level": 0}))) as consumer:
        with pytest.raises(KafkaException) as error:
            consumer.list_topics(timeout=3)
        return str(error.value.args[0].name())


def reasons(servers: Servers) -> list[str]:
    with closing(Consumer(client_config(servers, {"group.id": VIEWER, "enable.auto.commit": False}))) as consumer:
        consumer.assign([TopicPartition("commands", 0, 0)])
        _, end = consumer.get_watermark_offsets(TopicPartition("commands", 0), timeout=WAIT_S)
        found: list[str] = []
        deadline = time.monotonic() + WAIT_S
        while len(found) < end:
            assert time.monotonic() < deadline, f"{len(found)} of {end} messages"
            message = consumer.poll(0.5)
            if message is not None:
                assert message.error() is None, message.error()
                found.append(decode(message.value()).reason)
        return found


def test_an_upgrade_loses_nothing_and_unknown_clients_are_refused(upgraded: tuple[Home, str]) -> None:
    home, servers = upgraded
    assert reasons(principal_cluster(home, servers, VIEWER))[0] == "before"
    assert metadata_error(servers) == "_TRANSPORT"
    assert anonymous_topics(admin_cluster(home, servers), timeout_s=WAIT_S) is None
    wrong = {**principal_cluster(home, servers, VIEWER).security, "sasl.password": "wrong"}
    assert metadata_error(Cluster(servers, wrong)) in ("_TRANSPORT", "_AUTHENTICATION")
    plain_api = {**principal_cluster(home, servers, "api").security, "sasl.mechanism": "PLAIN"}
    assert metadata_error(Cluster(servers, plain_api)) in ("_TRANSPORT", "_AUTHENTICATION")
    with pytest.raises(Unavailable, match=r"closed the connection.*kafka\.security"):
        wait_for_topics(servers, ["orders"], timeout_s=3)


def test_tools_of_any_age_read_with_the_client_file(upgraded: tuple[Home, str]) -> None:
    home, servers = upgraded
    viewer = viewer_cluster(home, servers)
    assert viewer.security["sasl.mechanism"] == "PLAIN"
    assert reasons(viewer)[0] == "before"
    assert delivery_error(viewer, "commands") == "TOPIC_AUTHORIZATION_FAILED"


def test_only_risk_writes_orders_and_the_viewer_writes_nothing(upgraded: tuple[Home, str]) -> None:
    home, servers = upgraded
    for principal in ("api", "cli", "signals", "execution", VIEWER):
        assert delivery_error(principal_cluster(home, servers, principal), "orders") == "TOPIC_AUTHORIZATION_FAILED"
    assert delivery_error(principal_cluster(home, servers, "risk"), "orders") is None
    assert delivery_error(principal_cluster(home, servers, VIEWER), "commands") == "TOPIC_AUTHORIZATION_FAILED"
    assert delivery_error(principal_cluster(home, servers, "risk"), "commands") == "TOPIC_AUTHORIZATION_FAILED"
    CommandLog(principal_cluster(home, servers, "api"), timeout_s=WAIT_S).send(command("of the API"))
    assert reasons(principal_cluster(home, servers, VIEWER)) == ["before", "of the API"]


def test_a_denied_operation_names_principal_topic_and_operation(upgraded: tuple[Home, str]) -> None:
    home, servers = upgraded
    signals = principal_cluster(home, servers, "signals")
    with pytest.raises(Unavailable, match="denies principal signals the operation WRITE on topic commands"):
        CommandLog(signals, timeout_s=WAIT_S).send(command("x"))
    with pytest.raises(Unavailable, match="denies principal signals the operation DESCRIBE on topic orders"):
        wait_for_topics(signals, ["orders"], timeout_s=3)


def test_rights_are_applied_once_and_outdated_ones_are_removed(upgraded: tuple[Home, str]) -> None:
    home, servers = upgraded
    admin = admin_cluster(home, servers)
    assert apply_rights(admin, all_rights("")) == (0, 0)
    excessive = KafkaRight("signals", "TOPIC", "orders", "WRITE")
    assert apply_rights(admin, {*all_rights(""), excessive}) == (1, 0)
    assert apply_rights(admin, all_rights("")) == (0, 1)


def test_passwords_are_in_owner_only_files_and_on_no_command_line(upgraded: tuple[Home, str]) -> None:
    home, _ = upgraded
    passwords = {path.read_text().strip() for path in (home.secrets / "kafka").iterdir()}
    passwords.add(home.secret("kafka-controller"))
    commands = [word for process in psutil.process_iter(["cmdline"]) for word in process.info["cmdline"] or ()]
    assert not [password for password in passwords if any(password in word for word in commands)]
    for path in home.root.rglob("*"):
        if path not in (home.root, home.data):
            assert path.stat().st_mode & 0o077 == 0, path
