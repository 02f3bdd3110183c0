"""Settings of the sources of bars, quotes, news and fundamentals."""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, SecretStr, model_validator

from configs.settings.sections import Duration, Section
from operators.bar_completion import DAY_S, BarSettings, Calendar, FeedSettings, FileSessions
from schemas.errors import BadInput

EXTRA_FILE_KINDS = ("quotes", "trades", "reference_data", "data", "news", "fundamentals")
"""Kinds of files that a tape may contain in addition to bars."""


def _day_as_text(value: Any) -> Any:
    """Convert a whole number to text: YAML parses the day 20240307 as a number."""
    return str(value) if type(value) is int else value


@dataclass(frozen=True, kw_only=True)
class FileFeedSection(FeedSettings):
    """Files of bars and of other records, and how to read them.

    start           ISO date or time; rows whose bar opens before it are skipped
    end             ISO date or time; rows whose bar opens at it or later are skipped
    paths           CSV or Parquet files of bars, or `catalog:SPY,AAPL` for bars of the catalogue
    quotes          files of quotes
    trades          files of trades, from which strategies build bars of trades, volume, currency traded and Renko
    reference_data  files of reference data: corporate actions, exchange rates, halts and sessions
    data            files of your own data rows
    news            files of headlines
    fundamentals    files of company filings
    speed           `max`, or a multiple of real time
    """

    start: Annotated[str | None, BeforeValidator(_day_as_text)] = None
    end: Annotated[str | None, BeforeValidator(_day_as_text)] = None
    paths: tuple[Path, ...] = ()
    quotes: tuple[Path, ...] = ()
    trades: tuple[Path, ...] = ()
    reference_data: tuple[Path, ...] = ()
    data: tuple[Path, ...] = ()
    news: tuple[Path, ...] = ()
    fundamentals: tuple[Path, ...] = ()
    speed: Literal["max"] | Annotated[float, Field(gt=0)] = "max"


class SimulatorFeedSection(Section):
    """Simulated prices.

    symbols     simulated symbols
    seed        seed of the random prices
    interval_s  length of a bar; it divides a day
    market      `trending` has trends that last minutes, `choppy` many reversals
    """

    symbols: tuple[str, ...] = ("AAPL", "MSFT")
    seed: int = 7
    interval_s: Annotated[int, Field(ge=1)] = 1
    market: Literal["trending", "choppy"] = "trending"


class AlpacaFeedSection(Section):
    """Settings of a live feed that only Alpaca has. The account is in the section `alpaca`.

    asset_class  stocks or crypto
    data_feed    Alpaca's feed of stock data: IEX only, or all exchanges (`sip`)
    """

    asset_class: Literal["stocks", "crypto"] = "stocks"
    data_feed: Literal["iex", "sip"] = "iex"


@dataclass(frozen=True, kw_only=True)
class LiveFeedSection(BarSettings):
    """Live bars from any provider. Raises BadInput for any other value.

    symbols               symbols expected in every minute
    clock_ms              minimum time between time slices that contain only quotes and trades; while the services are
                          behind, also between those for other waiting records
    clock_session_s       maximum time between time slices during a session
    clock_closed_s        maximum time between time slices outside all sessions
    wait_s                maximum wait for the bars of a minute after its end
    stale_s               seconds without data during a session after which the feed fails over to the next provider
    backfill_minutes_max  [minutes] maximum number of minutes to backfill at a start
    quotes                whether to subscribe to quotes
    trades                whether to subscribe to trades even if no strategy declares bars of trades
    """

    symbols: tuple[str, ...] = ("AAPL", "MSFT")
    quotes: bool = True
    trades: bool = False
    bar_interval_s: Annotated[int, Field(ge=1, le=60)] = 60
    clock_ms: Annotated[int, Field(ge=10, le=60_000)] = 250
    clock_session_s: Annotated[float, Field(gt=0, le=10)] = 1.0
    clock_closed_s: Annotated[float, Field(gt=0, le=60)] = 30.0
    wait_s: Annotated[float, Field(ge=0)] = 5.0
    stale_s: Annotated[float, Field(gt=0)] = 90.0
    backfill_minutes_max: Annotated[int, Field(ge=0)] = 960

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.symbols or len(set(self.symbols)) != len(self.symbols):
            raise BadInput(f"a live feed needs distinct symbols, found {', '.join(self.symbols) or 'none'}")
        if self.clock_ms < 10 or (self.bar_interval_s * 1000) % self.clock_ms:
            raise BadInput(f"setting clock_ms must be >= 10 and divide the bar interval, found {self.clock_ms}")
        session_s, closed_s = self.clock_session_s, self.clock_closed_s
        if not (0 < session_s <= 10 and session_s <= closed_s <= 60):
            raise BadInput(
                "setting clock_session_s must be > 0 and <= 10, and clock_closed_s >= clock_session_s and <= 60, "
                f"found {session_s} and {closed_s}"
            )


