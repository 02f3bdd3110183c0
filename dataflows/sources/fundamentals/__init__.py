"""Sources of company figures: the SEC's companyfacts and watched files; the settings choose one."""

from dataflows.sources.fundamentals.from_settings import fundamentals_source

__all__ = ["fundamentals_source"]
