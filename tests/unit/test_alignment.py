"""Several logs are read as one in time order. A small model of the platform runs on the real reader."""

from __future__ import annotations

import hashlib
import random
from typing import Any

import pytest

from operators.alignment import AlignedLogs
from operators.log_cursor import LogInput
from operators.stage import TimeSlice
from schemas.codec import SCHEMA_IDS, encode
from schemas.records import Bar, Clock, Command, DeadLetter, Execution, LateRecord, OrderRefusal, Signal
from tests.builders import bar, command, execution, refusal, signal

SLICES, SYMBOLS, PARTITIONS = 40, 6, 2


class StageLoop:
    """Feeds -> signals -> portfolio -> risk -> venue -> portfolio. A random schedule selects the stage of each step.

    Logs are lists and the stages are minimal, because the test covers how stages read. The type `Execution` also
    represents proposals (price 1) and orders (price 2).
    """

    def __init__(self, seed: int, *, wait: bool, lag: bool) -> None:
        self.schedule, market = random.Random(seed), random.Random(1)
        self.tape: list[list[Any]] = [[] for _ in range(PARTITIONS)]
        seqs = [0] * SYMBOLS
        for t in range(1, SLICES + 1):
            for p in range(PARTITIONS):
                for s in range(p, SYMBOLS, PARTITIONS):
                    if market.random() < 0.8:
                        seqs[s] += 1
                        self.tape[p].append(bar(f"S{s}", seqs[s], t, 100 + market.gauss(0, 1)))
                self.tape[p].append(Clock(t, "tape"))
        self.logs: dict[tuple[str, int], list[Any]] = {("market-bars", p): [] for p in range(PARTITIONS)}
        self.logs |= {("signals", p): [] for p in range(PARTITIONS)}
        self.logs |= {("executions", 0): [], ("order-proposals", 0): [], ("orders", 0): []}
        bars = [LogInput("market-bars", p, 1) for p in range(PARTITIONS)]
        orders = [LogInput("orders", 0, 0, feedback=lag)] if wait else []
        self.readers = {
            "venue": AlignedLogs("venue", [*orders, *bars]),
            "portfolio": AlignedLogs(
                "portfolio", [LogInput("executions", 0, 0), *(LogInput("signals", p, 1) for p in range(PARTITIONS))]
            ),
            "risk": AlignedLogs("risk", [LogInput("executions", 0, 0), LogInput("order-proposals", 0, 1)]),
        }
        self.readers |= {
            f"signals{p}": AlignedLogs("signals", [LogInput("market-bars", p, 0)]) for p in range(PARTITIONS)
        }
        self.fed_offsets = {(name, log): 0 for name, reader in self.readers.items() for log in reader.next_offsets()}
        self.wait, self.orders_read = wait, 0
        self.average: dict[str, float] = {}
        self.positions: dict[str, int] = {}
        self.working: list[Any] = []
        self.counts = {"executions": 0, "order-proposals": 0, "orders": 0}
        self.signal_count: dict[str, int] = {}

    def feed(self, p: int) -> None:
        fed = len(self.logs["market-bars", p])
        self.logs["market-bars", p] += self.tape[p][fed : fed + self.schedule.randint(1, 5)]

    def read(self, name: str) -> list[TimeSlice]:
        reader = self.readers[name]
        for topic, partition in reader.next_offsets():
            log, start = self.logs[topic, partition], self.fed_offsets[name, (topic, partition)]
            reader.feed(topic, partition, list(enumerate(log))[start:])
            self.fed_offsets[name, (topic, partition)] = len(log)
        return reader.take_slices()

    def append(self, topic: str, make: Any, *values: Any) -> None:
        self.counts[topic] += 1
        self.logs[topic, 0].append(make(self.counts[topic], *values))

    def signals(self, p: int) -> None:
        for time_slice in self.read(f"signals{p}"):
            for b in time_slice.records:
                assert isinstance(b, Bar)
                mean = self.average[b.symbol] = 0.7 * self.average.get(b.symbol, b.close) + 0.3 * b.close
                n = self.signal_count[b.symbol] = self.signal_count.get(b.symbol, 0) + 1
                self.logs["signals", p].append(signal(b.symbol, n, time_slice.ts_ns, b.close - mean))
            self.logs["signals", p].append(Clock(time_slice.ts_ns, "signals"))

    def venue(self) -> None:
        for time_slice in self.read("venue"):
            if not self.wait:  # takes the orders that have arrived so far
                arrived = self.logs["orders", 0][self.orders_read :]
                self.orders_read += len(arrived)
                self.working += [o for o in arrived if not isinstance(o, Clock)]
            for record in time_slice.records:
                if isinstance(record, Execution):
                    self.working.append(record)
                elif isinstance(record, Bar):
                    for order in [o for o in self.working if o.symbol == record.symbol]:
                        self.working.remove(order)
                        self.append(
                            "executions", execution, time_slice.ts_ns, order.symbol, int(order.quantity), record.open
                        )
            self.logs["executions", 0].append(Clock(time_slice.ts_ns, "venue"))

    def portfolio(self) -> None:
        for time_slice in self.read("portfolio"):
            for record in time_slice.records:
                if isinstance(record, Execution):
                    self.positions[record.symbol] = self.positions.get(record.symbol, 0) + int(record.quantity)
                elif isinstance(record, Signal):
                    position = self.positions.get(record.symbol, 0)
                    target = 10 if record.strength > 0.3 else -10 if record.strength < -0.3 else position
                    if target != position:
                        self.append(
                            "order-proposals", execution, time_slice.ts_ns, record.symbol, target - position, 1.0
                        )
            self.logs["order-proposals", 0].append(Clock(time_slice.ts_ns, "portfolio"))

    def risk(self) -> None:
        for time_slice in self.read("risk"):
            # A price of 1 marks a proposal. Executions of the venue have other prices and are ignored.
            for record in time_slice.records:
                if isinstance(record, Execution) and record.price == 1:
                    self.append("orders", execution, time_slice.ts_ns, record.symbol, int(record.quantity), 2.0)
            self.logs["orders", 0].append(Clock(time_slice.ts_ns, "risk"))

    def run(self) -> tuple[bool, str]:
        steps: list[Any] = [lambda p=p: self.feed(p) for p in range(PARTITIONS)]
        steps += [lambda p=p: self.signals(p) for p in range(PARTITIONS)]
        steps += [self.venue, self.portfolio, self.risk]
        orders = self.logs["orders", 0]
        for _ in range(5_000):
            self.schedule.choice(steps)()
            if orders and orders[-1] == Clock(SLICES, "risk"):
                break
        finished = bool(orders) and orders[-1] == Clock(SLICES, "risk")
        written_logs = [log for name, log in sorted(self.logs.items()) if name[0] != "market-bars"]
        return finished, hashlib.sha256(repr(written_logs).encode()).hexdigest()


