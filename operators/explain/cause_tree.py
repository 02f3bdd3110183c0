"""The tree of a record's causes, and an explanation of a decision with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from operators.explain.record_ids import record_id_of
from schemas.records import Record
from schemas.records.flat import to_flat_dict


class RecordPosition(NamedTuple):
    """The location of a record in the log.

    `event_ns` is the time slice that contains the record: the record's own time, or for an external record the time of
    the first clock after it. It is None while there is no such clock.
    """

    topic: str
    partition: int
    offset: int
    event_ns: int | None = None


class CauseNode(NamedTuple):
    """One record and its causes. `record` is None if the id is known but the record is not found."""

    kind: str
    record_id: str
    record: Record | None
    causes: tuple[CauseNode, ...] = ()
    place: RecordPosition | None = None


class Explanation(NamedTuple):
    """An explanation: `outcome` in one sentence, the requested record with its causes, and its consequences."""

    outcome: str
    root: CauseNode
    consequences: tuple[CauseNode, ...] = ()


def node_of(record: Record, *causes: CauseNode) -> CauseNode:
    """Return the node of a record that was found."""
    return CauseNode(type(record).__name__, record_id_of(record), record, causes)


def walk(node: CauseNode) -> Iterator[CauseNode]:
    """Yield the node and all its causes, depth first, each node before its causes."""
    yield node
    for cause in node.causes:
        yield from walk(cause)


def with_log_positions(node: CauseNode, find_position: Callable[[Record], RecordPosition | None]) -> CauseNode:
    """Return the same tree with `place` set to the result of `find_position` for each record."""
    log_position = None if node.record is None else find_position(node.record)
    return node._replace(
        place=log_position, causes=tuple(with_log_positions(cause, find_position) for cause in node.causes)
    )


def as_tree(node: CauseNode) -> dict[str, Any]:
    """Convert the node and its causes to dictionaries with the keys kind, id, record, place and causes."""
    record: dict[str, Any] | None = None
    if node.record is not None:
        record = to_flat_dict(node.record)
        if "checks" in record:
            record["checks"] = [check._asdict() for check in record["checks"]]
    return {
        "kind": node.kind,
        "id": node.record_id,
        "record": record,
        "place": None if node.place is None else node.place._asdict(),
        "causes": [as_tree(cause) for cause in node.causes],
    }
