"""The whole platform in one process with a seeded schedule. Each service is a reader and a stage, each topic a list.

The schedule delays deliveries (a reader gets the next few messages of a log, or none) and repeats them. It runs
services in any order and at any speed and takes snapshots. It kills services at any time, also between two messages of
one time slice. A killed service restarts from its last snapshot and writes all later records again. Snapshots are
pickled, as in a recovery store.
"""

from __future__ import annotations

import pickle
import random
from collections.abc import Callable, Mapping
from typing import Any

from dataflows.replay.recording import INPUT_TOPICS
from dataflows.runtime import topology
from operators.alignment import AlignedLogs
from operators.log_cursor import LogInput
from operators.partitions import partition_of
from operators.stage import Stage, TimeSlice
from schemas.log_names import LogName
from schemas.records import BY_SYMBOL, KILL_SWITCH, RELEASE, TOPIC_OF, Clock, Record, has_symbol
from tests.builders import command

PARTITIONS = 2
STEPS_MAX = 20_000
StageFactories = Mapping[str, Callable[[], Stage]]


class CrashDuringWrite(Exception):
    """The service crashes while it writes."""


class SimulatedTopics:
    """All logs. They call `on_message` for each message after its append."""

    def __init__(self, rng: random.Random, crash_rate: float, on_message: Callable[[LogName, Any], None]) -> None:
        self.logs: dict[LogName, list[Any]] = {
            (topic, partition): []
            for topic in dict.fromkeys(TOPIC_OF.values())
            for partition in topology.partitions_of(topic, PARTITIONS)
        }
        self._rng, self._crash_rate, self._on_message = rng, crash_rate, on_message

    def write(self, time_slice: TimeSlice, clock_logs: list[LogName]) -> None:
        """Append a time slice's records, then its clocks, as `sinks/kafka.py` does. May raise CrashDuringWrite."""
        for record in time_slice.records:
            partition = partition_of(record.symbol, PARTITIONS) if has_symbol(record) else 0
            self.append((TOPIC_OF[type(record)], partition), record)
        for log in clock_logs:
            self.append(log, Clock(time_slice.ts_ns, "simulation"))

    def append(self, log: LogName, message: Any) -> None:
        if self._crash_rate and self._rng.random() < self._crash_rate:
            raise CrashDuringWrite
        self.logs[log].append(message)
        self._on_message(log, message)


class SimulatedFeed:
    """`market_data`: publishes the tape by time slices. After a kill it continues from its last snapshot."""

    def __init__(self, tape: list[TimeSlice], topics: SimulatedTopics) -> None:
        self._tape, self._topics = tape, topics
        self._clock_logs = topology.clocked_logs("market_data", topology.FEED_SHARD, PARTITIONS)
        self._position = self._saved_position = 0

    @property
    def passed_ns(self) -> int:
        return self._tape[self._position - 1].ts_ns if self._position else -1

    def step(self, rng: random.Random) -> None:
        for time_slice in self._tape[self._position : self._position + rng.randint(1, 3)]:
            self._topics.write(time_slice, self._clock_logs)
            self._position += 1

    def save(self) -> None:
        self._saved_position = self._position

    def kill(self) -> None:
        self._position = self._saved_position


