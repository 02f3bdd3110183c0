"""Where Kafka is and how it is spoken to: the one place that makes librdkafka's configuration, for every client.

The names are librdkafka's: https://github.com/confluentinc/librdkafka/blob/master/CONFIGURATION.md
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Cluster:
    """`servers` as "host:port,...". `security` is what librdkafka is told of TLS and SASL beside, empty where the
    connections are plain; it may hold a password, so neither text of a cluster shows it.
    """

    servers: str
    security: Mapping[str, str] = field(default_factory=dict, repr=False)

    def __str__(self) -> str:
        return self.servers


Servers = Cluster | str
"""A plain text is a cluster whose connections are plain."""


def client_config(servers: Servers, options: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The configuration of a consumer, producer or admin client: the cluster's address and security, and `options`.

    >>> client_config("localhost:9092", {"log_level": 0})
    {'bootstrap.servers': 'localhost:9092', 'log_level': 0}
    """
    security = servers.security if isinstance(servers, Cluster) else {}
    return {"bootstrap.servers": str(servers), **security, **(options or {})}
