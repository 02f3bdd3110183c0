"""What a person asks for or tells enters the platform here: as a record in its topic, before anything acts on it."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Mapping

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from schemas.codec import encode
from schemas.errors import Unavailable
from schemas.records import TOPIC_OF, Command, Record
from sinks.cluster import Servers, client_config

POLL_S = 0.02


def new_command(kind: str, *, actor: str, reason: str, arguments: Mapping[str, str] | None = None) -> Command:
    """A command of this moment with an id of its own: an edge may read a clock, what it read is in the record."""
    return Command(f"cmd-{uuid.uuid4()}", time.time_ns(), kind, actor, reason, dict(arguments or {}))


class CommandLog:
    """The end of the topic `commands` and of the others that edges write. Any number of threads may send; they share
    one producer and its connection.
    """

    def __init__(self, servers: Servers, *, prefix: str = "", timeout_s: float = 10.0) -> None:
        self._prefix = prefix
        self._timeout_s = timeout_s
        options = {
            "enable.idempotence": True,
            "acks": "all",
            "linger.ms": 0,
            # What could not be delivered while its sender waited is given up: an order must not turn up later.
            "message.timeout.ms": int(timeout_s * 1000),
            "reconnect.backoff.max.ms": 1000,
            "log_level": 0,
        }
        self._producer = Producer(client_config(servers, options))

    def send(self, command: Record) -> None:
        """Return once the broker has the record for good. Sending it again is safe: its id stays the same.

        Raises Unavailable when the broker did not acknowledge it in time; then it may or may not be in the log.
        """
        done = threading.Event()
        errors: list[str] = []

        def on_delivery(error: KafkaError | None, _: Message) -> None:
            if error is not None:
                errors.append(error.str())
            done.set()

        try:
            self._producer.produce(
                self._prefix + TOPIC_OF[type(command)], encode(command), partition=0, on_delivery=on_delivery
            )
        except (BufferError, KafkaException) as error:
            raise Unavailable(f"{_describe(command)}: {error}") from error
        # A little longer than the producer itself waits: it knows best what became of the message.
        deadline = time.monotonic() + self._timeout_s + 1.0
        while not done.is_set() and time.monotonic() < deadline:
            self._producer.poll(POLL_S)
        if errors or not done.is_set():
            reason = errors[0] if errors else f"no answer in {self._timeout_s:g} s"
            raise Unavailable(f"{_describe(command)}: {reason}")


def _describe(record: Record) -> str:
    return f"{type(record).__name__.lower()} {record[0]}"


def send(servers: Servers, command: Command, *, prefix: str = "", timeout_s: float = 10.0) -> None:
    """`CommandLog.send` for a program that sends one."""
    CommandLog(servers, prefix=prefix, timeout_s=timeout_s).send(command)
