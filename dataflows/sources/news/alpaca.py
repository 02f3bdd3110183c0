"""Alpaca news: headlines by socket, and requests for those missed while disconnected."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import requests
import structlog
from alpaca.common.exceptions import APIError
from alpaca.data.historical.news import NewsClient
from alpaca.data.live.news import NewsDataStream
from alpaca.data.requests import NewsRequest

from dataflows.sources.news.items import make_item
from operators.news import Tagger
from schemas.errors import Unavailable
from schemas.records import NewsItem, Record
from sinks.background_thread import BackgroundThread

log = structlog.get_logger(__name__)

SOURCE = "alpaca"
OVERLAP = timedelta(minutes=15)
FIRST_LOOKBACK = timedelta(hours=24)  # how far the first request looks back
POLL_S = 1.0
PENDING_ITEMS_MAX = 5000


class AlpacaNewsSource:
    """A `BlockingSource`. `url` and `socket_url` replace Alpaca's servers; empty `symbols` subscribes to all.

    The socket runs in alpaca-py's loop in its own thread and reconnects automatically. Every `request_interval_s` the
    source requests the news since the last response, with some overlap. An item that arrives twice has one id.
    """

    def __init__(
        self,
        key: str,
        secret: str,
        *,
        request_interval_s: float,
        tag: Tagger,
        symbols: Sequence[str] = (),
        url: str | None = None,
        socket_url: str | None = None,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.interval_s = min(POLL_S, request_interval_s)
        self._request_interval_s, self._tag = request_interval_s, tag
        self._symbols, self._now_ns = tuple(symbols), now_ns
        self._client = NewsClient(key, secret, url_override=url)
        self._stream = NewsDataStream(key, secret, url_override=socket_url)
        self._lock = threading.Lock()
        self._received: list[NewsItem] = []
        self._requested_until: datetime | None = None
        self._request_due_s = 0.0
        self._thread = BackgroundThread("alpaca news", self._stream.run)
        self._stream_started = False

    def fetch(self) -> list[Record]:
        self._start_socket()
        requested: list[NewsItem] = []
        if time.monotonic() >= self._request_due_s:
            self._request_due_s = time.monotonic() + self._request_interval_s
            requested = self._request_news()
        with self._lock:
            received, self._received = self._received, []
        return [*requested, *received]

    def close(self) -> None:
        self._thread.request_stop()
        stream: Any = self._stream
        if stream._loop is not None:  # alpaca-py cannot stop a stream whose thread has not begun to run
            stream.stop()

    def _start_socket(self) -> None:
        """Start the socket's thread, which also starts again after a rejected key, where alpaca-py stops."""
        if not self._stream_started:
            self._stream_started = True
            self._stream.subscribe_news(self._on_news, *(self._symbols or ("*",)))
            self._thread.start()

    async def _on_news(self, news: Any) -> None:
        item = self._news_item(news)
        with self._lock:
            if item is not None and len(self._received) < PENDING_ITEMS_MAX:
                self._received.append(item)

    def _request_news(self) -> list[NewsItem]:
        now = datetime.fromtimestamp(self._now_ns() / 1e9, UTC)
        start = now - FIRST_LOOKBACK if self._requested_until is None else self._requested_until - OVERLAP
        request = NewsRequest(start=start, symbols=",".join(self._symbols) or None, limit=200)
        try:
            response: Any = self._client.get_news(request)
        except (APIError, requests.RequestException, ValueError, TypeError, KeyError, AttributeError) as error:
            # The last four: alpaca-py raises them for a malformed response.
            raise Unavailable(f"Alpaca news request failed: {' '.join(str(error).split())[:300]}") from error
        self._requested_until = now
        items = [self._news_item(news) for news in response.data.get("news", [])]
        return sorted((item for item in items if item is not None), key=lambda item: item.published_ns)

    def _news_item(self, news: Any) -> NewsItem | None:
        return make_item(
            SOURCE,
            news.headline or "",
            published_ns=round(news.created_at.timestamp() * 1000) * 1_000_000,
            tag=self._tag,
            key=str(news.id),
            summary=news.summary or "",
            url=news.url or "",
            symbols=news.symbols or (),
            now_ns=self._now_ns,
        )
