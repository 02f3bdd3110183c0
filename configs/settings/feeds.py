"""Where bars, quotes, news and companies' figures come from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from configs.settings.sections import Section
from operators.minutes import FeedSettings

OTHER_FILES = ("quotes", "reference_data", "news", "fundamentals")
"""Kinds of files that a tape may hold besides bars."""


class FileFeed(Section):
    """Bars from files (`paths`), and what else their tape holds. `speed` is "max" or a multiple of real time."""

    paths: tuple[Path, ...] = ()
    quotes: tuple[Path, ...] = ()
    reference_data: tuple[Path, ...] = ()
    news: tuple[Path, ...] = ()
    fundamentals: tuple[Path, ...] = ()
    speed: Literal["max"] | Annotated[float, Field(gt=0)] = "max"
    calendar: str = "XNYS"
    session: str = "extended"
    bar_interval_s: int = 60
    timezone: str = "UTC"
    time_is: str = "open"
    symbols: tuple[str, ...] | None = None
    start: str | None = None
    end: str | None = None

    def reading(self) -> FeedSettings:
        """How to read the rows. Raises BadInput."""
        return FeedSettings(**self.model_dump(exclude={"paths", "speed", *OTHER_FILES}))


class SimulatorFeed(Section):
    symbols: tuple[str, ...] = ("AAPL", "MSFT")
    seed: int = 7
    interval_s: Annotated[int, Field(ge=1)] = 1


class AlpacaFeed(Section):
    """Live bars of `symbols`; the account is that of the section `alpaca`. `stale_s`: so long without a word, in a
    session, the provider counts as gone. For the other times see `LiveFeedSettings` of dataflows/sources/market/.
    """

    symbols: tuple[str, ...] = ("AAPL", "MSFT")
    asset_class: Literal["stocks", "crypto"] = "stocks"
    data_feed: Literal["iex", "sip"] = "iex"
    quotes: bool = True
    trades: bool = False
    calendar: Literal["XNYS", "24/7"] = "XNYS"
    session: Literal["extended", "regular"] = "extended"
    bar_interval_s: Annotated[int, Field(ge=1, le=60)] = 60
    clock_ms: Annotated[int, Field(ge=10, le=60_000)] = 250
    wait_s: Annotated[float, Field(ge=0)] = 5.0
    stale_s: Annotated[float, Field(gt=0)] = 90.0
    backfill_minutes_max: Annotated[int, Field(ge=0)] = 960


class MarketData(Section):
    """`providers` of a live feed, the preferred one first: Alpaca's socket, its bars by request, invented prices.
    `heartbeat_s`: how often a live feed puts the wall clock into the log, for the breaker `lag`; 0: never.
    """

    feed: Literal["simulator", "files", "alpaca"] = "simulator"
    heartbeat_s: Annotated[float, Field(ge=0)] = 0.0
    files: FileFeed = FileFeed()
    simulator: SimulatorFeed = SimulatorFeed()
    alpaca: AlpacaFeed = AlpacaFeed()
    providers: Annotated[tuple[Literal["alpaca", "alpaca_rest", "simulator"], ...], Field(min_length=1)] = (
        "alpaca",
        "alpaca_rest",
    )

    def bars_per_year(self) -> float:
        """How many bars a symbol has in a year: XNYS has 252 days of 6.5 hours, of 16 with pre and post-market."""
        if self.feed == "simulator":
            return 365 * 86_400 / self.simulator.interval_s
        read = self.files if self.feed == "files" else self.alpaca
        regular = 6.5 if read.session == "regular" else 16
        hours = 252 * regular if read.calendar == "XNYS" else 365 * 24
        return hours * 3600 / read.bar_interval_s


class NewsSimulator(Section):
    """A headline for one stretch of `interval_s` seconds in two."""

    seed: int = 7
    interval_s: Annotated[float, Field(gt=0)] = 15.0


class NewsFiles(Section):
    paths: tuple[Path, ...] = ()


class Rss(Section):
    """RSS and Atom feeds. `max_bytes` bounds one answer, `timeout_s` each wait within it."""

    urls: tuple[str, ...] = ()
    timeout_s: Annotated[float, Field(gt=0)] = 10.0
    max_bytes: Annotated[int, Field(ge=1000)] = 5_000_000


class AlpacaNews(Section):
    """Without symbols all news are asked for. The account and the address are those of the section `alpaca`."""

    symbols: tuple[str, ...] = ()


class News(Section):
    """Where headlines come from, beside those of a tape. `companies` gives each symbol the names by which texts call
    it; `remembered` ids are kept to drop repeats.
    """

    feed: Literal["none", "simulator", "files", "rss", "alpaca"] = "none"
    poll_interval_s: Annotated[float, Field(gt=0)] = 60.0
    companies: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    remembered: Annotated[int, Field(ge=1)] = 100_000
    simulator: NewsSimulator = NewsSimulator()
    files: NewsFiles = NewsFiles()
    rss: Rss = Rss()
    alpaca: AlpacaNews = AlpacaNews()


class SecFacts(Section):
    """The SEC's companyfacts. `companies` gives each symbol its CIK; `user_agent` names who asks, with an e-mail
    address, as the SEC wants it; `url` replaces its address, with `{cik}` in it; filings older than `history_days` are
    left out.
    """

    companies: dict[str, Annotated[int, Field(ge=1)]] = Field(default_factory=dict)
    user_agent: str = ""
    url: str | None = None
    requests_per_s: Annotated[float, Field(gt=0, le=10)] = 5.0
    timeout_s: Annotated[float, Field(gt=0)] = 30.0
    history_days: Annotated[int, Field(ge=1)] = 400


class FundamentalsFiles(Section):
    paths: tuple[Path, ...] = ()


class FundamentalsFeed(Section):
    """Where companies' figures come from, beside those of a tape."""

    feed: Literal["none", "sec", "files"] = "none"
    poll_interval_s: Annotated[float, Field(gt=0)] = 3600.0
    remembered: Annotated[int, Field(ge=1)] = 100_000
    sec: SecFacts = SecFacts()
    files: FundamentalsFiles = FundamentalsFiles()
