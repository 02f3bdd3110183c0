"""A service stores pass-through records in its tables and never writes them back to the topics."""

from __future__ import annotations

import pytest

from dataflows.runtime import topology
from dataflows.runtime.live_endpoints import stored_elsewhere
from schemas.records import TOPIC_OF, Command, Configuration, NewsItem
from sinks.kafka import KafkaSliceSink
from sinks.record_tables import RECORD_TABLES


@pytest.mark.parametrize("service", topology.PASS_THROUGH)
def test_pass_through_records_are_not_written_to_topics(service: str) -> None:
    declared, pass_through = topology.SERVICES[service], topology.PASS_THROUGH[service]
    output_topics = [*declared.outputs, *declared.unclocked]
    sink = KafkaSliceSink(
        "none", writer="w", topics=output_topics, clock_partitions={}, partitions=1, pass_through=pass_through
    )
    assert not set(pass_through) & set(sink.topics)
    assert set(sink.topics) | set(pass_through) >= {kind for kind, topic in TOPIC_OF.items() if topic in output_topics}


def test_each_audited_record_is_stored_by_one_service() -> None:
    """The feed publishes commands, and `risk` stores them. Two writers would link them in a different order."""
    assert stored_elsewhere("market_data") == {Command, Configuration}
    assert stored_elsewhere("risk") == frozenset()


def test_each_table_of_a_topic_has_the_service_that_stores_the_records_among_its_writers() -> None:
    for service, kinds in topology.PASS_THROUGH.items():
        for kind in kinds:
            assert topology.table_writers(kind) >= {service, "market_data"}, kind
    assert topology.table_writers(NewsItem) == {"market_data", "news"}
    without = {kind.__name__ for kind in RECORD_TABLES if not topology.table_writers(kind)}
    assert without == {"DeadLetter", "LateRecord"}, "all services write these"
