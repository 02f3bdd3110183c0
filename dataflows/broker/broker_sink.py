"""Sink of the gateway's stage: stores intents, then hands them to the broker client's thread."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from dataflows.broker.broker_client import BrokerClient
from operators.stage import TimeSlice
from schemas.errors import Unavailable
from schemas.records import GatewayStatus, OrderIntent

StoreIntents = Callable[[Sequence[OrderIntent]], None]
"""Returns once the intents are durably stored. Raises Unavailable."""


class BrokerRequestPartition(StatefulSinkPartition[Sequence[TimeSlice], None]):
    def __init__(
        self, broker: BrokerClient, store_intents: StoreIntents, requested_up_to_seq: int, on_close: Callable[[], None]
    ) -> None:
        self._broker, self._store_intents = broker, store_intents
        self._requested_up_to_seq, self._on_close = requested_up_to_seq, on_close

    def write_batch(self, values: list[Sequence[TimeSlice]]) -> None:
        self._raise_if_failed()
        intents: list[OrderIntent] = []
        for time_slices in values:
            for time_slice in time_slices:
                for record in time_slice.records:
                    if type(record) is OrderIntent:
                        intents.append(record)
                    elif type(record) is GatewayStatus:
                        self._broker.on_gateway_status(record)
        if intents:
            self._store_intents(intents)
            self._broker.enqueue([(intent, intent.seq <= self._requested_up_to_seq) for intent in intents])

    def _raise_if_failed(self) -> None:
        if self._broker.failed:
            raise Unavailable("the broker client's thread ended; the log holds its last error")

    def snapshot(self) -> None:
        """No state: Postgres holds the intents, and the broker reports their outcome."""
        self._raise_if_failed()

    def close(self) -> None:
        self._on_close()


class BrokerRequestSink(FixedPartitionedSink[Sequence[TimeSlice], None]):
    """Items are `(shard, time slices)`. `requested_up_to_seq`: last intent that an earlier process may have sent."""

    def __init__(
        self,
        broker: BrokerClient,
        store_intents: StoreIntents,
        *,
        requested_up_to_seq: int,
        on_close: Callable[[], None],
    ) -> None:
        self._broker, self._store_intents = broker, store_intents
        self._requested_up_to_seq, self._on_close = requested_up_to_seq, on_close

    def list_parts(self) -> list[str]:
        return ["broker"]

    def part_fn(self, item_key: str) -> int:
        return 0

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> BrokerRequestPartition:
        return BrokerRequestPartition(self._broker, self._store_intents, self._requested_up_to_seq, self._on_close)
