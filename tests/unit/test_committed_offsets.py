"""The committed offsets that the metrics read."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from api.metrics.committed_offsets import CommittedOffsets
from configs.settings import load_settings

READERS = ("execution", "features", "risk")


def test_a_group_without_a_coordinator_hides_the_others_once_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call waits for it for all of the time, which the groups share."""
    now, unreachable = [0.0], {"execution"}

    class Group:
        def __init__(self, name: str) -> None:
            self.name = name

        def committed(self, requested: Sequence[TopicPartition], timeout: float) -> list[TopicPartition]:
            if self.name in unreachable:
                now[0] += timeout
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
            return [TopicPartition(one.topic, one.partition, 7) for one in requested]

    monkeypatch.setattr("api.metrics.committed_offsets.time.monotonic", lambda: now[0])
    offsets = CommittedOffsets(load_settings(environment={}).kafka)
    monkeypatch.setattr(offsets, "_consumer", Group)
    logs = {reader: [("market-bars", 0)] for reader in READERS}
    assert offsets.read(logs, timeout_s=2.0) == {}
    assert offsets.read(logs, timeout_s=2.0) == {reader: {("market-bars", 0): 7} for reader in ("features", "risk")}
    unreachable.clear()
    assert offsets.read(logs, timeout_s=2.0).keys() == set(READERS)
