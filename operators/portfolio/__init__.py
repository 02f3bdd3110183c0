"""The portfolio: book executions, value the positions, and size the orders that the strategies' targets require."""

from operators.portfolio.settings import PortfolioSettings
from operators.portfolio.stage import PortfolioStage

__all__ = ["PortfolioSettings", "PortfolioStage"]
