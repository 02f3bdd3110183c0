"""Metrics of the portfolio: value, positions, limit usage and circuit breakers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from prometheus_client.core import Metric
from sqlalchemy import Connection, Engine, desc, func, literal, select, true
from sqlalchemy.dialects.postgresql import distinct_on

from api.flows import Flows, read_flows
from api.metrics.collector import Labels, Value, gauge, single
from configs.settings import Settings
from schemas.records import ACTIVE, HALTED
from sinks.tables import bars, positions, risk_events, risk_fences, risk_usage, valuations

_MONEY = {
    "value": "equity",
    "cash": "cash",
    "gross_exposure": "gross_exposure",
    "net_exposure": "net_exposure",
    "unrealized_pnl": "unrealized_pnl",
    "realized_pnl": "realized_pnl",
    "fees": "fees",
    "net_flows": "net_flows",
}
NO_SECTOR = "unlisted"


class WindowStart(NamedTuple):
    """The last valuation before a window: equity without flows, and equity net of flows."""

    profit: Decimal
    net_equity: Decimal


class PortfolioMetrics:
    """Reads the latest rows of the books in one transaction. Keeps the peak of the net equity between readings."""

    def __init__(self, settings: Settings, engine: Engine) -> None:
        self._engine, self._settings = engine, settings
        self._capital = settings.portfolio_manager.initial_capital
        self._peak, self._peak_seq = self._capital, 0
        feed = settings.market_data
        self._bar_s = feed.simulator.interval_s if feed.feed == "simulator" else feed.files.interval_s or 60
        self._zone = ZoneInfo("America/New_York" if settings.market_data.files.calendar == "XNYS" else "UTC")

    def read(self) -> list[Metric]:
        with self._engine.connect().execution_options(isolation_level="REPEATABLE READ") as db:
            query = select(valuations).order_by(desc(valuations.c.seq)).limit(1)
            row = db.execute(query).mappings().first()
            last = dict(row) if row is not None else None
            return [*self._value(db, last), *self._positions(db, last), *_limits(db), *_breakers(db)]

    def _value(self, db: Connection, last: dict[str, Any] | None) -> list[Metric]:
        equity = self._capital if last is None else last["equity"]
        money = {name: (Decimal(0) if last is None else last[column]) for name, column in _MONEY.items()}
        money |= {"value": equity, "cash": self._capital if last is None else last["cash"]}
        money_metrics: list[Metric] = [
            single(f"platform_portfolio_{name}", f"{name.replace('_', ' ')} in account currency", float(value))
            for name, value in money.items()
        ]
        at_ns = 0 if last is None else int(last["ts_ns"])
        flows = read_flows(db)
        net_equity = equity if last is None else flows.adjust(last["seq"], equity)
        self._update_peak(db, flows)
        exposure = money["gross_exposure"]
        return [
            *money_metrics,
            *self._windows(db, flows, at_ns, profit=equity - money["net_flows"], net_equity=net_equity),
            single(
                "platform_portfolio_peak_value",
                "peak of the equity, scaled by each deposit and withdrawal like the equity",
                float(flows.scale(self._peak)),
            ),
            single(
                "platform_portfolio_drawdown_ratio",
                "fall from the peak of the equity net of flows, as a fraction of the peak",
                max(0.0, 1 - float(net_equity / self._peak)) if self._peak else None,
            ),
            single(
                "platform_portfolio_leverage_ratio",
                "gross exposure divided by equity",
                float(exposure / equity) if equity > 0 else None,
            ),
            single(
                "platform_portfolio_time_weighted_return_ratio",
                "return since inception, net of deposits and withdrawals",
                float(net_equity / self._capital) - 1 if self._capital else None,
            ),
            single("platform_bar_interval_seconds", "length of a bar", self._bar_s),
            single("platform_portfolio_valued_timestamp_seconds", "event time of the last valuation", at_ns / 1e9),
        ]

    def _windows(
        self, db: Connection, flows: Flows, at_ns: int, *, profit: Decimal, net_equity: Decimal
    ) -> list[Metric]:
        """Return P&L and return of the day, week and month. `profit` is the equity without flows."""
        starts = {
            window: self._start_of(db, flows, start_ns) for window, start_ns in self._window_starts(at_ns).items()
        }
        pnl: dict[Labels, Value] = {(window,): float(profit - start.profit) for window, start in starts.items()}
        returns: dict[Labels, Value] = {
            (window,): float(net_equity / start.net_equity) - 1 for window, start in starts.items() if start.net_equity
        }
        return [
            gauge(
                "platform_portfolio_pnl",
                "P&L of the day, week or month, without deposits and withdrawals",
                ("window",),
                pnl,
            ),
            gauge(
                "platform_portfolio_return_ratio",
                "time-weighted return of the window, net of deposits and withdrawals",
                ("window",),
                returns,
            ),
        ]

    def _window_starts(self, at_ns: int) -> dict[str, int]:
        """Return the starts of the day, week (Monday) and month at the exchange, in ns since 1970."""
        day = datetime.fromtimestamp(at_ns / 1e9, UTC).astimezone(self._zone).date()
        start_dates = {"day": day, "week": day - timedelta(days=day.weekday()), "month": day.replace(day=1)}
        return {
            window: int(datetime(date.year, date.month, date.day, tzinfo=self._zone).timestamp()) * 1_000_000_000
            for window, date in start_dates.items()
        }

    def _start_of(self, db: Connection, flows: Flows, start_ns: int) -> WindowStart:
        before = select(valuations).where(valuations.c.ts_ns < start_ns)
        row = db.execute(before.order_by(desc(valuations.c.ts_ns)).limit(1)).mappings().first()
        if row is None:
            return WindowStart(self._capital, self._capital)
        return WindowStart(row["equity"] - row["net_flows"], flows.adjust(row["seq"], row["equity"]))

    def _update_peak(self, db: Connection, flows: Flows) -> None:
        """Read only new valuations. Starts again if the table was truncated."""
        net = flows.net_equity()
        query = select(func.max(net.c.seq), func.max(net.c.equity))
        newest = db.execute(select(func.max(valuations.c.seq))).scalar() or 0
        if newest < self._peak_seq:
            self._peak, self._peak_seq = self._capital, 0
        seq, highest = db.execute(query.where(net.c.seq > self._peak_seq)).one()
        if seq is not None:
            self._peak, self._peak_seq = max(self._peak, highest), seq

    def _positions(self, db: Connection, last: dict[str, Any] | None) -> list[Metric]:
        """Values the positions at the closes that the valuation used, and measures their age in event time."""
        at_ns = last["ts_ns"] if last else 0
        mark = (
            select(bars.c.close.label("price"), bars.c.ts_ns.label("price_ns"))
            .where(bars.c.symbol == positions.c.symbol, bars.c.ts_ns <= literal(at_ns))
            .order_by(desc(bars.c.ts_ns))
            .limit(1)
            .lateral("mark")
        )
        query = select(positions, mark).select_from(positions.outerjoin(mark, true())).where(positions.c.quantity != 0)
        value: dict[Labels, Value] = {}
        profit: dict[Labels, Value] = {}
        share: dict[Labels, Value] = {}
        age_s: dict[Labels, Value] = {}
        equity = self._capital if last is None else last["equity"]
        for row in db.execute(query.order_by(positions.c.symbol)).mappings():
            instrument = self._settings.instruments.get(row["symbol"])
            labels = (row["symbol"], (instrument.sector if instrument else "") or NO_SECTOR)
            size = float(row["quantity"]) * (float(instrument.multiplier) if instrument else 1.0)
            value[labels] = float(row["cost_basis"]) if row["price"] is None else size * row["price"]
            profit[labels] = float(value[labels] or 0.0) - float(row["cost_basis"])
            share[labels] = abs(float(value[labels] or 0.0)) / float(equity) if equity > 0 else None
            # A symbol without a bar, such as the new name of a renamed share, counts from its position on.
            priced_ns = row["ts_ns"] if row["price_ns"] is None else row["price_ns"]
            age_s[labels] = max(0, at_ns - priced_ns) / 1e9
        label_names = ("symbol", "sector")
        return [
            gauge(
                "platform_position_value", "market value in account currency, negative when short", label_names, value
            ),
            gauge("platform_position_unrealized_pnl", "unrealized P&L, before fees", label_names, profit),
            gauge(
                "platform_position_share_ratio", "absolute value of a position divided by equity", label_names, share
            ),
            gauge(
                "platform_position_price_age_seconds",
                "event time from the last bar of a held symbol to the last valuation",
                label_names,
                age_s,
            ),
            single("platform_position_count", "open positions", len(value)),
        ]


def _limits(db: Connection) -> list[Metric]:
    rows = db.execute(select(risk_usage).order_by(risk_usage.c.measure, risk_usage.c.scope_key)).mappings().all()
    label_names = ("measure", "symbol")
    share: dict[Labels, Value] = {(row["measure"], row["scope_key"]): row["share"] for row in rows}
    used: dict[Labels, Value] = {(row["measure"], row["scope_key"]): float(row["used"]) for row in rows}
    return [
        gauge(
            "platform_risk_limit_usage_ratio",
            "used divided by limit; the symbol is empty for the portfolio",
            label_names,
            share,
        ),
        gauge("platform_risk_limit_used", "usage in the unit of the measure", label_names, used),
    ]


def _breakers(db: Connection) -> list[Metric]:
    fence = db.execute(select(risk_fences.c.state).order_by(desc(risk_fences.c.seq)).limit(1)).scalar()
    key = (risk_events.c.breaker, risk_events.c.scope, risk_events.c.scope_key)
    last = select(risk_events).ext(distinct_on(*key)).order_by(*key, desc(risk_events.c.seq)).subquery()
    tripped = db.execute(select(last).where(last.c.state != ACTIVE)).mappings()
    states: dict[Labels, Value] = {(row["breaker"], row["scope"], row["scope_key"], row["state"]): 1 for row in tripped}
    return [
        single("platform_trading_halted", "1 while the kill switch is on", fence == HALTED),
        gauge(
            "platform_circuit_breaker_open",
            "1 for each breaker that halts trading or allows only reducing orders",
            ("breaker", "scope", "key", "state"),
            states,
        ),
        single("platform_circuit_breakers_open", "circuit breakers that are not ACTIVE", len(states)),
    ]