class PolygonSection(Section):
    """The account at Polygon (now Massive).

    api_key     API key of the account (the secret POLYGON_API_KEY)
    stream_url  address of the stream, for another plan or another server with the same API; unset: Polygon's own
    rest_url    address of the REST API, for another plan or another server with the same API; unset: Polygon's own
    """

    api_key: SecretStr | None = None
    stream_url: Annotated[str, Field(pattern=r"^wss?://[^/?#]+/[^?#]+$")] | None = None
    rest_url: Annotated[str, Field(pattern=r"^https?://[^/?#]+$")] | None = None

    def key(self) -> str:
        """Return the API key. Raises BadInput if it is not set."""
        if self.api_key is None:
            raise BadInput("Polygon requires POLYGON_API_KEY, found none")
        return self.api_key.get_secret_value()

    def foreign_urls(self) -> list[str]:
        """Return the names of the URLs that do not belong to Polygon or are not encrypted."""
        urls = (("polygon.stream_url", self.stream_url), ("polygon.rest_url", self.rest_url))
        return [name for name, url in urls if url is not None and not _POLYGON_URL.match(url)]


_POLYGON_URL = re.compile(r"(wss|https)://([\w-]+\.)+(massive\.com|polygon\.io)(:443)?(/|$)", re.A)

LIVE_FEED_PROVIDERS: dict[str, tuple[str, ...]] = {
    "alpaca": ("alpaca", "alpaca_rest"),
    "polygon": ("polygon", "polygon_rest"),
    "live": (),
}
"""Live feeds and their default providers."""

TRADE_PROVIDERS = frozenset({"alpaca", "polygon"})
"""Providers with a stream of trades."""
POLYGON_BAR_INTERVALS_S = (1, 60)


class MarketDataSection(Section):
    """The feed of bars and quotes.

    feed              the feed; `live` uses the `providers`
    heartbeat_s       interval at which a live feed writes the wall clock to the log, as the breaker `lag` needs it; 0:
                      off
    history_bars      [bars] bars of each symbol before the start that warm up indicators and strategies; unset: as many
                      as they declare
    files             the feed `files`
    simulator         the feed `simulator`
    live              the feeds `live`, `alpaca` and `polygon`
    alpaca            settings that only Alpaca's prices have
    providers         providers of a live feed, the preferred one first; empty: those of the feed `alpaca` or `polygon`
    update_frequency  [seconds] polling interval of a REST provider while bars of a minute are missing
    """

    feed: Literal["simulator", "files", "live", "alpaca", "polygon"] = "simulator"
    heartbeat_s: Annotated[float, Field(ge=0)] = 0.0
    history_bars: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    files: FileFeedSection = FileFeedSection()
    simulator: SimulatorFeedSection = SimulatorFeedSection()
    live: LiveFeedSection = LiveFeedSection()
    alpaca: AlpacaFeedSection = AlpacaFeedSection()
    providers: tuple[Literal["polygon", "polygon_rest", "alpaca", "alpaca_rest", "simulator"], ...] = ()
    update_frequency: Duration = 1

    def live_providers(self) -> tuple[str, ...]:
        """Return the providers of a live feed in order of preference; empty for other feeds."""
        return (self.providers or LIVE_FEED_PROVIDERS[self.feed]) if self.feed in LIVE_FEED_PROVIDERS else ()

    @model_validator(mode="after")
    def _check_providers(self) -> Self:
        providers = self.live_providers()
        if self.feed in LIVE_FEED_PROVIDERS and not providers:
            raise ValueError(f"feed {self.feed} requires market_data.providers, found none")
        if len(set(self.providers)) < len(self.providers):
            raise ValueError(f"providers must be unique, found {', '.join(self.providers)}")
        if any(name.startswith("polygon") for name in providers):
            if self.alpaca.asset_class != "stocks":
                raise ValueError("the providers polygon and polygon_rest have only stocks, found asset_class crypto")
            if self.live.bar_interval_s not in POLYGON_BAR_INTERVALS_S:
                raise ValueError(f"Polygon has only bars of 1 or 60 s, found bar_interval_s {self.live.bar_interval_s}")
        return self

    def bar_interval_s(self) -> int:
        """Return the interval of the feed's bars in seconds. That of files counts as a minute while it is not known."""
        if self.feed == "simulator":
            return self.simulator.interval_s
        return self.files.interval_s or 60 if self.feed == "files" else self.live.bar_interval_s

    def has_trades(self) -> bool:
        """Return whether the feed publishes trades if a strategy declares bars of them."""
        if self.feed == "files":
            return bool(self.files.trades)
        return self.feed == "simulator" or not TRADE_PROVIDERS.isdisjoint(self.live_providers())

    def bars_per_year(self) -> float:
        """Return the bars of a symbol per year. XNYS has 252 days of 6.5 hours, or 16 hours with extended hours.

        The interval and session of files count as minutes and extended hours while they are not known.
        """
        if self.feed == "simulator":
            return 365 * DAY_S / self.simulator.interval_s
        if self.feed == "files":
            return _bars_per_year(self.files.calendar, self.files.session, self.files.interval_s or 60)
        return _bars_per_year(self.live.calendar, self.live.session, self.live.bar_interval_s)


