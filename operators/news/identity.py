"""When two headlines are one: the same guid or address at a source, else the same words on the same day."""

from __future__ import annotations

import re
from hashlib import sha256

DAY_NS = 86_400 * 1_000_000_000
_WORDS = re.compile(r"\w+")


def news_id(source: str, headline: str, published_ns: int, key: str = "") -> str:
    """`key` is what the source itself tells its items apart by, "" for nothing. Upper and lower case, punctuation and
    spaces of a headline do not count.

    >>> news_id("rss:x", "Profits  rise!", 5) == news_id("rss:x", "profits rise", 7)
    True
    >>> news_id("rss:x", "Profits rise", 5, "a") == news_id("rss:x", "Profits rise (updated)", 5, "a")
    True
    """
    identity_parts = (
        ("key", key) if key else ("words", " ".join(_WORDS.findall(headline.lower())), str(published_ns // DAY_NS))
    )
    return f"news-{sha256(chr(31).join((source, *identity_parts)).encode()).hexdigest()[:24]}"
