"""Find orders, refusals and reports without the record that caused them, and orders without an end.

All tries use the same clock as upper bound: a record that a lagging service has not written yet appears in a later try,
a lost record does not.
"""

from __future__ import annotations

from contextlib import closing
from typing import NamedTuple

from deploy.verification.ledger_tables import snapshot_connection
from deploy.verification.verdict import FINDINGS_MAX, Comparison
from operators.adjustments import PREFIX
from operators.manual_orders import EXIT_SUFFIXES, LIQUIDATION_PREFIX
from schemas.records import ACCEPT_POSITION, SUBMIT_ORDER, TRADE

# A decision of the stage itself has its time slice as cause.
_STAGE_DECIDED = "(o.cause_id LIKE 'margin-%%' OR o.cause_id LIKE 'tick-%%')"
_PROPOSED = "EXISTS (SELECT FROM order_proposals p WHERE p.proposal_id = o.cause_id)"
_COMMANDED = "EXISTS (SELECT FROM commands c WHERE c.command_id = o.cause_id)"
# The exits of a bracket have the id of their command with a suffix as cause.
_IN_BRACKET = (
    f"EXISTS (SELECT FROM commands c WHERE c.kind = '{SUBMIT_ORDER}' "
    f"AND c.command_id = regexp_replace(o.cause_id, '({'|'.join(EXIT_SUFFIXES)})$', ''))"
)
# The cause of an order of a trading strategy is the id of its action, with the same suffixes for exits.
_ACTED = (
    "EXISTS (SELECT FROM strategy_actions a "
    f"WHERE a.action_id = regexp_replace(o.cause_id, '({'|'.join(EXIT_SUFFIXES)})$', ''))"
)
_HAS_CAUSE = f"({_PROPOSED} OR {_COMMANDED} OR {_STAGE_DECIDED} OR {_IN_BRACKET} OR {_ACTED})"
# Risk reduces or cancels a reduce-only order after a trade in its symbol that closes the position of its strategy.
_FILLED = (
    f"EXISTS (SELECT FROM executions e WHERE e.execution_id = o.cause_id AND e.exec_type = '{TRADE}' "
    "AND e.symbol = o.symbol AND e.ts_ns <= o.ts_ns)"
)
_CROSSED = (
    "EXISTS (SELECT FROM internal_crosses i WHERE i.cross_id = o.cause_id "
    "AND i.symbol = o.symbol AND i.ts_ns <= o.ts_ns)"
)
_TRADED = f"({_FILLED} OR {_CROSSED})"
_NAMES_TRADE = "(o.cause_id LIKE 'cross-%%' OR o.cause_id LIKE 'exe-%%')"
# An adjustment is a trade without an order: a person has accepted the broker's position.
_IS_ADJUSTMENT = (
    "EXISTS (SELECT FROM commands c WHERE c.command_id = o.cause_id "
    f"AND c.kind = '{ACCEPT_POSITION}' AND o.order_id = '{PREFIX}' || c.command_id)"
)
# The simulated broker closes an account whose equity is below zero.
_IS_LIQUIDATION = f"o.order_id LIKE '{LIQUIDATION_PREFIX}%%'"
_HAS_REPORT = "EXISTS (SELECT FROM executions e WHERE e.order_id = o.order_id)"
_IS_EXCHANGE_HALT = "EXISTS (SELECT FROM trading_statuses h WHERE h.status_id = o.cause_id)"
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
    """Rows of `table` (`o` in `condition`) between two clocks satisfy `condition`; `message` describes a violation.

    `%(cut)s` is the clock of the portfolio's tables. `%(settled)s` is some time slices older: the venue must have
    reported by then. `%(latency)s` is the latency of the venue in ns.
    """

    name: str
    table: str
    key: str
    condition: str
    message: str
    upto: str = "cut"


