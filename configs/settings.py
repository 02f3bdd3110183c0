"""The settings as one frozen, typed tree. Unknown keys and impossible values are errors of one sentence.

From weakest to strongest: the YAML files of this folder, a settings file of the user's own, `SECTION__KEY` environment
variables, and the few environment variables with names of their own (`NAMED`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError, model_validator

from configs.alerts import Alerts
from configs.logs import hide
from configs.secrets import found_secrets, known_secrets, state_secrets
from operators.dead_letter_rate import RateLimits
from operators.ensemble import ENSEMBLE, EnsembleSettings
from operators.feedback import FeedbackSettings
from operators.gateway import GatewaySettings
from operators.instruments import NOTHING_LISTED, Instruments
from operators.minutes import FeedSettings
from operators.portfolio import PortfolioSettings
from operators.risk.settings import RiskSettings
from operators.sentiment import SentimentSettings
from operators.venue import VenueSettings
from schemas.errors import BadInput

FOLDER = Path(__file__).parent
NAMED = {
    "DATABASE_URL": ("database", "postgres", "url"),
    "REDIS_URL": ("database", "redis", "url"),
    "KAFKA_BOOTSTRAP_SERVERS": ("kafka", "bootstrap_servers"),
    "INITIAL_CAPITAL": ("portfolio_manager", "initial_capital"),
    "MAX_POSITION_SIZE": ("risk_manager", "max_position_size"),
    "RISK_TOLERANCE": ("portfolio_manager", "sizing", "fraction"),
    "API_JWT_KEY": ("api", "jwt_key"),
    "METRICS_TOKEN": ("api", "metrics_token"),
    "LOG_LEVEL": ("platform", "log_level"),
    "ALPACA_API_KEY": ("alpaca", "api_key"),
    "ALPACA_SECRET_KEY": ("alpaca", "secret_key"),
    "TRADING_MODE": ("execution", "mode"),
}
"""Environment variables that are known by these names elsewhere, and what they set."""

_UNIT_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


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


class Features(Section):
    indicators: tuple[str, ...] = ()


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
    companies: dict[str, tuple[str, ...]] = {}
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

    companies: dict[str, Annotated[int, Field(ge=1)]] = {}
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


class Predictions(Section):
    """`model` is the sha256 of a registered model or its first digits, or "none"; where nothing is said it is the one
    that was activated. `registry` is the folder of models: `models/` of the state folder.
    """

    model: str | None = None
    registry: Path | None = None


class StrategyEntry(Section):
    name: str
    parameters: dict[str, Any] = {}


class Signals(Section):
    strategies: tuple[StrategyEntry, ...] = (StrategyEntry(name="ema_cross"),)
    ensemble: EnsembleSettings = EnsembleSettings()


class Alpaca(Section):
    """The account at Alpaca. `url` names another server that speaks its protocol, such as `cli.py alpaca-server`."""

    api_key: SecretStr | None = None
    secret_key: SecretStr | None = None
    url: Annotated[str, Field(pattern=r"^https?://[^/]+$")] | None = None

    def keys(self) -> tuple[str, str]:
        """Key and secret; a server of one's own gets `local` where none are set. Raises BadInput."""
        if self.api_key is not None and self.secret_key is not None:
            return self.api_key.get_secret_value(), self.secret_key.get_secret_value()
        if self.url is not None and self.api_key is None and self.secret_key is None:
            return "local", "local"
        raise BadInput("Alpaca needs ALPACA_API_KEY and ALPACA_SECRET_KEY, found none or one of them")


Seconds = Annotated[float, Field(gt=0)]


class AlpacaGateway(Section):
    """How orders go through Alpaca: `GatewaySettings` of operators/gateway, and times of the edge in seconds
    (`EdgeSettings` of dataflows/broker/asking.py). `platform_id` goes before the id of every order at the broker.
    """

    extended_hours: bool = False
    collar_bps: Decimal = Decimal(50)
    foreign_positions: dict[str, Decimal] = {}
    platform_id: Annotated[str, Field(pattern=r"^[a-z0-9]{1,20}$")] | None = None
    order_age_max_s: Seconds = 60.0
    request_timeout_s: Seconds = 10.0
    settle_s: Seconds = 10.0
    refetch_s: Seconds = 2.0
    poll_s: Seconds = 15.0
    reconcile_s: Seconds = 60.0
    requests_per_minute: Annotated[int, Field(ge=10, le=10_000)] = 180


