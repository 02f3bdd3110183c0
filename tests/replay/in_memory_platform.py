"""All services over logs in memory: the real topology, stages and readers, without Kafka and processes.

A seeded schedule decides which service steps next, how many messages of each log arrive, and when services snapshot and
crash. Every message in a log is encoded and decoded as in the topics.
"""

from __future__ import annotations

import pickle
import random
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from configs.settings import Settings
from dataflows.runtime import stages, topology
from dataflows.runtime.configured_stage import StageFactory
from dataflows.runtime.wiring import StageLogic
from operators.alignment import AlignedLogs
from operators.partitions import partition_of
from operators.stage import Stage, TimeSlice
from schemas.codec import decode, encode
from schemas.log_names import LogName
from schemas.records import (
    BY_SYMBOL,
    TOPIC_OF,
    CheckpointMarker,
    Clock,
    Command,
    Configuration,
    Record,
    TradingSession,
    has_seq,
    sequence_key,
)

MakeStage = Callable[[str, Settings], Stage]
"""Makes the stage of a service."""


class ProcessEnded(BaseException):
    """A stage ends its process. The shard restarts from its last snapshot."""


def stage_of(service: str, settings: Settings) -> Stage:
    return StageFactory(getattr(stages, service), settings)()


class Logs:
    """Topic partitions as lists of messages."""

    def __init__(self, partitions: int) -> None:
        self.partitions = partitions
        self.messages: dict[LogName, list[bytes]] = {
            (topic, p): []
            for service in topology.SERVICES.values()
            for topic in service.outputs
            for p in topology.partitions_of(topic, partitions)
        }
        self._decoded: dict[LogName, list[Record]] = {log_name: [] for log_name in self.messages}

    def read(self, log_name: LogName, start: int, count: int) -> list[tuple[int, Record]]:
        """Return up to `count` records from the offset `start`, each with its offset.

        A message is decoded once, however many shards read it, however often. Records are immutable, and the fused run
        passes the same ones to all stages too.
        """
        messages, decoded = self.messages[log_name], self._decoded[log_name]
        decoded += [decode(message) for message in messages[len(decoded) : start + count]]
        return list(enumerate(decoded[start : start + count], start))

    def write(self, service: str, shard: str, time_slices: Iterable[TimeSlice]) -> None:
        """Write each time slice's records, then its clock in every log of the service, as `sinks/kafka.py` does."""
        outputs = topology.SERVICES[service].outputs
        for time_slice in time_slices:
            for record in time_slice.records:
                topic = TOPIC_OF[type(record)]
                if topic in outputs:
                    self.messages[topic, self._partition(record)].append(encode(record))
            clock = encode(Clock(time_slice.ts_ns, f"{service}@test"))
            for log_name in topology.clocked_logs(service, shard, self.partitions):
                self.messages[log_name].append(clock)

    def _partition(self, record: Any) -> int:
        return partition_of(record.symbol, self.partitions) if type(record) in BY_SYMBOL else 0

    def records(self, topic: str) -> list[Any]:
        """Return all records of a topic in log order, without duplicates. Fail on a gap in the `seq` of a key.

        A feed that restarts may publish the hours of a session again, which have an id instead of a `seq`.
        """
        out: list[Any] = []
        session_ids: set[str] = set()
        for partition in topology.partitions_of(topic, self.partitions):
            seen: dict[str, int] = {}
            for message in self.messages[topic, partition]:
                record = decode(message)
                if type(record) is Clock:
                    continue
                if has_seq(record):
                    key = sequence_key(record)
                    if record.seq <= seen.get(key, 0):
                        continue
                    assert record.seq == seen.get(key, 0) + 1, f"{topic}: gap before {record}"
                    seen[key] = record.seq
                if type(record) is TradingSession:
                    if record.session_id in session_ids:
                        continue
                    session_ids.add(record.session_id)
                out.append(record)
        return out

    def contents(self) -> dict[str, list[str]]:
        """Return the records of each topic without duplicates, by partition. Omit those that no stage writes."""
        topics = {topic for topic, _ in self.messages if topic not in ("commands", "configuration")}
        return {topic: [repr(record) for record in self.records(topic)] for topic in sorted(topics)}


