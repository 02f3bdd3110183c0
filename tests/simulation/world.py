"""The whole platform in one process, under a seeded schedule: every service a reader and its stage, every topic a list.

What the schedule does: it delays deliveries (a reader gets the next few messages of a log, or none), repeats them,
lets services run in any order and at any speed, takes snapshots now and then, and kills services at any moment, also
between two messages of one tick. A killed service comes back from its last snapshot and writes again what it had
written since. Snapshots go through pickle, as in a recovery store.
"""

from __future__ import annotations

import pickle
import random
from collections.abc import Callable, Mapping
from typing import Any

from dataflows.replay.recording import GIVEN
from dataflows.runtime import topology
from operators.alignment import AlignedLogs, Log
from operators.partitions import partition_of
from operators.stage import Stage, Tick
from schemas.records import BY_SYMBOL, KILL_SWITCH, RELEASE, TOPIC_OF, Clock, Command, Record

PARTITIONS = 2
STEPS_MAX = 20_000
LogName = tuple[str, int]
Stages = Mapping[str, Callable[[], Stage]]


class Killed(Exception):
    """The service that is writing dies here."""


class Topics:
    """All logs. `written` is told of every message that is appended."""

    def __init__(self, rng: random.Random, crash_share: float, written: Callable[[LogName, Any], None]) -> None:
        self.logs: dict[LogName, list[Any]] = {
            (topic, partition): []
            for topic in dict.fromkeys(TOPIC_OF.values())
            for partition in topology.partitions_of(topic, PARTITIONS)
        }
        self._rng, self._crash_share, self._written = rng, crash_share, written

    def write(self, tick: Tick, clocked: list[LogName]) -> None:
        """A tick's records and behind them its clocks, as `sinks/kafka.py` does. Raises Killed in between at times."""
        for record in tick.records:
            partition = partition_of(record.symbol, PARTITIONS) if type(record) in BY_SYMBOL else 0  # type: ignore[union-attr]
            self.append((TOPIC_OF[type(record)], partition), record)
        for log in clocked:
            self.append(log, Clock(tick.ts_ns, "simulation"))

    def append(self, log: LogName, message: Any) -> None:
        if self._crash_share and self._rng.random() < self._crash_share:
            raise Killed
        self.logs[log].append(message)
        self._written(log, message)


class Feed:
    """`market_data`: gives the tape tick by tick; killed, it goes back to where its snapshot stood."""

    def __init__(self, tape: list[Tick], topics: Topics) -> None:
        self._tape, self._topics = tape, topics
        self._clocked = topology.clocked("market_data", topology.FEED, PARTITIONS)
        self._at = self._saved = 0

    @property
    def passed_ns(self) -> int:
        return self._tape[self._at - 1].ts_ns if self._at else -1

    def step(self, rng: random.Random) -> None:
        for tick in self._tape[self._at : self._at + rng.randint(1, 3)]:
            self._topics.write(tick, self._clocked)
            self._at += 1

    def save(self) -> None:
        self._saved = self._at

    def kill(self) -> None:
        self._at = self._saved


