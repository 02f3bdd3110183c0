"""Run a strategy on simulated bars, or on closes of your own, with the stages that carry out its decisions."""

from __future__ import annotations

import random
import sys
from collections.abc import Mapping, Sequence
from copy import deepcopy
from decimal import Decimal
from types import MappingProxyType
from typing import Any

from configs.declared_trade_bars import trade_bars_of
from configs.strategies import load_strategies
from configs.universe_files import universe_members
from dataflows.research.simulated_changes import BREAKERS, Changes, RiskWithMarginCalls, apply_to_prices
from dataflows.research.simulated_events import SPLIT_RATIO, SimulatedEvents, with_rows
from dataflows.research.strategy_source import Finding
from operators.features import FeatureStage
from operators.handler_limit import HandlerLimit
from operators.portfolio import PortfolioSettings, PortfolioStage
from operators.risk import RiskSettings, RiskStage
from operators.risk.breakers import Breaker
from operators.signals.stage import SignalStage
from operators.strategies import Strategy, TradingStrategy, UniverseFile
from operators.strategies.trading_strategy import schedules_of
from operators.strategies.universe_rules import UniverseMember
from operators.trading.context import NewAction, TradingContext
from operators.trading.declarations import benchmarks_of, row_features
from operators.trading.intervals import DAY_NS, MINUTE_NS
from operators.trading.sessions import SessionTimes
from operators.trading.settings import TradingSettings
from operators.trading.stage import TradingStrategyStage
from operators.trading.symbol_names import SymbolEnded
from operators.trading_loop import TradingLoop
from operators.venue import VenueSettings, VenueStage
from schemas.errors import BadInput
from schemas.records import (
    REGULAR,
    SUSPENDED,
    Bar,
    Command,
    DeadLetter,
    Record,
    RiskEvent,
    Signal,
    StrategyAction,
    StrategySuspension,
    Trade,
)

SESSION_MINUTES = 390
SAMPLE_SYMBOLS = ("AAA", "BBB", "CCC")
FILE_SYMBOLS_MAX = 20
"""Number of symbols of a universe file in the simulated market."""
_FIRST_OPEN_NS = 1_704_205_800 * 1_000_000_000  # 2 January 2024, 9:30 in New York
_FIRST_DAY = 20240102
_DECISIONS = (Signal, StrategyAction, StrategySuspension, DeadLetter)
_SESSIONS_MAX = 28  # in the month of the first day
_NEW_YORK_OFFSET_S = -5 * 3600
_DAYS = {
    _FIRST_DAY + number: SessionTimes(
        _FIRST_DAY + number,
        _FIRST_OPEN_NS + number * DAY_NS,
        _FIRST_OPEN_NS + number * DAY_NS + SESSION_MINUTES * MINUTE_NS,
        _NEW_YORK_OFFSET_S,
    )
    for number in range(_SESSIONS_MAX)
}


def decisions_of(
    source: str, closes: Mapping[str, Sequence[float]], parameters: Mapping[str, Any] | None = None
) -> list[Any]:
    """Run a strategy over minute bars with these closes by symbol, and return its actions or signals.

    `source` is path/to/file.py:ClassName, or a strategy of the platform. Each bar opens at the close of the one before.
    A decision is a StrategyAction (`kind`, `symbol`, `arguments`, `reason`: the tag) of a trading strategy, or a Signal
    of a view strategy. Raises BadInput for a strategy that cannot be loaded, declares something invalid or fails.
    """
    (strategy,) = load_strategies([{"name": source, "parameters": dict(parameters or {})}])
    with_trades = _needs_trades(strategy)
    minutes = [
        [_bar(symbol, number, before, close) for symbol, (before, close) in zip(closes, pairs, strict=True)]
        for number, pairs in enumerate(
            zip(*(zip([one[0], *one], one, strict=False) for one in closes.values()), strict=True)
        )
    ]
    tape: list[list[Record]] = [[*_trades_of(bars, with_trades), *bars] for bars in minutes]
    decisions, failures = run_over(strategy, tape)
    if failures:
        raise BadInput(failures[0].text())
    return [one for in_slice in decisions for one in in_slice]