class Execution(Section):
    """`broker`: the simulated venue, or Alpaca. `mode` live trades real money: it needs `live_account`, the number of
    the account that is meant.
    """

    broker: Literal["simulated", "alpaca"] = "simulated"
    mode: Literal["paper", "live"] = "paper"
    live_account: str | None = None
    venue: VenueSettings = VenueSettings()
    alpaca: AlpacaGateway = AlpacaGateway()


LogLevel = Annotated[
    Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"],
    BeforeValidator(lambda given: given.upper() if isinstance(given, str) else given),
]


def _time_of_day(value: Any) -> Any:
    """YAML reads 12:30 without quotes as 750 minutes."""
    return f"{value // 60:02d}:{value % 60:02d}" if isinstance(value, int) else value


def _seconds(value: Any) -> Any:
    return value if isinstance(value, int) else seconds(value)


class Checks(Section):
    """What the stack checks by itself: `verify` every so many seconds, `replay_check` at a time of day in UTC."""

    verify: Annotated[int | None, BeforeValidator(_seconds)] = 300
    replay_check: Annotated[
        Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")] | None, BeforeValidator(_time_of_day)
    ] = "02:00"


class DeadLetters(Section):
    """How much a service may set aside before it halts; `services` says otherwise for some."""

    every: RateLimits = RateLimits()
    services: dict[str, RateLimits] = {}

    def of(self, service: str) -> RateLimits:
        return self.services.get(service, self.every)


class Platform(Section):
    checks: Checks = Checks()
    dead_letters: DeadLetters = DeadLetters()
    snapshot_interval_s: Annotated[int, Field(ge=1)] = 1
    log_level: LogLevel = "INFO"


Rate = Annotated[str, Field(pattern=r"^[1-9]\d{0,8}/(second|minute|hour|day)$")]
"""Requests within a sliding window: "600/minute"."""


class Api(Section):
    """How people reach the platform. Rates are for one user, `login_rate` for one address and for one name. Without
    `jwt_key` the API makes one in the state folder's secrets. Without `metrics_token` only callers on the
    API's own machine get `/metrics`.
    """

    jwt_key: Annotated[SecretStr, Field(min_length=32)] | None = None
    metrics_token: Annotated[SecretStr, Field(min_length=16)] | None = None
    access_token_s: Annotated[int, Field(ge=10)] = 900
    refresh_token_s: Annotated[int, Field(ge=60)] = 7 * 86_400
    read_rate: Rate = "1200/minute"
    command_rate: Rate = "120/minute"
    login_rate: Rate = "10/minute"
    command_timeout_s: Annotated[float, Field(gt=0)] = 10.0
    stream_rate: Rate = "60/minute"
    streams_max: Annotated[int, Field(ge=1)] = 500
    cors_origins: tuple[str, ...] = ("http://localhost:3000", "http://127.0.0.1:3000")


class Postgres(Section):
    url: str
    pool_size: Annotated[int, Field(ge=1)] = 5
    retry_s: Annotated[float, Field(gt=0)] = 120.0


class Redis(Section):
    url: str


class Database(Section):
    postgres: Postgres
    redis: Redis


class Topic(Section):
    """One entry of kafka_topics.yaml. `partitions` is a number, or "symbols": as many as `symbol_partitions`."""

    partitions: int | Literal["symbols"]
    retention_days: int
    owner: str | None
    readers: tuple[str, ...]
    schemas: tuple[str, ...]


class Kafka(Section):
    """`topic_prefix` goes before every topic's name, for several platforms on one cluster."""

    bootstrap_servers: str
    topic_prefix: str = ""
    symbol_partitions: Annotated[int, Field(ge=1)]
    replication: Annotated[int, Field(ge=1)] = 1
    topics: dict[str, Topic]


def _portfolio(value: Any) -> Any:
    """`rebalance_frequency: "1h"` is the brief's name for what the portfolio knows in seconds."""
    if not isinstance(value, Mapping) or "rebalance_frequency" not in value:
        return value
    rest = {key: entry for key, entry in value.items() if key != "rebalance_frequency"}
    return rest | {"rebalance_interval_s": seconds(value["rebalance_frequency"])}


