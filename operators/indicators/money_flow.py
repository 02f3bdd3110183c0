"""The share of a bar's volume that counts as buying, for the indicators of accumulation and distribution."""

from __future__ import annotations

from schemas.records import Bar


def money_flow_volume(bar: Bar) -> float:
    """Return the volume times the position of the close in the bar: 1 at the high, -1 at the low; 0 without a range."""
    high = bar.high
    low = bar.low
    if high == low:
        return 0.0
    return ((bar.close - low) - (high - bar.close)) / (high - low) * bar.volume
