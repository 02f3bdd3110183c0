"""Publish records from users and external sources to their topics, before anything acts on them."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Mapping
from typing import Protocol

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from schemas.codec import encode
from schemas.errors import Unavailable
from schemas.records import TOPIC_OF, Command, CommandKind, Record
from sinks.cluster import Servers, client_config
from sinks.kafka_errors import is_denied, topic_error

POLL_S = 0.02


def new_command(kind: CommandKind, *, actor: str, reason: str, arguments: Mapping[str, str] | None = None) -> Command:
    """Build a command with the current time and a unique id."""
    return Command(
        command_id=f"cmd-{uuid.uuid4()}",
        ts_ns=time.time_ns(),
        kind=kind,
        actor=actor,
        reason=reason,
        arguments=dict(arguments or {}),
    )


class Signer(Protocol):
    """Signs commands (`sinks/signing_keys.py`)."""

    def sign(self, command: Command) -> Command:
        """Return the signed command. Raises Unavailable."""


START_TIMEOUT_S = 60.0
"""How long a start waits for the broker. Right after its own start a broker loads its coordinators, and on a saturated
machine that takes longer than a user should wait for a command."""


class CommandLog:
    """Publishes to the topic `commands` and the topics of other external records. Threads share one producer.

    `signer` signs each command when it is sent.
    """

    def __init__(
        self,
        servers: Servers,
        *,
        prefix: str = "",
        timeout_s: float = 10.0,
        idempotent: bool = True,
        signer: Signer | None = None,
    ) -> None:
        self._prefix, self._signer = prefix, signer
        self._servers, self._timeout_s = servers, timeout_s
        options = {
            "enable.idempotence": idempotent,
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
        Raises it too, and sends nothing, if the command cannot be signed.
        """
        topic = self._prefix + TOPIC_OF[type(command)]
        if type(command) is Command and self._signer is not None:
            command = self._signer.sign(command)
        done = threading.Event()
        errors: list[str] = []

        def on_delivery(error: KafkaError | None, _: Message) -> None:
            if error is not None:
                errors.append(topic_error(self._servers, error, "WRITE", topic) if is_denied(error) else error.str())
            done.set()

        try:
            self._producer.produce(topic, encode(command), partition=0, on_delivery=on_delivery)
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


def send(
    servers: Servers, command: Command, *, signer: Signer | None, prefix: str = "", timeout_s: float = 10.0
) -> None:
    """Publish one command with `CommandLog.send`. With `signer` None, readers on a platform with keys reject it.

    Without idempotence: a new producer waits up to a second for its id, which only orders several messages. Readers
    discard a repeated command by its id.
    """
    CommandLog(servers, prefix=prefix, timeout_s=timeout_s, idempotent=False, signer=signer).send(command)
