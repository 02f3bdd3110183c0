"""Company fundamentals: reported figures and ratios."""

from operators.fundamentals.companyfacts import filings
from operators.fundamentals.ratios import FACTS, RATIOS, ratios

__all__ = ["FACTS", "RATIOS", "filings", "ratios"]
