"""History that some limits need: recent orders, day trades, peak equity, daily closes and volumes. Memory is bounded.

Only the history that an enabled limit needs is stored. Without such limits, a time slice costs nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from operators.adjustments import is_adjustment
from operators.ledger.split_ratio import exact_ratio, split_price, split_quantity
from operators.money import ZERO, to_decimal
from operators.rebase import rebase
from operators.risk.book import RiskBook
from operators.risk.settings import RiskSettings
from schemas.records import BUY, TRADE, Bar, Execution, OrderTerms, Record, Side

_SECOND_NS = 1_000_000_000
_DAY_NS = 86_400 * _SECOND_NS
_TRADE_DAYS = 5  # FINRA counts day trades within five business days


class ApprovedOrder(NamedTuple):
    """An approved order, for the order_rate and duplicate checks."""

    ts_ns: int
    symbol: str
    side: Side
    quantity: Decimal
    limit_price: Decimal | None


class IntradayActivity(NamedTuple):
    """Units of one symbol opened on this trading day (negative: sold short), and the last order that closed any."""

    opened: Decimal
    closing_order: str


class AverageCost(NamedTuple):
    """Average cost of one symbol's position, and the time when it was last closed at a loss (0: never)."""

    quantity: Decimal
    average: Decimal
    loss_ns: int


