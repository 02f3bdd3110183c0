"""The service topology matches the declared topics, and its only cycles are through feedback inputs."""

from __future__ import annotations

import subprocess
import sys
from typing import get_args

import pytest

from configs.settings import load_settings
from dataflows.runtime import topology
from dataflows.runtime.edge_services import BESIDE_VARIABLE, recorded_beside_compact, services_beside_compact
from deploy.home import REPOSITORY
from deploy.supervisor.process_spec import DATAFLOW_NAMES
from schemas.records import BY_SYMBOL, TOPIC_OF, Record

KAFKA = load_settings(environment={}).kafka
TOPICS = KAFKA.topics
PARTITIONS = 3


def test_every_topic_is_written_by_its_owner_alone() -> None:
    owned = {topic: entry.owner for topic, entry in TOPICS.items() if entry.owner is not None}
    written = [(topic, service) for service, wiring in topology.SERVICES.items() for topic in wiring.outputs]
    assert dict(written) == owned
    assert len(written) == len(dict(written)), "a topic has one writer of its clock"


def test_every_topic_is_read_by_its_readers() -> None:
    read = {topic: set[str]() for topic in TOPICS}
    for service, wiring in topology.SERVICES.items():
        for topic_input in wiring.inputs:
            read[topic_input.topic].add(service)
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


def test_every_aligned_topic_has_a_clock() -> None:
    without_clock = {topic for topic, entry in TOPICS.items() if "Clock" not in entry.schemas}
    unread = {"dead-letters", "late-records", "audit-heads"}
    assert without_clock == unread | {"handler-timeouts", "stage-timers"}
    assert not any(TOPICS[topic].readers for topic in without_clock)


def test_unclocked_outputs_have_the_market_data_clock_or_none() -> None:
    for name, wiring in topology.SERVICES.items():
        for topic in wiring.unclocked:
            assert TOPICS[topic].owner in ("market_data", None), (name, topic)


def test_each_log_is_read_and_clocked_by_exactly_one_shard_of_a_service() -> None:
    for service, wiring in topology.SERVICES.items():
        shards = topology.shards(service, PARTITIONS)
        clocked = [name for shard in shards for name in topology.clocked_logs(service, shard, PARTITIONS)]
        expected = [(t, p) for t in wiring.outputs for p in topology.partitions_of(t, PARTITIONS)]
        assert sorted(clocked) == sorted(expected)
        read = [
            (log.topic, log.partition) for shard in shards for log in topology.input_logs(service, shard, PARTITIONS)
        ]
        inputs = {(i.topic, p) for i in wiring.inputs for p in topology.partitions_of(i.topic, PARTITIONS)}
        assert set(read) == inputs
        shared = {i.topic for i in wiring.inputs if i.all_partitions}
        by_symbol = [name for name in read if name[0] in topology.SYMBOL_TOPICS and name[0] not in shared]
        assert len(by_symbol) == len(set(by_symbol))
        if wiring.by_shard:
            assert all(read.count((t, p)) == len(shards) for t in shared for p in range(PARTITIONS))


def test_sharded_service_writes_only_symbol_topics_and_each_shard_reads_all_others() -> None:
    for name, wiring in topology.SERVICES.items():
        if wiring.by_shard:
            assert set(wiring.outputs) <= topology.SYMBOL_TOPICS
            unsharded_topics = {topic_input.topic for topic_input in wiring.inputs} - topology.SYMBOL_TOPICS
            for shard in topology.shards(name, PARTITIONS):
                read = {(log.topic, log.partition) for log in topology.input_logs(name, shard, PARTITIONS)}
                assert {(topic, 0) for topic in unsharded_topics} <= read


def test_topology_without_feedback_has_no_cycle() -> None:
    writer = {topic: service for service, wiring in topology.SERVICES.items() for topic in wiring.outputs}
    waits = {s: {writer[i.topic] for i in wiring.inputs if not i.feedback} for s, wiring in topology.SERVICES.items()}
    while waits:
        free = {service for service, upstream in waits.items() if not upstream}
        assert free, f"these wait for each other: {sorted(waits)}"
        waits = {service: upstream - free for service, upstream in waits.items() if service not in free}


def test_each_compact_service_runs_after_those_whose_outputs_it_reads() -> None:
    written: set[str] = set()
    for service in topology.COMPACT_SERVICES:
        awaited = {item.topic for item in topology.SERVICES[service].inputs if not item.feedback}
        assert awaited & topology.compact_topics() <= written, service
        written |= set(topology.SERVICES[service].outputs)


BESIDE = [(), ("execution",), ("sentiment",), topology.EDGE_SERVICES]


