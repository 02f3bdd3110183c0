"""Identify duplicate headlines: the same guid or address at a source, otherwise the same words on the same day."""

from __future__ import annotations

import re
from hashlib import sha256

DAY_NS = 86_400 * 1_000_000_000
_TOKENS = re.compile(r"\w+")


def news_id(source: str, headline: str, published_ns: int, key: str = "") -> str:
    """Return the id of a headline. `key` is the source's own identifier, or "".

    Without a key, the id depends on the source, the UTC day and the words of the headline. Case, punctuation and spaces
    do not matter.

    >>> news_id("rss:x", "Profits  rise!", 5) == news_id("rss:x", "profits rise", 7)
    True
    >>> news_id("rss:x", "Profits rise", 5, "a") == news_id("rss:x", "Profits rise (updated)", 5, "a")
    True
    """
    identity_parts = (
        ("key", key) if key else ("words", " ".join(_TOKENS.findall(headline.lower())), str(published_ns // DAY_NS))
    )
    return f"news-{sha256(chr(31).join((source, *identity_parts)).encode()).hexdigest()[:24]}"
