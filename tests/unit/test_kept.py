"""What a service keeps for its tables came out of topics: it is never written back into them."""

from __future__ import annotations

import pytest

from dataflows.runtime import topology
from schemas.records import TOPIC_OF
from sinks.kafka import KafkaTickSink


@pytest.mark.parametrize("service", topology.KEPT)
def test_a_record_that_was_read_is_not_written_again(service: str) -> None:
    described, kept = topology.SERVICES[service], topology.KEPT[service]
    written = [*described.outputs, *described.unclocked]
    sink = KafkaTickSink("none", writer="w", topics=written, clocked={}, partitions=1, passing=kept)
    assert not set(kept) & set(sink.topics)
    assert set(sink.topics) | set(kept) >= {kind for kind, topic in TOPIC_OF.items() if topic in written}
