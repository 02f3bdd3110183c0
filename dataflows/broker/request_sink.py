"""The sink behind the gateway's stage: intents onto record, then to the edge's thread."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from dataflows.broker.broker_client import BrokerEdge
from operators.stage import Tick
from schemas.errors import Unavailable
from schemas.records import READY, GatewayStatus, OrderIntent

OnRecord = Callable[[Sequence[OrderIntent]], None]
"""Returns once the intents are on record for good. Raises Unavailable."""


class AskingPart(StatefulSinkPartition[Sequence[Tick], None]):
    def __init__(self, edge: BrokerEdge, on_record: OnRecord, asked_up_to: int, end: Callable[[], None]) -> None:
        self._edge, self._on_record, self._asked_up_to, self._end = edge, on_record, asked_up_to, end

    def write_batch(self, values: list[Sequence[Tick]]) -> None:
        self._raise_if_failed()
        intents: list[OrderIntent] = []
        for ticks in values:
            for tick in ticks:
                for record in tick.records:
                    if type(record) is OrderIntent:
                        intents.append(record)
                    elif type(record) is GatewayStatus:
                        self._edge.ready = record.state == READY
        if intents:
            self._on_record(intents)
            self._edge.take([(intent, intent.seq <= self._asked_up_to) for intent in intents])

    def _raise_if_failed(self) -> None:
        if self._edge.dead:
            raise Unavailable("the broker's edge ended; its last words are in this log")

    def snapshot(self) -> None:
        """Nothing to remember: what was intended is in Postgres, and what became of it the broker says."""
        self._raise_if_failed()

    def close(self) -> None:
        self._end()


class AskingSink(FixedPartitionedSink[Sequence[Tick], None]):
    """Items are `(shard, ticks)`. `asked_up_to`: the last intent that an earlier process may have asked for."""

    def __init__(self, edge: BrokerEdge, on_record: OnRecord, *, asked_up_to: int, end: Callable[[], None]) -> None:
        self._edge, self._on_record, self._asked_up_to, self._end = edge, on_record, asked_up_to, end

    def list_parts(self) -> list[str]:
        return ["broker"]

    def part_fn(self, item_key: str) -> int:
        return 0

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> AskingPart:
        return AskingPart(self._edge, self._on_record, self._asked_up_to, self._end)
