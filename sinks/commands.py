"""Publish records from users and external sources to their topics, before anything acts on them."""

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
    """Build a command with the current time and a unique id."""
    return Command(f"cmd-{uuid.uuid4()}", time.time_ns(), kind, actor, reason, dict(arguments or {}))


class CommandLog:
    """Publishes to the topic `commands` and the topics of other external records. Threads share one producer."""

    def __init__(self, servers: Servers, *, prefix: str = "", timeout_s: float = 10.0) -> None:
        self._prefix = prefix
        self._timeout_s = timeout_s
        options = {
            "enable.idempotence": True,
            "acks": "all",
            "linger.ms": 0,
            # A message that is not delivered while its sender waits is dropped: an order must not arrive later.
            "message.timeout.ms": int(timeout_s * 1000),
            "reconnect.backoff.max.ms": 1000,
            "log_level": 0,
        }
        self._producer = Producer(client_config(servers, options))

    def send(self, command: Record) -> None:
        """Publish a record and return once the broker has acknowledged it. A retry is safe: the id stays the same.

        Raises Unavailable if the broker does not acknowledge it in time; the record may or may not be in the log.
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
        # Wait slightly longer than the producer, which reports the delivery result.
        deadline = time.monotonic() + self._timeout_s + 1.0
        while not done.is_set() and time.monotonic() < deadline:
            self._producer.poll(POLL_S)
        if errors or not done.is_set():
            reason = errors[0] if errors else f"not acknowledged within {self._timeout_s:g} s"
            raise Unavailable(f"{_describe(command)}: {reason}")


def _describe(record: Record) -> str:
    return f"{type(record).__name__.lower()} {record[0]}"


def send(servers: Servers, command: Command, *, prefix: str = "", timeout_s: float = 10.0) -> None:
    """Publish one command with `CommandLog.send`."""
    CommandLog(servers, prefix=prefix, timeout_s=timeout_s).send(command)
