"""A replay from a checkpoint makes the decisions of the whole replay and reaches the states of later checkpoints.

A fork from a checkpoint has the result of a fork from the first message.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Sequence
from datetime import time
from decimal import Decimal
from functools import partial
from typing import Any

import pytest

from configs.configuration_changes import with_overrides
from configs.settings import Settings
from dataflows.replay.checkpoint_books import books_at
from dataflows.replay.checkpoint_replay import LaterCheckpoint, Replay, compare_from_checkpoint, replay_stages
from dataflows.replay.checkpoint_states import CheckpointParts, CheckpointState, combined_state, first_state_difference
from dataflows.replay.comparison import Pipeline, ReplayComparison, ReplayWindow, configured_pipeline
from dataflows.replay.differences import derived_records
from dataflows.replay.fork import ForkComparison, fork, fork_from_checkpoint
from dataflows.replay.layout_stores import compact_state, service_states
from dataflows.replay.recording import DERIVED_TOPICS, Recording, input_topics, ranked_logs
from dataflows.replay.settings_change import SettingsChange
from dataflows.runtime import topology
from operators.alignment import AlignedLogs
from operators.stage import TimeSlice
from schemas.codec import decode, encode
from schemas.errors import BadInput
from schemas.records import SPLIT, CheckpointMarker, Clock, Execution, Order, Record, StrategyAction, Valuation
from tests.builders import configuration, corporate_action
from tests.replay.checkpoint_runs import WholeRun, recorded_slices, replayed_slices
from tests.replay.compact_runs import MemoryTopics, compact_stages, run_compact
from tests.replay.in_memory_platform import InMemoryPlatform, Logs
from tests.replay.market import MONDAY, write_market
from tests.replay.record import with_commands
from tests.replay.runs import read_time_slices
from tests.replay.test_staged_trading_strategies import settings_with_strategies

PARTITIONS = 2
MARKERS = (1, 17, 18, 40)
"""Indices of the time slices with a marker: the second, two in a row after a split and a change, and a later one."""
SPLIT_SLICE, CHANGE_SLICE = 16, 18


@pytest.fixture(scope="module")
def settings() -> Settings:
    settings = settings_with_strategies()
    kafka = settings.kafka.model_copy(update={"symbol_partitions": PARTITIONS})
    return settings.model_copy(update={"kafka": kafka})


@pytest.fixture(scope="module")
def time_slices(tmp_path_factory: pytest.TempPathFactory, settings: Settings) -> list[TimeSlice]:
    """An hour with commands, a split, a change of the configuration in the time slice of a marker, and four markers."""
    folder = tmp_path_factory.mktemp("market")
    files = write_market(folder, symbols=("A", "B", "C"), days=[MONDAY], open_time=time(9, 30), minutes=60)
    out = []
    changed = with_overrides(settings, {"risk_manager.max_order_notional": "20000"})
    for index, (ts_ns, records) in enumerate(with_commands(read_time_slices(files))):
        added: list[Record] = []
        if index == SPLIT_SLICE:
            added.append(corporate_action("split-1", SPLIT, "A", ts_ns=ts_ns, ratio="1.01"))
        if index == CHANGE_SLICE:
            added.append(configuration(1, changed))
        if index in MARKERS:
            added += [CheckpointMarker(f"checkpoint-{index}", ts_ns, "tester", "test")] * (1 + (index == MARKERS[0]))
        out.append(TimeSlice(ts_ns, [*added, *records]))
    return out


@pytest.fixture(scope="module")
def whole(settings: Settings, time_slices: list[TimeSlice]) -> WholeRun:
    return WholeRun(settings, time_slices, PARTITIONS)


def marker_times(time_slices: list[TimeSlice]) -> list[int]:
    return [time_slices[index].ts_ns for index in MARKERS]


def compare(
    settings: Settings,
    logs: Logs,
    start: CheckpointState,
    later: dict[int, Any],
    window: ReplayWindow | None = None,
    other_release: str = "",
) -> ReplayComparison:
    stages = compact_stages(settings, PARTITIONS, start.compact)
    replay = Replay(stages, replayed_slices(stages, logs), recorded_slices(logs, start))
    checkpoints = {
        slice_ns: LaterCheckpoint(
            f"checkpoint-{slice_ns}", slice_ns, partial(later.__getitem__, slice_ns), other_release
        )
        for slice_ns, state in later.items()
        if slice_ns > start.slice_ns
    }
    return compare_from_checkpoint(replay, start, checkpoints, window or ReplayWindow())


def test_the_run_has_something_to_compare(whole: WholeRun, time_slices: list[TimeSlice]) -> None:
    assert list(whole.states) == marker_times(time_slices)
    for topic, kind, marker in (
        ("orders", Order, 1),
        ("executions", Execution, 1),
        ("strategy-actions", StrategyAction, 3),
    ):
        found = [record.ts_ns for record in whole.logs.records(topic) if type(record) is kind]
        assert min(found) <= time_slices[MARKERS[marker]].ts_ns, kind
        assert max(found) > time_slices[MARKERS[-1]].ts_ns, kind


def test_a_marker_changes_no_decision(settings: Settings, time_slices: list[TimeSlice], whole: WholeRun) -> None:
    without = [
        TimeSlice(ts_ns, [record for record in records if type(record) is not CheckpointMarker])
        for ts_ns, records in time_slices
    ]
    assert run_compact(settings, without, PARTITIONS).contents() == whole.logs.contents()
    for make in (configured_pipeline, Pipeline):  # `fork` runs the second one
        with_marker, plain = make(settings), make(settings)
        for one, other in zip(time_slices, without, strict=True):
            assert derived_records(with_marker.on_slice(*one)) == derived_records(plain.on_slice(*other))


@pytest.mark.parametrize("number", range(len(MARKERS)))
def test_a_replay_from_a_checkpoint_writes_the_records_and_reaches_the_state_of_the_whole_run(
    settings: Settings, time_slices: list[TimeSlice], whole: WholeRun, number: int
) -> None:
    slice_ns = marker_times(time_slices)[number]
    stages = compact_stages(settings, PARTITIONS, whole.state(slice_ns))
    for _ in replayed_slices(stages, whole.logs):
        pass
    assert first_state_difference(pickle.loads(whole.end), stages.snapshot()) == ""  # noqa: S301  (written here)
    assert pickle.loads(whole.end)[3] == stages.snapshot()[3], "undelivered records"  # noqa: S301
    result = compare(settings, whole.logs, whole.checkpoint(slice_ns), {ns: whole.state(ns) for ns in whole.states})
    assert result.difference is None
    assert result.ticks == len(time_slices) - MARKERS[number] - 1
    assert result.checkpoints == tuple(f"checkpoint-{ns}" for ns in marker_times(time_slices)[number + 1 :])


def checkpoint_of_services(platform: InMemoryPlatform, logs: Logs, slice_ns: int) -> CheckpointState:
    """Return the checkpoint of a time slice with a marker, from the parts that the services have written."""
    parts: dict[str, dict[str, Any]] = {}
    for shard in platform.shards:
        first, *repeated = (pickle.loads(one) for one in shard.checkpoints[slice_ns])  # noqa: S301  (written here)
        assert all(one == first for one in repeated)
        parts.setdefault(shard.service, {})[shard.shard] = first
    combined = CheckpointParts(None, parts)
    return combined_state(MemoryTopics(logs), f"checkpoint-{slice_ns}", slice_ns, combined, PARTITIONS)


@pytest.mark.parametrize("crash_rate", [0.0, 0.01])
def test_services_write_the_checkpoints_of_the_compact_process(
    settings: Settings, time_slices: list[TimeSlice], whole: WholeRun, crash_rate: float
) -> None:
    """A service that is killed and processes a marker again has the same state. The offsets are those of its logs."""
    platform = InMemoryPlatform(settings, time_slices, partitions=PARTITIONS, seed=5, crash_rate=crash_rate)
    logs = platform.run()
    assert bool(platform.crash_count) == bool(crash_rate)
    checkpoints = {ns: checkpoint_of_services(platform, logs, ns) for ns in marker_times(time_slices)}
    if not crash_rate:  # crashes of the feed repeat clocks, which moves the offsets
        for slice_ns, checkpoint in checkpoints.items():
            assert first_state_difference(whole.state(slice_ns), checkpoint.compact) == ""
    later = {slice_ns: one.compact for slice_ns, one in checkpoints.items()}
    for start in checkpoints.values():
        result = compare(settings, logs, start, later)
        assert (result.difference, result.from_checkpoint) == (None, start.checkpoint_id)
        assert len(result.checkpoints) == sum(one > start.slice_ns for one in later)
        assert result.last_ns == time_slices[-1].ts_ns


def test_another_state_in_a_later_checkpoint_is_a_difference(
    settings: Settings, time_slices: list[TimeSlice], whole: WholeRun
) -> None:
    first_ns, second_ns, *_ = marker_times(time_slices)
    changed = whole.state(second_ns)
    reader, (version, stage) = changed[2]["risk"]["books"]
    changed[2]["risk"]["books"] = (reader, (version, with_other_number(stage)))
    result = compare(settings, whole.logs, whole.checkpoint(first_ns), {second_ns: changed})
    assert result.difference is not None and result.difference.ts_ns == second_ns
    assert f"the state differs from checkpoint-{second_ns}: risk, shard books: stage" in result.difference.state


def test_a_state_in_the_form_of_another_release_is_no_difference(
    settings: Settings, time_slices: list[TimeSlice], whole: WholeRun
) -> None:
    first_ns, second_ns, *_ = marker_times(time_slices)
    other = whole.state(second_ns)
    reader, (version, stage) = other[2]["features"]["0"]
    other[2]["features"]["0"] = (reader, (version, (stage[0] - 1, *stage[1:-1])))
    later = {ns: other if ns == second_ns else whole.state(ns) for ns in whole.states}
    start = whole.checkpoint(first_ns)
    assert compare(settings, whole.logs, start, later).difference is not None
    result = compare(settings, whole.logs, start, later, other_release="0.1.0")
    assert result.difference is None and result.last_ns == time_slices[-1].ts_ns
    assert result.checkpoints == tuple(f"checkpoint-{ns}" for ns in whole.states if ns > second_ns)


def with_other_number(state: Any) -> Any:
    """Add one to the first decimal number in a state."""
    done: list[bool] = []

    def change(value: Any) -> Any:
        if type(value) is Decimal and not done:
            done.append(True)
            return value + 1
        if isinstance(value, dict):
            return {key: change(one) for key, one in value.items()}
        return type(value)(change(one) for one in value) if isinstance(value, list | tuple) else value

    changed = change(state)
    assert done
    return changed


def test_another_recorded_order_is_a_difference(
    settings: Settings, time_slices: list[TimeSlice], whole: WholeRun
) -> None:
    """Also one that is outside the window: it is replayed, and not compared."""
    first_ns, *_ = marker_times(time_slices)
    logs = Logs(PARTITIONS)
    logs.messages = {log: list(messages) for log, messages in whole.logs.messages.items()}
    index, order = next(
        (index, record)
        for index, message in enumerate(logs.messages["orders", 0])
        if type(record := decode(message)) is Order and record.ts_ns > first_ns
    )
    terms = order.terms._replace(quantity=order.terms.quantity + 1)
    logs.messages["orders", 0][index] = encode(order._replace(terms=terms))
    result = compare(settings, logs, whole.checkpoint(first_ns), {})
    assert result.difference is not None and result.difference.topic == "orders"
    later = compare(settings, logs, whole.checkpoint(first_ns), {}, ReplayWindow(from_ns=order.ts_ns + 1))
    assert later.difference is None and later.first_ns > order.ts_ns


def test_repeated_records_behind_the_clock_of_a_checkpoint_are_skipped(
    settings: Settings, time_slices: list[TimeSlice], whole: WholeRun
) -> None:
    """A process that was killed right after the checkpoint writes its last records and the clock again."""
    slice_ns = marker_times(time_slices)[1]
    start = whole.checkpoint(slice_ns)
    logs = Logs(PARTITIONS)
    logs.messages = {log: list(messages) for log, messages in whole.logs.messages.items()}
    repeated = 0
    for log, offset in start.outputs.items():
        messages = logs.messages[log]
        clocks = [n for n, message in enumerate(messages[: offset - 1]) if type(decode(message)) is Clock]
        again = messages[clocks[-3] + 1 : offset]
        repeated += sum(type(decode(message)) is not Clock for message in again)
        logs.messages[log] = [*messages[:offset], *again, *messages[offset:]]
    assert repeated > 10
    result = compare(settings, logs, start, {})
    assert result.difference is None and result.last_ns == time_slices[-1].ts_ns


def test_a_service_beside_the_compact_process_has_a_part_of_its_own(
    settings: Settings, time_slices: list[TimeSlice], whole: WholeRun
) -> None:
    """With a real broker or a language model, execution and sentiment do not share the compact process."""
    beside, slice_ns = ("execution", "sentiment"), marker_times(time_slices)[2]
    logs, topics = whole.logs, MemoryTopics(whole.logs)
    services = service_states(topics, whole.state(slice_ns))
    edges = {service: services.pop(service) for service in beside}
    shared = compact_state(topics, services, slice_ns)
    assert set(shared[2]) == set(topology.compact_services(beside))
    parts = CheckpointParts(shared, edges)
    checkpoint = combined_state(topics, f"checkpoint-{slice_ns}", slice_ns, parts, PARTITIONS)
    assert first_state_difference(whole.state(slice_ns), checkpoint.compact) == ""
    result = compare(settings, logs, checkpoint, {ns: whole.state(ns) for ns in whole.states})
    assert (result.difference, len(result.checkpoints)) == (None, 1)


def test_a_damaged_later_checkpoint_is_named_and_skipped(
    settings: Settings, time_slices: list[TimeSlice], whole: WholeRun
) -> None:
    first_ns, second_ns, *others = marker_times(time_slices)
    result = compare(settings, whole.logs, whole.checkpoint(first_ns), {ns: whole.state(ns) for ns in others})
    assert (result.agrees, len(result.checkpoints)) == (True, 2)

    def read_damaged() -> Any:
        raise BadInput("checkpoint-2 is damaged: risk-books.state")

    stages = compact_stages(settings, PARTITIONS, whole.state(first_ns))
    start = whole.checkpoint(first_ns)
    replay = Replay(stages, replayed_slices(stages, whole.logs), recorded_slices(whole.logs, start))
    later = {second_ns: LaterCheckpoint("checkpoint-2", second_ns, read_damaged)}
    later |= {ns: LaterCheckpoint(f"checkpoint-{ns}", ns, partial(whole.state, ns)) for ns in others}
    skipped = compare_from_checkpoint(replay, start, later, ReplayWindow())
    assert skipped.damaged == ("checkpoint-2 is damaged: risk-books.state",) and not skipped.agrees
    assert skipped._replace(damaged=()) == result


CHANGES = {
    "limit": {"risk_manager.max_order_notional": "1000"},
    "size": {"portfolio_manager.sizing.fraction": "0.15"},
    "other strategies": {"signals.strategies": '[{"name": "buy_and_hold"}]', "signals.on_remove": '"flatten"'},
    "nothing": {},
}


@pytest.fixture(scope="module")
def layouts(
    settings: Settings, time_slices: list[TimeSlice], whole: WholeRun
) -> list[tuple[Logs, list[CheckpointState]]]:
    """The logs and the checkpoints of all markers in the layouts `services` and `compact`."""
    platform = InMemoryPlatform(settings, time_slices, partitions=PARTITIONS, seed=5)
    logs, times = platform.run(), marker_times(time_slices)
    return [
        (logs, [checkpoint_of_services(platform, logs, slice_ns) for slice_ns in times]),
        (whole.logs, [whole.checkpoint(slice_ns) for slice_ns in times]),
    ]


def fork_at(
    settings: Settings, logs: Logs, change: SettingsChange, start: CheckpointState | None = None
) -> ForkComparison:
    if start is None:
        recording = Recording(
            slices_of(logs, input_topics(with_trades=True)),
            slices_of(logs, DERIVED_TOPICS),
        )
        return fork(settings, change, recording)
    stages = replay_stages(settings, start.compact, {}, None, change)
    replay = Replay(stages, replayed_slices(stages, logs), recorded_slices(logs, start))
    valuations = [one for one in logs.records("valuations") if type(one) is Valuation and one.ts_ns <= start.slice_ns]
    books = books_at(settings, start, valuations[-1] if valuations else None)
    return fork_from_checkpoint(replay, change, start.checkpoint_id, books)


def slices_of(logs: Logs, topics: Sequence[str]) -> Iterator[TimeSlice]:
    reader = AlignedLogs("test", ranked_logs(topics, PARTITIONS))
    for log in reader.next_offsets():
        reader.feed(*log, logs.read(log, 0, len(logs.messages[log])))
    while time_slices := reader.take_slices():
        yield from time_slices


@pytest.mark.parametrize("change", list(CHANGES))
@pytest.mark.parametrize("distance", [1, 9])
def test_a_fork_from_a_checkpoint_has_the_result_of_a_fork_from_the_first_message(
    settings: Settings,
    time_slices: list[TimeSlice],
    whole: WholeRun,
    layouts: list[tuple[Logs, list[CheckpointState]]],
    change: str,
    distance: int,
) -> None:
    after = with_overrides(settings, CHANGES[change])
    for number, marker in enumerate(MARKERS):
        at_ns = time_slices[marker + distance].ts_ns
        expected = fork_at(settings, whole.logs, SettingsChange(after, at_ns))
        assert expected.difference is None and expected.ticks == len(time_slices) - marker - distance
        assert bool(expected.divergent_slices) == (change != "nothing" and expected.happened.orders > 0)
        for logs, starts in layouts:
            found = fork_at(settings, logs, SettingsChange(after, at_ns), starts[number])
            assert found.from_checkpoint == starts[number].checkpoint_id
            assert found._replace(from_checkpoint="") == expected, marker
