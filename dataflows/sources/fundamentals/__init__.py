"""Sources of companies' figures."""

from dataflows.sources.fundamentals.sources import fundamentals_source

__all__ = ["fundamentals_source"]