class SimulatedService:
    """One shard of one service, with its last snapshot."""

    def __init__(self, name: str, shard: str, make_stage: Callable[[], Stage], topics: SimulatedTopics) -> None:
        self.name, self.shard, self._make_stage, self._topics = name, shard, make_stage, topics
        self._logs: list[LogInput] = topology.input_logs(name, shard, PARTITIONS)
        self._clock_logs = topology.clocked_logs(name, shard, PARTITIONS)
        self._snapshot: bytes | None = None
        self.start()

    def start(self) -> None:
        snapshot = None if self._snapshot is None else pickle.loads(self._snapshot)  # noqa: S301  (our own, made below)
        self.stage = self._make_stage()
        self.reader = AlignedLogs(self.name, self._logs, None if snapshot is None else snapshot[0])
        if snapshot is not None:
            self.stage.restore(snapshot[1])
        self._next_offsets = self.reader.next_offsets()

    kill = start

    @property
    def passed_ns(self) -> int:
        return self.reader.passed_ns

    def save(self) -> None:
        self._snapshot = pickle.dumps((self.reader.snapshot(), self.stage.snapshot()))

    def step(self, rng: random.Random) -> None:
        """Deliver some messages of each log, then process some of the complete time slices."""
        for log, next_offset in self._next_offsets.items():
            messages = self._topics.logs[log]
            end_offset = min(len(messages), next_offset + rng.choice((0, 1, 3, 10, 40)))
            # Records with a `seq` and clocks may arrive twice. A command has no `seq` and arrives once.
            start_offset = next_offset if log[0] == "commands" or rng.random() > 0.1 else max(0, next_offset - 4)
            if end_offset > next_offset:
                self.reader.feed(*log, [(offset, messages[offset]) for offset in range(start_offset, end_offset)])
                self._next_offsets[log] = end_offset
        for time_slice in self.reader.take_slices(rng.choice((1, 10, 100))):
            self._topics.write(
                TimeSlice(time_slice.ts_ns, self.stage.on_slice(time_slice.ts_ns, time_slice.records)), self._clock_logs
            )


class SimulatedPlatform:
    """Runs one seed to its end.

    `observer` receives each message when it is written, and after each step the participant that made the step.
    """

    def __init__(
        self, seed: int, tape: list[TimeSlice], stages: StageFactories, observer: Any, *, crash_rate: float
    ) -> None:
        self.rng = random.Random(seed)
        self.observer = observer
        self.topics = SimulatedTopics(self.rng, crash_rate, observer.on_message)
        self.feed = SimulatedFeed(tape, self.topics)
        self.services = [
            SimulatedService(name, shard, stages[name], self.topics)
            for name in topology.STAGED_SERVICES
            for shard in topology.shards(name, PARTITIONS)
        ]
        self._participants: list[SimulatedFeed | SimulatedService] = [self.feed, *self.services]
        self._last_ns = tape[-1].ts_ns
        self._commands = 0
        self.kills = self.steps = 0

    @property
    def finished(self) -> bool:
        return all(participant.passed_ns == self._last_ns for participant in self._participants)

    def run(self) -> None:
        while not self.finished:
            self.steps += 1
            assert self.steps < STEPS_MAX, f"no end after {STEPS_MAX} steps"
            participant = self._step()
            self.observer.after_step(participant)

    def _step(self) -> SimulatedFeed | SimulatedService:
        """Run one step of a random participant and return the participant."""
        rng = self.rng
        participant: SimulatedFeed | SimulatedService = rng.choice(self._participants)
        if participant.passed_ns == self._last_ns and rng.random() < 0.9:
            return participant  # usually skip a finished participant; a kill may still set it back
        chance = rng.random()
        if chance < 0.03:
            self._kill(participant)
        elif chance < 0.15:
            participant.save()
        elif chance < 0.16:
            self._send_command()
        else:
            try:
                participant.step(rng)
            except CrashDuringWrite:
                self._kill(participant)
        return participant

    def _kill(self, participant: SimulatedFeed | SimulatedService) -> None:
        self.kills += 1
        participant.kill()

    def _send_command(self) -> None:
        """Append a command at the end of the log. This place alone determines the time slice where it takes effect."""
        self._commands += 1
        kind = self.rng.choice((KILL_SWITCH, RELEASE, RELEASE))
        sent = command(f"cmd-{self._commands}", kind=kind)
        self.topics.logs["commands", 0].append(sent)
        self.observer.on_message(("commands", 0), sent)


def without_duplicates(log: LogName, messages: list[Any]) -> list[Record]:
    """Return the records of a log without clocks and duplicates, in the order of their first write."""
    seen: set[Any] = set()
    out: list[Record] = []
    for message in messages:
        if type(message) is Clock:
            continue
        record_key = (getattr(message, "symbol", "") if type(message) in BY_SYMBOL else "", message.seq)
        if record_key not in seen:
            seen.add(record_key)
            out.append(message)
    return out


DERIVED_LOGS: tuple[LogName, ...] = tuple(
    (topic, partition)
    for topic in dict.fromkeys(TOPIC_OF.values())
    if topic not in (*INPUT_TOPICS, "dead-letters")
    for partition in topology.partitions_of(topic, PARTITIONS)
)
