"""The interface of a trading strategy: a class with declarations and handlers (see docs/howto/trading-strategy.md).

class Dip(TradingStrategy):
    symbols = ("KO",)
    features = {"1m": ("rsi_14",)}

    def on_slice(self, ctx):
        rsi = ctx.feature("KO", "rsi_14")
        if rsi is not None and rsi < 30:
            ctx.target_weight("KO", 0.5)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeVar

from operators.strategies.universe_rules import TopDollarVolume, UniverseFile
from operators.trading.intervals import DAY_NS, interval_ns
from operators.trading.market_events import EventName
from operators.trading.market_needs import BarSource
from schemas.errors import BadInput

if TYPE_CHECKING:
    from operators.trading.context import TradingContext
    from operators.trading.order_updates import Fill, OrderUpdate
    from schemas.records import (
        CorporateAction,
        DataRow,
        Fundamentals,
        NewsItem,
        Quote,
        RiskEvent,
        SentimentScore,
        StrategyAction,
        TradingStatus,
    )

    StrategyEvent = (
        CorporateAction
        | TradingStatus
        | StrategyAction
        | DataRow
        | RiskEvent
        | Quote
        | NewsItem
        | SentimentScore
        | Fundamentals
    )

_Handler = TypeVar("_Handler", bound=Callable[..., Any])
_SCHEDULES: Final = "_trading_schedules"
_TIME_PATTERN = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])")
_CAPITALS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")

ScheduleKind = Literal["TIME_OF_DAY", "AFTER_OPEN", "BEFORE_CLOSE", "EVERY"]
TIME_OF_DAY: Final = "TIME_OF_DAY"
AFTER_OPEN: Final = "AFTER_OPEN"
BEFORE_CLOSE: Final = "BEFORE_CLOSE"
EVERY: Final = "EVERY"


class Schedule(NamedTuple):
    """When a handler runs. `minutes` counts from midnight, after the open or before the close, as `kind` says.

    `calendar` is the name of a trading calendar, "" for that of the settings. `every_ns` is used by EVERY only.
    """

    kind: ScheduleKind
    minutes: int = 0
    calendar: str = ""
    every_ns: int = 0


class TradingStrategy:
    """A strategy that sees its whole universe, its positions and its orders, and acts through `ctx`.

    Subclasses declare what they need as class attributes or properties, and implement handlers. Parameters go to
    `__init__`. The object holds parameters only: everything that a strategy remembers is in `ctx.state`, which
    snapshots contain. Handlers must be pure: no clock, no randomness, no file and no network.

    Handlers of one time slice run in this order: `on_event`, `on_order` and `on_fill` in the order of the records,
    `on_slice`, then the handlers with `at` and `every` in the order of their definition.
    """

    name: str = "trading_strategy"
    """Unique name in a run: up to 32 letters, digits, `_`, `-` and `.`. Default: the class name in lower case."""
    symbols: Sequence[str] | None = None
    """The strategy's universe, or the candidates of `universe`. None: the universe of the settings."""
    universe: TopDollarVolume | UniverseFile | None = None
    """A rule that selects the universe from the candidates on a schedule. None: all of `symbols`."""
    features: Mapping[str, Sequence[str]] | Sequence[str] = ()
    """Indicator specs by bar interval: `{"1m": ("sma_60",), "15m": ("ema_20",)}`. A tuple: of the feed's bars."""
    history: Mapping[str, int] = {}
    """Number of closed bars by interval that `ctx.history` returns for each symbol."""
    bar_source: BarSource = "bars"
    """Source of bars of volume, currency traded and Renko: `"bars"` of the feed, `"trades"` (the strategy is rejected
    if the feed has no trades), or `"trades_or_bars"` (trades if the feed has them, else bars). Bars of a number of
    trades always need trades."""
    data: Sequence[str] = ()
    """Names of your own data that `ctx.data` returns, such as `("vix",)`. Its rows reach `on_event`."""
    events: Sequence[EventName] = ()
    """Market events that reach `on_event`: any of `"quotes"`, `"news"`, `"sentiment"` and `"filings"`."""
    warm_up: int = 0
    """Closed bars of the shortest interval that a symbol needs before its orders and targets are accepted."""

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        if "name" not in vars(cls):
            cls.name = _CAPITALS.sub("_", cls.__name__).lower().strip("_")

    def on_slice(self, ctx: TradingContext) -> None:
        """Called in each time slice in which a bar of the universe closed, after all bars of the time slice.

        This includes bars of the feed, and bars of declared intervals that are built from trades.
        """

    def on_fill(self, ctx: TradingContext, fill: Fill) -> None:
        """Called for each fill of the strategy. `ctx.position` includes it."""

    def on_order(self, ctx: TradingContext, update: OrderUpdate) -> None:
        """Called for each update of an order, action or target: accepted, amended, rejected, cancelled and so on."""

    def on_event(self, ctx: TradingContext, event: StrategyEvent) -> None:
        """Called for each event, with its `kind`. Positions include the effect of a corporate action.

        Events are corporate actions that take effect, halts by the exchange (TRADING_HALT) and their end
        (TRADING_RESUMED), changes of a selected universe (UNIVERSE_ADDED and
        UNIVERSE_REMOVED), rows of `data` (DATA), margin calls (MARGIN_CALL), and changes of circuit breakers of the
        portfolio, the strategy or a symbol of its universe. The last two have a `state`. A strategy that declares
        `events` also receives quotes (QUOTE), headlines (NEWS), sentiment scores (SENTIMENT) and filings (FILING).
        """


