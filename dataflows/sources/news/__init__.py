"""Sources of headlines and social posts."""

from dataflows.sources.news.from_settings import news_source

__all__ = ["news_source"]
