"""The sink behind the gateway's stage: intents onto record, then to the edge's thread."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from dataflows.broker.broker_client import BrokerClient
from operators.stage import TimeSlice
from schemas.errors import Unavailable
from schemas.records import READY, GatewayStatus, OrderIntent

StoreIntents = Callable[[Sequence[OrderIntent]], None]
"""Returns once the intents are on record for good. Raises Unavailable."""


class BrokerRequestPartition(StatefulSinkPartition[Sequence[TimeSlice], None]):
    def __init__(
        self, broker: BrokerClient, store_intents: StoreIntents, requested_up_to_seq: int, on_close: Callable[[], None]
    ) -> None:
        self._broker, self._store_intents, self._requested_up_to_seq, self._on_close = (
            broker,
            store_intents,
            requested_up_to_seq,
            on_close,
        )

    def write_batch(self, values: list[Sequence[TimeSlice]]) -> None:
        self._raise_if_failed()
        intents: list[OrderIntent] = []
        for time_slices in values:
            for time_slice in time_slices:
                for record in time_slice.records:
                    if type(record) is OrderIntent:
                        intents.append(record)
                    elif type(record) is GatewayStatus:
                        self._broker.gateway_ready = record.state == READY
        if intents:
            self._store_intents(intents)
            self._broker.enqueue([(intent, intent.seq <= self._requested_up_to_seq) for intent in intents])

    def _raise_if_failed(self) -> None:
        if self._broker.failed:
            raise Unavailable("the broker's edge ended; its last words are in this log")

    def snapshot(self) -> None:
        """Nothing to remember: what was intended is in Postgres, and what became of it the broker says."""
        self._raise_if_failed()

    def close(self) -> None:
        self._on_close()


class BrokerRequestSink(FixedPartitionedSink[Sequence[TimeSlice], None]):
    """Items are `(shard, ticks)`. `requested_up_to_seq`: the last intent that an earlier process may have asked for."""

    def __init__(
        self,
        broker: BrokerClient,
        store_intents: StoreIntents,
        *,
        requested_up_to_seq: int,
        on_close: Callable[[], None],
    ) -> None:
        self._broker, self._store_intents, self._requested_up_to_seq, self._on_close = (
            broker,
            store_intents,
            requested_up_to_seq,
            on_close,
        )

    def list_parts(self) -> list[str]:
        return ["broker"]

    def part_fn(self, item_key: str) -> int:
        return 0

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> BrokerRequestPartition:
        return BrokerRequestPartition(self._broker, self._store_intents, self._requested_up_to_seq, self._on_close)
