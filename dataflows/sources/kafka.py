"""The one Kafka source: topics in, ticks out.

Each part is a shard and reads several logs aligned by time (`operators/alignment.py`). All shards of a worker share one
consumer, which waits a few milliseconds inside librdkafka and wakes at the first message: a quick hop when there is
work, next to no processor time when there is none. Positions are in the recovery snapshot; what is committed to the
consumer group is for lag tools only and never read back.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from sys import maxsize
from typing import Any, NamedTuple

from bytewax.inputs import AbortExecution, FixedPartitionedSource, StatefulSourcePartition
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from dataflows.runtime.stats import Stats
from operators.alignment import AlignedLogs, Counts, Log
from operators.dead_letter_rate import DeadLetterRate, RateLimits
from operators.stage import Tick
from schemas.codec import DEFAULT, Codec
from schemas.errors import TooManyDeadLetters, Unavailable, Undecodable
from schemas.records import UNTIMED, DeadLetter, LateRecord
from sinks.cluster import Servers, client
from sinks.kafka_errors import Complaints

FETCH_MAX = 1000  # messages a poll
CLOSE_WITHIN_S = 2.0
PAUSE_ABOVE, RESUME_BELOW = 8000, 2000  # records of one log that wait for other logs
AT_ONCE = datetime(1970, 1, 1, tzinfo=UTC)
STALE_OFFSET = frozenset({KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE})

ShardTicks = tuple[str, list[Tick]]
"""What flows between the steps of a dataflow: a shard's name and some of its ticks in order."""


class Until(NamedTuple):
    """Where a bounded replay ends: behind the last tick at or before `ts_ns`, behind the last tick that messages before
    `offsets` complete, or with the logs as they are at the start. Of several, the one that comes first.
    """

    ts_ns: int | None = None
    end_of_logs: bool = False
    offsets: Mapping[tuple[str, int], int] | None = None  # (topic, partition) -> first offset that is not read


