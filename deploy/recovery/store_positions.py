"""What a recovery store would resume from: the next offset of each log, the last time slice, the number of starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from dataflows.runtime.topology import COMPACT, compact_topics
from deploy.home import Home
from deploy.recovery.recovery_store import StateSnapshot, count_starts, read_resume_states
from deploy.supervisor.layout import dataflow_names
from deploy.supervisor.replicas import replica_name, replicas_of, store_of

SOURCE_STEP = ".ticks"


class StorePositions(NamedTuple):
    """`starts` counts the starts of the dataflow; 0 means that the store was never used.

    `next_offsets` maps (topic, partition) to the first message that no snapshot contains. `last_slice_ns` is the event
    time of the last time slice, -1 before the first. `feed` is the class name of a feed and `feed_state` its state; ""
    and None for other services and without a state.
    """

    name: str
    folder: Path
    starts: int
    next_offsets: dict[tuple[str, int], int]
    last_slice_ns: int
    feed: str = ""
    feed_state: Mapping[str, Any] | None = None


def read_positions(home: Home, service: str) -> list[StorePositions]:
    """Return the positions of each process of a service.

    Raises DeployError if a store is missing or unreadable, or if its state has an unknown kind.
    """
    return [
        _read(replica_name(service, replica), store_of(home, service, replica))
        for replica in replicas_of(home, service)
    ]


def missing_stores(home: Home) -> list[str]:
    """Return the services that have no recovery store."""
    return [
        service
        for service in dataflow_names(home)
        if not all(any(store_of(home, service, r).glob("part-*.sqlite3")) for r in replicas_of(home, service))
    ]


def _read(name: str, folder: Path) -> StorePositions:
    starts = count_starts(folder)
    return positions_of(name, folder, starts, read_resume_states(folder) if starts else [])


def positions_of(name: str, folder: Path, starts: int, states: Sequence[StateSnapshot]) -> StorePositions:
    """Return the positions in the states from which a store resumes."""
    next_offsets: dict[tuple[str, int], int] = {}
    last_slice_ns, feed = -1, ""
    feed_state: Mapping[str, Any] | None = None
    for snapshot in states:
        if not snapshot.step.endswith(SOURCE_STEP) or snapshot.state is None:
            continue
        if isinstance(snapshot.state, dict):
            feed, last_slice_ns = snapshot.state["kind"], snapshot.state.get("last_tick_ns", -1)
            feed_state = snapshot.state["feed"]
            continue
        # The state of the compact process has no offsets in the topics between its services.
        without_offsets = compact_topics(snapshot.state[2]) if snapshot.key == COMPACT else frozenset[str]()
        for _, passed_ns, logs, *_ in _reader_states(snapshot):
            last_slice_ns = max(last_slice_ns, passed_ns)
            for log, (next_offset, *_) in logs.items():
                topic, _, partition = log.rpartition("/")
                if topic in without_offsets:
                    continue
                # Several shards can read one log; everything from their lowest offset on must still exist.
                known = next_offsets.get((topic, int(partition)))
                next_offsets[topic, int(partition)] = next_offset if known is None else min(known, next_offset)
    return StorePositions(
        name=name,
        folder=folder,
        starts=starts,
        next_offsets=next_offsets,
        last_slice_ns=last_slice_ns,
        feed=feed,
        feed_state=feed_state,
    )


def _reader_states(snapshot: StateSnapshot) -> list[Any]:
    """Return the states of the readers in a state of a source."""
    if snapshot.key != COMPACT:
        return [snapshot.state]
    _, _, services, _ = snapshot.state
    return [reader_state for shards in services.values() for reader_state, _ in shards.values()]