def make_tape(
    strategy: Strategy | TradingStrategy,
    minutes: int,
    seed: int = 1,
    *,
    other_from: int | None = None,
    changes: Changes = MappingProxyType({}),
    other_symbols: Sequence[str] = (),
) -> list[list[Record]]:
    """Return minute bars of consecutive sessions: a random walk for each symbol, with the events of the strategy.

    From the time slice `other_from` on, the prices follow another path. `changes` are added. Besides the symbols of the
    strategy, `other_symbols` and the second symbols of its correlations and betas have bars.
    """
    symbols = list(dict.fromkeys([*market_symbols(strategy), *other_symbols, *_benchmarks(strategy)]))
    generator = random.Random(seed)  # noqa: S311  (simulated prices)
    prices, with_trades = dict.fromkeys(symbols, 100.0), _needs_trades(strategy)
    events = SimulatedEvents(strategy, SESSION_MINUTES)
    tape: list[list[Record]] = []
    for number in range(minutes):
        if number == other_from:
            generator = random.Random(seed + 1)  # noqa: S311  (simulated prices)
        bars: list[Bar] = []
        split_symbol = events.split_symbol(number, list(prices))
        if split_symbol is not None:
            prices[split_symbol] /= SPLIT_RATIO
        for record in changes.get(number, ()):
            apply_to_prices(prices, record)
        for symbol in prices:
            start, close = prices[symbol], prices[symbol] * (1 + generator.gauss(0, 0.002))
            prices[symbol] = close
            bars.append(
                _bar(symbol, number, start, close, spread=0.0005, volume=float(generator.randint(1_000, 100_000)))
            )
        changed = [one._replace(ts_ns=bars[0].ts_ns) for one in changes.get(number, ())]
        tape.append([*changed, *_trades_of(bars, with_trades), *events.add(number, bars)])
    return tape


def _benchmarks(strategy: Strategy | TradingStrategy) -> tuple[str, ...]:
    """Return the second symbols of the strategy's correlations and betas. Raises BadInput for a malformed one."""
    return benchmarks_of(strategy) if isinstance(strategy, TradingStrategy) else ()


def _needs_trades(strategy: Strategy | TradingStrategy) -> bool:
    """Whether a strategy declares bars of trades. The stage reports a malformed declaration."""
    return isinstance(strategy, TradingStrategy) and any(trade_bars_of(strategy, TradingSettings.bar_interval))