class _Consumption:
    """One consumer, shared by the shards of one worker; hands each log's messages to the shard that reads it."""

    def __init__(self, servers: Servers, prefix: str, codec: Codec, stage: str) -> None:
        self._codec, self._stage, self._prefix = codec, stage, prefix
        options = {
            "group.id": f"{prefix}platform-{stage}",
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
            "fetch.queue.backoff.ms": 2,
            # The broker answers at the first record; this is how often it is asked when there is none.
            "fetch.wait.max.ms": 500,
            "queued.max.messages.kbytes": 16384,
            "reconnect.backoff.max.ms": 1000,
            "allow.auto.create.topics": False,
            # A request is small and waited for: to hold it back for company cost 0.3 ms a hop.
            "socket.nagle.disable": True,
            "enable.partition.eof": False,
        }
        self._consumer = Consumer(client(servers, options))
        # A log of all symbols (weights, news) is read by every shard of this process, each from a place of its own.
        self._readers: dict[tuple[str, int], list[AlignedLogs]] = {}
        self._wanted: dict[tuple[tuple[str, int], int], int] = {}  # (log, id of the reader) -> its next offset
        self._names: dict[tuple[str | None, int | None], tuple[str, int]] = {}  # as on the broker -> without prefix
        self._paused: set[tuple[str, int]] = set()
        self._committed: dict[tuple[str, int], int] = {}
        self.fed_to: dict[tuple[str, int], int] = {}  # the first message of each log that was not handed over yet
        self.ends: dict[tuple[str, int], int] = {}  # the first message of each log that a bounded replay leaves out
        self.shards: list[Shard] = []

    def add(self, reader: AlignedLogs) -> None:
        for log, offset in reader.next_offsets().items():
            self._wanted[log, id(reader)] = offset
            readers = self._readers.setdefault(log, [])
            readers.append(reader)
            if len(readers) == 1:
                self._names[self._prefix + log[0], log[1]] = log
                self._consumer.incremental_assign([self._at(log, offset)])
                self.fed_to[log] = offset
            elif offset < self.fed_to[log]:
                self._consumer.incremental_unassign([self._at(log)])
                self._consumer.incremental_assign([self._at(log, offset)])
                self.fed_to[log] = offset

    def _at(self, log: tuple[str, int], offset: int = 0) -> TopicPartition:
        topic, partition = log
        return TopicPartition(self._prefix + topic, partition, offset)

    def bound(self, logs: Sequence[tuple[str, int]], until: Until) -> None:
        """Leave out what a bounded replay of these logs leaves out, but for its time."""
        given = until.offsets or {}
        for log in logs:
            ends = [given[log]] if log in given else []
            if until.end_of_logs:
                ends.append(self._consumer.get_watermark_offsets(self._at(log), timeout=10)[1])
            if ends:
                self.ends[log] = min(ends)

    def poll(self, wait_s: float) -> int:
        """Fetch what is there, waiting at most `wait_s` for a first message. Returns how many messages came."""
        first = self._consumer.poll(wait_s)
        if first is None:
            return 0
        by_log: dict[tuple[str, int], list[tuple[int, Any]]] = {}
        messages = [first, *self._consumer.consume(FETCH_MAX - 1, 0)]
        decode = self._codec.decode
        for message in messages:
            error = message.error()
            if error is not None:
                self._raise_if_lost(error, message)
                continue
            name = self._names[message.topic(), message.partition()]
            if self.ends and (message.offset() or 0) >= self.ends.get(name, maxsize):
                self.fed_to[name] = self.ends[name]
                continue
            record: Any
            try:
                record = decode(message.value())
            except Undecodable as bad:
                record = self._dead_letter(name, message, str(bad))
            log = by_log.get(name)
            if log is None:
                log = by_log[name] = []
            log.append((message.offset() or 0, record))
        for name, fed in by_log.items():
            for reader in self._readers[name]:
                self._feed(reader, name, fed)
            self.fed_to[name] = fed[-1][0] + 1
        return len(messages)

    def _feed(self, reader: AlignedLogs, log: tuple[str, int], fed: list[tuple[int, Any]]) -> None:
        wanted = self._wanted[log, id(reader)]
        reader.feed(*log, fed if fed[0][0] >= wanted else [one for one in fed if one[0] >= wanted])
        self._wanted[log, id(reader)] = max(wanted, fed[-1][0] + 1)
        if reader.buffered(*log) > PAUSE_ABOVE:
            self._pause(*log)

    def _dead_letter(self, name: tuple[str, int], message: Message, reason: str) -> DeadLetter:
        value = message.value() or b""
        schema_id = int.from_bytes(value[1:5], "big") if len(value) >= 5 and value[0] == 0 else None
        # The reader sets the time: only it knows the clock before this place in the log.
        return DeadLetter(*name, message.offset() or 0, self._stage, 0, reason, schema_id, value)

    def _raise_if_lost(self, error: KafkaError, message: Message) -> None:
        if error.code() in STALE_OFFSET or error.fatal():
            where = f"topic {message.topic()} partition {message.partition()}"
            raise Unavailable(
                f"{where}: offset to read on from is not in the log any more ({error.str()}); "
                "restore the topic, or remove this service's recovery folder to rebuild its state from the log"
            )

    def _pause(self, topic: str, partition: int) -> None:
        if (topic, partition) not in self._paused:
            self._paused.add((topic, partition))
            self._consumer.pause([self._at((topic, partition))])

    def resume_where_drained(self) -> None:
        drained = [
            log for log in self._paused if all(reader.buffered(*log) < RESUME_BELOW for reader in self._readers[log])
        ]
        if drained:
            self._paused.difference_update(drained)
            self._consumer.resume([self._at(log) for log in drained])

    def commit(self, offsets: Mapping[tuple[str, int], int]) -> None:
        moved = {log: offset for log, offset in offsets.items() if self._committed.get(log) != offset}
        if moved:
            self._committed.update(moved)
            self._consumer.commit(offsets=[self._at(log, offset) for log, offset in moved.items()], asynchronous=True)

    def close(self) -> None:
        """Leave, within a moment: after an outage the broker may not answer for long, and nothing depends on it."""
        closing = threading.Thread(target=self._consumer.close, daemon=True)
        closing.start()
        closing.join(CLOSE_WITHIN_S)