def test_every_schedule_finishes_with_the_same_result() -> None:
    results = [StageLoop(seed, wait=True, lag=True).run() for seed in range(60)]
    assert all(finished for finished, _ in results)
    assert len({digest for _, digest in results}) == 1


def test_results_differ_between_schedules_without_waiting_for_feedback() -> None:
    results = [StageLoop(seed, wait=False, lag=True).run() for seed in range(20)]
    assert len({digest for _, digest in results}) > 10


def test_loop_deadlocks_without_the_feedback_lag() -> None:
    results = [StageLoop(seed, wait=True, lag=False).run() for seed in range(5)]
    assert not any(finished for finished, _ in results)


BARS_0, BARS_1 = LogInput("market-bars", 0, 1), LogInput("market-bars", 1, 1)


def reader(*logs: LogInput, start: Any = None) -> AlignedLogs:
    return AlignedLogs("test", logs, start)


def numbered(*records: Any, start: int = 0) -> list[tuple[int, Any]]:
    return list(enumerate(records, start))


def test_a_slice_waits_for_the_clock_of_every_input() -> None:
    r = reader(BARS_0, BARS_1)
    r.feed("market-bars", 0, numbered(bar("A", 1, 60), Clock(60, "w")))
    assert r.take_slices() == []
    r.feed("market-bars", 1, numbered(bar("B", 1, 60)))
    assert r.take_slices() == []
    r.feed("market-bars", 1, numbered(Clock(60, "w"), start=1))
    assert r.take_slices() == [TimeSlice(60, [bar("A", 1, 60), bar("B", 1, 60)])]