@pytest.mark.parametrize("beside", BESIDE)
def test_no_process_of_the_compact_layout_waits_for_another_in_a_circle(beside: tuple[str, ...]) -> None:
    assert topology.compact_conflict(beside) is None
    process_of = {
        name: topology.COMPACT if name in topology.compact_services(beside) else name for name in topology.SERVICES
    }
    writer = {topic: process_of[name] for name, spec in topology.SERVICES.items() for topic in spec.outputs}
    waits: dict[str, set[str]] = {}
    for name, spec in topology.SERVICES.items():
        waits.setdefault(process_of[name], set()).update(writer[i.topic] for i in spec.inputs if not i.feedback)
    waits[topology.COMPACT].discard(topology.COMPACT)
    while waits:
        free = {name for name, upstream in waits.items() if not upstream}
        assert free, f"these wait for each other: {sorted(waits)}"
        waits = {name: upstream - free for name, upstream in waits.items() if name not in free}


@pytest.mark.parametrize("beside", BESIDE)
def test_every_service_runs_in_one_process_of_each_layout(beside: tuple[str, ...]) -> None:
    services = set(topology.SERVICES)
    assert set(topology.processes(topology.Layout.SERVICES)) == services
    compact = [name for name in topology.processes(topology.Layout.COMPACT, beside) if name != topology.COMPACT]
    assert sorted([*compact, *topology.compact_services(beside)]) == sorted(services)
    assert set(compact) >= set(beside)


@pytest.mark.parametrize(
    ("variables", "beside"),
    [
        ({}, ()),
        ({"EXECUTION__BROKER": "alpaca"}, ("execution",)),
        ({"SENTIMENT__LLM__ENABLED": "true"}, ("sentiment",)),
        ({"SENTIMENT__LLM__ENABLED": "true", "EXECUTION__BROKER": "alpaca"}, ("sentiment", "execution")),
    ],
)
def test_a_service_that_sends_requests_runs_beside_the_compact_process(
    variables: dict[str, str], beside: tuple[str, ...]
) -> None:
    model = {"SENTIMENT__LLM__BASE_URL": "http://127.0.0.1:9/v1", "SENTIMENT__LLM__MODEL": "m"}
    settings = load_settings(environment={"ALPACA__URL": "http://127.0.0.1:9", **model, **variables})
    assert services_beside_compact(settings) == recorded_beside_compact(settings, {}) == beside
    # A process that restarts after an edit of the settings continues as the supervisor started it.
    assert recorded_beside_compact(settings, {BESIDE_VARIABLE: ""}) == ()
    assert recorded_beside_compact(settings, {BESIDE_VARIABLE: "execution"}) == ("execution",)


def test_a_compact_service_that_waits_for_a_reader_of_its_outputs_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    added = topology.ServiceSpec(inputs=(topology.ServiceInput("features"),), outputs=("added",))
    risk = topology.SERVICES["risk"]
    waiting = risk._replace(inputs=(*risk.inputs, topology.ServiceInput("added")))
    monkeypatch.setattr(topology, "SERVICES", {**topology.SERVICES, "added": added, "risk": waiting})
    monkeypatch.setattr(topology, "STAGED_SERVICES", (*topology.STAGED_SERVICES, "added"))
    conflict = topology.compact_conflict()
    assert conflict is not None
    assert "cannot run risk: it reads topic added of added" in conflict


@pytest.mark.parametrize("topic", ["orders", "order-refusals", "weights", "strategy-suspensions"])
def test_the_loop_is_closed_by_feedback(topic: str) -> None:
    readers = [
        topic_input
        for wiring in topology.SERVICES.values()
        for topic_input in wiring.inputs
        if topic_input.topic == topic
    ]
    assert readers
    assert all(topic_input.feedback for topic_input in readers)


@pytest.mark.parametrize("service", ["features", "strategies"])
def test_a_replay_reads_the_history_of_a_time_slice_before_its_bars_as_the_services_do(service: str) -> None:
    for topics in (topology.SERVICES["market_data"].outputs, [one.topic for one in topology.SERVICES[service].inputs]):
        assert topics.index("history-bars") < topics.index("market-bars")


def test_the_platform_starts_every_service() -> None:
    assert set(DATAFLOW_NAMES) == set(topology.SERVICES)
    assert {TOPIC_OF[kind] for kind in BY_SYMBOL} == topology.SYMBOL_TOPICS


def test_optional_libraries_are_not_loaded_by_every_service() -> None:
    """A dataflow without these libraries restarts faster after a crash."""
    script = (
        "import sys, dataflows.features, dataflows.signals, dataflows.risk, dataflows.feedback; print(*sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    loaded = result.stdout.split()
    assert "dataflows.risk" in loaded
    assert not {"redis", "pandas", "numpy", "sklearn", "httpx", "websockets", "alembic"} & set(loaded)
