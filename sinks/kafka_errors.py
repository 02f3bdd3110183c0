"""Report why a Kafka cluster does not respond or denies a request.

librdkafka passes the reason why a cluster does not respond to an error callback only, not to the failed call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar

from confluent_kafka import KafkaError, KafkaException

from sinks.cluster import Cluster, Servers

_T = TypeVar("_T")
_DENIED = frozenset({KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED})
_UNREACHABLE = ("Connect to", "resolve", "timed out")
_NO_RESPONSE = frozenset({KafkaError._TIMED_OUT, KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN})
_DISCONNECTED_HINT = (
    "it closed the connection, probably because it requires authentication: set kafka.security (protocol, user and "
    "the secret KAFKA_PASSWORD), or for the embedded Kafka PLATFORM_HOME to its state folder"
)


def is_denied(error: KafkaError) -> bool:
    """Return whether the cluster refused a request because the principal lacks the right."""
    return error.code() in _DENIED


def topic_error(servers: Servers, error: KafkaError, operation: str, topic: str | None) -> str:
    """Describe an error of reading or writing a topic in one sentence; a denied one names principal and operation."""
    if not is_denied(error):
        return f"topic {topic}: {error.str()}"
    principal = servers.security.get("sasl.username") if isinstance(servers, Cluster) else None
    return (
        f"Kafka at {servers} denies principal {principal or 'ANONYMOUS'} the operation {operation} on topic {topic}; "
        "`python cli.py kafka acls` prints the rights of each principal"
    )


class _MetadataClient(Protocol):
    """A consumer or an admin client."""

    def list_topics(self, topic: str | None = ..., timeout: float = ...) -> Any: ...

    def poll(self, timeout: float = ...) -> Any: ...


class KafkaErrorListener:
    """Collects errors that librdkafka reports while it retries, such as a refused connection or an untrusted
    certificate. When a call then times out, its own error only reports the timeout.
    """

    def __init__(self) -> None:
        self._last_error = self._unreachable = ""

    def options(self, base: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return `base` with this object as the error callback."""
        return {**(base or {}), "error_cb": self._on_error}

    def metadata(self, client: _MetadataClient, timeout_s: float) -> Any:
        """Call `list_topics`; its KafkaException has the underlying cause in one line."""
        return self.call(client, lambda: client.list_topics(timeout=timeout_s))

    def call(self, client: _MetadataClient, request: Callable[[], _T]) -> _T:
        """Return what `request` returns; its KafkaException has the underlying cause in one line."""
        self._last_error = self._unreachable = ""
        try:
            return request()
        except KafkaException as error:
            client.poll(0)  # delivers pending error callbacks
            code = error.args[0].code()
            cause = self._last_error or (self._unreachable if code in _NO_RESPONSE else "")
            if not cause:
                raise
            raise KafkaException(KafkaError(code, cause)) from error

    def _on_error(self, error: KafkaError) -> None:
        if error.code() in (KafkaError._SSL, KafkaError._AUTHENTICATION):
            self._last_error = " ".join(error.str().split())
        elif any(text in error.str() for text in _UNREACHABLE):
            self._unreachable = " ".join(error.str().split()).partition(" (after ")[0]
        elif error.code() == KafkaError._ALL_BROKERS_DOWN and not self._unreachable and not self._last_error:
            # librdkafka counts a broker as down that accepts the connection and closes it.
            self._last_error = _DISCONNECTED_HINT
