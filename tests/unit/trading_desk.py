"""Trading strategies with the stages that carry out their actions: features, venue, portfolio and risk."""

from __future__ import annotations

import pickle
from collections.abc import Collection, Mapping, Sequence
from decimal import Decimal
from typing import Any

from operators.features import FeatureStage
from operators.instruments import NO_INSTRUMENTS
from operators.portfolio import PortfolioSettings, PortfolioStage
from operators.risk import RiskSettings, RiskStage
from operators.sizing import SizingSettings
from operators.strategies import TradingStrategy
from operators.strategy_limits import StrategyLimits
from operators.trading.accounts import StrategyAccounts
from operators.trading.declarations import row_features
from operators.trading.sessions import SessionTimes
from operators.trading.settings import TradingSettings
from operators.trading.stage import TradingStrategyStage
from operators.trading_loop import TradingLoop
from operators.venue import VenueSettings, VenueStage
from schemas.records import NOTE, SELL, TRADE, Bar, Execution, OrderRefusal, Record, StrategyAction
from tests.builders import bar
from tests.unit.trading_harness import DAY, minute, session

CAPITAL = Decimal(100_000)
FREE = VenueSettings(fee_model="none", slippage_bps=Decimal(0))
"""A venue without fees and slippage."""
Price = float | tuple[float, float, float, float]
"""The price of a bar without a range, or its open, high, low and close."""


def price_bar(symbol: str, seq: int, ts_ns: int, price: Price, day: int = DAY) -> Bar:
    """Build the bar of the minute that ends at `ts_ns`."""
    if isinstance(price, tuple):
        first, high, low, close = price
        return bar(symbol, seq, ts_ns, close, open=first, high=high, low=low, day=day)
    return bar(symbol, seq, ts_ns, price, day=day)


class TradingDesk:
    """Run strategies over minute bars of one session, or of `days`. Orders reach the venue in the next minute.

    `limits` of a name that is not that of a strategy are those of a view strategy, whose signals the test passes to
    `step`. By default, the simulated venue has no fees and no slippage, and risk no limits but those of the strategies.
    """

    def __init__(
        self,
        *strategies: TradingStrategy,
        minutes: int = 390,
        early_close: bool = False,
        days: Mapping[int, SessionTimes] | None = None,
        venue: VenueSettings | None = None,
        risk: RiskSettings | None = None,
        limits: Mapping[str, StrategyLimits] | None = None,
        flatten_on_error: Collection[str] = (),
        portfolio: Mapping[str, Any] | None = None,
    ) -> None:
        names = [one.name for one in strategies]
        views = tuple(name for name in limits or {} if name not in names)
        days = days or {DAY: session(minutes=minutes, early_close=early_close)}
        settings = TradingSettings(
            initial_capital=CAPITAL,
            sessions={"XNYS": days},
            limits=limits or {},
            flatten_on_error=frozenset(flatten_on_error),
            limited_views=views,
        )
        self.strategies = TradingStrategyStage(strategies, settings)
        self._features = FeatureStage([spec for one in strategies for spec in row_features(one)])
        account: dict[str, Any] = {
            "initial_capital": CAPITAL,
            "sizing": SizingSettings(method="fixed_quantity", quantity=Decimal(100)),
            "max_position_percentage": Decimal(1),
            "cash_buffer": Decimal(0),
            "allow_short": True,
            "trading_strategies": tuple(one.name for one in strategies),
            "order_limited": frozenset(name for name, one in (limits or {}).items() if one.limits_orders),
        }
        self.portfolio = PortfolioStage(PortfolioSettings(**account | dict(portfolio or {})), limited_views=views)
        ends = sorted(one.close_ns for one in days.values())
        accounts = StrategyAccounts([*names, *views], settings, NO_INSTRUMENTS)
        account_limits = risk or RiskSettings.unlimited(initial_capital=CAPITAL)
        self._loop = TradingLoop(
            VenueStage(venue or FREE, session_end=lambda ts_ns: next((end for end in ends if end > ts_ns), None)),
            self.portfolio,
            RiskStage(account_limits, None, accounts, limits or {}),
            self.strategies,
        )
        self.minute = 0
        self._day = DAY
        self.records: list[Any] = []

    def step(self, count: int = 1, *records: Record, **prices: Price) -> None:
        """Trade each symbol at its price for `count` minutes. `records` arrive in the first of them."""
        for index in range(count):
            self.minute += 1
            ts_ns = minute(self.minute)
            bars = [price_bar(one, self.minute, ts_ns, price, self._day) for one, price in sorted(prices.items())]
            self.on_slice(ts_ns, bars, records if index == 0 else ())

    def next_day(self) -> None:
        """Continue with the same minute of the next day."""
        self.minute += 24 * 60
        self._day += 1

    def position(self, symbol: str) -> Decimal:
        """Return the account's position."""
        return self.portfolio.ledger.quantity(symbol)

    def on_slice(self, ts_ns: int, bars: Sequence[Record], records: Sequence[Record] = ()) -> None:
        """Process one time slice with its bars and other records."""
        inputs = [*records, *bars, *self._features.on_slice(ts_ns, bars)]
        self.records += self._loop.on_slice(ts_ns, inputs)

    def snapshot(self) -> bytes:
        """Return the state of all stages."""
        return pickle.dumps((self._features.snapshot(), self._loop.snapshot()))

    def restore(self, snapshot: bytes) -> None:
        features, loop = pickle.loads(snapshot)  # noqa: S301 - our own, made above
        self._features.restore(features)
        self._loop.restore(loop)

    def trades(self) -> list[tuple[int, str, float, float]]:
        """Return the fills: minute, symbol, signed quantity and price."""
        return [
            (
                (one.ts_ns - minute(0)) // (minute(1) - minute(0)),
                one.symbol,
                float(-one.quantity if one.side == SELL else one.quantity),
                float(one.price),
            )
            for one in self.of(Execution)
            if one.exec_type == TRADE
        ]

    def strategy_actions(self) -> list[StrategyAction]:
        return self.of(StrategyAction)

    def notes(self) -> list[str]:
        """Return the texts of the strategies' notes."""
        return [action.arguments["text"] for action in self.strategy_actions() if action.kind == NOTE]

    def of(self, kind: type) -> list[Any]:
        return [record for record in self.records if type(record) is kind]

    def check(self) -> None:
        """Assert that no strategy failed, risk refused nothing, and the sub-accounts sum to the account."""
        kinds: Sequence[str] = [action.kind for action in self.of(StrategyAction)]
        assert "SUSPENDED" not in kinds, self.of(StrategyAction)
        assert not self.of(OrderRefusal)
        rows, ledger = self.strategies.accounts(), self.portfolio.ledger
        assert sum((row.cash for row in rows), Decimal(0)) == ledger.cash
        quantities: dict[str, Decimal] = {}
        for row in rows:
            for symbol, quantity in row.quantities.items():
                quantities[symbol] = quantities.get(symbol, Decimal(0)) + quantity
        held = {position.symbol: position.quantity for position in ledger.positions() if position.quantity}
        assert {symbol: quantity for symbol, quantity in quantities.items() if quantity} == held
