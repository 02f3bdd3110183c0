"""Metrics of orders, rejections and executions, and the execution quality of the last fills."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence

from prometheus_client.core import HistogramMetricFamily, Metric
from sqlalchemy import Connection, Engine, RowMapping, text

from api.emulated_stops import emulated_stops
from api.metrics.collector import Labels, Value, counter, gauge, single
from operators.manual_orders import ACTION_STRATEGY_PATTERN, ORDER_STRATEGY_PATTERN
from operators.risk.order_checks import NO_EXCEPTION

LATENCY_S = (0.01, 0.05, 0.1, 0.5, 1.0, 2.0, 5.0, 15.0, 60.0, 120.0, 300.0, 900.0, 3600.0)
FILLS, DECISIONS, WINDOW_S = 500, 1000, 900
SHARES = ((0.001, "below 0.1 %"), (0.01, "0.1 to 1 %"), (0.05, "1 to 5 %"), (float("inf"), "above 5 %"))
"""Size classes of a fill, as a fraction of its bar's volume."""

# Each query reads the rows with `after` < seq <= `upto`, so that each row is read and counted once.
_COUNT_QUERIES: dict[str, tuple[str, str]] = {
    "orders": ("orders", "SELECT o.order_type a, o.side b, count(*) n FROM orders o {range} GROUP BY 1, 2"),
    "refusals": (
        "order_refusals",
        'SELECT o."check" a, o.side b, count(*) n FROM order_refusals o {range} GROUP BY 1, 2',
    ),
    "cancels": ("order_cancels", "SELECT 'any' a, '' b, count(*) n FROM order_cancels o {range} HAVING count(*) > 0"),
    "executions": ("executions", "SELECT o.exec_type a, o.side b, count(*) n FROM executions o {range} GROUP BY 1, 2"),
    "ended": (
        "executions",
        "SELECT CASE WHEN o.exec_type = 'TRADE' THEN 'FILLED' ELSE o.exec_type END a, '' b, count(*) n"
        " FROM executions o {range} AND (o.exec_type IN ('CANCELED', 'EXPIRED', 'REJECTED')"
        " OR (o.exec_type = 'TRADE' AND o.leaves_quantity = 0)) GROUP BY 1",
    ),
    "latency": (
        "executions",
        # Prometheus' buckets include their upper bound, PostgreSQL's their lower.
        "SELECT width_bucket((o.ts_ns - f.ts_ns - 1) / 1e9::float8, ARRAY[{buckets}]::float8[]) a, count(*) n,"
        " sum((o.ts_ns - f.ts_ns) / 1e9) s FROM executions o JOIN orders f ON f.order_id = o.order_id"
        " {range} AND o.exec_type = 'TRADE' GROUP BY 1",
    ),
    "traded": (
        "executions",
        "SELECT coalesce(p.strategy, substring(o.order_id from '{ordered}'), 'manual') a,"
        " count(*) n, sum(o.quantity * o.price) s, sum(o.fee) f"
        " FROM executions o LEFT JOIN order_proposals p ON p.proposal_id = o.cause_id"
        " {range} AND o.exec_type = 'TRADE' GROUP BY 1",
    ),
    "closed": (
        "lot_matches",
        "SELECT coalesce(nullif(o.strategy, ''), p.strategy, substring(e.order_id from '{ordered}'), 'manual') a,"
        " CASE WHEN o.pnl > o.fees THEN 'won' ELSE 'lost' END b, count(*) n,"
        " sum(o.pnl - o.fees) s FROM lot_matches o LEFT JOIN executions e ON e.execution_id = o.open_execution_id"
        " LEFT JOIN order_proposals p ON p.proposal_id = e.cause_id {range} GROUP BY 1, 2",
    ),
    "outcomes": (
        "signal_outcomes",
        "SELECT o.strategy a, CASE WHEN o.gained - o.direction * o.market_return - o.cost > 0 THEN 'won'"
        " WHEN o.gained - o.direction * o.market_return - o.cost < 0 THEN 'lost' ELSE 'flat' END b,"
        " count(*) n FROM signal_outcomes o {range} GROUP BY 1, 2",
    ),
    "actions": (
        "strategy_actions",
        "SELECT o.strategy a, o.kind b, count(*) n FROM strategy_actions o {range} GROUP BY 1, 2",
    ),
    "strategy_refusals": (
        "order_refusals",
        "SELECT coalesce(p.strategy, substring(o.cause_id from '{acted}'), 'manual') a, count(*) n"
        " FROM order_refusals o LEFT JOIN order_proposals p ON p.proposal_id = o.cause_id {range} GROUP BY 1",
    ),
    "breakers": (
        "risk_events",
        "SELECT o.breaker a, '' b, count(*) n FROM risk_events o {range} AND o.state <> 'ACTIVE' GROUP BY 1",
    ),
}
_LAST_FILLS = """
SELECT CASE WHEN f.side = 'BUY' THEN 1 ELSE -1 END * (f.price / p.reference_price - 1) * 10000 AS bps,
       f.quantity / nullif(b.volume, 0)::numeric AS share, (f.ts_ns - o.ts_ns) / 1e9 AS latency_s
FROM (SELECT * FROM executions WHERE exec_type = 'TRADE' ORDER BY seq DESC LIMIT :fills) f
JOIN order_proposals p ON p.proposal_id = f.cause_id AND p.reference_price > 0
JOIN orders o ON o.order_id = f.order_id
LEFT JOIN bars b ON b.symbol = f.symbol AND b.ts_ns = f.ts_ns
"""
_LAST_DECISIONS = """
WITH o AS (SELECT ts_ns, 0 AS refused FROM orders ORDER BY seq DESC LIMIT :decisions),
     r AS (SELECT ts_ns, 1 AS refused FROM order_refusals ORDER BY seq DESC LIMIT :decisions),
     v AS (SELECT ts_ns, 1 AS refused FROM executions WHERE exec_type = 'REJECTED' ORDER BY seq DESC LIMIT :decisions),
     newest AS (SELECT max(ts_ns) AS ts_ns FROM valuations)
SELECT (SELECT count(*) FROM o, newest n WHERE o.ts_ns > n.ts_ns - :window_ns) AS orders,
       (SELECT count(*) FROM r, newest n WHERE r.ts_ns > n.ts_ns - :window_ns) AS refusals,
       (SELECT count(*) FROM v, newest n WHERE v.ts_ns > n.ts_ns - :window_ns) AS rejects
"""
_FAILED_CHECKS = """
WITH r AS (SELECT * FROM order_refusals ORDER BY seq DESC LIMIT :decisions),
     newest AS (SELECT max(ts_ns) AS ts_ns FROM valuations)
SELECT r."check" AS a, r.found AS b, count(*) AS n FROM r, newest n
WHERE r."limit" = :limit AND r.ts_ns > n.ts_ns - :window_ns GROUP BY 1, 2
"""


