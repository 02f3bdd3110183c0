"""Position sizing: convert a strategy's view into a signed target quantity, rounded to lots and limited by a cap."""

from operators.sizing.adjustment import adjust_partly, apply_no_trade_band
from operators.sizing.estimates import Estimates
from operators.sizing.methods import Size, SizingInput, cap_quantity, size_position
from operators.sizing.settings import (
    METHODS,
    REBALANCED,
    AtrStopSettings,
    KellySettings,
    RiskParitySettings,
    SizingMethod,
    SizingSettings,
    VolatilitySettings,
)
from operators.sizing.target_weights import TARGET_WEIGHTS, TargetWeights, parse_weights
from operators.sizing.trade_record import TradeRecord
from operators.sizing.volatility import EwmaVolatility

__all__ = [
    "METHODS",
    "REBALANCED",
    "TARGET_WEIGHTS",
    "AtrStopSettings",
    "Estimates",
    "EwmaVolatility",
    "KellySettings",
    "RiskParitySettings",
    "Size",
    "SizingInput",
    "SizingMethod",
    "SizingSettings",
    "TargetWeights",
    "TradeRecord",
    "VolatilitySettings",
    "adjust_partly",
    "apply_no_trade_band",
    "cap_quantity",
    "parse_weights",
    "size_position",
]
