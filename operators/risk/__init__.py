"""Pre-trade risk: each proposal is approved or refused by checks, one file each in `operators/risk/checks`."""

from operators.risk.settings import UNLIMITED, Limit, RiskSettings
from operators.risk.stage import RiskStage

__all__ = ["UNLIMITED", "Limit", "RiskSettings", "RiskStage"]
