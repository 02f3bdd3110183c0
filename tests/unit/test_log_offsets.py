"""Offsets of a log are looked up again while the partition has no leader."""

from __future__ import annotations

import ast
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from sinks.admin_operations import admin_result
from sinks.log_offsets import log_range, offsets_at_times, wait_for_leaders

ROOT = Path(__file__).parents[2]
ROOMS = ("api", "configs", "dataflows", "deploy", "operators", "sinks")


class ElectingConsumer:
    """A consumer whose broker is not the leader for the first requests."""

    def __init__(self, code: int, failures: int) -> None:
        self._code, self._failures = code, failures
        self.requests = 0

    def get_watermark_offsets(self, log: TopicPartition, *, timeout: float) -> tuple[int, int]:
        self._answer()
        return 3, 8

    def offsets_for_times(self, times: list[TopicPartition], *, timeout: float) -> list[TopicPartition]:
        self._answer()
        return [TopicPartition(time.topic, time.partition, 5) for time in times]

    def _answer(self) -> None:
        self.requests += 1
        if self.requests <= self._failures:
            raise KafkaException(KafkaError(self._code))


class ElectingAdmin:
    """An admin client whose broker leads partition 0 of `commands` at once, the others after some requests."""

    def __init__(self, code: int, failures: int) -> None:
        self._code, self._failures = code, failures
        self.requests: list[int] = []

    def list_offsets(self, logs: dict[TopicPartition, Any], *, request_timeout: float) -> dict[TopicPartition, Any]:
        self.requests.append(len(logs))
        return {log: self._future(log) for log in logs}

    def _future(self, log: TopicPartition) -> Future[None]:
        future: Future[None] = Future()
        if log.topic == "commands" or len(self.requests) > self._failures:
            future.set_result(None)
        else:
            future.set_exception(KafkaException(KafkaError(self._code)))
        return future


@pytest.mark.parametrize(
    "code",
    [
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError._UNKNOWN_PARTITION,
        KafkaError._UNKNOWN_TOPIC,
    ],
)
def test_offsets_are_requested_again_until_the_partition_has_a_leader(code: int) -> None:
    consumer: Any = ElectingConsumer(code, failures=2)
    assert log_range(consumer, "orders", 0, timeout_s=30) == (3, 8)
    assert consumer.requests == 3

    consumer = ElectingConsumer(code, failures=1)
    positions = offsets_at_times(consumer, [TopicPartition("orders", 0, 1_700_000_000_000)], timeout_s=30)
    assert [position.offset for position in positions] == [5]
    assert consumer.requests == 2


def test_new_topics_are_ready_when_each_partition_has_a_leader() -> None:
    admin: Any = ElectingAdmin(KafkaError.NOT_LEADER_FOR_PARTITION, failures=2)
    wait_for_leaders(admin, {"orders": 2, "commands": 1}, timeout_s=30)
    assert admin.requests == [3, 2, 2]  # all partitions; then those that were not ready

    admin = ElectingAdmin(KafkaError.TOPIC_AUTHORIZATION_FAILED, failures=1)
    with pytest.raises(KafkaException):
        wait_for_leaders(admin, {"orders": 1}, timeout_s=30)


def test_other_errors_are_raised_at_once() -> None:
    consumer: Any = ElectingConsumer(KafkaError.TOPIC_AUTHORIZATION_FAILED, failures=1)
    with pytest.raises(KafkaException):
        log_range(consumer, "orders", 0, timeout_s=30)
    assert consumer.requests == 1


def test_a_partition_that_gets_no_leader_is_an_error_after_the_time_limit() -> None:
    consumer: Any = ElectingConsumer(KafkaError.NOT_LEADER_FOR_PARTITION, failures=1_000_000)
    with pytest.raises(KafkaException) as raised:
        log_range(consumer, "orders", 0, timeout_s=0.3)
    assert raised.value.args[0].code() == KafkaError.NOT_LEADER_FOR_PARTITION
    assert consumer.requests > 1


def test_no_module_looks_up_offsets_without_the_retry() -> None:
    """Every other call would fail when it meets the election of a leader, which only a slow machine shows."""
    # The metrics page omits a partition without a leader; the next request has it.
    allowed = {"sinks/log_offsets.py", "api/metrics/servers.py"}
    assert _users_of({"get_watermark_offsets", "offsets_for_times", "list_offsets"}, ROOMS) == allowed


def test_no_module_and_no_test_creates_topics_without_waiting_for_their_leaders() -> None:
    assert _users_of({"NewTopic"}, (*ROOMS, "tests")) == {"deploy/supervisor/topics.py"}


def _users_of(names: set[str], rooms: tuple[str, ...]) -> set[str]:
    """Return the files that use one of the names or attributes. Only files whose text has a name are parsed."""
    texts = {path: path.read_text(encoding="utf-8") for room in rooms for path in (ROOT / room).rglob("*.py")}
    return {
        path.relative_to(ROOT).as_posix()
        for path, text in texts.items()
        if any(name in text for name in names)
        for node in ast.walk(ast.parse(text))
        if (node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", None)) in names
    }


def test_no_module_requests_group_offsets_from_the_admin_client() -> None:
    """librdkafka ends the process with SIGSEGV if the group has no coordinator yet: see `CommittedOffsets`."""
    assert _users_of({"list_consumer_group_offsets"}, (*ROOMS, "tests")) == set()


def test_an_admin_operation_without_a_response_is_an_error_of_kafka() -> None:
    """A future's own time limit raises an empty TimeoutError, which no caller expects."""
    with pytest.raises(KafkaException) as raised:
        admin_result(Future[None](), timeout_s=0.01)
    assert raised.value.args[0].str() == "the broker did not respond within 0.01 s"


def test_no_module_waits_for_an_admin_operation_without_the_conversion() -> None:
    modules = _users_of({"AdminClient"}, ROOMS) & _users_of({"result"}, ROOMS)
    # The metrics page reports any failure of Kafka, and its coroutines have results too.
    assert modules - {"api/metrics/servers.py"} == {"sinks/admin_operations.py"}
