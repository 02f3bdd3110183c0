"""An API with the trading loop behind it: a real Kafka between API and stages, and a real PostgreSQL."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from confluent_kafka import Consumer, TopicPartition
from fastapi.testclient import TestClient

from configs.settings import Settings
from dataflows.runtime import stages
from operators.stage import Stage
from schemas.codec import decode
from schemas.records import Bar, Command, Record
from sinks.postgres import PostgresWriter
from tests.builders import bar

MINUTE = 60_000_000_000
T0 = 1_705_314_600_000_000_000  # 2024-01-15T10:30:00Z
ORDER_REQUEST = {"symbol": "AAPL", "side": "BUY", "quantity": 100, "order_type": "MARKET", "time_in_force": "DAY"}
Headers = dict[str, str]


class TradingLoopRunner:
    """Execution, portfolio and risk. They read the API's commands from Kafka and write their records to PostgreSQL."""

    def __init__(self, settings: Settings) -> None:
        self.loop: Stage = stages.trading_loop(settings)()
        self.writer = PostgresWriter(settings.database.postgres.url, name="test")
        self.consumer = Consumer(
            {
                "bootstrap.servers": settings.kafka.bootstrap_servers,
                "group.id": settings.kafka.topic_prefix,
                "enable.auto.commit": False,
            }
        )
        self._topic = TopicPartition(f"{settings.kafka.topic_prefix}commands", 0, 0)
        self.consumer.assign([self._topic])
        self.minute = 0
        self.commands: list[Command] = []
        self.inputs: list[list[Record]] = []
        self.outputs: list[Record] = []

    def commands_until(self, count: int) -> list[Command]:
        """Wait until the topic contains `count` commands in total. Return the new ones."""
        new: list[Command] = []
        deadline = time.monotonic() + 60
        while len(self.commands) + len(new) < count and time.monotonic() < deadline:
            message = self.consumer.poll(0.2)
            if message is not None and message.error() is None:
                record = decode(message.value() or b"")
                assert isinstance(record, Command)
                new.append(record)
        self.commands += new
        assert len(self.commands) == count, self.commands
        return new

    def commands_so_far(self) -> list[Command]:
        """Return the new commands up to the present end of the topic."""
        _, end = self.consumer.get_watermark_offsets(self._topic, timeout=60)
        return self.commands_until(end)

    def run_minute(self, commands: int | None = None, others: Sequence[Record] = ()) -> None:
        """Process one minute with AAPL at 150, and `others` before its bar.

        Wait for commands up to a total of `commands`; by default, for none.
        """
        self.minute += 1
        ts_ns = T0 + self.minute * MINUTE
        new: list[Record] = [*self.commands_until(len(self.commands) if commands is None else commands)]
        records = [*new, *others, bar("AAPL", self.minute, ts_ns, 150.0, day=20240115)]
        self.inputs.append(records)
        output = self.loop.on_slice(ts_ns, records)
        self.outputs += output
        self.writer.write([*(record for record in records if type(record) in (Bar, Command)), *output])

    def close(self) -> None:
        self.consumer.close()
        self.writer.close()


class TradingApi(NamedTuple):
    """The API, its platform, and the headers of users with the roles trader and risk."""

    settings: Settings
    client: TestClient
    platform: TradingLoopRunner
    trader: Headers
    risk: Headers


def order_of(client: TestClient, headers: Headers, order_id: str) -> dict[str, Any]:
    """Return an order from the API. Fail if there is none."""
    response = client.get(f"/api/v1/orders/{order_id}", headers=headers)
    assert response.status_code == 200, response.text
    order: dict[str, Any] = response.json()
    return order
