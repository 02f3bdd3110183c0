"""Compare the strategies of closed lots with the orders that opened them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.verification.verdict import Comparison
from operators.manual_orders import MANUAL, ORDER_STRATEGY_PATTERN

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection  # noqa: N812  (a class with a lower-case name)

_OPENERS = """
SELECT matches.match_id, matches.strategy,
       coalesce(proposals.strategy, substring(openings.order_id from %(pattern)s), %(manual)s) AS opener
FROM lot_matches AS matches
JOIN executions AS openings ON openings.execution_id = matches.open_execution_id
LEFT JOIN order_proposals AS proposals ON proposals.proposal_id = openings.cause_id
WHERE matches.strategy <> '' AND matches.seq > %(after_seq)s
"""


def check_lot_strategies(db: Connection, after_seq: int = 0) -> Comparison:
    """Compare each lot that was closed after `after_seq` with its opening order.

    A lot without a strategy was opened before an upgrade.
    """
    with db.cursor() as cursor:
        parameters = {"pattern": ORDER_STRATEGY_PATTERN, "manual": MANUAL, "after_seq": after_seq}
        cursor.execute(
            f"SELECT match_id, strategy, opener FROM ({_OPENERS}) AS openers WHERE strategy <> opener"  # noqa: S608
            " ORDER BY match_id LIMIT 1",
            parameters,
        )
        first = cursor.fetchone()
        cursor.execute(f"SELECT count(*) FROM ({_OPENERS}) AS openers", parameters)  # noqa: S608
        row = cursor.fetchone()
    assert row is not None, "count(*) returns one row"
    if first is None:
        return Comparison("lot_strategies", row[0], None)
    match_id, strategy, opener = first
    problem = f"lot_matches {match_id}: strategy is {strategy} in PostgreSQL, expected {opener} from the opening order"
    return Comparison("lot_strategies", 0, problem)
