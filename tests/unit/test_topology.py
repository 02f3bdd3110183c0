"""The service diagram as data agrees with the declared topics, and closes no loop that waits for itself."""

from __future__ import annotations

import subprocess
import sys
from typing import get_args

import pytest

from configs.settings import load_settings
from dataflows.runtime import topology
from deploy.home import REPOSITORY
from deploy.supervisor.service import DATAFLOW_NAMES
from schemas.records import BY_SYMBOL, TOPIC_OF, Record

KAFKA = load_settings(environment={}).kafka
TOPICS = KAFKA.topics
PARTITIONS = 3


def test_every_topic_is_written_by_its_owner_alone() -> None:
    owned = {topic: entry.owner for topic, entry in TOPICS.items() if entry.owner is not None}
    written = [(topic, service) for service, of in topology.SERVICES.items() for topic in of.outputs]
    assert dict(written) == owned
    assert len(written) == len(dict(written)), "a topic has one writer of its clock"


def test_every_topic_is_read_by_its_readers() -> None:
    read = {topic: set[str]() for topic in TOPICS}
    for service, of in topology.SERVICES.items():
        for given in of.inputs:
            read[given.topic].add(service)
    assert read == {topic: set(entry.readers) for topic, entry in TOPICS.items()}


def test_topics_by_symbol_are_those_with_a_partition_a_shard() -> None:
    assert {topic for topic, entry in TOPICS.items() if entry.partitions == "symbols"} == topology.SYMBOL_TOPICS
    assert all(entry.partitions in (1, "symbols") for entry in TOPICS.values())


def test_every_record_type_is_declared_in_the_topic_it_goes_to() -> None:
    declared = {topic: set(entry.schemas) - {"Clock"} for topic, entry in TOPICS.items()}
    kinds: dict[str, set[str]] = {topic: set() for topic in TOPICS}
    for record_type in get_args(Record):
        kinds[TOPIC_OF[record_type]].add(record_type.__name__)
    assert declared == kinds


def test_every_topic_that_somebody_aligns_on_carries_a_clock() -> None:
    without = {topic for topic, entry in TOPICS.items() if "Clock" not in entry.schemas}
    assert without == {"dead-letters", "late-records", "audit-heads", "market-trades"}
    assert not any(TOPICS[topic].readers for topic in without)


def test_what_a_service_writes_without_a_clock_has_the_clock_of_another_or_none() -> None:
    for name, of in topology.SERVICES.items():
        for topic in of.unclocked:
            assert TOPICS[topic].owner in ("market_data", None), (name, topic)


def test_each_log_is_read_and_clocked_by_exactly_one_shard_of_a_service() -> None:
    for service, of in topology.SERVICES.items():
        shards = topology.shards(service, PARTITIONS)
        clocked = [name for shard in shards for name in topology.clocked(service, shard, PARTITIONS)]
        expected = [(t, p) for t in of.outputs for p in topology.partitions_of(t, PARTITIONS)]
        assert sorted(clocked) == sorted(expected)
        read = [(log.topic, log.partition) for shard in shards for log in topology.logs(service, shard, PARTITIONS)]
        inputs = {(i.topic, p) for i in of.inputs for p in topology.partitions_of(i.topic, PARTITIONS)}
        assert set(read) == inputs
        by_symbol = [name for name in read if name[0] in topology.SYMBOL_TOPICS]
        assert len(by_symbol) == len(set(by_symbol))


def test_a_sharded_service_writes_topics_by_symbol_only_and_each_shard_reads_the_others_whole() -> None:
    for name, of in topology.SERVICES.items():
        if of.by_shard:
            assert set(of.outputs) <= topology.SYMBOL_TOPICS
            whole = {given.topic for given in of.inputs} - topology.SYMBOL_TOPICS
            for shard in topology.shards(name, PARTITIONS):
                read = {(log.topic, log.partition) for log in topology.logs(name, shard, PARTITIONS)}
                assert {(topic, 0) for topic in whole} <= read


def test_without_the_feedback_inputs_nobody_waits_for_himself() -> None:
    writer = {topic: service for service, of in topology.SERVICES.items() for topic in of.outputs}
    waits = {s: {writer[i.topic] for i in of.inputs if not i.feedback} for s, of in topology.SERVICES.items()}
    while waits:
        free = {service for service, on in waits.items() if not on}
        assert free, f"these wait for each other: {sorted(waits)}"
        waits = {service: on - free for service, on in waits.items() if service not in free}


@pytest.mark.parametrize("topic", ["orders", "order-refusals", "weights"])
def test_the_loop_is_closed_by_feedback(topic: str) -> None:
    readers = [given for of in topology.SERVICES.values() for given in of.inputs if given.topic == topic]
    assert readers
    assert all(given.feedback for given in readers)


def test_the_platform_starts_every_service() -> None:
    assert set(DATAFLOW_NAMES) == set(topology.SERVICES)
    assert {TOPIC_OF[kind] for kind in BY_SYMBOL} == topology.SYMBOL_TOPICS


def test_what_only_some_services_need_is_not_loaded_by_the_others() -> None:
    """A dataflow that was killed is back the sooner."""
    asked = "import sys, dataflows.features, dataflows.signals, dataflows.risk, dataflows.feedback; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", asked], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    loaded = done.stdout.split()
    assert "dataflows.risk" in loaded
    assert not {"redis", "pandas", "numpy", "sklearn", "httpx", "websockets", "alembic"} & set(loaded)
