"""Run trading strategies over time slices of one minute each, without the other services."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from operators.strategies import TradingStrategy
from operators.trading.context import TradingContext
from operators.trading.sessions import SessionTimes
from operators.trading.settings import TradingSettings
from operators.trading.stage import TradingStrategyStage
from schemas.records import NOTE, Bar, Record, StrategyAction
from tests.builders import bar

MINUTE_NS = 60 * 10**9
OPEN_NS = 1_704_205_800 * 10**9
"""2 January 2024, 9:30 in New York: the first minute of the harness starts here."""
HOUR_NS = 60 * MINUTE_NS
NEW_YORK_OFFSET_S = -5 * 3600
DAY = 20240102


def session(day: int = DAY, *, open_ns: int = OPEN_NS, minutes: int = 390, early_close: bool = False) -> SessionTimes:
    """Build the trading hours of one day: 390 minutes from 9:30 on."""
    return SessionTimes(day, open_ns, open_ns + minutes * MINUTE_NS, NEW_YORK_OFFSET_S, early_close)


def minute(number: int) -> int:
    """Return the end of the minute `number`, which is 1 for the first minute after the open."""
    return OPEN_NS + number * MINUTE_NS


def bars(number: int, *symbols: str, close: float = 100.0, **fields: Any) -> list[Record]:
    """Build the bar of each symbol that ends at the minute `number`."""
    return [bar(symbol, number, minute(number), close, **fields) for symbol in symbols]


def stage_of(*strategies: TradingStrategy, **settings: Any) -> TradingStrategyStage:
    return TradingStrategyStage(strategies, TradingSettings(**settings))


def feed(stage: TradingStrategyStage, slices: Sequence[Sequence[Record]], first: int = 1) -> list[StrategyAction]:
    """Pass the time slices that end at the minutes from `first` on to a stage, and return its actions."""
    actions: list[StrategyAction] = []
    for number, records in enumerate(slices, start=first):
        published = stage.on_slice(minute(number), records)
        actions += [record for record in published if type(record) is StrategyAction]
    return actions


def run(strategy: TradingStrategy, slices: Sequence[Sequence[Record]], **settings: Any) -> list[StrategyAction]:
    """Run a strategy over time slices, and return its actions."""
    return feed(stage_of(strategy, **settings), slices)


def notes(actions: Sequence[StrategyAction]) -> list[str]:
    """Return the texts of the notes."""
    return [action.arguments["text"] for action in actions if action.kind == NOTE]


class Scripted(TradingStrategy):
    """Call a function of the test in each time slice, and pass it the number of the time slice with a bar."""

    symbols = ("KO", "PEP")

    def __init__(self, act: Callable[[TradingContext, int], Any], **declarations: Any) -> None:
        self.act = act
        for name, value in declarations.items():
            setattr(self, name, value)

    def on_slice(self, ctx: TradingContext) -> None:
        number = ctx.state["slice"] = ctx.state.get("slice", 0) + 1
        self.act(ctx, number)


class Recording(Scripted):
    """Note each fill and each update as well."""

    def on_fill(self, ctx: TradingContext, fill: Any) -> None:
        position = f"position {ctx.position(fill.symbol):g}"
        ctx.note(f"fill {fill.order_id} {fill.side} {fill.quantity:g} at {fill.price:g}, {position}")

    def on_order(self, ctx: TradingContext, update: Any) -> None:
        ctx.note(f"{update.status} {update.request} {update.order_id}".strip())


def closes(number: int, **prices: float) -> list[Bar]:
    """Build one bar of each symbol at its price."""
    return [bar(symbol, number, minute(number), price) for symbol, price in sorted(prices.items())]
