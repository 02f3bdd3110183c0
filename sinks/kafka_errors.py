"""Why a Kafka cluster does not answer: the reason underneath, which librdkafka tells a listener and not the caller."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from confluent_kafka import KafkaError, KafkaException


class _Asks(Protocol):
    """A consumer or an admin client."""

    def list_topics(self, topic: str | None = ..., timeout: float = ...) -> Any: ...

    def poll(self, timeout: float = ...) -> Any: ...


class Complaints:
    """What librdkafka says by itself while it tries again, such as that a certificate is not to be trusted: where a
    call ends without an answer, its own reason is only that there was none.
    """

    def __init__(self) -> None:
        self._last = ""

    def options(self, given: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """`given` with this as the listener."""
        return {**(given or {}), "error_cb": self._on_error}

    def metadata(self, asking: _Asks, timeout_s: float) -> Any:
        """`list_topics`, whose KafkaException says in one line what went wrong underneath."""
        self._last = ""
        try:
            return asking.list_topics(timeout=timeout_s)
        except KafkaException as error:
            asking.poll(0)  # complaints are told here
            if not self._last:
                raise
            raise KafkaException(KafkaError(error.args[0].code(), self._last)) from error

    def _on_error(self, error: KafkaError) -> None:
        if error.code() in (KafkaError._SSL, KafkaError._AUTHENTICATION):
            self._last = " ".join(error.str().split())