class Settings(Section):
    """Everything that can be set. `market_data` to `feedback` decide; the rest only places."""

    instruments: Instruments = NOTHING_LISTED
    market_data: MarketData = MarketData()
    news: News = News()
    fundamentals: FundamentalsFeed = FundamentalsFeed()
    features: Features = Features()
    sentiment: SentimentSettings = SentimentSettings()
    predictions: Predictions = Predictions()
    signals: Signals = Signals()
    portfolio_manager: Annotated[PortfolioSettings, BeforeValidator(_portfolio)] = PortfolioSettings()
    risk_manager: RiskSettings = RiskSettings()
    alpaca: Alpaca = Alpaca()
    execution: Execution = Execution()
    feedback: FeedbackSettings = FeedbackSettings()
    platform: Platform = Platform()
    api: Api = Api()
    alerts: Alerts = Alerts()
    database: Database
    kafka: Kafka

    def of_files(self) -> Settings:
        """For a backtest: the feed is the files, whatever the platform's is, and nobody watches the limits, which
        costs a third of its speed at a report a minute. The P&L by strategy comes once an hour at most: every five
        minutes it is a fifth.
        """
        files = self.market_data.model_copy(update={"feed": "files"})
        execution = self.execution.model_copy(update={"broker": "simulated", "mode": "paper"})
        risk_manager = replace(self.risk_manager, usage_interval_s=0)
        asked_s = self.feedback.attribution_interval_s
        feedback = replace(self.feedback, attribution_interval_s=max(asked_s, 3600) if asked_s else 0)
        return self.model_copy(
            update={
                "market_data": files,
                "risk_manager": risk_manager,
                "execution": execution,
                "feedback": feedback,
            },
        )

    def with_files(self, others: Mapping[str, Sequence[Path]]) -> Settings:
        """With these files, by kind, in place of those that the settings name; an empty kind stays as it is."""
        named = {kind: tuple(paths) for kind, paths in others.items() if paths}
        assert named.keys() <= set(OTHER_FILES), f"unknown kinds of files in {sorted(named)}"
        files = self.market_data.files.model_copy(update=named)
        return self.model_copy(update={"market_data": self.market_data.model_copy(update={"files": files})})

    def portfolio(self) -> PortfolioSettings:
        """The portfolio settings, with the bars a year of the feed where nothing else is said, and only the ensemble's
        signals to trade where there is one.
        """
        portfolio, sizing = self.portfolio_manager, self.portfolio_manager.sizing
        bars_per_year = sizing.volatility.bars_per_year or self.market_data.bars_per_year()
        volatility = replace(sizing.volatility, bars_per_year=bars_per_year)
        traded = (ENSEMBLE,) if self.signals.ensemble.enabled else portfolio.strategies
        return replace(portfolio, sizing=replace(sizing, volatility=volatility), strategies=traded)

    def risk(self) -> RiskSettings:
        """The risk settings, with the portfolio's initial capital: the two services count cash apart from the same
        start.
        """
        capital = self.portfolio_manager.initial_capital
        account = self.portfolio_manager
        return replace(
            self.risk_manager,
            initial_capital=capital,
            instruments=self.instruments,
            account_currency=account.currency,
            accruals=account.accruals,
        )

    def venue(self) -> VenueSettings:
        """The simulated venue's settings, with the instruments that risk and the portfolio know too."""
        return replace(self.execution.venue, instruments=self.instruments)

    def gateway(self) -> GatewaySettings:
        """What the gateway's stage knows of its broker. Raises BadInput."""
        given = self.execution.alpaca
        return GatewaySettings(
            extended_hours=given.extended_hours,
            collar_bps=given.collar_bps,
            foreign_positions=given.foreign_positions,
            instruments=self.instruments,
        )

    @model_validator(mode="after")
    def _real_money_on_purpose(self) -> Self:
        """Live trading takes two things said by a person; one alone is a mistake of one kind or the other."""
        execution, market = self.execution, self.market_data
        invented = market.feed == "simulator" or (market.feed == "alpaca" and "simulator" in market.providers)
        if execution.broker == "alpaca" and self.alpaca.url is None and invented:
            raise ValueError("execution.broker alpaca takes no orders at the simulator's prices; set market_data.feed")
        if execution.mode == "live":
            if execution.broker != "alpaca":
                raise ValueError("TRADING_MODE=live needs execution.broker: alpaca, found simulated")
            if self.alpaca.url is not None:
                raise ValueError("TRADING_MODE=live trades at Alpaca itself and allows no alpaca.url")
            if not execution.live_account:
                raise ValueError(
                    "TRADING_MODE=live trades real money: name the account with `start --live-account NUMBER`"
                )
        elif execution.live_account:
            raise ValueError("execution.live_account is for TRADING_MODE=live, and the mode is paper")
        return self

    @model_validator(mode="after")
    def _instruments_in_one_place(self) -> Self:
        for where, given in (("risk_manager", self.risk_manager), ("execution.venue", self.execution.venue)):
            if given.instruments not in (NOTHING_LISTED, self.instruments):
                raise ValueError(f"instruments are listed in the section `instruments`, found some in {where}")
        return self


