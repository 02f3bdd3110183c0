"""What some limits need to remember: recent orders, round trips, highs, daily closes and volumes. All of it bounded.

Only what a limit asks for is kept; without such limits a tick costs nothing here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from operators.money import ZERO, divide, multiply, to_decimal
from operators.risk.book import RiskBook
from operators.risk.settings import RiskSettings
from schemas.records import BUY, TRADE, Bar, Execution, OrderProposal, Record

_NS = 1_000_000_000
_DAY_NS = 86_400 * _NS
_TRADE_DAYS = 5  # FINRA counts round trips within five business days


class Sent(NamedTuple):
    """An approved order as the rate and the duplicate check look at it."""

    ts_ns: int
    symbol: str
    side: str
    quantity: Decimal
    limit: Decimal | None


class Today(NamedTuple):
    """Units of one symbol opened on this trading day (negative: sold short), and the last order that closed some."""

    opened: Decimal
    closing_order: str


class Cost(NamedTuple):
    """Average cost of one symbol's position, to tell a loss; and when it last was sold at one (0: never)."""

    quantity: Decimal
    average: Decimal
    loss_ns: int


class History:
    """Memory of one portfolio."""

    def __init__(self, settings: RiskSettings, initial_capital: Decimal) -> None:
        windows = [settings.duplicate_window_s]
        if settings.wants("max_orders_in_window"):
            windows.append(settings.order_window_s)
        self._window_ns = int(max(windows) * _NS)
        self._counts_trades = settings.wants("max_day_trades")
        self._wash_ns = settings.wash_sale_days * _DAY_NS
        self._watches_equity = settings.wants("max_drawdown")
        self._volume_days = settings.volume_days if settings.wants("max_volume_share") else 0
        self._close_days = settings.shortfall_days + 1 if settings.wants("max_expected_shortfall") else 0
        self.sent: deque[Sent] = deque()
        self._amend_ns = int(settings.order_window_s * _NS) if settings.wants("max_amends_in_window") else 0
        self.amends: deque[int] = deque()
        self.today: dict[str, Today] = {}
        self.trades: list[tuple[int, int]] = []  # (trading day, round trips) of the last five days
        self.costs: dict[str, Cost] = {}
        self.peak_equity = initial_capital
        self.volume_today: dict[str, float] = {}
        self.volumes: dict[str, list[float]] = {}  # of finished days, latest last
        self.closes: dict[str, list[float]] = {}  # of finished days, latest last
        self.bars_wanted = bool(self._volume_days)

    def open_day(self, day: int, book: RiskBook) -> None:
        """A later trading day begins; `book` still has the prices of the day before."""
        self.today.clear()
        self.trades = [*self.trades[-(_TRADE_DAYS - 1) :], (day, 0)]
        if book.last and self._close_days:
            for symbol, bar in book.last.items():
                _append(self.closes, symbol, bar.close, self._close_days)
        for symbol, volume in self.volume_today.items():
            _append(self.volumes, symbol, volume, self._volume_days)
        self.volume_today.clear()

    def fold_bars(self, records: Sequence[Record]) -> None:
        """Add up the day's volumes; called only where `bars_wanted`."""
        today = self.volume_today
        for record in records:
            if type(record) is Bar:
                today[record.symbol] = today.get(record.symbol, 0.0) + record.volume

    def fold_equity(self, book: RiskBook) -> None:
        """After a tick's bars: the highest equity so far."""
        if not self._watches_equity or book.unpriced() is not None:
            return
        exposure = book.exposure()
        self.peak_equity = max(self.peak_equity, book.cash + exposure.long - exposure.short)

    def fold_execution(self, report: Execution) -> None:
        if report.exec_type != TRADE:
            return
        signed = report.quantity if report.side == BUY else -report.quantity
        if self._counts_trades:
            self._count_trade(report, signed)
        if self._wash_ns:
            self._fold_cost(report, signed)

    def _count_trade(self, report: Execution, signed: Decimal) -> None:
        """A round trip is a closing order in what was opened the same day; its further fills do not count again."""
        opened, closing = self.today.get(report.symbol, Today(ZERO, ""))
        if opened * signed < 0 and closing != report.order_id:
            day, count = self.trades.pop() if self.trades else (0, 0)
            self.trades.append((day, count + 1))
            closing = report.order_id
        self.today[report.symbol] = Today(opened + signed, closing)

    def _fold_cost(self, report: Execution, signed: Decimal) -> None:
        quantity, average, loss_ns = self.costs.get(report.symbol, Cost(ZERO, ZERO, 0))
        after = quantity + signed
        if quantity * signed >= 0:
            average = (quantity * average + signed * report.price) / after
        else:
            if (report.price - average) * quantity < 0:
                loss_ns = report.ts_ns
            if quantity * after < 0:
                average = report.price
        self.costs[report.symbol] = Cost(after, average, loss_ns)
        if not after and not loss_ns:
            del self.costs[report.symbol]

    def sold_at_loss(self, symbol: str, ts_ns: int) -> int | None:
        """When the symbol was last closed at a loss, if that is within the wash-sale days."""
        cost = self.costs.get(symbol)
        if cost is None or not cost.loss_ns or ts_ns - cost.loss_ns > self._wash_ns:
            return None
        return cost.loss_ns

    def remember(self, order: OrderProposal, ts_ns: int) -> None:
        """An order was approved."""
        if self._window_ns:
            self.sent.append(Sent(ts_ns, order.symbol, order.side, order.quantity, order.limit_price))

    def note_amend(self, ts_ns: int) -> None:
        """Somebody wants to change an order."""
        if self._amend_ns:
            self.amends.append(ts_ns)
            while self.amends[0] <= ts_ns - self._amend_ns:
                self.amends.popleft()

    def recent(self, ts_ns: int) -> deque[Sent]:
        """Approvals within the longest window, oldest first."""
        while self.sent and self.sent[0].ts_ns <= ts_ns - self._window_ns:
            self.sent.popleft()
        return self.sent

    def round_trips(self) -> int:
        """Day trades of the last five trading days, today among them."""
        return sum(count for _, count in self.trades)

    def average_volume(self, symbol: str) -> Decimal | None:
        """Mean daily volume of the finished days on record, None before the first."""
        days = self.volumes.get(symbol)
        return None if not days else to_decimal(sum(days) / len(days))

    def split(self, symbol: str, ratio: Decimal) -> None:
        """`ratio` new units for one old: what is remembered is of the new ones."""
        if symbol in self.today:
            opened, closing = self.today[symbol]
            self.today[symbol] = Today(multiply(opened, ratio), closing)
        if symbol in self.costs:
            quantity, average, loss_ns = self.costs[symbol]
            self.costs[symbol] = Cost(multiply(quantity, ratio), divide(average, ratio), loss_ns)
        factor = float(ratio)
        self.closes[symbol] = [close / factor for close in self.closes.pop(symbol, [])]
        self.volumes[symbol] = [volume * factor for volume in self.volumes.pop(symbol, [])]

    def snapshot(self) -> tuple[Any, ...]:
        return (
            [tuple(sent) for sent in self.sent],
            {symbol: tuple(today) for symbol, today in self.today.items()},
            list(self.trades),
            {symbol: tuple(cost) for symbol, cost in self.costs.items()},
            self.peak_equity,
            dict(self.volume_today),
            _copied(self.volumes),
            _copied(self.closes),
            list(self.amends),
        )

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        sent, today, trades, costs, self.peak_equity, volume_today, volumes, closes, amends = snapshot
        self.amends = deque(amends)
        self.sent = deque(Sent(*one) for one in sent)
        self.today = {symbol: Today(*one) for symbol, one in today.items()}
        self.trades = [(day, count) for day, count in trades]
        self.costs = {symbol: Cost(*one) for symbol, one in costs.items()}
        self.volume_today = dict(volume_today)
        self.volumes, self.closes = _copied(volumes), _copied(closes)


def _append(series: dict[str, list[float]], symbol: str, value: float, keep: int) -> None:
    days = series.setdefault(symbol, [])
    days.append(value)
    del days[:-keep]


def _copied(series: Mapping[str, list[float]]) -> dict[str, list[float]]:
    return {symbol: list(days) for symbol, days in series.items()}
