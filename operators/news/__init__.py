"""Headlines: find the symbols that they mention, and identify duplicates."""

from operators.news.identity import news_id
from operators.news.tagging import SymbolTagger, Tagger

__all__ = ["SymbolTagger", "Tagger", "news_id"]
