"""The topics that a live feed follows, on a real broker."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal

import pytest
from confluent_kafka import Producer

from configs.settings import load_settings
from dataflows.runtime.topology import SERVICES, partitions_of
from dataflows.sources.market.followed_topics import FollowedTopics
from dataflows.sources.market.waiting_records import WaitingRecords
from deploy.supervisor.topics import TopicSpec, create_topics
from schemas.codec import encode
from schemas.errors import Unavailable
from schemas.records import Clock, Record, RiskUsage, StageTimer, StrategySuspension
from tests.builders import command, order, proposal, refusal

FIRST_NS, SECOND_NS = 1000, 2000
LAST_TIMER_NS = SECOND_NS + 2000
PARTITIONS = 2
FOLLOWED = SERVICES["market_data"].follows


@dataclass
class Followed:
    waiting: WaitingRecords
    producer: Producer
    prefix: str

    def publish(self, topic: str, *records: Record | Clock | bytes, partition: int = 0) -> None:
        for record in records:
            value = record if isinstance(record, bytes) else encode(record)
            self.producer.produce(self.prefix + topic, value, partition=partition)
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
    environment = {
        "KAFKA_BOOTSTRAP_SERVERS": kafka,
        "KAFKA__TOPIC_PREFIX": prefix,
        "KAFKA__SYMBOL_PARTITIONS": str(PARTITIONS),
    }
    specs = [TopicSpec(prefix + topic, len(partitions_of(topic, PARTITIONS))) for topic in FOLLOWED]
    create_topics(kafka, specs)
    settings = load_settings(environment=environment)
    waiting = WaitingRecords(250_000_000)
    sender = Producer({"bootstrap.servers": kafka})
    for due_ns in range(FIRST_NS, LAST_TIMER_NS + 1):
        sender.produce(prefix + "stage-timers", encode(StageTimer(ts_ns=1, service="execution", due_ns=due_ns)))
    assert sender.flush(60) == 0
    topics = FollowedTopics(settings.kafka, waiting)
    topics.start()
    try:
        wait_for(lambda: waiting.due_in_ns() == 0)  # at the start, a slice is always due
        waiting.close(FIRST_NS)
        yield Followed(waiting, sender, prefix)
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


def test_decisions_for_strategies_wait_and_reports_to_people_do_not(followed: Followed) -> None:
    rejected = refusal(1, FIRST_NS, "A")
    suspended = StrategySuspension(
        symbol="A",
        seq=1,
        ts_ns=FIRST_NS,
        strategy="s",
        state="SUSPENDED",
        cause_id="",
        error_type="",
        message="",
        file="",
        line=0,
    )
    for topic, record, partition in (("order-refusals", rejected, 0), ("strategy-suspensions", suspended, 1)):
        followed.publish(topic, Clock(1, "test"), record, Clock(FIRST_NS, "test"), partition=partition)
        followed.wait(waits=True)
        followed.waiting.close(FIRST_NS)
    followed.publish("order-proposals", proposal(ts_ns=FIRST_NS))
    followed.publish(
        "risk-events",
        RiskUsage(seq=1, ts_ns=FIRST_NS, measure="gross", scope_key="", used=Decimal(1), limit=None, share=None),
    )
    followed.publish("commands", command("cmd-1", 1, "KILL_SWITCH", {}))
    followed.wait(waits=True)
    followed.publish("commands", Clock(SECOND_NS, "test"))
    followed.wait(waits=False)


def test_the_last_timer_before_the_start_and_each_later_one_count(followed: Followed) -> None:
    wait_for(lambda: followed.waiting.next_timer_ns(0) == LAST_TIMER_NS)
    followed.publish(
        "stage-timers", StageTimer(ts_ns=1, service="execution", due_ns=LAST_TIMER_NS - 1000), b"no record"
    )
    wait_for(lambda: followed.waiting.next_timer_ns(0) == LAST_TIMER_NS - 1000)
    followed.waiting.close(LAST_TIMER_NS)
    assert followed.waiting.next_timer_ns(0) is None


def test_a_missing_topic_is_reported(kafka: str) -> None:
    settings = load_settings(environment={"KAFKA_BOOTSTRAP_SERVERS": kafka, "KAFKA__TOPIC_PREFIX": "missing-"})
    topics = FollowedTopics(settings.kafka, WaitingRecords(1), timeout_s=1.0)
    try:
        with pytest.raises(Unavailable, match="ends of the followed topics"):
            topics.start()
    finally:
        topics.stop()
