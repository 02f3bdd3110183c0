"""The gateway: translate approved orders into broker requests, and broker reports into executions."""

from operators.gateway.settings import GatewaySettings
from operators.gateway.stage import GatewayStage

__all__ = ["GatewaySettings", "GatewayStage"]