def seconds(duration: Any) -> int | None:
    """
    >>> seconds("1h"), seconds("90s"), seconds(None)
    (3600, 90, None)
    """
    if duration is None:
        return None
    match = re.fullmatch(r"(\d+)\s*([smhd])", str(duration).strip())
    if match is None:
        raise ValueError(f'must be a duration such as "30s", "15m", "1h" or "1d", found {duration!r}')
    return int(match[1]) * _UNIT_S[match[2]]


def load_settings(file: Path | None = None, environment: Mapping[str, str] | None = None) -> Settings:
    """The settings of this process. `file` goes before the YAML files here; PLATFORM_SETTINGS names it otherwise.

    Secrets come from where `configs/secrets.py` says; with an `environment` given, only where it names PLATFORM_HOME.
    Raises BadInput naming the file or variable, the key, what was expected and what was found.
    """
    secrets = _secrets(os.environ if environment is None else environment, asked=environment is None)
    environment = os.environ if environment is None else environment
    tree: dict[str, Any] = _read(FOLDER / "services.yaml")
    tree.update(_read(FOLDER / "alerts.yaml"))
    tree["database"] = _read(FOLDER / "database.yaml")
    tree["kafka"] = _read(FOLDER / "kafka_topics.yaml")
    if file is None and environment.get("PLATFORM_SETTINGS"):
        file = Path(environment["PLATFORM_SETTINGS"])
    if file is not None:
        _merge(tree, _read(file))
    home = environment.get("PLATFORM_HOME") or (FOLDER.parent / "var" if environment is os.environ else None)
    if home is not None:
        tree["predictions"] = {"registry": Path(home).resolve() / "models"} | (tree.get("predictions") or {})
    for path, value in [*secrets, *_from_environment(environment)]:
        _put(tree, path, value)
    try:
        return Settings.model_validate(tree)
    except ValidationError as error:
        raise BadInput(_sentence(error, file)) from error
    except BadInput as error:
        # A part's own check, which does not know where the value is from.
        raise BadInput(f"settings file {file}: {error}" if file else str(error)) from error


def _read(file: Path) -> dict[str, Any]:
    try:
        tree = yaml.safe_load(file.read_text())
    except OSError as error:
        raise BadInput(f"settings file {file}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise BadInput(f"settings file {file}: {' '.join(str(error).split())}") from error
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise BadInput(f"settings file {file}: expected keys and values, found {type(tree).__name__}")
    return tree


def _merge(tree: dict[str, Any], over: Mapping[str, Any]) -> None:
    for key, value in over.items():
        if isinstance(value, dict) and isinstance(tree.get(key), dict):
            _merge(tree[key], value)
        else:
            tree[key] = value


def _secrets(environment: Mapping[str, str], *, asked: bool) -> list[tuple[tuple[str, ...], str]]:
    if not asked and not environment.get("PLATFORM_HOME"):
        return []
    found = found_secrets(environment, state_secrets(environment))
    hide(value for value, _ in found.values())
    return [(NAMED[name], value) for name, (value, _) in found.items() if name in NAMED]


def _from_environment(environment: Mapping[str, str]) -> list[tuple[tuple[str, ...], Any]]:
    found: list[tuple[tuple[str, ...], Any]] = []
    for name, value in environment.items():
        path = tuple(part.lower() for part in name.split("__"))
        if len(path) > 1 and path[0] in Settings.model_fields:
            found.append((path, yaml.safe_load(value)))
    # Last, so that DATABASE_URL wins over a nested name for the same thing.
    found += [(path, environment[name]) for name, path in NAMED.items() if environment.get(name)]
    return found


def _put(tree: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    *above, last = path
    for key in above:
        tree = tree.setdefault(key, {})
    tree[last] = value


def _sentence(error: ValidationError, file: Path | None) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    secret = {".".join(NAMED[name]) for name in known_secrets() if name in NAMED}
    hidden = isinstance(first["input"], dict) or where in secret
    found = "" if hidden else first["input"]
    known = "" if first["type"] != "extra_forbidden" else "this key is not known"
    said = known or first["msg"].removeprefix("Value error, ")
    return (
        f"setting {where or 'tree'}{f' in {file}' if file else ''}: {said}{f', found {found!r}' if found != '' else ''}"
    )
