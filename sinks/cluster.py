"""Kafka cluster address and security, and the librdkafka configuration of every client.

Option names are librdkafka's: https://github.com/confluentinc/librdkafka/blob/master/CONFIGURATION.md
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Cluster:
    """`servers` is "host:port,...". `security` holds librdkafka's TLS and SASL options, empty for plain connections. It
    may hold a password, so neither `str` nor `repr` shows it.
    """

    servers: str
    security: Mapping[str, str] = field(default_factory=dict, repr=False)

    def __str__(self) -> str:
        return self.servers


Servers = Cluster | str
"""A plain text is a cluster without TLS and SASL."""


def client_config(servers: Servers, options: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the configuration of a consumer, producer or admin client: address, security and `options`.

    >>> client_config("localhost:9092", {"log_level": 0})
    {'bootstrap.servers': 'localhost:9092', 'log_level': 0}
    """
    security = servers.security if isinstance(servers, Cluster) else {}
    return {"bootstrap.servers": str(servers), **security, **(options or {})}