RULES = (
    OrderRule(
        "orders caused",
        "orders",
        "order_id",
        f"({_HAS_CAUSE} OR (o.replaces <> '' AND {_TRADED}))",
        "no proposal, command, action or trade {cause_id}",
    ),
    OrderRule("refusals caused", "order_refusals", "seq", _HAS_CAUSE, "no proposal, command or action {cause_id}"),
    OrderRule("fences caused", "risk_fences", "seq", _HAS_CAUSE, "no command {cause_id}"),
    OrderRule(
        "events caused",
        "risk_events",
        "seq",
        f"({_HAS_CAUSE} OR {_IS_EXCHANGE_HALT})",
        "no command and no halt of the exchange {cause_id}",
    ),
    OrderRule(
        "cancels ordered",
        "order_cancels",
        "seq",
        "EXISTS (SELECT FROM orders a WHERE a.order_id = o.order_id)",
        "no order {order_id}",
    ),
    OrderRule(
        "cancels caused",
        "order_cancels",
        "seq",
        f"(NOT {_NAMES_TRADE} OR {_TRADED})",
        "no trade {cause_id}",
    ),
    OrderRule(
        "executions ordered",
        "executions",
        "execution_id",
        f"(EXISTS (SELECT FROM orders a WHERE a.order_id = o.order_id) OR {_IS_ADJUSTMENT} OR {_IS_LIQUIDATION})",
        "no order {order_id}",
    ),
    OrderRule(
        name="orders answered",
        table="orders",
        key="order_id",
        condition=_HAS_REPORT,
        message="the venue has not reported on it",
        upto="settled",
    ),
    OrderRule(
        name="orders ended",
        table="orders",
        key="order_id",
        condition=f"NOT (({_DAY_IS_OVER} OR {_IS_EXPIRED}) AND {_IS_WORKING})",
        message="{time_in_force} order is still working after its expiry",
        upto="settled",
    ),
)
_SLICES_TO_ANSWER = 3


class ClockCut(NamedTuple):
    """Clocks up to which the orders are checked, in ns, and after which they are checked.

    `open_order_ids` are orders from before `after` that had not ended then.
    """

    cut: int
    settled: int
    after: int = -1
    open_order_ids: tuple[str, ...] = ()


def current_cut(database_url: str) -> ClockCut:
    """Return the clock of the last valuation and that of an earlier one. Raises psycopg2.Error."""
    with closing(snapshot_connection(database_url)) as db, db.cursor() as cursor:
        cursor.execute("SELECT ts_ns FROM valuations ORDER BY seq DESC LIMIT %s", (_SLICES_TO_ANSWER + 1,))
        clocks = [ts_ns for (ts_ns,) in cursor.fetchall()]
    if not clocks:
        return ClockCut(-1, -1)
    return ClockCut(clocks[0], clocks[-1] if len(clocks) > _SLICES_TO_ANSWER else -1)


def check_orders(database_url: str, cut: ClockCut, latency_ns: int = 0) -> list[Comparison]:
    """Return one comparison per rule, with at most `FINDINGS_MAX` findings. Raises psycopg2.Error."""
    parameters = {**cut._asdict(), "open_order_ids": list(cut.open_order_ids), "latency": latency_ns}
    checks = []
    with closing(snapshot_connection(database_url)) as db, db.cursor() as cursor:
        for rule in RULES:
            later = "o.ts_ns > %(after)s"
            if rule.table == "orders":
                later = f"({later} OR o.order_id = ANY(%(open_order_ids)s))"
            source_sql = f"FROM {rule.table} o WHERE {later} AND o.ts_ns <= %({rule.upto})s"
            cursor.execute(f"SELECT count(*) {source_sql}", parameters)
            (count,) = cursor.fetchone() or (0,)
            cursor.execute(
                f"SELECT row_to_json(o) {source_sql} AND NOT {rule.condition} ORDER BY o.seq LIMIT {FINDINGS_MAX}",
                parameters,
            )
            rows = [row for (row,) in cursor.fetchall()]
            findings = [f"{rule.table} {row[rule.key]}: {rule.message.format(**row)}" for row in rows]
            checks.append(Comparison(rule.name, count, next(iter(findings), None), more=tuple(findings[1:])))
    return checks
