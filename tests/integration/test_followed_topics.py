"""The topics that a live feed follows, on a real broker."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from confluent_kafka import Producer

from configs.settings import load_settings
from dataflows.runtime.topology import SERVICES
from dataflows.sources.market.followed_topics import FollowedTopics
from dataflows.sources.market.waiting_records import WaitingRecords
from deploy.supervisor.topics import TopicSpec, create_topics
from schemas.codec import encode
from schemas.errors import Unavailable
from schemas.records import Clock, Record
from tests.builders import command, order

FIRST_NS, SECOND_NS = 1000, 2000


@dataclass
class Followed:
    waiting: WaitingRecords
    producer: Producer
    prefix: str

    def publish(self, topic: str, *records: Record | Clock | bytes) -> None:
        for record in records:
            self.producer.produce(self.prefix + topic, record if isinstance(record, bytes) else encode(record))
        assert self.producer.flush(60) == 0

    def wait(self, *, waits: bool) -> None:
        wait_for(lambda: (self.waiting.due_in_ns() is not None) == waits)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def followed(kafka: str) -> Iterator[Followed]:
    prefix = f"t{uuid.uuid4().hex[:8]}-"
    create_topics(kafka, [TopicSpec(prefix + topic, 1) for topic in SERVICES["market_data"].follows])
    settings = load_settings(environment={"KAFKA_BOOTSTRAP_SERVERS": kafka, "KAFKA__TOPIC_PREFIX": prefix})
    waiting = WaitingRecords(250_000_000)
    topics = FollowedTopics(settings.kafka, waiting)
    topics.start()
    try:
        wait_for(lambda: waiting.due_in_ns() == 0)  # at the start, a slice is always due
        waiting.close(FIRST_NS)
        yield Followed(waiting, Producer({"bootstrap.servers": kafka}), prefix)
        topics.raise_if_failed()
    finally:
        topics.stop()


@pytest.mark.parametrize("value", [encode(command("cmd-1", 1, "KILL_SWITCH", {})), b"no record"])
def test_a_record_waits_until_a_clock_follows_it_in_its_log(followed: Followed, value: bytes) -> None:
    followed.publish("commands", value)
    followed.wait(waits=True)
    followed.publish("news", Clock(SECOND_NS, "test"))
    followed.publish("commands", Clock(SECOND_NS, "test"))
    followed.wait(waits=False)


def test_an_order_waits_for_the_slice_after_its_own(followed: Followed) -> None:
    followed.publish("orders", order(1, ts_ns=FIRST_NS), Clock(FIRST_NS, "test"))
    followed.wait(waits=True)
    followed.waiting.close(SECOND_NS)
    assert followed.waiting.due_in_ns() is None
    followed.publish("orders", order(2, ts_ns=FIRST_NS), b"no record", Clock(SECOND_NS, "test"))
    followed.publish("commands", command("cmd-1", 1, "KILL_SWITCH", {}))
    followed.wait(waits=True)
    followed.publish("commands", Clock(SECOND_NS, "test"))
    followed.wait(waits=False)


def test_a_missing_topic_is_reported(kafka: str) -> None:
    settings = load_settings(environment={"KAFKA_BOOTSTRAP_SERVERS": kafka, "KAFKA__TOPIC_PREFIX": "missing-"})
    topics = FollowedTopics(settings.kafka, WaitingRecords(1), timeout_s=1.0)
    try:
        with pytest.raises(Unavailable, match="ends of the followed topics"):
            topics.start()
    finally:
        topics.stop()
