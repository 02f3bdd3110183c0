"""How much to hold: a strategy's view turned into a signed target quantity, rounded to lots, never beyond a cap."""

from operators.sizing.adjustment import beyond_band, part_of_the_way
from operators.sizing.estimates import Estimates
from operators.sizing.methods import Size, View, cap, size
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
from operators.sizing.target_weights import TARGET_WEIGHTS, TargetWeights, weights_of
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
    "SizingMethod",
    "SizingSettings",
    "TargetWeights",
    "TradeRecord",
    "View",
    "VolatilitySettings",
    "beyond_band",
    "cap",
    "part_of_the_way",
    "size",
    "weights_of",
]