class Service:
    """One shard of one service, with the state that its last snapshot holds."""

    def __init__(self, name: str, shard: str, make: Callable[[], Stage], topics: Topics) -> None:
        self.name, self.shard, self._make, self._topics = name, shard, make, topics
        self._logs: list[Log] = topology.logs(name, shard, PARTITIONS)
        self._clocked = topology.clocked(name, shard, PARTITIONS)
        self._saved: bytes | None = None
        self.start()

    def start(self) -> None:
        saved = None if self._saved is None else pickle.loads(self._saved)  # noqa: S301  (our own, made below)
        self.stage = self._make()
        self.reader = AlignedLogs(self.name, self._logs, None if saved is None else saved[0])
        if saved is not None:
            self.stage.restore(saved[1])
        self._fed = self.reader.next_offsets()

    kill = start

    @property
    def passed_ns(self) -> int:
        return self.reader.passed_ns

    def save(self) -> None:
        self._saved = pickle.dumps((self.reader.snapshot(), self.stage.snapshot()))

    def step(self, rng: random.Random) -> None:
        """Some of what each log holds arrives, some of the ticks that are complete are worked through."""
        for log, at in self._fed.items():
            held = self._topics.logs[log]
            upto = min(len(held), at + rng.choice((0, 1, 3, 10, 40)))
            # What arrives twice has a seq, or is a clock; a command has neither and never does.
            since = at if log[0] == "commands" or rng.random() > 0.1 else max(0, at - 4)
            if upto > at:
                self.reader.feed(*log, [(offset, held[offset]) for offset in range(since, upto)])
                self._fed[log] = upto
        for tick in self.reader.ticks(rng.choice((1, 10, 100))):
            self._topics.write(Tick(tick.ts_ns, self.stage.on_tick(tick.ts_ns, tick.records)), self._clocked)


class World:
    """Runs one seed to its end. `observer` sees every message as it is written, and after every step the part
    that moved."""

    def __init__(self, seed: int, tape: list[Tick], stages: Stages, observer: Any, *, crash_share: float) -> None:
        self.rng = random.Random(seed)
        self.observer = observer
        self.topics = Topics(self.rng, crash_share, observer.written)
        self.feed = Feed(tape, self.topics)
        self.services = [
            Service(name, shard, stages[name], self.topics)
            for name in topology.STAGED
            for shard in topology.shards(name, PARTITIONS)
        ]
        self._parts: list[Feed | Service] = [self.feed, *self.services]
        self._last_ns = tape[-1].ts_ns
        self._commands = 0
        self.kills = self.steps = 0

    @property
    def finished(self) -> bool:
        return all(part.passed_ns == self._last_ns for part in self._parts)

    def run(self) -> None:
        while not self.finished:
            self.steps += 1
            assert self.steps < STEPS_MAX, f"no end after {STEPS_MAX} steps"
            stepped = self._step()
            self.observer.after_step(stepped)

    def _step(self) -> Feed | Service:
        """One move of one part; returns the part."""
        rng = self.rng
        one: Feed | Service = rng.choice(self._parts)
        if one.passed_ns == self._last_ns and rng.random() < 0.9:
            return one  # mostly left alone; a kill may still take it back
        chance = rng.random()
        if chance < 0.03:
            self._kill(one)
        elif chance < 0.15:
            one.save()
        elif chance < 0.16:
            self._command()
        else:
            try:
                one.step(rng)
            except Killed:
                self._kill(one)
        return one

    def _kill(self, one: Feed | Service) -> None:
        self.kills += 1
        one.kill()

    def _command(self) -> None:
        """The API writes where the log just stands: what it takes effect at follows from that place alone."""
        self._commands += 1
        kind = self.rng.choice((KILL_SWITCH, RELEASE, RELEASE))
        command = Command(f"cmd-{self._commands}", 1, kind, "simulation", "drill", {})
        self.topics.logs["commands", 0].append(command)
        self.observer.written(("commands", 0), command)


def unrepeated(log: LogName, messages: list[Any]) -> list[Record]:
    """The records of a log without clocks and repeats, in the order in which they were first written."""
    seen: set[Any] = set()
    out: list[Record] = []
    for message in messages:
        if type(message) is Clock:
            continue
        name = (getattr(message, "symbol", "") if type(message) in BY_SYMBOL else "", message.seq)
        if name not in seen:
            seen.add(name)
            out.append(message)
    return out


DERIVED_LOGS: tuple[LogName, ...] = tuple(
    (topic, partition)
    for topic in dict.fromkeys(TOPIC_OF.values())
    if topic not in (*GIVEN, "dead-letters")
    for partition in topology.partitions_of(topic, PARTITIONS)
)
