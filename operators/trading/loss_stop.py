"""The loss stop of a trading strategy: suspend it when its sub-account has lost more than its limits allow."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, NamedTuple

from operators.money import ONE, ZERO, divide, multiply, plain
from operators.rebase import rebase
from operators.strategy_limits import StrategyLimits
from operators.trading.accounts import StrategyAccounts
from operators.trading.settings import TradingSettings
from schemas.records import CashTransfer


class LossStopBreach(NamedTuple):
    """The limit that is exceeded, and the value found."""

    check: str
    value: str
    limit: str
    message: str


class LossStop:
    """The equity of one strategy at the start of the trading day, and its highest equity, as bases of the losses.

    Deposits and withdrawals are neither profit nor loss: they move the bases. The bases restart when a strategy is
    resumed.
    """

    def __init__(self, limits: StrategyLimits, equity: Decimal, currency: str) -> None:
        self._limits, self._currency = limits, currency
        self.day_start = self.peak = equity

    def start_day(self, equity: Decimal) -> None:
        """Start a trading day with this equity, at the last prices of the previous day."""
        self.day_start = equity

    def restart(self, equity: Decimal) -> None:
        self.day_start = self.peak = equity

    def book_flow(self, before: Decimal, after: Decimal) -> None:
        """Move the bases by a deposit or withdrawal that changes equity from `before` to `after`."""
        self.day_start += after - before
        self.peak = rebase(max(self.peak, before), before, after)

    def find_breach(self, equity: Decimal) -> LossStopBreach | None:
        """Return the first limit that the losses at this equity exceed, and record a new peak."""
        limits = self._limits
        self.peak = max(self.peak, equity)
        loss = max(ZERO, self.day_start - equity)
        if limits.max_daily_loss is not None and loss > limits.max_daily_loss:
            value, limit = plain(loss), plain(limits.max_daily_loss)
            message = f"max_daily_loss: the strategy has lost {value} {self._currency} today, limit {limit}"
            return LossStopBreach("max_daily_loss", value, limit, message)
        if limits.max_drawdown is not None and equity < multiply(self.peak, ONE - limits.max_drawdown):
            drawdown = divide(self.peak - equity, self.peak) if self.peak > 0 else ONE
            value, limit = plain(drawdown), plain(limits.max_drawdown)
            message = (
                f"max_drawdown: equity of the strategy is {plain(equity)} {self._currency}, "
                f"{value} below its peak of {plain(self.peak)}, limit {limit}"
            )
            return LossStopBreach("max_drawdown", value, limit, message)
        return None

    def snapshot(self) -> Any:
        return (self.day_start, self.peak)

    def restore(self, snapshot: Any) -> None:
        self.day_start, self.peak = snapshot


class LossStops:
    """The loss stops of the strategies whose limits have one."""

    def __init__(self, accounts: StrategyAccounts, settings: TradingSettings) -> None:
        self._accounts = accounts
        self._stops = {
            name: LossStop(settings.limits[name], account.ledger.cash, settings.currency)
            for name, account in accounts.accounts.items()
            if name in settings.limits and settings.limits[name].limits_losses
        }

    def start_day(self, prices: Mapping[str, float]) -> None:
        for name, stop in self._stops.items():
            stop.start_day(self._equity(name, prices))

    def restart(self, name: str, prices: Mapping[str, float]) -> None:
        """Count the losses of a strategy from its present equity on."""
        if name in self._stops:
            self._stops[name].restart(self._equity(name, prices))

    def book_transfer(self, ts_ns: int, transfer: CashTransfer, prices: Mapping[str, float]) -> None:
        """Book a transfer in the sub-accounts, and move the bases of the losses by a deposit or withdrawal."""
        before = {name: self._equity(name, prices) for name in self._stops}
        self._accounts.book_transfer(ts_ns, transfer)
        for name, stop in self._stops.items():
            after = self._equity(name, prices)
            if after != before[name]:
                stop.book_flow(before[name], after)

    def find_breaches(self, prices: Mapping[str, float]) -> list[tuple[str, LossStopBreach]]:
        """Return the strategies whose losses exceed a limit, by name, with the limit."""
        breaches = [(name, stop.find_breach(self._equity(name, prices))) for name, stop in self._stops.items()]
        return [(name, breach) for name, breach in breaches if breach is not None]

    def _equity(self, name: str, prices: Mapping[str, float]) -> Decimal:
        return self._accounts.accounts[name].equity(prices)

    def snapshot(self) -> Any:
        return {name: stop.snapshot() for name, stop in self._stops.items()}

    def restore(self, snapshot: Any, prices: Mapping[str, float]) -> None:
        """Restore a snapshot. The losses of a strategy that it lacks count from the present equity."""
        for name, stop in self._stops.items():
            if name in snapshot:
                stop.restore(snapshot[name])
            else:
                stop.restart(self._equity(name, prices))