def at(
    time: str | None = None,
    *,
    calendar: str = "",
    minutes_after_open: int | None = None,
    minutes_before_close: int | None = None,
) -> Callable[[_Handler], _Handler]:
    """Run a handler once in each session: at a time of the exchange, after its open, or before its close.

    `time` is HH:MM in the exchange's local time. The handler runs in the time slice that holds the bars ending at that
    time, after `on_slice`. On a day with an early close, a `time` after the close does not occur; use
    `minutes_before_close` for what must happen on every day. Raises BadInput for a malformed time.
    """
    given = [value for value in (time, minutes_after_open, minutes_before_close) if value is not None]
    if len(given) != 1:
        raise BadInput(
            f"@at must have one of a time, minutes_after_open and minutes_before_close, found {len(given)} of them"
        )
    if time is not None:
        match = _TIME_PATTERN.fullmatch(time) if isinstance(time, str) else None
        if match is None:
            raise BadInput(f"@at must have a time as HH:MM, such as 15:55, found {time!r}")
        return _scheduled(Schedule(TIME_OF_DAY, 60 * int(match[1]) + int(match[2]), calendar))
    minutes = given[0]
    if type(minutes) is not int or not 0 <= minutes < 24 * 60:
        raise BadInput(f"@at must have a number of minutes from 0 to 1439, found {minutes!r}")
    return _scheduled(Schedule(AFTER_OPEN if minutes_after_open is not None else BEFORE_CLOSE, minutes, calendar))


def every(interval: str) -> Callable[[_Handler], _Handler]:
    """Run a handler at the end of each interval of the session, counted from its open, such as `every("1h")`.

    The interval is below one day; use `at` for what runs once a day. Raises BadInput for another interval.
    """
    length = interval_ns(interval)
    if length >= DAY_NS:
        raise BadInput(f"@every must have an interval below one day, found {interval}; use @at for once a day")
    return _scheduled(Schedule(EVERY, every_ns=length))


def _scheduled(schedule: Schedule) -> Callable[[_Handler], _Handler]:
    def decorate(handler: _Handler) -> _Handler:
        setattr(handler, _SCHEDULES, (*getattr(handler, _SCHEDULES, ()), schedule))
        return handler

    return decorate


def schedules_of(strategy: TradingStrategy) -> list[tuple[str, Schedule]]:
    """Return the scheduled handlers of a strategy: the name of the method and its schedule, in order of definition."""
    names: dict[str, None] = {}
    for one in reversed(type(strategy).__mro__):
        names.update(dict.fromkeys(name for name, value in vars(one).items() if hasattr(value, _SCHEDULES)))
    return [
        (name, schedule) for name in names for schedule in reversed(getattr(getattr(strategy, name), _SCHEDULES, ()))
    ]
