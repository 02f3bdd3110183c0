"""Orders, refusals and reports that hang in the air: without what must have come before, or without an end.

Every query is cut at one clock, the same at each try: what a service that lags has not written yet comes, what is
missing stays missing.
"""

from __future__ import annotations

from contextlib import closing
from typing import NamedTuple

from deploy.verification.ledger_tables import snapshot_connection
from deploy.verification.verdict import Comparison

# What a stage decides by itself names its tick as its cause.
_STAGE_DECIDED = "(o.cause_id LIKE 'margin-%%' OR o.cause_id LIKE 'tick-%%')"
_PROPOSED = "EXISTS (SELECT FROM order_proposals p WHERE p.proposal_id = o.cause_id)"
_COMMANDED = "EXISTS (SELECT FROM commands c WHERE c.command_id = o.cause_id)"
_HAS_CAUSE = f"({_PROPOSED} OR {_COMMANDED} OR {_STAGE_DECIDED})"
_HAS_REPORT = "EXISTS (SELECT FROM executions e WHERE e.order_id = o.order_id)"
_IS_WORKING = (
    "coalesce((SELECT e.leaves_quantity FROM executions e WHERE e.order_id = o.order_id "
    "ORDER BY e.seq DESC LIMIT 1), 0) > 0"
)
_DAY_IS_OVER = (
    "o.time_in_force = 'DAY' AND EXISTS "
    "(SELECT FROM bars b WHERE b.symbol = o.symbol AND b.ts_ns <= %(settled)s AND b.trading_day > "
    "(SELECT min(f.trading_day) FROM bars f WHERE f.symbol = o.symbol AND f.open_ns >= o.ts_ns + %(latency)s))"
)
_IS_EXPIRED = (
    "o.expires_ns IS NOT NULL AND EXISTS "
    "(SELECT FROM bars b WHERE b.symbol = o.symbol AND b.ts_ns <= %(settled)s AND b.open_ns >= o.expires_ns)"
)


class OrderRule(NamedTuple):
    """Rows of `table` (named `o` in `condition`) up to a clock must satisfy `condition`; `message` tells of one that does not.

    `%(cut)s` is the clock of the portfolio's tables, `%(settled)s` one some ticks older, by which the venue must have
    answered, `%(latency)s` the venue's.
    """

    name: str
    table: str
    key: str
    condition: str
    message: str
    upto: str = "cut"


RULES = (
    OrderRule("orders caused", "orders", "order_id", _HAS_CAUSE, "no proposal and no command {cause_id}"),
    OrderRule("refusals caused", "order_refusals", "seq", _HAS_CAUSE, "no proposal and no command {cause_id}"),
    OrderRule("fences caused", "risk_fences", "seq", _HAS_CAUSE, "no command {cause_id}"),
    OrderRule("events caused", "risk_events", "seq", _HAS_CAUSE, "no command {cause_id}"),
    OrderRule(
        "cancels ordered",
        "order_cancels",
        "seq",
        "EXISTS (SELECT FROM orders a WHERE a.order_id = o.order_id)",
        "no order {order_id}",
    ),
    OrderRule(
        "executions ordered",
        "executions",
        "execution_id",
        "EXISTS (SELECT FROM orders a WHERE a.order_id = o.order_id)",
        "no order {order_id}",
    ),
    OrderRule(
        "orders answered", "orders", "order_id", _HAS_REPORT, "the venue has not said a word about it", "settled"
    ),
    OrderRule(
        "orders ended",
        "orders",
        "order_id",
        f"NOT (({_DAY_IS_OVER} OR {_IS_EXPIRED}) AND {_IS_WORKING})",
        "{time_in_force} order still works though its time is over",
        "settled",
    ),
)
_SLICES_TO_ANSWER = 3


class ClockCut(NamedTuple):
    """Up to which clocks the orders are looked at."""

    cut: int
    settled: int


def current_cut(database_url: str) -> ClockCut:
    """The clock of the last valuation, and that of the one some ticks before. Raises psycopg2.Error."""
    with closing(snapshot_connection(database_url)) as db, db.cursor() as cursor:
        cursor.execute("SELECT ts_ns FROM valuations ORDER BY seq DESC LIMIT %s", (_SLICES_TO_ANSWER + 1,))
        clocks = [ts_ns for (ts_ns,) in cursor.fetchall()]
    if not clocks:
        return ClockCut(-1, -1)
    return ClockCut(clocks[0], clocks[-1] if len(clocks) > _SLICES_TO_ANSWER else -1)


def check_orders(database_url: str, cut: ClockCut, latency_ns: int = 0) -> list[Comparison]:
    """One check a rule. Raises psycopg2.Error."""
    parameters = {**cut._asdict(), "latency": latency_ns}
    checks = []
    with closing(snapshot_connection(database_url)) as db, db.cursor() as cursor:
        for rule in RULES:
            source_sql = f"FROM {rule.table} o WHERE o.ts_ns <= %({rule.upto})s"
            cursor.execute(f"SELECT count(*) {source_sql}", parameters)
            (count,) = cursor.fetchone() or (0,)
            cursor.execute(
                f"SELECT row_to_json(o) {source_sql} AND NOT {rule.condition} ORDER BY o.seq LIMIT 1", parameters
            )
            row = cursor.fetchone()
            problem = None if row is None else f"{rule.table} {row[0][rule.key]}: {rule.message.format(**row[0])}"
            checks.append(Comparison(rule.name, count, problem))
    return checks
