"""What the embedded Kafka and its in-memory substitute require of the settings."""

import os

from configs.settings import Settings
from deploy.errors import DeployError
from deploy.local.endpoints import Endpoints
from schemas.errors import BadInput


def require_own_security(settings: Settings) -> None:
    """Raises BadInput if the settings have TLS or SASL options for the embedded Kafka, which has its own principals.

    The settings must be loaded without the credentials of the embedded Kafka.
    """
    protocol = settings.kafka.security.protocol
    if protocol != "PLAINTEXT" and not os.environ.get("KAFKA_BOOTSTRAP_SERVERS"):
        raise BadInput(
            f"kafka.security.protocol is {protocol}, but the embedded Kafka manages its own authentication; "
            "remove kafka.security, or set KAFKA_BOOTSTRAP_SERVERS to a Kafka that uses it"
        )


def require_simulation(settings: Settings, endpoints: Endpoints) -> None:
    """Raises DeployError if orders would reach a broker while the topics are on the in-memory substitute for Kafka."""
    if settings.execution.broker != "simulated":
        raise DeployError(
            f"{'; '.join(endpoints.degraded)}; execution.broker {settings.execution.broker} requires Kafka: make it "
            "available (KAFKA_HOME or the network), or set KAFKA_BOOTSTRAP_SERVERS"
        )