def test_record_order_in_a_slice_does_not_depend_on_partitions() -> None:
    r = reader(BARS_0, BARS_1)
    r.feed("market-bars", 1, numbered(bar("A", 1, 60), bar("D", 1, 60), Clock(60, "w")))
    r.feed("market-bars", 0, numbered(bar("B", 1, 60), bar("C", 1, 60), Clock(60, "w")))
    assert [record[0] for record in r.take_slices()[0].records] == ["A", "B", "C", "D"]


def test_each_clock_gives_its_own_slice() -> None:
    r = reader(BARS_0)
    r.feed("market-bars", 0, numbered(Clock(60, "w"), Clock(120, "w"), bar("A", 1, 180), Clock(180, "w")))
    assert [(time_slice.ts_ns, len(time_slice.records)) for time_slice in r.take_slices()] == [
        (60, 0),
        (120, 0),
        (180, 1),
    ]


def test_feedback_arrives_one_slice_later_before_other_records() -> None:
    r = reader(LogInput("order-refusals", 0, 0, feedback=True), BARS_0)
    r.feed("market-bars", 0, numbered(bar("A", 1, 60), Clock(60, "w"), bar("A", 2, 120), Clock(120, "w")))
    assert [time_slice.ts_ns for time_slice in r.take_slices()] == [60], (
        "the second tick must wait for the refusals of the first"
    )
    r.feed("order-refusals", 0, numbered(refusal(1, 60, "A"), Clock(60, "w")))
    (time_slice,) = r.take_slices()
    assert [type(record) for record in time_slice.records] == [OrderRefusal, Bar]


def test_duplicates_after_a_writer_restart_are_dropped() -> None:
    first = [bar("A", 1, 60), Clock(60, "w"), bar("A", 2, 120)]
    repeated = [bar("A", 1, 60), Clock(60, "w"), bar("A", 2, 120), bar("B", 1, 120), Clock(120, "w")]
    r = reader(BARS_0)
    r.feed("market-bars", 0, numbered(*first, *repeated))
    assert [(time_slice.ts_ns, time_slice.records) for time_slice in r.take_slices()] == [
        (60, [bar("A", 1, 60)]),
        (120, [bar("A", 2, 120), bar("B", 1, 120)]),
    ]
    assert r.counts.duplicates == 2
    assert r.counts.gaps == 0


def test_a_lost_record_is_counted_as_a_gap() -> None:
    r = reader(BARS_0)
    r.feed("market-bars", 0, numbered(bar("A", 1, 60), Clock(60, "w"), bar("A", 3, 120), Clock(120, "w")))
    assert len(r.take_slices()) == 2
    assert r.counts.gaps == 1


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (bar("A", 9, 120)._replace(high=1.0), "field high must be >= low 100.0, found 1.0"),
        (bar("A", 9, 120)._replace(close=float("nan")), "field close must be > 0 and finite, found nan"),
        (bar("A", 9, 120)._replace(low=-3.0), "field low must be > 0 and finite, found -3.0"),
        (bar("A", 9, 120)._replace(open=300.0), "field open must be in [100.0, 100.0], found 300.0"),
        (bar("A", 9, 120)._replace(volume=-1.0), "field volume must be >= 0 and finite, found -1.0"),
    ],
)
def test_malformed_bar_becomes_a_dead_letter_and_good_bars_continue(bad: Bar, reason: str) -> None:
    r = reader(BARS_0)
    r.feed("market-bars", 0, numbered(bar("A", 1, 60), Clock(60, "w"), bad, bar("A", 2, 120), Clock(120, "w")))
    _, second = r.take_slices()
    good, letter = second.records
    assert good == bar("A", 2, 120), "the bad bar's seq must not hide the good one"
    assert isinstance(letter, DeadLetter)
    assert (letter.topic, letter.partition, letter.offset, letter.stage) == ("market-bars", 0, 2, "test")
    assert letter.reason == reason


