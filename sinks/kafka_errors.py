"""Report why a Kafka cluster does not respond: librdkafka gives the cause to an error callback only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from confluent_kafka import KafkaError, KafkaException


class _MetadataClient(Protocol):
    """A consumer or an admin client."""

    def list_topics(self, topic: str | None = ..., timeout: float = ...) -> Any: ...

    def poll(self, timeout: float = ...) -> Any: ...


class KafkaErrorListener:
    """Collects errors that librdkafka reports while it retries, such as an untrusted certificate. When a call then
    times out, its own error only reports the timeout.
    """

    def __init__(self) -> None:
        self._last_error = ""

    def options(self, base: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return `base` with this object as the error callback."""
        return {**(base or {}), "error_cb": self._on_error}

    def metadata(self, client: _MetadataClient, timeout_s: float) -> Any:
        """Call `list_topics`; its KafkaException has the underlying cause in one line."""
        self._last_error = ""
        try:
            return client.list_topics(timeout=timeout_s)
        except KafkaException as error:
            client.poll(0)  # delivers pending error callbacks
            if not self._last_error:
                raise
            raise KafkaException(KafkaError(error.args[0].code(), self._last_error)) from error

    def _on_error(self, error: KafkaError) -> None:
        if error.code() in (KafkaError._SSL, KafkaError._AUTHENTICATION):
            self._last_error = " ".join(error.str().split())
