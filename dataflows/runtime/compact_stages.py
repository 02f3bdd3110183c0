"""Run the stages of the services that make decisions in one process, one time slice after the other.

Each shard of each service has its own stage instance and its own reader, as in the layout `services`. A reader receives
the records of other processes from Kafka. It receives the records of the services in this process directly, in the
order in which they are also written to Kafka. Every stage therefore processes the same records in the same order in
both layouts, and the state of a shard is the same.

In each time slice, the services run in the order of `topology.COMPACT_SERVICES`. A feedback input receives its records
at once and delivers them in the next time slice.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from dataflows.runtime import topology
from dataflows.runtime.wiring import StageLogic
from operators.alignment import AlignedLogs, AlignmentCounts
from operators.partitions import partition_of
from operators.stage import Stage, TimeSlice
from schemas.codec import decode, encode
from schemas.errors import BadInput
from schemas.log_names import LogName
from schemas.records import BY_SYMBOL, TOPIC_OF, CheckpointMarker, Clock, DeadLetter

VERSION = 1
WRITER = topology.COMPACT
Messages = Sequence[tuple[int, Any]]
"""Records and clocks of one log, each with its offset."""
MakeGuard = Callable[[str, Any], "SliceGuard | None"]
"""Returns the guard of a shard of a service, given the service and the guard's last snapshot."""


class SliceGuard(Protocol):
    """Checks the time slices of a shard before its stage processes them."""

    def check(self, time_slices: Sequence[TimeSlice]) -> None:
        """Raise an error if the stage must not process these time slices."""
        ...

    def snapshot(self) -> Any:
        """Return the state as plain tuples and lists."""
        ...


class ShardOutput(NamedTuple):
    """What one shard of a service writes in a time slice."""

    service: str
    shard: str
    time_slice: TimeSlice


class CompactSlice(NamedTuple):
    """What all services write in the time slice `ts_ns`, in the order in which they run."""

    ts_ns: int
    outputs: Sequence[ShardOutput]

    def of_service(self, service: str) -> list[TimeSlice]:
        """Return the outputs of the shards of one service."""
        return [output.time_slice for output in self.outputs if output.service == service]


class _ServiceShard:
    """The reader, the guard and the stage of one shard. `state` is None or an earlier `snapshot()`."""

    def __init__(
        self, service: str, shard: str, inputs: Sequence[Any], stage: Stage, guard_of: MakeGuard, state: Any
    ) -> None:
        self.service, self.shard = service, shard
        reader_state, logic_state = state or (None, None)
        self.reader = AlignedLogs(service, inputs, reader_state)
        self.guard = guard_of(service, reader_state[3] if reader_state is not None and len(reader_state) > 3 else None)
        self._logic = StageLogic(stage, logic_state, topology.PASS_THROUGH.get(service, ()))
        self._outputs = frozenset(topology.SERVICES[service].outputs)

    def take(self) -> TimeSlice | None:
        """Return the next complete time slice of the inputs. Its records are checked."""
        time_slices = self.reader.take_slices(1)
        if not time_slices:
            return None
        if self.guard is not None:
            self.guard.check(time_slices)
        return time_slices[0]

    def run(self, time_slice: TimeSlice) -> TimeSlice:
        return self._logic.run_slice(time_slice)

    def messages(self, output: TimeSlice, logs: Sequence[LogName], partitions: int) -> dict[LogName, list[Any]]:
        """Return what the service writes into each of its logs in a time slice: the records, then the clock."""
        by_log: dict[LogName, list[Any]] = {log: [] for log in logs}
        for record in output.records:
            topic = TOPIC_OF[type(record)]
            if topic in self._outputs:
                by_log[topic, _partition_of(record, partitions)].append(record)
        clock = Clock(output.ts_ns, WRITER)
        for records in by_log.values():
            records.append(clock)
        return by_log

    def snapshot(self) -> Any:
        """Return the two states that the service's own store would hold: of its source and of its stage."""
        reader_state = self.reader.snapshot()
        guard_state = None if self.guard is None else self.guard.snapshot()
        return (reader_state if guard_state is None else (*reader_state, guard_state), self._logic.snapshot())


