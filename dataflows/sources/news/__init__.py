"""Sources of headlines: RSS and Atom feeds, Alpaca's news, watched files and the simulator; the settings choose one."""

from dataflows.sources.news.from_settings import news_source

__all__ = ["news_source"]