def _trades_of(bars: Sequence[Bar], with_trades: bool) -> list[Trade]:
    """Return four trades of each bar of a minute if there are any: at its open, high, low and close."""
    return [
        Trade(
            symbol=one.symbol,
            seq=4 * (one.seq - 1) + number,
            ts_ns=one.open_ns + number * MINUTE_NS // 5,
            price=price,
            size=float(one.volume // 4),
        )
        for one in (bars if with_trades else ())
        for number, price in enumerate((one.open, one.high, one.low, one.close), 1)
    ]


def _bar(symbol: str, number: int, start: float, close: float, *, spread: float = 0.0, volume: float = 1e6) -> Bar:
    """Return the bar of a minute, counted from 0. High and low are `spread` (a share) outside of open and close."""
    session, minute = divmod(number, SESSION_MINUTES)
    open_ns = _FIRST_OPEN_NS + session * DAY_NS + minute * MINUTE_NS
    return Bar(
        symbol=symbol,
        seq=number + 1,
        ts_ns=open_ns + MINUTE_NS,
        open_ns=open_ns,
        open=start,
        high=max(start, close) * (1 + spread),
        low=min(start, close) * (1 - spread),
        close=close,
        volume=volume,
        session=REGULAR,
        trading_day=_FIRST_DAY + session,
        traded=True,
    )


def market_symbols(strategy: Strategy | TradingStrategy) -> Sequence[str]:
    """Return the symbols of the simulated market: those that a strategy declares, or the first ones of its file."""
    if not isinstance(strategy, TradingStrategy):
        return SAMPLE_SYMBOLS
    if strategy.symbols or not isinstance(strategy.universe, UniverseFile):
        return strategy.symbols or SAMPLE_SYMBOLS
    members = universe_members([strategy])[strategy.universe.path]
    return sorted({member.symbol for member in members})[:FILE_SYMBOLS_MAX]


class DryRun:
    """A fresh strategy with the stages around it. `on_slice` returns its signals or actions, and dead letters.

    `limit` is the time limit of its handlers, `breakers` are the circuit breakers that commands can set.

    Raises BadInput for an invalid declaration.
    """

    def __init__(
        self,
        strategy: Strategy | TradingStrategy,
        symbols: Sequence[str],
        limit: HandlerLimit | None = None,
        breakers: tuple[Breaker, ...] = (),
    ) -> None:
        risk = RiskStage(RiskSettings.unlimited(breakers=breakers))
        self._risk = RiskWithMarginCalls(risk)
        fresh = deepcopy(strategy)
        specs = row_features(fresh) if isinstance(fresh, TradingStrategy) else fresh.features
        self._features = FeatureStage(specs, _DAYS, limit)
        self._stage: Any
        if isinstance(fresh, TradingStrategy):
            self._stage = _trading_loop(fresh, symbols, limit, self._risk)
        else:
            self._stage = SignalStage([fresh], limit=limit)

    def on_slice(self, records: Sequence[Record]) -> list[Record]:
        ts_ns = max(record.ts_ns for record in records if type(record) is Bar)
        rows = self._features.on_slice(ts_ns, records)
        letters = [one for one in rows if type(one) is DeadLetter]
        self._risk.due = [one for one in records if type(one) is RiskEvent]
        out: list[Record] = self._stage.on_slice(ts_ns, with_rows(records, rows))
        return [*letters, *(one for one in out if type(one) in _DECISIONS)]

    def snapshot(self) -> Any:
        return self._features.snapshot(), self._stage.snapshot()

    def restore(self, snapshot: Any) -> None:
        features, stage = snapshot
        self._features.restore(features)
        self._stage.restore(stage)


def _trading_loop(
    strategy: TradingStrategy, symbols: Sequence[str], limit: HandlerLimit | None, risk: RiskWithMarginCalls
) -> TradingLoop:
    """Return the strategy with a venue, a portfolio and risk."""
    calendars = {"XNYS", *(schedule.calendar for _, schedule in schedules_of(strategy) if schedule.calendar)}
    members = tuple(UniverseMember(symbol) for symbol in symbols)
    rule = strategy.universe
    settings = TradingSettings(
        universe=tuple(symbols),
        has_trades=True,
        sessions=dict.fromkeys(calendars, _DAYS),
        universe_files={rule.path: members} if isinstance(rule, UniverseFile) else {},
    )
    portfolio = PortfolioSettings(
        allow_short=True, max_position_percentage=Decimal(1), trading_strategies=(strategy.name,)
    )
    stage = TradingStrategyStage([strategy], settings, limit=limit)
    return TradingLoop(VenueStage(VenueSettings()), PortfolioStage(portfolio), risk, stage)


def run_over(
    strategy: Strategy | TradingStrategy,
    tape: Sequence[Sequence[Record]],
    limit: HandlerLimit | None = None,
) -> tuple[list[list[Record]], list[Finding]]:
    """Return the decisions of each time slice, and how the strategy failed, if it did. `limit` limits its handlers."""
    has_commands = any(type(one) is Command for records in tape for one in records)
    dry_run = DryRun(strategy, symbols_of(tape), limit, BREAKERS if has_commands else ())
    out: list[list[Record]] = []
    for records in tape:
        decisions = dry_run.on_slice(records)
        out.append(decisions)
        for one in decisions:
            if type(one) is StrategyAction and one.kind == SUSPENDED:
                return out, [_suspension_finding(one.arguments)]
            if type(one) is StrategySuspension:
                return out, [Finding("dry run", f"{one.error_type}: {one.message}", one.file, one.line)]
            if type(one) is DeadLetter:  # of an indicator
                cause, _, position = one.reason.rpartition(" at ")
                file, _, line = position.rpartition(":")
                return out, [Finding("dry run", cause, file, int(line))]
    return out, []


def _suspension_finding(arguments: Mapping[str, str]) -> Finding:
    file, line = arguments["file"], int(arguments["line"])
    if arguments["error_type"] == SymbolEnded.__name__:
        return Finding("orders", arguments["message"], file, line)
    return Finding("dry run", f"{arguments['error_type']}: {arguments['message']}", file, line)


def symbols_of(tape: Sequence[Sequence[Record]]) -> list[str]:
    """Return the symbols of the first time slice."""
    return [record.symbol for record in tape[0] if type(record) is Bar]


def line_of_action(strategy: TradingStrategy, tape: Sequence[Sequence[Record]], action_id: str, file: str) -> int:
    """Run the strategy again, and return the line of its file that caused an action; 0 if there is none."""
    lines: dict[str, int] = {}
    original = TradingContext._add

    def add(context: TradingContext, *arguments: Any) -> NewAction:
        action = original(context, *arguments)
        frame = sys._getframe(1)
        while frame.f_back is not None and frame.f_code.co_filename != file:
            frame = frame.f_back
        lines[action.action_id] = frame.f_lineno
        return action

    TradingContext._add = add  # type: ignore[assignment,method-assign]  # for this run only
    try:
        run_over(strategy, tape)
    finally:
        TradingContext._add = original  # type: ignore[method-assign]
    return lines.get(action_id, 0)