class Shard(StatefulSourcePartition[ShardTicks, Any]):
    """One shard's logs as ticks. Raises Unavailable where a saved position has left the log."""

    def __init__(
        self, name: str, reader: AlignedLogs, shared: _Consumption, source: KafkaTicks, counted: Any = None
    ) -> None:
        self._name, self._reader, self._shared, self._source = name, reader, shared, source
        self._snapped_after_stop = False
        limits = source.limits
        self._rate = None if limits is None else DeadLetterRate(limits, counted)
        if source.until is not None:
            # Before there is anything to fetch: the broker answers a connection's requests one after the other, and a
            # fetch that waits for messages holds up the question where a log ends.
            shared.bound(list(reader.next_offsets()), source.until)
        shared.add(reader)
        shared.shards.append(self)

    def _counted(self, ticks: list[Tick]) -> None:
        """Halt where too much was set aside, before any of these ticks is given out: the last snapshot stands before
        them. Raises TooManyDeadLetters.
        """
        if self._rate is None:
            return
        for ts_ns, records in ticks:
            aside = sum(type(record) in UNTIMED for record in records) if records else 0
            reason = self._rate.fold(ts_ns, len(records) - aside, aside)
            if reason is not None and ts_ns <= (released_ns := self._source.released()):
                self._rate.release(released_ns)
            elif reason is not None:
                letter = next(record for record in reversed(records) if isinstance(record, DeadLetter | LateRecord))
                where = f"{letter.topic}/{letter.partition}@{letter.offset}"
                reason = f"{reason}, the last of them {where}: {letter.reason}"
                self._source.halted(ts_ns, reason)
                raise TooManyDeadLetters(f"halted at {ts_ns}: {reason}; `python cli.py dead-letters release` goes on")

    def next_batch(self) -> list[ShardTicks]:
        if self._source.stopping():
            if all(shard._snapped_after_stop for shard in self._shared.shards):
                self._shared.close()
                raise AbortExecution("asked to stop; the last snapshot is durable")
            return []
        ticks = self._reader.ticks(self._source.records_max)
        if not ticks:
            self._shared.resume_where_drained()
            ticks = self._awaited()
        self._counted(ticks)
        self._show()
        if self._source.until is not None:
            ticks = self._bounded(ticks, self._source.until)
        self._source.stats.ticks += len(ticks)
        return [(self._name, ticks)] if ticks else []

    @property
    def counts(self) -> Counts:
        """What this shard met so far."""
        return self._reader.counts

    def _awaited(self) -> list[Tick]:
        """Poll until a tick is complete, within `wait_s`: the records of a tick seldom come all at once."""
        shards = self._shared.shards
        # Only one shard of a worker waits, or their waits would add up; and not while another can go on.
        waits = shards[0] is self and not any(shard._reader.ready() for shard in shards)
        left = self._source.wait_s if waits else 0.0
        deadline = time.monotonic() + left
        while self._shared.poll(left) and not any(shard._reader.ready() for shard in shards):
            left = deadline - time.monotonic()
            if left <= 0:
                break
        return self._reader.ticks(self._source.records_max)

    def _bounded(self, ticks: list[Tick], until: Until) -> list[Tick]:
        if until.ts_ns is not None:
            ticks = [tick for tick in ticks if tick.ts_ns <= until.ts_ns]
            if not ticks and self._reader.passed_ns >= until.ts_ns:
                raise StopIteration
        if self._shared.ends and not ticks:
            # One log that was read to its end and holds up the next tick is enough.
            fed_to, ends = self._shared.fed_to, self._shared.ends
            if any(fed_to[log] >= ends.get(log, maxsize) for log in self._reader.waiting_for()):
                raise StopIteration
        return ticks

    def _show(self) -> None:
        stats = self._source.stats
        if not stats.due():
            return
        counts = [shard._reader.counts for shard in self._shared.shards]
        stats.write(
            last_tick_ns=min(shard._reader.passed_ns for shard in self._shared.shards),
            records_in=sum(c.taken for c in counts),
            dead_letters=sum(c.dead for c in counts),
            late_records=sum(c.late for c in counts),
            duplicates=sum(c.duplicates for c in counts),
            seq_gaps=sum(c.gaps for c in counts),
        )

    def next_awake(self) -> datetime | None:
        """At once, where the engine would pause for 1 ms after an empty batch: the waiting is done in `poll`."""
        return None if self._source.stopping() else AT_ONCE

    def snapshot(self) -> Any:
        self._snapped_after_stop = self._source.stopping()
        self._shared.commit(self._reader.next_offsets())
        snapshot = self._reader.snapshot()
        return snapshot if self._rate is None else (*snapshot, self._rate.snapshot())

    def close(self) -> None:
        self._shared.shards.remove(self)
        if not self._shared.shards:
            self._shared.close()


