"""The states of a checkpoint: combine those of the services, and compare them with the states of a replay.

A checkpoint holds the state of the compact process after one time slice, in both layouts
(`dataflows/runtime/compact_stages.py`), because it contains the state of every shard and the records that feedback
inputs have not delivered yet. A replay therefore needs only the logs after the checkpoint.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from dataflows.replay.layout_stores import TopicReader, compact_state, offsets_behind_clocks, service_states
from dataflows.replay.recording import DERIVED_TOPICS
from dataflows.runtime import topology
from schemas.errors import BadInput
from schemas.log_names import LogName

SliceStates = Mapping[str, Mapping[str, tuple[Any, Any]]]
"""The states of the source and of the stage after one time slice, by service and shard."""


class CheckpointState(NamedTuple):
    """What a replay needs to continue after the time slice `slice_ns`.

    `outputs` is, for each log that the services write, an offset after the clock of this time slice. Records of this
    or an earlier time slice may follow it, because a process writes records again after a crash.
    """

    checkpoint_id: str
    slice_ns: int
    compact: Any
    outputs: Mapping[LogName, int]


class CheckpointParts(NamedTuple):
    """The parts of a checkpoint: the state of the compact process, None without one, and those of the services with a
    process of their own.
    """

    compact: Any
    services: SliceStates


def combined_state(
    topics: TopicReader, checkpoint_id: str, slice_ns: int, parts: CheckpointParts, partitions: int
) -> CheckpointState:
    """Return the state of a checkpoint from all its parts.

    Raises Unavailable if the topics cannot be read, and BadInput if one lacks the clock of the time slice.
    """
    compact = parts.compact
    if parts.services:
        shared = {} if compact is None else service_states(topics, compact)
        compact = compact_state(topics, {**shared, **parts.services}, slice_ns)
    logs = [(topic, n) for topic in DERIVED_TOPICS for n in topology.partitions_of(topic, partitions)]
    behind = offsets_behind_clocks(topics, {log: {slice_ns} for log in logs})
    outputs = {log: offsets[slice_ns] for log, offsets in behind.items()}
    return CheckpointState(checkpoint_id, slice_ns, compact, outputs)


def require_all_shards(state: Any, partitions: int) -> None:
    """Raises BadInput if a state of the compact process lacks a shard, or has one of another time slice."""
    _, slice_ns, services, _ = state
    for service in topology.COMPACT_SERVICES:
        for shard in topology.shards(service, partitions):
            found = services.get(service, {}).get(shard)
            if found is None:
                raise BadInput(f"it lacks the state of {service}, shard {shard}")
            if found[0][1] != slice_ns:
                raise BadInput(f"{service}, shard {shard}, has time slice {found[0][1]}, expected {slice_ns}")


def first_state_difference(expected: Any, found: Any) -> str:
    """Return which shard has another state in two states of the compact process, "" if none.

    Not compared: the rate of dead letters, which a replay does not count, the offsets in the topics between the
    services, which the compact process does not have, and topics that only one of the two has read.
    """
    for service in topology.COMPACT_SERVICES:
        for shard in sorted(expected[2].get(service, {})):
            (expected_reader, expected_stage), other = expected[2][service][shard], found[2].get(service, {}).get(shard)
            if other is None:
                return f"{service}, shard {shard}: no state"
            path = _first_difference(expected_stage, other[1], "stage")
            logs = expected_reader[2].keys() & other[0][2].keys()
            expected_positions, positions = (
                _comparable_reader(expected_reader, logs),
                _comparable_reader(other[0], logs),
            )
            path = path or _first_difference(expected_positions, positions, "reader")
            if path:
                return f"{service}, shard {shard}: {path}"
    return ""


def _comparable_reader(state: Any, logs: Collection[str]) -> Any:
    """Return the positions in `logs`. A service reads some topics only if a strategy needs them."""
    _, passed_ns, positions, *_ = state
    own_topics = topology.compact_topics()
    return passed_ns, {
        name: (0 if name.rpartition("/")[0] in own_topics else positions[name][0], *positions[name][1:])
        for name in logs
    }


def _first_difference(expected: Any, found: Any, path: str) -> str:
    """Return where two plain values differ, "" if they are equal. Two NaN are equal."""
    if isinstance(expected, Mapping) and isinstance(found, Mapping):
        if expected.keys() != found.keys():
            return f"{path}: keys {_brief(sorted(map(str, expected.keys() ^ found.keys())))} in one state only"
        pairs = [(f"{path}[{key!r}]", value, found[key]) for key, value in expected.items()]
    elif isinstance(expected, list | tuple) and isinstance(found, list | tuple):
        if len(expected) != len(found):
            return f"{path}: {len(expected)} values expected, found {len(found)}"
        pairs = [(f"{path}[{n}]", one, other) for n, (one, other) in enumerate(zip(expected, found, strict=True))]
    else:
        is_equal = expected == found or (expected != expected and found != found)
        return "" if is_equal else f"{path}: expected {_brief(expected)}, found {_brief(found)}"
    return next((text for name, one, other in pairs if (text := _first_difference(one, other, name))), "")


def _brief(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 120 else text[:117] + "..."
