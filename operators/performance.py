"""Performance of a run: equity, returns, drawdown, closed lots and counts.

Memory is bounded, apart from one number per trading day.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from operators.decision_hash import DecisionHash
from operators.manual_orders import LIQUIDATION_PREFIX
from operators.money import ZERO, plain
from operators.performance_metrics import (
    TRADING_DAYS_A_YEAR,
    ClosedLots,
    DrawdownTracker,
    ReturnMetrics,
    return_metrics,
)
from operators.returns import DatedFlow, NetOfFlows, money_weighted_return
from operators.signals.suspensions import suspension_of
from operators.stage import TimeSlice
from schemas.records import (
    SUSPENDED,
    TRADE,
    Bar,
    DeadLetter,
    Execution,
    LotMatch,
    Order,
    OrderRefusal,
    Signal,
    StrategyAction,
    StrategySuspension,
    Valuation,
)

VERSION = 3
ANNUALIZED_FROM_DAYS = 20
"""Days with a return before figures are annualized: a few minutes or days say nothing about a year."""
ANNUALIZED_METRICS = ("cagr", "volatility", "sharpe", "sortino", "calmar")
CURVE_POINTS_MAX = 2000
FILLS_SHOWN = 200
SUSPENSIONS_SHOWN = 100
FLOWS_MAX = 10_000
"""Number of external flows up to which the money-weighted return is computed."""
_DAY_NS = 86_400 * 10**9


class Performance:
    """Compute statistics from a run's time slices: bars, signals and all outputs of the trading loop.

    The ratios are those of daily returns (`operators/performance_metrics.py`), annualized by `days_a_year`. Drawdown is
    the largest fall from a peak of the equity after any time slice. Returns and drawdown are net of deposits and
    withdrawals (`operators/returns.py`); `curve` is the equity itself. A day that starts with an equity of 0 or below
    has no return. `multipliers` are those of futures, for the turnover.
    """

    def __init__(
        self,
        initial_equity: Decimal,
        *,
        days_a_year: int = TRADING_DAYS_A_YEAR,
        multipliers: Mapping[str, Decimal] | None = None,
    ) -> None:
        self.initial_equity, self.days_a_year = initial_equity, days_a_year
        self.decisions = DecisionHash()
        self.counts = dict.fromkeys(("bars", "signals", "orders", "fills", "refusals", "dead_letters"), 0)
        self.last_valuation: Valuation | None = None
        self.curve: list[tuple[int, float]] = []  # (ts_ns, equity), sampled evenly
        self.fills: deque[Execution] = deque(maxlen=FILLS_SHOWN)
        self.liquidation = ""  # why the broker closed the account; the run ends when it is flat
        self._ended = False
        self.suspensions: deque[StrategySuspension] = deque(maxlen=SUSPENSIONS_SHOWN)
        self.closed_lots = ClosedLots()
        # Net of flows, like all figures below.
        self.drawdown = DrawdownTracker(float(initial_equity))
        self._equity = self._day_start = float(initial_equity)
        self._net_of_flows = NetOfFlows()
        self._net_flows = ZERO
        self._flows: list[DatedFlow] = []
        self._first_ns = 0
        self._day = 0
        # By trading day. None: unknown, because an earlier release wrote the snapshot.
        self._daily_returns: dict[int, float] | None = {}
        self._sample_interval, self._skipped = 1, 0
        self._multipliers = dict(multipliers or {})
        self._traded_value = 0.0
        self._valuations = self._invested_valuations = 0
        self._equity_sum = 0.0

    def on_slice(self, time_slice: TimeSlice) -> None:
        if self._ended:
            return
        counts, add = self.counts, self.decisions.add
        bars = 0
        for record in time_slice.records:
            if type(record) is Bar:
                bars += 1
                if record.trading_day != self._day:
                    self._start_day(record.trading_day)
                continue
            if type(record) is Signal:
                counts["signals"] += 1
                continue
            if type(record) is StrategySuspension:
                if record.state == SUSPENDED:
                    self.suspensions.append(record)
                    add(record)
                continue
            if type(record) is StrategyAction:
                if record.kind == SUSPENDED:
                    self.suspensions.append(suspension_of(record))
                    add(record)
                continue
            if type(record) is Valuation:
                self._fold_valuation(record)
            elif type(record) is Execution:
                if record.exec_type == TRADE:
                    counts["fills"] += 1
                    self.fills.append(record)
                    value = float(record.quantity * record.price)
                    self._traded_value += value * float(self._multipliers.get(record.symbol, 1))
                elif record.order_id.startswith(LIQUIDATION_PREFIX) and not self.liquidation:
                    self.liquidation = f"{_utc(record.ts_ns)} {record.text}"
            elif type(record) is Order:
                counts["orders"] += 1
            elif type(record) is OrderRefusal:
                counts["refusals"] += 1
            elif type(record) is DeadLetter:
                counts["dead_letters"] += 1
                continue
            elif type(record) is LotMatch:
                self.closed_lots = self.closed_lots.with_lot(record.pnl - record.fees)
            add(record)
        counts["bars"] += bars
        if self.liquidation:
            self._ended = self.last_valuation is not None and not self.last_valuation.open_positions

    def _start_day(self, day: int) -> None:
        """Start a new trading day, and add the return of the previous one."""
        if self._day and self._day_start > 0 and self._daily_returns is not None:
            self._daily_returns[self._day] = self._equity / self._day_start - 1
        self._day, self._day_start = day, self._equity

    def _fold_valuation(self, valuation: Valuation) -> None:
        self.last_valuation = valuation
        self._first_ns = self._first_ns or valuation.ts_ns
        if valuation.net_flows != self._net_flows:
            self._flows.append(DatedFlow(valuation.ts_ns, float(valuation.net_flows - self._net_flows)))
            del self._flows[FLOWS_MAX + 1 :]
            self._net_flows = valuation.net_flows
        gross_equity = float(valuation.equity)
        self._equity = equity = self._net_of_flows.add(gross_equity, float(valuation.net_flows))
        self.drawdown.add(valuation.ts_ns, equity)
        self._valuations += 1
        self._equity_sum += gross_equity
        if valuation.open_positions:
            self._invested_valuations += 1
        self._skipped += 1
        if self._skipped >= self._sample_interval:
            self._skipped = 0
            self.curve.append((valuation.ts_ns, gross_equity))
            if len(self.curve) >= CURVE_POINTS_MAX:
                self.curve = self.curve[::2]
                self._sample_interval *= 2

    @property
    def max_drawdown(self) -> float:
        return self.drawdown.largest

    @property
    def daily_returns(self) -> dict[int, float]:
        """The return of each trading day (yyyymmdd), including the current one.

        Empty if an earlier release wrote the snapshot from which this run continued.
        """
        if self._daily_returns is None:
            return {}
        if not self._day or self._day_start <= 0:
            return dict(self._daily_returns)
        return {**self._daily_returns, self._day: self._equity / self._day_start - 1}

    def return_metrics(self) -> ReturnMetrics:
        """Return the metrics of the daily returns. Those of a year mean little before `ANNUALIZED_FROM_DAYS` days."""
        return return_metrics(list(self.daily_returns.values()), self.days_a_year, self.max_drawdown)

    def sharpe(self) -> float | None:
        return self.return_metrics().sharpe

    @property
    def exposure(self) -> float | None:
        """The share of the time slices with an open position."""
        return self._invested_valuations / self._valuations if self._valuations else None

    @property
    def turnover(self) -> float | None:
        """The traded value, as a multiple of the mean equity of the run; not annualized."""
        return self._traded_value / (self._equity_sum / self._valuations) if self._equity_sum > 0 else None

    def time_weighted_return(self) -> float | None:
        """The growth of the equity net of flows since the start, as a fraction; None without initial equity."""
        initial = float(self.initial_equity)
        return self._equity / initial - 1 if initial > 0 else None

    def money_weighted_return(self) -> float | None:
        """The internal rate of return of the run, not annualized; None if there is no such rate."""
        last = self.last_valuation
        if last is None or len(self._flows) > FLOWS_MAX:
            return None
        initial, final = float(self.initial_equity), float(last.equity)
        return money_weighted_return(initial, self._first_ns, self._flows, final, last.ts_ns)

    def _flow_figures(self) -> dict[str, Any]:
        """The returns net of flows; empty for a run without flows, whose return is that of the equity."""
        if not self._flows:
            return {}
        time_weighted, money_weighted = self.time_weighted_return(), self.money_weighted_return()
        return {
            "net_flows": plain(self._net_flows),
            "time_weighted_return": None if time_weighted is None else round(time_weighted, 9),
            "money_weighted_return": None if money_weighted is None else round(money_weighted, 9),
        }

    def summary(self) -> dict[str, Any]:
        """Return counts and ratios as numbers, and money as text (exact).

        Annualized figures are None before `ANNUALIZED_FROM_DAYS` days. The figures of flows are there only if there
        were any.
        """
        zero = Decimal(0)
        valuation = self.last_valuation or Valuation(
            seq=0,
            ts_ns=0,
            equity=self.initial_equity,
            cash=self.initial_equity,
            gross_exposure=zero,
            net_exposure=zero,
            unrealized_pnl=zero,
            realized_pnl=zero,
            fees=zero,
            open_positions=0,
        )
        return {
            **self.counts,
            "initial_equity": plain(self.initial_equity),
            "final_equity": plain(valuation.equity),
            "cash": plain(valuation.cash),
            "realized_pnl": plain(valuation.realized_pnl),
            "unrealized_pnl": plain(valuation.unrealized_pnl),
            "fees": plain(valuation.fees),
            **self._flow_figures(),
            **({"liquidation": self.liquidation} if self.liquidation else {}),
            **self._metric_figures(),
            "decision_hash": self.decisions.hexdigest(),
        }

    def _metric_figures(self) -> dict[str, Any]:
        metrics, drawdown, lots = self.return_metrics(), self.drawdown, self.closed_lots
        is_annualized = len(self.daily_returns) >= ANNUALIZED_FROM_DAYS
        last_ns = 0 if self.last_valuation is None else self.last_valuation.ts_ns
        initial = float(self.initial_equity)
        figures: dict[str, float | None] = {
            "total_return": self._equity / initial - 1 if initial > 0 else None,
            **{name: getattr(metrics, name) if is_annualized else None for name in ANNUALIZED_METRICS},
        }
        dates = {
            "max_drawdown": round(drawdown.largest, 9),
            "max_drawdown_start": _utc(drawdown.start_ns),
            "max_drawdown_trough": _utc(drawdown.trough_ns),
            "max_drawdown_recovered": _utc(drawdown.recovered_ns),
            "max_drawdown_days": round(drawdown.duration_ns(last_ns) / _DAY_NS, 6),
        }
        others = {
            "win_rate": lots.win_rate,
            "profit_factor": lots.profit_factor,
            "expectancy": lots.expectancy,
            "exposure": self.exposure,
            "turnover": self.turnover,
            "tail_ratio": metrics.tail_ratio,
            "value_at_risk": metrics.value_at_risk,
            "expected_shortfall": metrics.expected_shortfall,
        }
        return {**_rounded(figures), **dates, "closed_lots": lots.trades, **_rounded(others)}

    def snapshot(self) -> Any:
        last_valuation = None if self.last_valuation is None else tuple(self.last_valuation)
        daily_returns = None if self._daily_returns is None else list(self._daily_returns.items())
        progress = (
            self.drawdown.snapshot(),
            self._equity,
            self._day_start,
            self._day,
            self._sample_interval,
            self._skipped,
        )
        fills = [tuple(fill) for fill in self.fills]
        return (
            VERSION,
            dict(self.counts),
            last_valuation,
            list(self.curve),
            fills,
            daily_returns,
            progress,
            self.decisions.snapshot(),
            [tuple(suspension) for suspension in self.suspensions],
            (self._net_of_flows.snapshot(), self._net_flows, [tuple(flow) for flow in self._flows], self._first_ns),
            tuple(self.closed_lots),
            (self._traded_value, self._valuations, self._invested_valuations, self._equity_sum),
            (self.liquidation, self._ended),
        )

    def restore(self, snapshot: Any) -> None:
        """Restore a snapshot. Version 1 contains no flows; versions 1 and 2 no single daily returns and closed lots."""
        version, counts, last_valuation, curve, fills, daily_returns, progress, decisions, *tail = snapshot
        assert version in (1, 2, VERSION), f"performance snapshot: version {version}, expected 1 to {VERSION}"
        self.counts, self.curve = dict(counts), list(curve)
        self.last_valuation = None if last_valuation is None else Valuation(*last_valuation)
        self.fills = deque((Execution._make(fill) for fill in fills), maxlen=FILLS_SHOWN)
        self.suspensions = deque(map(StrategySuspension._make, tail[0] if tail else ()), maxlen=SUSPENSIONS_SHOWN)
        if version > 1:
            net_of_flows, self._net_flows, flows, self._first_ns = tail[1]
            self._net_of_flows, self._flows = NetOfFlows(*net_of_flows), [DatedFlow(*flow) for flow in flows]
        if version == VERSION:
            self._daily_returns = None if daily_returns is None else dict(daily_returns)
            drawdown, *progress = progress
            self.drawdown.restore(drawdown)
            self.closed_lots = ClosedLots(*tail[2])
            self._traded_value, self._valuations, self._invested_valuations, self._equity_sum = tail[3]
            if len(tail) > 4:
                self.liquidation, self._ended = tail[4]
        else:
            self._daily_returns = None
            self.drawdown.largest, self.drawdown.peak, *progress = progress
        self._equity, self._day_start, self._day, self._sample_interval, self._skipped = progress
        self.decisions.restore(decisions)


def _rounded(figures: Mapping[str, float | None]) -> dict[str, float | None]:
    return {name: None if value is None else round(value, 12) for name, value in figures.items()}


def _utc(ts_ns: int) -> str | None:
    """Format a time as ISO UTC to the second; None for 0."""
    return datetime.fromtimestamp(ts_ns // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if ts_ns else None