class TradingMetrics:
    """Counts from the first row of the tables, so that a restart of the API does not look like new orders.

    A row is counted one reading after it first appears, so that the rows of other services that it joins are there too.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._reset()

    def _reset(self) -> None:
        self._seen_seq: dict[str, int] = {}
        self._counted_seq: dict[str, int] = {}
        self._sums: dict[str, dict[Labels, list[float]]] = {name: {} for name in _COUNT_QUERIES}

    def read(self) -> list[Metric]:
        with self._engine.connect().execution_options(isolation_level="REPEATABLE READ") as db:
            self._count(db)
            fills = db.execute(text(_LAST_FILLS), {"fills": FILLS}).mappings().all()
            decided = db.execute(
                text(_LAST_DECISIONS), {"decisions": DECISIONS, "window_ns": WINDOW_S * 1_000_000_000}
            ).mappings()
            failed = db.execute(
                text(_FAILED_CHECKS),
                {"decisions": DECISIONS, "window_ns": WINDOW_S * 1_000_000_000, "limit": NO_EXCEPTION},
            ).mappings()
            return [
                single(
                    "platform_emulated_stops",
                    "open orders whose stop works only while the platform runs",
                    len(emulated_stops(db)),
                ),
                *self._counters(),
                self._latency(),
                *_slippage_metrics(fills),
                *_rejection_metrics(decided.one()),
                gauge(
                    "platform_risk_check_errors",
                    "orders of the last 15 minutes that were rejected because the check raised an exception",
                    ("check", "error"),
                    {(row["a"], row["b"]): row["n"] for row in failed},
                ),
            ]

    def _count(self, db: Connection) -> None:
        tables = sorted({table for table, _ in _COUNT_QUERIES.values()})
        newest = {table: db.execute(text(f"SELECT max(seq) FROM {table}")).scalar() or 0 for table in tables}  # noqa: S608 - names of ours
        if any(newest[table] < seen for table, seen in self._seen_seq.items()):
            self._reset()  # the tables were truncated for a rebuild
        upto = self._seen_seq or newest
        for name, (table, query) in _COUNT_QUERIES.items():
            if upto[table] > self._counted_seq.get(table, 0):
                self._add(db, name, query, self._counted_seq.get(table, 0), upto[table])
        self._counted_seq, self._seen_seq = dict(upto), newest

    def _add(self, db: Connection, name: str, query: str, after: int, upto: int) -> None:
        buckets = ", ".join(str(bound) for bound in LATENCY_S)
        scope = "WHERE o.seq > :after AND o.seq <= :upto"
        patterns = {"acted": ACTION_STRATEGY_PATTERN, "ordered": ORDER_STRATEGY_PATTERN}
        statement = query.format(range=scope, buckets=buckets, **patterns)
        for row in db.execute(text(statement), {"after": after, "upto": upto}).mappings():
            labels = tuple(str(row[label]) for label in ("a", "b") if label in row)
            sums = self._sums[name].setdefault(labels, [0.0, 0.0, 0.0])
            for column, value in enumerate(("n", "s", "f")):
                sums[column] += float(row.get(value) or 0)

    def _values(self, name: str, column: int = 0) -> dict[Labels, Value]:
        return {labels: sums[column] for labels, sums in self._sums[name].items()}

    def _by_first_label(self, name: str, column: int = 0) -> dict[Labels, Value]:
        """Return the sums by the first label."""
        totals: dict[Labels, float] = {}
        for labels, sums in self._sums[name].items():
            totals[labels[:1]] = totals.get(labels[:1], 0.0) + sums[column]
        return dict(totals)

    def _counters(self) -> list[Metric]:
        cancels = sum(sums[0] for sums in self._sums["cancels"].values())
        return [
            counter("platform_orders", "orders that risk approved", ("order_type", "side"), self._values("orders")),
            counter(
                "platform_order_refusals", "orders that risk rejected", ("check", "side"), self._values("refusals")
            ),
            counter("platform_order_cancels", "cancels sent to the venue", (), {(): cancels}),
            counter(
                "platform_executions",
                "execution reports of the venue",
                ("exec_type", "side"),
                self._values("executions"),
            ),
            counter("platform_orders_ended", "closed orders by outcome", ("outcome",), self._by_first_label("ended")),
            counter("platform_strategy_fills", "fills", ("strategy",), self._values("traded")),
            counter(
                "platform_strategy_notional", "quantity times price of fills", ("strategy",), self._values("traded", 1)
            ),
            gauge("platform_strategy_fees", "fees of fills", ("strategy",), self._values("traded", 2)),
            counter(
                "platform_strategy_actions",
                "actions of trading strategies",
                ("strategy", "kind"),
                self._values("actions"),
            ),
            counter(
                "platform_strategy_refusals",
                "orders that risk rejected, by the strategy behind them",
                ("strategy",),
                self._values("strategy_refusals"),
            ),
            counter("platform_closed_lots", "closed lots", ("strategy", "result"), self._values("closed")),
            gauge(
                "platform_strategy_realized_pnl",
                "P&L of the lots that a strategy's orders closed, net of fees",
                ("strategy",),
                self._by_first_label("closed", 1),
            ),
            counter(
                "platform_signal_outcomes",
                "signals whose horizon has passed: won, lost or flat, net of costs and of the market's move",
                ("strategy", "result"),
                self._values("outcomes"),
            ),
            counter(
                "platform_circuit_breaker_activations",
                "circuit breakers tripped",
                ("breaker",),
                self._by_first_label("breakers"),
            ),
        ]

    def _latency(self) -> Metric:
        counts, total, cumulative = [0.0] * (len(LATENCY_S) + 1), 0.0, 0.0
        for (bucket,), sums in self._sums["latency"].items():
            counts[int(bucket)] += sums[0]
            total += sums[1]
        buckets: list[tuple[str, float]] = []
        for bound, count in zip((*LATENCY_S, float("inf")), counts, strict=True):
            cumulative += count
            buckets.append(("+Inf" if bound == float("inf") else str(bound), cumulative))
        family = HistogramMetricFamily(
            "platform_order_to_fill_seconds", "event time between approval of an order and each of its fills"
        )
        family.add_metric([], buckets, total)
        return family


def _slippage_metrics(fills: Sequence[RowMapping]) -> list[Metric]:
    """Slippage is the adverse difference to the proposal's reference price in basis points; negative is better."""
    slippage = [float(row["bps"]) for row in fills]
    by_share: dict[Labels, list[float]] = {}
    for row in fills:
        if row["share"] is not None:
            bound = bisect_left([limit for limit, _ in SHARES], float(row["share"]))
            by_share.setdefault((SHARES[bound][1],), []).append(float(row["bps"]))
    shares = sorted(float(row["share"]) for row in fills if row["share"] is not None)
    latencies = sorted(float(row["latency_s"]) for row in fills)
    return [
        gauge(
            "platform_execution_latency_seconds",
            "event time from approval to fill, over the last fills",
            ("quantile",),
            _quantiles(latencies),
        ),
        single("platform_slippage_fills", f"fills in the slippage metrics, at most the last {FILLS}", len(slippage)),
        single("platform_slippage_mean_bps", "mean slippage of the last fills", _mean(slippage)),
        gauge("platform_slippage_bps", "slippage of the last fills", ("quantile",), _quantiles(sorted(slippage))),
        gauge(
            "platform_market_impact_bps",
            "mean slippage by the fill's share of the bar's volume",
            ("participation",),
            {labels: _mean(values) for labels, values in by_share.items()},
        ),
        gauge(
            "platform_fill_participation_ratio", "a fill's share of its bar's volume", ("quantile",), _quantiles(shares)
        ),
    ]


def _rejection_metrics(row: RowMapping) -> list[Metric]:
    """Return the share of orders that risk or the venue rejected, within the window of event time."""
    decided = row["orders"] + row["refusals"]
    refused = row["refusals"] + row["rejects"]
    return [
        single("platform_order_decisions", f"orders decided within {WINDOW_S} s of event time", decided),
        single(
            "platform_order_rejection_ratio",
            "share of these orders that risk or the venue rejected",
            refused / decided if decided else None,
        ),
    ]


def _mean(values: Iterable[float]) -> float | None:
    numbers = list(values)
    return sum(numbers) / len(numbers) if numbers else None


def _quantiles(ordered: Sequence[float]) -> dict[Labels, Value]:
    return {(str(q),): ordered[min(len(ordered) - 1, int(q * len(ordered)))] for q in (0.5, 0.95) if ordered}
