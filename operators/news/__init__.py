"""Headlines: which symbols they name, and when two are the same."""

from operators.news.identity import news_id
from operators.news.tagging import SymbolTagger

__all__ = ["SymbolTagger", "news_id"]