def _bars_per_year(calendar: Calendar, session: FileSessions, interval_s: int) -> float:
    if calendar != "XNYS":
        return 365 * DAY_S / interval_s
    hours = (6.5,) if session == "regular" or interval_s == DAY_S else (5.5, 6.5, 4)
    return 252.0 * sum(ceil(hours_of_session * 3600 / interval_s) for hours_of_session in hours)


class NewsSimulatorSection(Section):
    """Simulated headlines.

    seed        seed of the random headlines
    interval_s  length of an interval; on average, every second interval has a headline
    """

    seed: int = 7
    interval_s: Annotated[float, Field(gt=0)] = 15.0


class NewsFilesSection(Section):
    """Files of headlines.

    paths  files of headlines that are read at an interval
    """

    paths: tuple[Path, ...] = ()


class RssSection(Section):
    """RSS and Atom feeds.

    urls               addresses of the feeds
    timeout_s          maximum wait for data
    max_bytes          [bytes] maximum size of one decompressed response
    redirect_hosts     hosts to which a redirect may lead, in addition to the feed's own
    private_addresses  whether feeds may be on this machine or in its network
    """

    urls: tuple[str, ...] = ()
    timeout_s: Annotated[float, Field(gt=0)] = 10.0
    max_bytes: Annotated[int, Field(ge=1000, le=50_000_000)] = 5_000_000
    redirect_hosts: tuple[str, ...] = ()
    private_addresses: bool = False


class AlpacaNewsSection(Section):
    """The news of Alpaca. The account and the URL are in the section `alpaca`.

    symbols  symbols whose news are requested; empty: all news
    """

    symbols: tuple[str, ...] = ()


class NewsSection(Section):
    """The source of headlines in addition to the files of `market_data.files.news`.

    feed             the source; `none` for no headlines
    poll_interval_s  polling interval of files, RSS feeds and Alpaca
    companies        names of each symbol's company in texts
    remembered       [ids] number of the last ids that are stored to discard duplicates
    simulator        the source `simulator`
    files            the source `files`
    rss              the source `rss`
    alpaca           the source `alpaca`
    """

    feed: Literal["none", "simulator", "files", "rss", "alpaca"] = "none"
    poll_interval_s: Annotated[float, Field(gt=0)] = 60.0
    companies: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    remembered: Annotated[int, Field(ge=1)] = 100_000
    simulator: NewsSimulatorSection = NewsSimulatorSection()
    files: NewsFilesSection = NewsFilesSection()
    rss: RssSection = RssSection()
    alpaca: AlpacaNewsSection = AlpacaNewsSection()


class SecFactsSection(Section):
    """The SEC's companyfacts API.

    companies          the SEC's number (CIK) of each symbol's company
    user_agent         your name and e-mail address, which the SEC requires
    url                address that replaces the SEC's and contains `{cik}`
    requests_per_s     [requests per second] maximum number of requests per second
    timeout_s          maximum wait for data
    history_days       [days] filings older than this are skipped
    private_addresses  whether `url` may be on this machine or in its network
    """

    companies: dict[str, Annotated[int, Field(ge=1)]] = Field(default_factory=dict)
    user_agent: str = ""
    url: str | None = None
    requests_per_s: Annotated[float, Field(gt=0, le=10)] = 5.0
    timeout_s: Annotated[float, Field(gt=0)] = 30.0
    history_days: Annotated[int, Field(ge=1)] = 400
    private_addresses: bool = False


class FundamentalsFilesSection(Section):
    """Files of company filings.

    paths  files of filings that are read at an interval
    """

    paths: tuple[Path, ...] = ()


class FundamentalsSection(Section):
    """The source of company filings in addition to the files of `market_data.files.fundamentals`.

    feed             the source; `none` for no filings
    poll_interval_s  polling interval of the source
    remembered       [ids] number of the last ids that are stored to discard duplicates
    sec              the source `sec`
    files            the source `files`
    """

    feed: Literal["none", "sec", "files"] = "none"
    poll_interval_s: Annotated[float, Field(gt=0)] = 3600.0
    remembered: Annotated[int, Field(ge=1)] = 100_000
    sec: SecFactsSection = SecFactsSection()
    files: FundamentalsFilesSection = FundamentalsFilesSection()
