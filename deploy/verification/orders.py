"""Orders, refusals and reports that hang in the air: without what must have come before, or without an end.

Every query is cut at one clock, the same at each try: what a service that lags has not written yet comes, what is
missing stays missing.
"""

from __future__ import annotations

from contextlib import closing
from typing import NamedTuple

from deploy.verification.ledger_tables import moment
from deploy.verification.verdict import Check

# What a stage decides by itself names its tick as its cause.
_OWN = "(o.cause_id LIKE 'margin-%%' OR o.cause_id LIKE 'tick-%%')"
_PROPOSED = "EXISTS (SELECT FROM order_proposals p WHERE p.proposal_id = o.cause_id)"
_COMMANDED = "EXISTS (SELECT FROM commands c WHERE c.command_id = o.cause_id)"
_CAUSED = f"({_PROPOSED} OR {_COMMANDED} OR {_OWN})"
_ANSWERED = "EXISTS (SELECT FROM executions e WHERE e.order_id = o.order_id)"
_WORKS = (
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


class Rule(NamedTuple):
    """Rows of `table` (named `o` in `right`) up to a clock must satisfy `right`; `sentence` tells of one that does not.

    `%(cut)s` is the clock of the portfolio's tables, `%(settled)s` one some ticks older, by which the venue must have
    answered, `%(latency)s` the venue's.
    """

    name: str
    table: str
    key: str
    right: str
    sentence: str
    upto: str = "cut"


RULES = (
    Rule("orders caused", "orders", "order_id", _CAUSED, "no proposal and no command {cause_id}"),
    Rule("refusals caused", "order_refusals", "seq", _CAUSED, "no proposal and no command {cause_id}"),
    Rule("fences caused", "risk_fences", "seq", _CAUSED, "no command {cause_id}"),
    Rule("events caused", "risk_events", "seq", _CAUSED, "no command {cause_id}"),
    Rule(
        "cancels ordered",
        "order_cancels",
        "seq",
        "EXISTS (SELECT FROM orders a WHERE a.order_id = o.order_id)",
        "no order {order_id}",
    ),
    Rule(
        "executions ordered",
        "executions",
        "execution_id",
        "EXISTS (SELECT FROM orders a WHERE a.order_id = o.order_id)",
        "no order {order_id}",
    ),
    Rule("orders answered", "orders", "order_id", _ANSWERED, "the venue has not said a word about it", "settled"),
    Rule(
        "orders ended",
        "orders",
        "order_id",
        f"NOT (({_DAY_IS_OVER} OR {_IS_EXPIRED}) AND {_WORKS})",
        "{time_in_force} order still works though its time is over",
        "settled",
    ),
)
_TICKS_TO_ANSWER = 3


class Cut(NamedTuple):
    """Up to which clocks the orders are looked at."""

    cut: int
    settled: int


def cut_now(database_url: str) -> Cut:
    """The clock of the last valuation, and that of the one some ticks before. Raises psycopg2.Error."""
    with closing(moment(database_url)) as db, db.cursor() as cursor:
        cursor.execute("SELECT ts_ns FROM valuations ORDER BY seq DESC LIMIT %s", (_TICKS_TO_ANSWER + 1,))
        clocks = [ts_ns for (ts_ns,) in cursor.fetchall()]
    if not clocks:
        return Cut(-1, -1)
    return Cut(clocks[0], clocks[-1] if len(clocks) > _TICKS_TO_ANSWER else -1)


def check_orders(database_url: str, cut: Cut, latency_ns: int = 0) -> list[Check]:
    """One check a rule. Raises psycopg2.Error."""
    given = {**cut._asdict(), "latency": latency_ns}
    checks = []
    with closing(moment(database_url)) as db, db.cursor() as cursor:
        for rule in RULES:
            within = f"FROM {rule.table} o WHERE o.ts_ns <= %({rule.upto})s"
            cursor.execute(f"SELECT count(*) {within}", given)
            (count,) = cursor.fetchone() or (0,)
            cursor.execute(f"SELECT row_to_json(o) {within} AND NOT {rule.right} ORDER BY o.seq LIMIT 1", given)
            row = cursor.fetchone()
            wrong = None if row is None else f"{rule.table} {row[0][rule.key]}: {rule.sentence.format(**row[0])}"
            checks.append(Check(rule.name, count, wrong))
    return checks
