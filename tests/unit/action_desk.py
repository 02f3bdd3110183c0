"""The trading loop with a script of actions of trading strategies, for tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from operators.feedback import FeedbackSettings, FeedbackStage
from operators.portfolio import PortfolioSettings, PortfolioStage
from operators.risk import RiskSettings, RiskStage
from operators.sizing import SizingSettings
from operators.trading_loop import TradingLoop
from operators.venue import VenueSettings, VenueStage
from schemas.records import (
    AMEND_ORDER,
    CANCEL_ORDER,
    SUBMIT_ORDER,
    TARGET_QUANTITY,
    TRADE,
    Attribution,
    Bar,
    Execution,
    Position,
    Record,
    StrategyAction,
)
from tests.builders import (
    bar,
    strategy_action,
)
from tests.builders.market import MINUTE_NS
from tests.scripted_strategies import ScriptedStrategies

D = Decimal
UNLIMITED = RiskSettings.unlimited(max_order_notional=D(50_000))
SIZED = PortfolioSettings(
    sizing=SizingSettings(method="fixed_quantity", quantity=D(100)),
    max_position_percentage=D(1),
    allow_short=True,
    trading_strategies=("pairs", "other"),
)


class IdleStage:
    """A stage that returns no records."""

    def on_slice(self, ts_ns: int, records: Sequence[Record]) -> list[Record]:
        return []

    def snapshot(self) -> Any:
        return None

    def restore(self, snapshot: Any) -> None:
        pass


class FixedStage(IdleStage):
    """A stage that returns the same record in every time slice."""

    def __init__(self, record: Record) -> None:
        self._record = record

    def on_slice(self, ts_ns: int, records: Sequence[Record]) -> list[Record]:
        return [self._record]


class Desk:
    """The trading loop with a script of actions, and the feedback stage, over one-minute bars of X, at 100 or as given.

    `script` maps a time slice, from 1, to its actions. Orders reach the venue in the next slice and fill at its open.
    """

    def __init__(self, script: Mapping[int, Sequence[StrategyAction]], portfolio: PortfolioSettings = SIZED) -> None:
        self.strategies = ScriptedStrategies(script)
        venue, risk = VenueStage(VenueSettings()), RiskStage(UNLIMITED)
        self.loop = TradingLoop(venue, PortfolioStage(portfolio), risk, self.strategies)
        self.feedback = FeedbackStage(FeedbackSettings(attribution_interval_s=60, weights_interval_s=0))
        self.minute = 0
        self.records: list[Any] = []
        self.output: list[Any] = []

    def step(self, *records: Record, price: float = 100.0, open: float | None = None) -> list[Any]:
        self.minute += 1
        ts_ns = self.minute * MINUTE_NS
        inputs = [bar("X", self.minute, ts_ns, price, open=open), *records]
        self.output = self.loop.on_slice(ts_ns, inputs)
        self.records += self.output
        bars: list[Record] = [record for record in inputs if type(record) is Bar]
        actions = [record for record in self.output if type(record) is StrategyAction]
        others = [record for record in self.output if type(record) is not StrategyAction]
        self.records += self.feedback.on_slice(ts_ns, [*bars, *actions, *others])
        return self.output

    def of(self, kind: type) -> list[Any]:
        return [record for record in self.records if type(record) is kind]

    @property
    def position(self) -> int:
        positions = self.of(Position)
        return int(positions[-1].quantity) if positions else 0

    @property
    def trades(self) -> list[tuple[str, str, int]]:
        return [(r.order_id, r.side, int(r.quantity)) for r in self.of(Execution) if r.exec_type == TRADE]

    def attributed(self) -> dict[str, Attribution]:
        return {row.strategy: row for row in self.of(Attribution)}


def submit(number: int = 1, strategy: str = "pairs", symbol: str = "X", **arguments: Any) -> StrategyAction:
    terms: dict[str, Any] = {"symbol": symbol, "side": "BUY", "quantity": 100} | arguments
    return strategy_action(SUBMIT_ORDER, symbol, number=number, strategy=strategy, **terms)


def target(quantity: int, number: int = 1, strategy: str = "pairs", seq: int | None = None) -> StrategyAction:
    return strategy_action(TARGET_QUANTITY, "X", number=number, seq=seq, strategy=strategy, quantity=quantity)


def amend(order_id: str, number: int = 2, strategy: str = "pairs", **arguments: Any) -> StrategyAction:
    return strategy_action(AMEND_ORDER, "X", number=number, strategy=strategy, order_id=order_id, **arguments)


def cancel(order_id: str, number: int = 2, strategy: str = "pairs", **fields: Any) -> StrategyAction:
    return strategy_action(CANCEL_ORDER, "X", number=number, strategy=strategy, order_id=order_id, **fields)
