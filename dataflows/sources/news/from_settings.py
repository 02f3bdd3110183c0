"""Build the source of headlines from the settings."""

from __future__ import annotations

from collections.abc import Callable

from configs.settings import Settings
from dataflows.sources.background_poller import BackgroundPoller, BlockingSource
from dataflows.sources.news.files import NewsFileSource
from dataflows.sources.news.simulator import SimulatedNewsSource
from dataflows.sources.polled_source import PollableSource
from operators.news import SymbolTagger
from schemas.errors import BadInput

ReadStoredIds = Callable[[], list[str]]


def news_source(settings: Settings, read_stored_ids: ReadStoredIds) -> PollableSource | None:
    """Return the service's source, or None if there is none. `read_stored_ids` returns the ids in the topic and
    stores their headlines in the table.

    Simulated headlines match simulated prices, so a platform that replays files has none.
    """
    news, market = settings.news, settings.market_data
    if news.feed == "simulator":
        if market.feed != "simulator":
            return None
        # An earlier process may have published headlines and not stored them. The reader stores them; the simulator
        # does not create the headlines of the past again.
        read_stored_ids()
        return SimulatedNewsSource(market.simulator.symbols, news.simulator.seed, interval_s=news.simulator.interval_s)
    source = _build_source(settings)
    if source is None:
        return None
    return BackgroundPoller("news", source, read_stored_ids=read_stored_ids, ids_max=news.remembered).start()


def news_socket_url(url: str | None) -> str | None:
    """Return the news socket of a server with Alpaca's protocol.

    >>> news_socket_url("http://127.0.0.1:9000"), news_socket_url(None)
    ('ws://127.0.0.1:9000/v1beta1/news', None)
    """
    return None if url is None else f"ws{url.removeprefix('http')}/v1beta1/news"


def _build_source(settings: Settings) -> BlockingSource | None:
    news = settings.news
    tag = SymbolTagger(news.companies).tag
    if news.feed == "rss":
        if not news.rss.urls:
            raise BadInput("news.feed rss needs news.rss.urls, found none")
        from dataflows.sources.news.rss import RssNewsSource

        return RssNewsSource(
            news.rss.urls,
            interval_s=news.poll_interval_s,
            timeout_s=news.rss.timeout_s,
            max_bytes=news.rss.max_bytes,
            redirect_hosts=news.rss.redirect_hosts,
            private_addresses=news.rss.private_addresses,
            tag=tag,
        )
    if news.feed == "files":
        if not news.files.paths:
            raise BadInput("news.feed files needs news.files.paths, found none")
        return NewsFileSource(news.files.paths, interval_s=news.poll_interval_s, tag=tag)
    if news.feed == "alpaca":
        # Imported here: the client takes 90 MB of memory.
        from dataflows.sources.news.alpaca import AlpacaNewsSource

        alpaca = news.alpaca
        return AlpacaNewsSource(
            *settings.alpaca.keys(),
            request_interval_s=news.poll_interval_s,
            tag=tag,
            symbols=alpaca.symbols,
            url=settings.alpaca.url,
            socket_url=news_socket_url(settings.alpaca.url),
        )
    return None
