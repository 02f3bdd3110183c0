"""Sources of headlines and social posts."""

from dataflows.sources.news.sources import news_source

__all__ = ["news_source"]
