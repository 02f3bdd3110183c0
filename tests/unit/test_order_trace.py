"""`performance trace`: the steps of one order, computed from records with message times."""

from __future__ import annotations

import random
from typing import Any

from dataflows.runtime.topology import SERVICES, partitions_of
from deploy.performance.order_trace import DECIDING, TRACED_TOPICS, Logs, TracedRecord, trace_order
from schemas.records import NEW, Clock, OrderIntent
from tests.builders import bar, broker_update, command, execution, order
from tests.unit.gateway_harness import GatewayHarness

PARTITIONS, SLICE_NS, NEXT_NS = 2, 5_000_000_000, 5_002_000_000
START_MS = 1_000_000.0


class Recording:
    """The messages of a platform, in which each service closes a time slice some time after the previous one."""

    def __init__(self, seed: int = 1) -> None:
        self.rng = random.Random(seed)
        self.now_ms = START_MS
        self.logs: dict[tuple[str, int], list[TracedRecord]] = {
            (topic, partition): [] for topic in TRACED_TOPICS for partition in partitions_of(topic, PARTITIONS)
        }
        self.closed_ms: dict[tuple[str, int], float] = {}

    def write(self, topic: str, record: Any, *, partition: int = 0, after_ms: float = 0.0) -> float:
        self.now_ms += after_ms
        self.logs[topic, partition].append(TracedRecord(self.now_ms, record))
        return self.now_ms

    def close(self, ts_ns: int, *, without: str = "") -> None:
        """Close a time slice in each topic. The last partition counts."""
        owners: dict[str, tuple[str, ...]] = {"market_data": ("market-bars", "commands", "broker-updates")}
        owners |= {service: SERVICES[service].outputs for service in DECIDING}
        for service, topics in owners.items():
            if service == without:
                return
            for topic in topics:
                for partition in partitions_of(topic, PARTITIONS):
                    self.write(topic, Clock(ts_ns, service), partition=partition, after_ms=self.rng.randint(1, 9))
            self.closed_ms[service, ts_ns] = self.now_ms


def steps(recording: Recording, of: Any) -> dict[str, float]:
    return {step.step: step.at_ms for step in trace_order(of, recording.logs)}


def test_a_manual_order_is_traced_from_its_command_to_the_broker() -> None:
    recording = Recording()
    gateway = GatewayHarness()
    gateway.connect()
    approved = order(1, ts_ns=SLICE_NS, cause_id="cmd-7")
    intent = next(one for one in gateway.step(approved) if isinstance(one, OrderIntent))
    given_ns = int(START_MS * 1e6) + 250_000
    recording.write("commands", command("cmd-6", 1, "SUBMIT_ORDER", {}))
    in_kafka_ms = recording.write("commands", command("cmd-7", given_ns, "SUBMIT_ORDER", {}), after_ms=3)
    recording.close(SLICE_NS)
    recording.write("orders", approved)
    recording.close(NEXT_NS)
    intent_ms = recording.write("order-intents", intent, after_ms=1)
    arrived_ms = recording.now_ms + 2.5
    update = broker_update(intent.client_order_id, NEW)._replace(happened_ns=int(arrived_ms * 1e6))
    reported_ms = recording.write("broker-updates", update, after_ms=6)
    closed = recording.closed_ms
    found = trace_order(approved, recording.logs)
    assert [(step.step, step.at_ms) for step in found] == [
        ("command sent", given_ns / 1e6),
        ("command in Kafka", in_kafka_ms),
        ("time slice closed by market_data", clock_ms(recording, SLICE_NS)),
        *((f"processed by {service}", closed[service, SLICE_NS]) for service in DECIDING),
        ("next time slice closed by market_data", clock_ms(recording, NEXT_NS)),
        ("order intent in Kafka", intent_ms),
        ("NEW at the broker, by its clock", arrived_ms),
        ("report of the broker in Kafka", reported_ms),
    ]
    assert sum(step.since_previous_ms or 0.0 for step in found) == found[-1].since_first_ms
    assert (found[0].since_previous_ms, found[0].since_first_ms) == (None, None)


def clock_ms(recording: Recording, ts_ns: int) -> float:
    """Return when the feed had written a clock to all partitions of the bars and to the commands."""
    logs: Logs = recording.logs
    return max(
        timed.written_ms
        for (topic, _), entries in logs.items()
        if topic in ("market-bars", "commands")
        for timed in entries
        if timed.record == Clock(ts_ns, "market_data")
    )


def test_an_order_of_a_strategy_begins_with_the_last_bar_of_its_slice() -> None:
    recording = Recording()
    approved = order(1, ts_ns=SLICE_NS, cause_id="prop-1")
    recording.write("market-bars", bar("A", 1, SLICE_NS - 1))
    last_ms = recording.write("market-bars", bar("D", 1, SLICE_NS), partition=1, after_ms=4)
    recording.close(SLICE_NS)
    recording.write("orders", approved)
    recording.close(NEXT_NS, without="risk")
    report = execution(1, NEXT_NS, "A", 1, 10)._replace(order_id=approved.order_id)
    report_ms = recording.write("executions", report, after_ms=2)
    found = steps(recording, approved)
    assert next(iter(found.items())) == ("bars of the time slice in Kafka", last_ms)
    assert found["TRADE report of the venue in Kafka"] == report_ms


def test_a_repeated_clock_does_not_count_and_missing_steps_are_left_out() -> None:
    recording = Recording()
    approved = order(1, ts_ns=SLICE_NS, cause_id="cmd-1")
    recording.close(SLICE_NS, without="strategies")
    first = steps(recording, approved)
    recording.close(SLICE_NS, without="features")  # the feed was restarted and repeats the clock
    assert steps(recording, approved) == first
    assert list(first) == [
        "time slice closed by market_data",
        *(f"processed by {service}" for service in DECIDING[: DECIDING.index("strategies")]),
    ]