def test_late_bar_is_recorded_with_its_bytes_and_not_as_a_dead_letter() -> None:
    r = reader(BARS_0)
    late = bar("A", 9, 60)
    r.feed("market-bars", 0, numbered(bar("A", 1, 60), Clock(60, "w"), late, bar("A", 2, 120), Clock(120, "w")))
    _, second = r.take_slices()
    reason = "late: field ts_ns must be > 60, the clock of the log, found 60"
    assert second.records == [
        bar("A", 2, 120),
        LateRecord(
            topic="market-bars",
            partition=0,
            offset=2,
            stage="test",
            ts_ns=60,
            record_ts_ns=60,
            reason=reason,
            schema_id=SCHEMA_IDS[Bar],
            raw=encode(late),
        ),
    ]
    assert (r.counts.late, r.counts.dead_letters) == (1, 0)


def test_command_applies_at_the_first_clock_after_it_whatever_its_timestamp() -> None:
    r = reader(LogInput("commands", 0, 0), BARS_0)
    r.feed("commands", 0, numbered(Clock(60, "w"), command("c1", 10**18), Clock(120, "w"), command("c2", 1)))
    r.feed("market-bars", 0, numbered(Clock(60, "w"), bar("A", 1, 120), Clock(120, "w"), Clock(180, "w")))
    first, second = r.take_slices()
    assert first.records == []
    assert [type(record) for record in second.records] == [Command, Bar]
    r.feed("commands", 0, numbered(Clock(180, "w"), start=4))
    assert [type(record) for record in r.take_slices()[0].records] == [Command]


@pytest.mark.parametrize("cut", range(1, 12))
def test_reader_restored_at_any_point_gives_the_remaining_slices(cut: int) -> None:
    logs: dict[str, list[Any]] = {
        "executions": [Clock(60, "w"), execution(1, 120, "A", 5, 1.0), Clock(120, "w"), Clock(180, "w")],
        "market-bars": [
            bar("A", 1, 60), bar("B", 1, 60), Clock(60, "w"), bar("A", 2, 120), Clock(120, "w"), bar("B", 2, 180),
            Clock(180, "w"),
        ],
    }  # fmt: skip
    arrivals = [(topic, item) for topic in logs for item in numbered(*logs[topic])]
    random.Random(cut).shuffle(arrivals)
    arrivals.sort(key=lambda a: a[1][0])
    inputs = [LogInput("executions", 0, 0), BARS_0]

    uninterrupted = reader(*inputs)
    for topic, item in arrivals:
        uninterrupted.feed(topic, 0, [item])
    expected = uninterrupted.take_slices()
    assert len(expected) == 3

    before = reader(*inputs)
    for topic, item in arrivals[:cut]:
        before.feed(topic, 0, [item])
    time_slices = before.take_slices(records_max=1)
    after = reader(*inputs, start=before.snapshot())
    for (topic, partition), offset in after.next_offsets().items():
        after.feed(topic, partition, numbered(*logs[topic])[offset:])
    assert time_slices + after.take_slices() == expected
    assert after.counts.gaps == after.counts.duplicates == 0


def test_records_of_one_slice_are_in_time_order() -> None:
    r = reader(LogInput("executions", 0, 0), BARS_0)
    r.feed("executions", 0, numbered(execution(1, 90, "A", 5, 1.0), Clock(120, "w")))
    r.feed("market-bars", 0, numbered(bar("A", 1, 70), bar("A", 2, 120), Clock(120, "w")))
    (time_slice,) = r.take_slices()
    assert [record.ts_ns for record in time_slice.records] == [70, 90, 120]


def test_a_slice_of_any_size_is_read_to_its_clock() -> None:
    """Pausing limits the records that wait for other logs. It must not affect records that wait for their own clock."""
    r = reader(BARS_0)
    r.feed("market-bars", 0, numbered(*(bar(f"S{i}", 1, 60) for i in range(10_000))))
    assert r.buffered("market-bars", 0) == 0
    r.feed("market-bars", 0, [(10_000, Clock(60, "w"))])
    assert r.buffered("market-bars", 0) == 10_001
    assert len(r.take_slices()[0].records) == 10_000
    assert r.buffered("market-bars", 0) == 0
