"""RSS and Atom feeds over HTTP, fetched with conditional requests that are bounded in size and time."""

from __future__ import annotations

import calendar
import io
import re
import sys
import time
from collections.abc import Callable, Collection, Sequence
from typing import Any
from urllib.parse import urlsplit

import feedparser
import structlog

from dataflows.sources.conditional_get import ConditionalGet
from dataflows.sources.news.items import make_item
from operators.news import Tagger
from schemas.errors import InvalidField, Unavailable
from schemas.records import NewsItem, Record

log = structlog.get_logger(__name__)

USER_AGENT = "institutional-trading-platform"
DAY_NS = 86_400 * 1_000_000_000
_NUMERIC_REFERENCE = re.compile(rb"&#(?:x([0-9a-f]+)|([0-9]+));?", re.I)


class RssNewsSource:
    """A `BlockingSource` (`background_poller.py`). `max_bytes` bounds a decompressed response.

    `redirect_hosts` and `private_addresses` say where it may connect (`public_http.py`). A feed that fails does not
    affect the others. If all fail, `fetch` raises Unavailable.
    """

    def __init__(
        self,
        urls: Sequence[str],
        *,
        interval_s: float,
        timeout_s: float,
        max_bytes: int,
        tag: Tagger,
        redirect_hosts: Collection[str] = (),
        private_addresses: bool = False,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.interval_s = interval_s
        self._urls, self._tag, self._now_ns = urls, tag, now_ns
        self._http = ConditionalGet(
            timeout_s=timeout_s,
            max_bytes=max_bytes,
            headers={"User-Agent": USER_AGENT},
            redirect_hosts=redirect_hosts,
            private_addresses=private_addresses,
        )

    def fetch(self) -> list[Record]:
        items: list[NewsItem] = []
        failures: list[str] = []
        for url in self._urls:
            try:
                content = self._http.get(url)
                if content is not None:
                    items += self._parse_items(url, content)
            except (Unavailable, InvalidField) as error:
                failures.append(str(error))
        if failures and len(failures) == len(self._urls):
            raise Unavailable("; ".join(failures))
        for failure in failures:
            log.warning("rss feed request failed", reason=failure)
        return [*sorted(items, key=lambda item: item.published_ns)]

    def close(self) -> None:
        self._http.close()

    def _parse_items(self, url: str, content: bytes) -> list[NewsItem]:
        readable = _NUMERIC_REFERENCE.sub(_valid_reference, content)
        try:
            parsed = feedparser.parse(io.BytesIO(readable))  # bytes that look like a path would be opened as a file
            items = [self._news_item(f"rss:{urlsplit(url).hostname}", entry) for entry in parsed.entries]
        except Exception as error:  # a hostile feed may make the parser raise anything
            self._http.forget_validators(url)
            raise InvalidField(f"{url}: malformed feed: {type(error).__name__} {str(error)[:200]}".rstrip()) from error
        if not parsed.entries:
            if parsed.get("bozo"):
                log.warning("rss feed malformed", url=url, reason=str(parsed.get("bozo_exception"))[:200])
            return []
        return [item for item in items if item is not None]

    def _news_item(self, source: str, entry: Any) -> NewsItem | None:
        published = entry.get("published_parsed") or entry.get("updated_parsed")
        now_ns = self._now_ns()
        # A source with a wrong clock must not date a headline in the future.
        published_ns = min(calendar.timegm(published) * 1_000_000_000, now_ns) if published else now_ns
        key = str(entry.get("id") or entry.get("link") or "")
        if not key and not published:
            published_ns -= published_ns % DAY_NS  # equal headlines of one day are one item
        return make_item(
            source,
            str(entry.get("title") or ""),
            published_ns=max(published_ns, 0),
            tag=self._tag,
            key=key,
            summary=str(entry.get("summary") or ""),
            url=str(entry.get("link") or ""),
            now_ns=self._now_ns,
        )


def _valid_reference(match: re.Match[bytes]) -> bytes:
    """Replace a reference to a number that is not a character: it would make feedparser lose the whole feed."""
    digits, base = (match[1], 16) if match[1] else (match[2], 10)
    number = int(digits, base) if len(digits) <= 10 else sys.maxunicode + 1
    return match[0] if number <= sys.maxunicode and not 0xD800 <= number <= 0xDFFF else b"&#xFFFD;"