class RiskHistory:
    """The history of one portfolio."""

    def __init__(self, settings: RiskSettings, initial_capital: Decimal) -> None:
        windows = [settings.duplicate_window_s]
        if settings.is_enabled("max_orders_in_window"):
            windows.append(settings.order_window_s)
        self._window_ns = int(max(windows) * _SECOND_NS)
        self._counts_day_trades = settings.is_enabled("max_day_trades")
        self._wash_sale_ns = settings.wash_sale_days * _DAY_NS
        self._tracks_equity = settings.is_enabled("max_drawdown")
        self._volume_days = settings.volume_days if settings.is_enabled("max_volume_share") else 0
        self._close_days = settings.shortfall_days + 1 if settings.is_enabled("max_expected_shortfall") else 0
        self.approved_orders: deque[ApprovedOrder] = deque()
        self._amend_window_ns = (
            int(settings.order_window_s * _SECOND_NS) if settings.is_enabled("max_amends_in_window") else 0
        )
        self.amendments: deque[int] = deque()
        self.intraday: dict[str, IntradayActivity] = {}
        self.day_trades: list[tuple[int, int]] = []  # (trading day, day trades) of the last five days
        self.costs: dict[str, AverageCost] = {}
        self.peak_equity = initial_capital
        self.volume_today: dict[str, float] = {}
        self.volumes: dict[str, list[float]] = {}  # of complete days, latest last
        self.closes: dict[str, list[float]] = {}  # of complete days, latest last
        self.needs_bars = bool(self._volume_days)

    def open_day(self, day: int, book: RiskBook) -> None:
        """Start a new trading day. `book` still has the prices of the previous day."""
        self.intraday.clear()
        self.day_trades = [*self.day_trades[-(_TRADE_DAYS - 1) :], (day, 0)]
        if book.last_bars and self._close_days:
            for symbol, bar in book.last_bars.items():
                _append_day(self.closes, symbol, bar.close, self._close_days)
        for symbol, volume in self.volume_today.items():
            _append_day(self.volumes, symbol, volume, self._volume_days)
        self.volume_today.clear()

    def fold_bars(self, records: Sequence[Record]) -> None:
        """Add the bars' volumes to the day's totals. Call only if `needs_bars`."""
        volume_today = self.volume_today
        for record in records:
            if type(record) is Bar:
                volume_today[record.symbol] = volume_today.get(record.symbol, 0.0) + record.volume

    def fold_equity(self, book: RiskBook) -> None:
        """Update the peak equity. Call after the bars of a time slice."""
        if not self._tracks_equity or book.unpriced_symbol() is not None:
            return
        exposure = book.exposure()
        self.peak_equity = max(self.peak_equity, book.equity_at(exposure))

    def rebase_peak(self, before: Decimal, after: Decimal) -> None:
        """Scale the peak by a flow that changes equity from `before` to `after`: a flow is neither profit nor loss."""
        self.peak_equity = rebase(max(self.peak_equity, before), before, after)

    def fold_execution(self, report: Execution) -> None:
        if report.exec_type != TRADE or not (self._counts_day_trades or self._wash_sale_ns):
            return
        signed_quantity = report.quantity if report.side == BUY else -report.quantity
        if self._counts_day_trades and not is_adjustment(report.order_id):
            self._count_trade(report, signed_quantity)
        if self._wash_sale_ns:
            self._fold_cost(report, signed_quantity)

    def _count_trade(self, report: Execution, signed_quantity: Decimal) -> None:
        """Count a day trade: an order that closes units opened on the same day. Its later fills do not count again."""
        opened, closing_order = self.intraday.get(report.symbol, IntradayActivity(ZERO, ""))
        if opened * signed_quantity < 0 and closing_order != report.order_id:
            day, count = self.day_trades.pop() if self.day_trades else (0, 0)
            self.day_trades.append((day, count + 1))
            closing_order = report.order_id
        self.intraday[report.symbol] = IntradayActivity(opened + signed_quantity, closing_order)

    def _fold_cost(self, report: Execution, signed_quantity: Decimal) -> None:
        quantity, average, loss_ns = self.costs.get(report.symbol, AverageCost(ZERO, ZERO, 0))
        after = quantity + signed_quantity
        if quantity * signed_quantity >= 0:
            average = (quantity * average + signed_quantity * report.price) / after
        else:
            if (report.price - average) * quantity < 0:
                loss_ns = report.ts_ns
            if quantity * after < 0:
                average = report.price
        self.costs[report.symbol] = AverageCost(after, average, loss_ns)
        if not after and not loss_ns:
            del self.costs[report.symbol]

    def last_loss_sale_ns(self, symbol: str, ts_ns: int) -> int | None:
        """The time when the symbol was last closed at a loss, or None if that was before the wash-sale period."""
        cost = self.costs.get(symbol)
        if cost is None or not cost.loss_ns or ts_ns - cost.loss_ns > self._wash_sale_ns:
            return None
        return cost.loss_ns

    def record_approval(self, order: OrderTerms, ts_ns: int) -> None:
        """Record an approved order."""
        if self._window_ns:
            self.approved_orders.append(
                ApprovedOrder(
                    ts_ns=ts_ns,
                    symbol=order.symbol,
                    side=order.side,
                    quantity=order.quantity,
                    limit_price=order.limit_price,
                )
            )

    def record_amendment(self, ts_ns: int) -> None:
        """Record an amendment request."""
        if self._amend_window_ns:
            self.amendments.append(ts_ns)
            while self.amendments[0] <= ts_ns - self._amend_window_ns:
                self.amendments.popleft()

    def recent_approvals(self, ts_ns: int) -> deque[ApprovedOrder]:
        """The approvals within the longest configured window, oldest first."""
        while self.approved_orders and self.approved_orders[0].ts_ns <= ts_ns - self._window_ns:
            self.approved_orders.popleft()
        return self.approved_orders

    def day_trade_count(self) -> int:
        """The number of day trades in the last five trading days, including today."""
        return sum(count for _, count in self.day_trades)

    def average_volume(self, symbol: str) -> Decimal | None:
        """Mean daily volume of the recorded complete days, in units; None before the first."""
        days = self.volumes.get(symbol)
        return None if not days else to_decimal(sum(days) / len(days))

    def split(self, symbol: str, ratio: Decimal) -> None:
        """Convert the history to new units after a split: `ratio` new units per old unit."""
        if symbol in self.intraday:
            opened, closing_order = self.intraday[symbol]
            self.intraday[symbol] = IntradayActivity(split_quantity(opened, ratio), closing_order)
        if symbol in self.costs:
            quantity, average, loss_ns = self.costs[symbol]
            self.costs[symbol] = AverageCost(split_quantity(quantity, ratio), split_price(average, ratio), loss_ns)
        factor = float(exact_ratio(ratio))
        self.closes[symbol] = [close / factor for close in self.closes.pop(symbol, [])]
        self.volumes[symbol] = [volume * factor for volume in self.volumes.pop(symbol, [])]

    def go_ex(self, symbol: str, before: float, after: float) -> None:
        """Adjust the closes for a payment that moves the price from `before` to `after`: it is not a return."""
        if symbol in self.closes:
            self.closes[symbol] = [close * (after / before) for close in self.closes[symbol]]

    def snapshot(self) -> tuple[Any, ...]:
        return (
            [tuple(approved) for approved in self.approved_orders],
            {symbol: tuple(activity) for symbol, activity in self.intraday.items()},
            list(self.day_trades),
            {symbol: tuple(cost) for symbol, cost in self.costs.items()},
            self.peak_equity,
            dict(self.volume_today),
            _copy_series(self.volumes),
            _copy_series(self.closes),
            list(self.amendments),
        )

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        approved_orders, intraday, day_trades, costs, self.peak_equity, volume_today, volumes, closes, amendments = (
            snapshot
        )
        self.amendments = deque(amendments)
        self.approved_orders = deque(ApprovedOrder(*fields) for fields in approved_orders)
        self.intraday = {symbol: IntradayActivity(*fields) for symbol, fields in intraday.items()}
        self.day_trades = [(day, count) for day, count in day_trades]
        self.costs = {symbol: AverageCost(*fields) for symbol, fields in costs.items()}
        self.volume_today = dict(volume_today)
        self.volumes, self.closes = _copy_series(volumes), _copy_series(closes)


def _append_day(series: dict[str, list[float]], symbol: str, value: float, days_max: int) -> None:
    days = series.setdefault(symbol, [])
    days.append(value)
    del days[:-days_max]


def _copy_series(series: Mapping[str, list[float]]) -> dict[str, list[float]]:
    return {symbol: list(days) for symbol, days in series.items()}
