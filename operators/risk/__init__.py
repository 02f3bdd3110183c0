"""Pre-trade risk: approve or reject each proposal. Each check is one file in `operators/risk/checks`."""

from operators.risk.settings import UNLIMITED, Limit, RiskSettings
from operators.risk.stage import RiskStage

__all__ = ["UNLIMITED", "Limit", "RiskSettings", "RiskStage"]
