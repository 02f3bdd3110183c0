"""The gateway: approved orders in, what is asked of the broker out, and its reports as executions."""

from operators.gateway.settings import GatewaySettings
from operators.gateway.stage import GatewayStage

__all__ = ["GatewaySettings", "GatewayStage"]
