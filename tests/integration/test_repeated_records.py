"""A service that repeats its records after a crash stops if they differ from those in its topics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from dataflows.replay.recording import DERIVED_TOPICS, INPUT_TOPICS
from dataflows.runtime import topology
from dataflows.runtime.repeated_records import RepeatedRecords
from operators.stage import TimeSlice
from schemas.errors import Unavailable
from schemas.records import TOPIC_OF, Order
from tests.integration.recorded_platform import make_topics, write
from tests.unit.tape import market, platform_output, settings

INPUT_SLICES = market(60)
SNAPSHOT = 20
OWN_TOPICS = topology.SERVICES["risk"].outputs


@dataclass
class Risk:
    """The topics of risk, and what it writes after its snapshot."""

    kafka: str
    prefix: str
    repeated: list[TimeSlice]

    def compare(self, time_slices: list[TimeSlice], *, passed: int = SNAPSHOT) -> RepeatedRecords:
        logs = topology.clocked_logs("risk", topology.GLOBAL_SHARD, settings().kafka.symbol_partitions)
        passed_ns = INPUT_SLICES[passed - 1].ts_ns if passed else -1
        repeated = RepeatedRecords(self.kafka, self.prefix, "risk", logs, passed_ns)
        for time_slice in time_slices:
            repeated.compare([time_slice])
        return repeated

    def with_orders(self, change: Any) -> list[TimeSlice]:
        """The repeated time slices with each order replaced by `change(order)`, or left out for None."""
        return [
            TimeSlice(
                ts_ns,
                [new for r in records if (new := change(r) if type(r) is Order else r) is not None],
            )
            for ts_ns, records in self.repeated
        ]


@pytest.fixture(scope="module")
def risk(kafka: str) -> Risk:
    prefix, outputs = make_topics(kafka), platform_output(INPUT_SLICES, settings())
    write(kafka, prefix, INPUT_SLICES, INPUT_TOPICS)
    write(kafka, prefix, outputs, DERIVED_TOPICS)
    own = [TimeSlice(ts_ns, [r for r in records if TOPIC_OF[type(r)] in OWN_TOPICS]) for ts_ns, records in outputs]
    assert sum(type(r) is Order for _, records in own[SNAPSHOT:] for r in records) > 3
    return Risk(kafka, prefix, own[SNAPSHOT:])


def test_equal_records_pass_and_nothing_remains(risk: Risk) -> None:
    assert risk.compare([]).pending
    assert not risk.compare(risk.repeated).pending
    assert not risk.compare([], passed=len(INPUT_SLICES)).pending, "a service that stopped cleanly repeats nothing"


def test_another_wording_is_no_difference(risk: Risk) -> None:
    reworded = risk.with_orders(
        lambda order: order._replace(checks=[check._replace(limit="?") for check in order.checks])
    )
    assert reworded != risk.repeated
    assert not risk.compare(reworded).pending


def test_another_order_with_the_same_number_stops_the_service(risk: Risk) -> None:
    changed = risk.with_orders(
        lambda order: order._replace(terms=order.terms._replace(quantity=order.terms.quantity + 1))
    )
    with pytest.raises(Unavailable, match="risk repeats its records since its last snapshot, but one differs: Order"):
        risk.compare(changed)


def test_a_missing_order_stops_the_service_before_its_number_is_given_again(risk: Risk) -> None:
    later = TimeSlice(INPUT_SLICES[-1].ts_ns + 1, [])
    with pytest.raises(Unavailable, match=r"one differs: Order\(.* is missing; the settings or the code have changed"):
        risk.compare([*risk.with_orders(lambda order: None), later])
