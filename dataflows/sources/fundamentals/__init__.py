"""Sources of companies' figures."""

from dataflows.sources.fundamentals.from_settings import fundamentals_source

__all__ = ["fundamentals_source"]
