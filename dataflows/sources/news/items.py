"""Build a NewsItem from a source's headline."""

from __future__ import annotations

import html
import re
import time
from collections.abc import Callable, Sequence

from operators.news import Tagger, news_id
from schemas.records import NewsItem

HEADLINE_MAX, SUMMARY_MAX, URL_MAX, SYMBOLS_MAX = 500, 4000, 1000, 50
_TAG = re.compile(r"<[^<>]*>")


def make_item(
    source: str,
    headline: str,
    *,
    published_ns: int,
    tag: Tagger,
    key: str = "",
    summary: str = "",
    url: str = "",
    symbols: Sequence[str] = (),
    now_ns: Callable[[], int] = time.time_ns,
) -> NewsItem | None:
    """Build an item. `key` is the source's id of the item, or "".

    Markup is removed from the texts, and they are cut to the maximum lengths. Return None if the headline is empty.
    """
    headline, summary = plain_text(headline)[:HEADLINE_MAX], plain_text(summary)[:SUMMARY_MAX]
    if not headline:
        return None
    item_symbols = list(dict.fromkeys(symbols)) or tag(f"{headline} {summary}")
    item_id = news_id(source, headline, published_ns, key)
    return NewsItem(
        news_id=item_id,
        ts_ns=now_ns(),
        published_ns=published_ns,
        source=source,
        headline=headline,
        summary=summary,
        url=_plain_url(url),
        symbols=item_symbols[:SYMBOLS_MAX],
    )


def plain_text(text: str) -> str:
    """Remove markup, resolve entities and reduce white space to single spaces.

    >>> plain_text("<p>AT&amp;T <b>rises</b>\\n 3 &lt; 4</p>")
    'AT&T rises 3 < 4'
    """
    unescaped = html.unescape(_TAG.sub(" ", text)).encode("utf-8", "replace").decode()
    return " ".join("".join(character if character.isprintable() else " " for character in unescaped).split())


def _plain_url(url: str) -> str:
    """Return at most `URL_MAX` characters of a URL, without white space and control characters.

    >>> _plain_url("http://x/\\x00a \\ud800b")
    'http://x/ab'
    """
    return "".join(character for character in url if character.isprintable() and not character.isspace())[:URL_MAX]