class ServiceShard:
    """One shard of one service: its reader, its stage and the last snapshot of both."""

    def __init__(
        self, service: str, shard: str, settings: Settings, logs: Logs, make_stage: MakeStage = stage_of
    ) -> None:
        self.service, self.shard, self._settings, self._logs = service, shard, settings, logs
        self._make_stage = make_stage
        self.checkpoints: dict[int, list[bytes]] = {}
        """The states of reader and stage after each time slice with a checkpoint marker, once per processing."""
        self._inputs = topology.input_logs(service, shard, logs.partitions)
        self._start(None)
        self.take_snapshot()

    def _start(self, snapshot: Any) -> None:
        reader_state, logic_state = snapshot or (None, None)
        stage = self._make_stage(self.service, self._settings)
        self.reader = AlignedLogs(self.service, self._inputs, reader_state)
        self.logic = StageLogic(stage, logic_state, topology.PASS_THROUGH.get(self.service, ()))
        self.next_offsets = dict(self.reader.next_offsets())

    def take_snapshot(self) -> None:
        self.snapshot = pickle.dumps((self.reader.snapshot(), self.logic.snapshot()))

    def crash(self) -> None:
        """Crash and restart from the last snapshot. The shard writes all later records again."""
        self._start(pickle.loads(self.snapshot))  # noqa: S301  (made a line above)

    def unread_logs(self) -> list[LogName]:
        """Return the logs that hold messages which the shard has not read."""
        messages = self._logs.messages
        return [log_name for log_name, offset in self.next_offsets.items() if offset < len(messages[log_name])]

    def feed(self, log_name: LogName, count: int) -> None:
        start = self.next_offsets[log_name]
        records = self._logs.read(log_name, start, count)
        self.reader.feed(*log_name, records)
        self.next_offsets[log_name] = start + len(records)

    def step(self, records_max: int) -> bool:
        time_slices = self.reader.take_slices(records_max)
        for output in self.logic.on_batch([time_slices] if time_slices else [])[0]:
            self._logs.write(self.service, self.shard, output)
        if time_slices and self.reader.marker is not None:
            states = pickle.dumps((self.reader.snapshot(), self.logic.snapshot()))
            self.checkpoints.setdefault(self.reader.passed_ns, []).append(states)
        return bool(time_slices)


class InMemoryPlatform:
    """The whole platform. `feed` is the output of market_data, `crash_rate` the share of steps that end in a crash.

    `only_crashes` names a service; the others and the feed do not crash then.
    """

    def __init__(
        self,
        settings: Settings,
        feed: Sequence[TimeSlice],
        *,
        partitions: int,
        seed: int,
        crash_rate: float = 0.0,
        only_crashes: str | None = None,
        make_stage: MakeStage = stage_of,
    ) -> None:
        self.logs = Logs(partitions)
        self._feed, self._feed_position, self._feed_snapshot, self._feed_position_max = feed, 0, 0, 0
        self._rng, self._crash_rate, self._only_crashes = random.Random(seed), crash_rate, only_crashes
        self.crash_count = 0
        self.shards = [
            ServiceShard(service, shard, settings, self.logs, make_stage)
            for service in topology.STAGED_SERVICES
            for shard in topology.shards(service, partitions)
        ]

    def run(self) -> Logs:
        """Run until every shard has passed the last time slice. Fail on a deadlock."""
        last_ns = self._feed[-1].ts_ns
        idle = 0
        while any(shard.reader.passed_ns < last_ns for shard in self.shards):
            if self._step():
                idle = 0
            else:
                idle += 1
                assert idle < 400 * len(self.shards), f"deadlock: {self._progress()}"
        return self.logs

    def _step(self) -> bool:
        rng = self._rng
        shard_number = rng.randrange(len(self.shards) + 1)
        if shard_number == len(self.shards):
            return self._step_feed()
        shard = self.shards[shard_number]
        log_name = rng.choice(shard.unread_logs() or list(shard.next_offsets))
        offset_before = shard.next_offsets[log_name]
        shard.feed(log_name, rng.choice((1, 3, 20, 200)))
        try:
            moved = shard.step(rng.choice((1, 5, 1000))) or shard.next_offsets[log_name] > offset_before
        except ProcessEnded:
            shard.crash()
            self.crash_count += 1
            return True
        if rng.random() < 0.2:
            shard.take_snapshot()
        if rng.random() < self._crash_rate and self._only_crashes in (None, shard.service):
            shard.crash()
            self.crash_count += 1
        return moved

    def _step_feed(self) -> bool:
        rng = self._rng
        if rng.random() < 0.2:
            self._feed_snapshot = self._feed_position
        if rng.random() < self._crash_rate and self._only_crashes is None:
            self._feed_position = self._feed_snapshot
            self.crash_count += 1
        time_slices = self._feed[self._feed_position : self._feed_position + rng.choice((1, 5, 50))]
        # A person sends a Command or Configuration in the feed once, even if market_data crashes.
        repeated, new = (
            time_slices[: max(0, self._feed_position_max - self._feed_position)],
            time_slices[max(0, self._feed_position_max - self._feed_position) :],
        )
        repeated = [
            TimeSlice(t.ts_ns, [r for r in t.records if type(r) not in (Command, Configuration, CheckpointMarker)])
            for t in repeated
        ]
        self.logs.write("market_data", topology.FEED_SHARD, [*repeated, *new])
        self._feed_position += len(time_slices)
        self._feed_position_max = max(self._feed_position_max, self._feed_position)
        return bool(time_slices)

    def _progress(self) -> str:
        return ", ".join(f"{s.service}/{s.shard} at {s.reader.passed_ns}" for s in self.shards)
