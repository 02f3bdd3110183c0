"""From the settings to the source of headlines."""

from __future__ import annotations

from collections.abc import Callable

from configs.settings import Settings
from dataflows.sources.background import Background, Outside
from dataflows.sources.news.files import NewsFiles
from dataflows.sources.news.simulator import NewsSimulator
from dataflows.sources.polling import Polled
from operators.news import SymbolTagger
from schemas.errors import BadInput

Written = Callable[[], list[str]]


def news_source(settings: Settings, written: Written) -> Polled | None:
    """What the service asks; None where there are no headlines to ask for. `written` gives the ids in the topic.

    Simulated headlines are about simulated prices: a platform that plays files has none.
    """
    news, market = settings.news, settings.market_data
    if news.feed == "simulator":
        if market.feed != "simulator":
            return None
        return NewsSimulator(market.simulator.symbols, news.simulator.seed, interval_s=news.simulator.interval_s)
    outside = _outside(settings)
    if outside is None:
        return None
    return Background("news", outside, written=written, remembered=news.remembered).start()


def socket_of(url: str | None) -> str | None:
    """The news socket of a server that speaks Alpaca's protocol.

    >>> socket_of("http://127.0.0.1:9000"), socket_of(None)
    ('ws://127.0.0.1:9000/v1beta1/news', None)
    """
    return None if url is None else f"ws{url.removeprefix('http')}/v1beta1/news"


def _outside(settings: Settings) -> Outside | None:
    news = settings.news
    tag = SymbolTagger(news.companies).tag
    if news.feed == "rss":
        if not news.rss.urls:
            raise BadInput("news.feed rss needs news.rss.urls, found none")
        from dataflows.sources.news.rss import RssFeeds

        return RssFeeds(
            news.rss.urls,
            interval_s=news.poll_interval_s,
            timeout_s=news.rss.timeout_s,
            max_bytes=news.rss.max_bytes,
            tag=tag,
        )
    if news.feed == "files":
        if not news.files.paths:
            raise BadInput("news.feed files needs news.files.paths, found none")
        return NewsFiles(news.files.paths, interval_s=news.poll_interval_s, tag=tag)
    if news.feed == "alpaca":
        from dataflows.sources.news.alpaca import AlpacaNews  # 90 MB, and of no use to the other feeds

        alpaca = news.alpaca
        return AlpacaNews(
            *settings.alpaca.keys(),
            request_s=news.poll_interval_s,
            tag=tag,
            symbols=alpaca.symbols,
            url=settings.alpaca.url,
            socket_url=socket_of(settings.alpaca.url),
        )
    return None
