"""Why a Kafka cluster does not answer: the reason underneath, which librdkafka tells a listener and not the caller."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from confluent_kafka import KafkaError, KafkaException


class _MetadataClient(Protocol):
    """A consumer or an admin client."""

    def list_topics(self, topic: str | None = ..., timeout: float = ...) -> Any: ...

    def poll(self, timeout: float = ...) -> Any: ...


class KafkaErrorListener:
    """What librdkafka says by itself while it tries again, such as that a certificate is not to be trusted: where a
    call ends without an answer, its own reason is only that there was none.
    """

    def __init__(self) -> None:
        self._last_error = ""

    def options(self, base: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """`base` with this as the listener."""
        return {**(base or {}), "error_cb": self._on_error}

    def metadata(self, client: _MetadataClient, timeout_s: float) -> Any:
        """`list_topics`, whose KafkaException says in one line what went wrong underneath."""
        self._last_error = ""
        try:
            return client.list_topics(timeout=timeout_s)
        except KafkaException as error:
            client.poll(0)  # complaints are told here
            if not self._last_error:
                raise
            raise KafkaException(KafkaError(error.args[0].code(), self._last_error)) from error

    def _on_error(self, error: KafkaError) -> None:
        if error.code() in (KafkaError._SSL, KafkaError._AUTHENTICATION):
            self._last_error = " ".join(error.str().split())
