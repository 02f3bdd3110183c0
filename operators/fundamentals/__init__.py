"""Companies' figures: what is reported, and what follows from it."""

from operators.fundamentals.companyfacts import filings
from operators.fundamentals.ratios import FACTS, RATIOS, ratios

__all__ = ["FACTS", "RATIOS", "filings", "ratios"]