class KafkaTicks(FixedPartitionedSource[ShardTicks, Any]):
    """Shards of one service as a Bytewax source. Items are `(shard, [Tick, ...])`.

    `logs` gives each shard's inputs. `wait_s` bounds how long one call waits for a message. `until` bounds a replay.
    `prefix` goes before every topic's name, for several platforms on one cluster. `limits` bounds what may be set aside
    behind the tick that `released` gives; `halted` is told of the tick that goes over them, then TooManyDeadLetters is
    raised.
    """

    def __init__(
        self,
        servers: Servers,
        service: str,
        logs: Mapping[str, Sequence[Log]],
        *,
        prefix: str = "",
        codec: Codec = DEFAULT,
        until: Until | None = None,
        stopping: Callable[[], bool] = lambda: False,
        stats: Stats | None = None,
        wait_s: float = 0.1,
        records_max: int = 2000,
        limits: RateLimits | None = None,
        released: Callable[[], int] = lambda: -1,
        halted: Callable[[int, str], None] = lambda at_ns, reason: None,
    ) -> None:
        self._servers, self._service, self._logs, self._codec = servers, service, logs, codec
        self._prefix = prefix
        self.limits, self.released, self.halted = limits, released, halted
        self.until, self.stopping, self.wait_s, self.records_max = until, stopping, wait_s, records_max
        self.stats = stats or Stats(service, None)
        self._shared: dict[int, _Consumption] = {}
        self._lock = threading.Lock()

    def list_parts(self) -> list[str]:
        return list(self._logs)

    def build_part(self, step_id: str, for_part: str, resume_state: Any | None) -> Shard:
        with self._lock:
            worker = threading.get_ident()
            if worker not in self._shared:
                self._shared[worker] = _Consumption(self._servers, self._prefix, self._codec, self._service)
            shared = self._shared[worker]
        # A fourth part, behind the reader's own three, where a rate was kept.
        counted = resume_state[3] if resume_state is not None and len(resume_state) > 3 else None
        return Shard(for_part, AlignedLogs(self._service, self._logs[for_part], resume_state), shared, self, counted)


def wait_for_topics(servers: Servers, topics: Sequence[str], timeout_s: float = 30.0) -> None:
    """Return when all topics exist. Raises Unavailable naming those that do not within the bound, or where the cluster
    does not answer at all.
    """
    heard = Complaints()
    consumer = Consumer(client(servers, heard.options({"group.id": "platform-start"})))
    deadline = time.monotonic() + timeout_s
    try:
        while True:
            known = heard.metadata(consumer, timeout_s).topics
            missing = [topic for topic in topics if topic not in known]
            if not missing:
                return
            if time.monotonic() > deadline:
                raise Unavailable(
                    f"topics {', '.join(missing)} do not exist at {servers}; `python cli.py start` makes them"
                )
            time.sleep(0.2)
    except KafkaException as error:
        raise Unavailable(f"Kafka at {servers}: {error.args[0].str()}") from error
    finally:
        consumer.close()
