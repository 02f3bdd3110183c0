"""All services over logs in memory: the real topology, stages and readers; only Kafka and the processes are away.

A schedule decides who steps when, how many messages arrive of which log, who snapshots and who dies. Everything that
crosses a log is encoded and decoded as in the topics.
"""

from __future__ import annotations

import pickle
import random
from collections.abc import Iterable, Sequence
from typing import Any

from configs.settings import Settings
from dataflows.runtime import stages, topology
from dataflows.runtime.wiring import TickLogic
from operators.alignment import AlignedLogs
from operators.partitions import partition_of
from operators.stage import Tick
from schemas.codec import decode, encode
from schemas.records import BY_SYMBOL, TOPIC_OF, Clock, Command, key_of

Name = tuple[str, int]


class Logs:
    """Topic partitions as lists of messages."""

    def __init__(self, partitions: int) -> None:
        self.partitions = partitions
        self.messages: dict[Name, list[bytes]] = {
            (topic, p): []
            for service in topology.SERVICES.values()
            for topic in service.outputs
            for p in topology.partitions_of(topic, partitions)
        }

    def write(self, service: str, shard: str, ticks: Iterable[Tick]) -> None:
        """As `sinks/kafka.py`: the records of a tick, behind them its clock in every log of the service."""
        outputs = topology.SERVICES[service].outputs
        for tick in ticks:
            for record in tick.records:
                topic = TOPIC_OF[type(record)]
                if topic in outputs:
                    self.messages[topic, self._place(record)].append(encode(record))
            clock = encode(Clock(tick.ts_ns, f"{service}@test"))
            for name in topology.clocked(service, shard, self.partitions):
                self.messages[name].append(clock)

    def _place(self, record: Any) -> int:
        return partition_of(record.symbol, self.partitions) if type(record) in BY_SYMBOL else 0

    def records(self, topic: str) -> list[Any]:
        """All records of a topic, each once, in log order; per key `seq` must count without a gap."""
        out: list[Any] = []
        for partition in topology.partitions_of(topic, self.partitions):
            seen: dict[str, int] = {}
            for message in self.messages[topic, partition]:
                record = decode(message)
                key = None if type(record) is Clock else key_of(record)
                if type(record) is Clock or (key is not None and record.seq <= seen.get(key, 0)):
                    continue
                if key is not None:
                    assert record.seq == seen.get(key, 0) + 1, f"{topic}: gap before {record}"
                    seen[key] = record.seq
                out.append(record)
        return out

    def contents(self) -> dict[str, list[str]]:
        """Every topic's records, each once, partition by partition. Without `commands`, where no stage writes."""
        topics = {topic for topic, _ in self.messages if topic != "commands"}
        return {topic: [repr(record) for record in self.records(topic)] for topic in sorted(topics)}


class Running:
    """One shard of one service: reader, stage, and the last snapshot of both."""

    def __init__(self, service: str, shard: str, settings: Settings, logs: Logs) -> None:
        self.service, self.shard, self._settings, self._logs = service, shard, settings, logs
        self._inputs = topology.logs(service, shard, logs.partitions)
        self._start(None)
        self.snap()

    def _start(self, resume: Any) -> None:
        of_reader, of_logic = resume or (None, None)
        stage = getattr(stages, self.service)(self._settings)()
        self.reader = AlignedLogs(self.service, self._inputs, of_reader)
        self.logic = TickLogic(stage, of_logic, topology.KEPT.get(self.service, ()))
        self.fed = dict(self.reader.next_offsets())

    def snap(self) -> None:
        self.saved = pickle.dumps((self.reader.snapshot(), self.logic.snapshot()))

    def crash(self) -> None:
        """Die without notice and come back from the last snapshot: what was written since is written again."""
        self._start(pickle.loads(self.saved))  # noqa: S301  (made a line above)

    def feed(self, name: Name, count: int) -> None:
        start = self.fed[name]
        messages = self._logs.messages[name][start : start + count]
        self.reader.feed(*name, [(start + i, decode(message)) for i, message in enumerate(messages)])
        self.fed[name] = start + len(messages)

    def step(self, records_max: int) -> bool:
        ticks = self.reader.ticks(records_max)
        for made in self.logic.on_batch([ticks] if ticks else [])[0]:
            self._logs.write(self.service, self.shard, made)
        return bool(ticks)


class Staged:
    """The whole platform. `feed` is what market_data gives; `crashes` is the share of steps that end in a death."""

    def __init__(
        self, settings: Settings, feed: Sequence[Tick], *, partitions: int, seed: int, crashes: float = 0.0
    ) -> None:
        self.logs = Logs(partitions)
        self._feed, self._at, self._fed_snapshot, self._furthest = feed, 0, 0, 0
        self._schedule, self._crashes = random.Random(seed), crashes
        self.deaths = 0
        self.shards = [
            Running(service, shard, settings, self.logs)
            for service in topology.STAGED
            for shard in topology.shards(service, partitions)
        ]

    def run(self) -> Logs:
        """Until everything has passed everywhere. Fails when nobody can move any more."""
        last_ns = self._feed[-1].ts_ns
        idle = 0
        while any(shard.reader.passed_ns < last_ns for shard in self.shards):
            if self._step():
                idle = 0
            else:
                idle += 1
                assert idle < 400 * len(self.shards), f"deadlock: {self._where()}"
        return self.logs

    def _step(self) -> bool:
        chance = self._schedule
        which = chance.randrange(len(self.shards) + 1)
        if which == len(self.shards):
            return self._feed_some()
        shard = self.shards[which]
        name = chance.choice(list(shard.fed))
        before = shard.fed[name]
        shard.feed(name, chance.choice((1, 3, 20, 200)))
        moved = shard.step(chance.choice((1, 5, 1000))) or shard.fed[name] > before
        if chance.random() < 0.2:
            shard.snap()
        if chance.random() < self._crashes:
            shard.crash()
            self.deaths += 1
        return moved

    def _feed_some(self) -> bool:
        chance = self._schedule
        if chance.random() < 0.2:
            self._fed_snapshot = self._at
        if chance.random() < self._crashes:
            self._at = self._fed_snapshot
            self.deaths += 1
        ticks = self._feed[self._at : self._at + chance.choice((1, 5, 50))]
        # A Command in the feed stands for a person's, who asks once, whatever becomes of market_data.
        again, new = ticks[: max(0, self._furthest - self._at)], ticks[max(0, self._furthest - self._at) :]
        again = [Tick(t.ts_ns, [r for r in t.records if type(r) is not Command]) for t in again]
        self.logs.write("market_data", topology.FEED, [*again, *new])
        self._at += len(ticks)
        self._furthest = max(self._furthest, self._at)
        return bool(ticks)

    def _where(self) -> str:
        return ", ".join(f"{s.service}/{s.shard} at {s.reader.passed_ns}" for s in self.shards)