class ExternalReader:
    """The reader of one shard of `service`. It reads only the `logs` of other processes."""

    def __init__(self, stages: CompactStages, service: str, reader: AlignedLogs, logs: Collection[LogName]) -> None:
        self._stages, self._service, self._reader, self._logs = stages, service, reader, logs

    def next_offsets(self) -> dict[LogName, int]:
        return {log: offset for log, offset in self._reader.next_offsets().items() if log in self._logs}

    def feed(self, topic: str, partition: int, messages: Iterable[tuple[int, Any]]) -> None:
        """Feed messages. A malformed one is a dead letter of the service, not of the process."""
        messages = [
            (offset, record._replace(stage=self._service) if type(record) is DeadLetter else record)
            for offset, record in messages
        ]
        self._reader.feed(topic, partition, messages)
        self._stages.note_clocks(topic, partition, messages)

    def buffered(self, topic: str, partition: int) -> int:
        return self._reader.buffered(topic, partition)

    def joining(self, topic: str, partition: int) -> bool:
        return self._reader.joining(topic, partition)


class CompactStages:
    """All services of the compact process. Feed it the logs of other processes; `take_slices` returns the output.

    `make_stages` are functions that make a stage, for each service of the process: those of `COMPACT_SERVICES` that do
    not run beside it. `unread` are the topics that a service does not need. `state` is None or an earlier `snapshot()`.
    Raises BadInput if the state is that of other services.
    """

    def __init__(
        self,
        make_stages: Mapping[str, Callable[[], Stage]],
        partitions: int,
        *,
        unread: Mapping[str, Collection[str]] | None = None,
        guard_of: MakeGuard = lambda service, state: None,
        state: Any = None,
    ) -> None:
        self._partitions = partitions
        self.passed_ns: int
        version, self.passed_ns, services, pending = state or (VERSION, -1, {}, {})
        assert version == VERSION, f"state of the compact process: version {version}, expected {VERSION}"
        running = [service for service in topology.COMPACT_SERVICES if service in make_stages]
        if state is not None and set(services) != set(running):
            raise BadInput(
                f"the recovery store of compact must have the states of {', '.join(running)}, "
                f"found {', '.join(services)}; start the platform with `python cli.py start`, which converts the store"
            )
        self._own_topics = topology.compact_topics(running)
        self._shards: list[_ServiceShard] = []
        self._written: list[list[LogName]] = []  # the logs that each shard writes
        self._readers: dict[LogName, list[AlignedLogs]] = {}
        self._fed_back: dict[LogName, list[AlignedLogs]] = {}
        self._external: dict[LogName, bool] = {}  # log of another process -> whether all its readers lag behind it
        for service in running:
            for shard in topology.shards(service, partitions):
                self._add(service, shard, make_stages[service], (unread or {}).get(service, ()), guard_of, services)
        self._external_clocks = dict.fromkeys(self._external, self.passed_ns)
        self.marker: CheckpointMarker | None = None
        """The checkpoint marker of the last time slice; `take_slices` returns no time slice after it."""
        self._pending: dict[LogName, list[Any]] = {}  # records and clocks, encoded after a resume
        for name, messages in pending.items():
            self._resume_feedback(name, messages)

    def _add(
        self,
        service: str,
        shard: str,
        make_stage: Callable[[], Stage],
        unread: Collection[str],
        guard_of: MakeGuard,
        states: Mapping[str, Mapping[str, Any]],
    ) -> None:
        inputs = topology.input_logs(service, shard, self._partitions, unread)
        added = _ServiceShard(service, shard, inputs, make_stage(), guard_of, states.get(service, {}).get(shard))
        self._shards.append(added)
        self._written.append(topology.clocked_logs(service, shard, self._partitions))
        for log in inputs:
            name = (log.topic, log.partition)
            self._readers.setdefault(name, []).append(added.reader)
            if log.topic not in self._own_topics:
                self._external[name] = log.feedback and self._external.get(name, True)
            elif log.feedback:
                self._fed_back.setdefault(name, []).append(added.reader)

    def _resume_feedback(self, name: str, messages: Sequence[bytes]) -> None:
        topic, _, partition = name.rpartition("/")
        log = (topic, int(partition))
        self._pending[log] = list(messages)
        decoded = [(0, decode(message)) for message in messages]
        for reader in self._fed_back.get(log, ()):
            reader.feed(*log, decoded)

    # -- inputs

    def next_offsets(self) -> dict[LogName, int]:
        """Return, for each log of another process, the offset of the first message that a shard has not processed."""
        out: dict[LogName, int] = {}
        for shard in self._shards:
            for log, offset in shard.reader.next_offsets().items():
                if log in self._external:
                    out[log] = min(offset, out.get(log, offset))
        return out

    def external_readers(self) -> list[ExternalReader]:
        """Return the reader of each shard, limited to the logs of other processes."""
        return [ExternalReader(self, shard.service, shard.reader, self._external) for shard in self._shards]

    def feed(self, topic: str, partition: int, messages: Messages) -> None:
        """Add messages of a log of another process to all its readers."""
        for reader in self._readers[topic, partition]:
            reader.feed(topic, partition, messages)
        self.note_clocks(topic, partition, messages)

    def note_clocks(self, topic: str, partition: int, messages: Messages) -> None:
        """Note the clocks of a log whose messages its readers have received."""
        log = (topic, partition)
        for _, record in messages:
            if type(record) is Clock and record.ts_ns > self._external_clocks[log]:
                self._external_clocks[log] = record.ts_ns

    def ready(self) -> bool:
        """Whether the logs of other processes have reached the next clock. The services then write all other logs."""
        return not self.awaited_logs()

    def awaited_logs(self) -> list[LogName]:
        """Return the logs of other processes whose next clock the next time slice requires."""
        passed_ns = self.passed_ns
        return [
            log
            for log, clock_ns in self._external_clocks.items()
            if (clock_ns < passed_ns if self._external[log] else clock_ns <= passed_ns)
        ]

    # -- time slices

    def take_slices(self, slices_max: int = 100) -> list[CompactSlice]:
        """Run the services over the complete time slices, up to one with a checkpoint marker."""
        out: list[CompactSlice] = []
        while len(out) < slices_max and self.ready():
            out.append(self._run_slice())
            if self.marker is not None:
                break
        return out

    def _run_slice(self) -> CompactSlice:
        outputs: list[ShardOutput] = []
        ts_ns = -1
        self._pending = {}
        for shard, written in zip(self._shards, self._written, strict=True):
            time_slice = shard.take()
            assert time_slice is not None and (not outputs or time_slice.ts_ns == ts_ns), (
                f"{shard.service}/{shard.shard} must pass time slice {ts_ns}, found {time_slice}"
            )
            ts_ns = time_slice.ts_ns
            output = shard.run(time_slice)
            outputs.append(ShardOutput(shard.service, shard.shard, output))
            self._deliver(shard.messages(output, written, self._partitions))
        self.passed_ns, self.marker = ts_ns, self._shards[0].reader.marker
        return CompactSlice(ts_ns, outputs)

    def _deliver(self, messages: Mapping[LogName, list[Any]]) -> None:
        for log, records in messages.items():
            if log in self._fed_back:
                self._pending[log] = records
            readers = self._readers.get(log)
            if readers is not None:
                numbered = [(0, record) for record in records]
                for reader in readers:
                    reader.feed(*log, numbered)

    # -- state

    @property
    def counts(self) -> dict[str, list[AlignmentCounts]]:
        """The counts of each shard's reader, by service."""
        out: dict[str, list[AlignmentCounts]] = {}
        for shard in self._shards:
            out.setdefault(shard.service, []).append(shard.reader.counts)
        return out

    def snapshot(self) -> Any:
        """Return the state after the last time slice: of each shard, and the records that feedback inputs have not
        delivered yet.

        Its offsets in this process's own logs are meaningless.
        """
        services: dict[str, dict[str, Any]] = {}
        for shard in self._shards:
            services.setdefault(shard.service, {})[shard.shard] = shard.snapshot()
        pending = {
            f"{topic}/{partition}": [message if type(message) is bytes else encode(message) for message in messages]
            for (topic, partition), messages in self._pending.items()
        }
        return (VERSION, self.passed_ns, services, pending)


def _partition_of(record: Any, partitions: int) -> int:
    return partition_of(record.symbol, partitions) if type(record) in BY_SYMBOL else 0
