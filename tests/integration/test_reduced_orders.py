"""`explain` and `verify` trace an order that risk has reduced to the trade that closed the units of its strategy."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import Any

import psycopg2
import pytest
from sqlalchemy import create_engine

from deploy.commands.explain import _lines
from deploy.verification.ledger_tables import compare_ledger
from deploy.verification.orders import check_orders, current_cut
from deploy.verification.strategy_accounts import check_strategies
from operators.explain.cause_tree import CauseNode, Explanation, walk
from operators.explain.lineage import explain
from operators.ledger import Ledger
from schemas.records import SUBMIT_ORDER, InternalCross, Order, OrderCancel, Record
from sinks.lineage import DatabaseRecordLookup
from sinks.postgres import PostgresWriter
from tests.builders import command
from tests.unit.recorded_desk import RecordedDesk
from tests.unit.test_reduce_only_orders_of_strategies import Scripted, stop, target
from tests.unit.trading_desk import CAPITAL

STOP, AFTER_CROSS, AFTER_SALE = "ord-act-first-3", "ord-act-first-3~own-3", "ord-act-first-3~own-5"
SALE, FILL_OF_SALE = "cmd-s", "exe-7"


@pytest.fixture(scope="module")
def records() -> list[Record]:
    """A stop of 60 units is reduced by a cross of 35 and by a manual sale of 10. A cross of 15 cancels it."""
    first = Scripted("first", {1: target(60), 4: stop(60), 6: target(25), 10: target(0)})
    desk = RecordedDesk(first, Scripted("second", {6: target(35), 10: target(60)}))
    sale = command(SALE, 1, SUBMIT_ORDER, {"symbol": "KO", "side": "SELL", "quantity": "10"})
    desk.step(8, KO=100.0)
    desk.step(1, sale, KO=100.0)
    desk.step(6, KO=100.0)
    reduced = [(one.order_id, one.cause_id, one.replaces) for one in desk.of(Order) if one.replaces]
    assert reduced == [(AFTER_CROSS, "cross-2", STOP), (AFTER_SALE, FILL_OF_SALE, AFTER_CROSS)]
    assert [(one.order_id, one.cause_id) for one in desk.of(OrderCancel)] == [(AFTER_SALE, "cross-4")]
    assert [one.cross_id for one in desk.of(InternalCross)] == ["cross-2", "cross-4"]
    return desk.records


@pytest.fixture(scope="module")
def recorded_url(records: list[Record], make_database: Callable[..., str]) -> str:
    url = make_database()
    with closing(PostgresWriter(url, name="test")) as writer:
        writer.write(records)
    return url


@pytest.fixture
def url(recorded_url: str, make_database: Callable[..., str]) -> str:
    """A copy that a test may change."""
    return make_database(recorded_url)


def explain_record(url: str, record_id: str) -> Explanation:
    engine = create_engine(url)
    with engine.connect() as db:
        explanation = explain(DatabaseRecordLookup(db), record_id)
    engine.dispose()
    assert explanation is not None, record_id
    return explanation


def ids_of(node: CauseNode) -> list[str]:
    return [one.record_id for one in walk(node)]


def findings(url: str) -> list[tuple[str, Any]]:
    return [(one.name, text) for one in check_orders(url, current_cut(url)) for text in one.findings]


def change(url: str, statement: str) -> None:
    with closing(psycopg2.connect(url)) as db, db, db.cursor() as cursor:
        cursor.execute(statement)
        assert cursor.rowcount == 1


def test_a_reduced_order_is_explained_by_the_cross_and_the_order_that_it_replaces(recorded_url: str) -> None:
    explanation = explain_record(recorded_url, AFTER_CROSS)
    cross, replaced = explanation.root.causes
    assert ids_of(cross)[0] == "cross-2" and "bar-KO-6" in ids_of(cross)
    assert {"act-first-5", "act-second-1"} <= {*ids_of(cross)}, "the targets of both strategies"
    assert ids_of(replaced) == [STOP, "act-first-3", "feat-KO-4", "bar-KO-4"]
    assert all(node.record is not None for node in walk(explanation.root))
    assert "not in the tables" not in "\n".join(_lines(explanation))


def test_an_order_that_is_reduced_twice_is_explained_by_the_fill_of_the_sale_and_its_predecessors(
    recorded_url: str,
) -> None:
    explanation = explain_record(recorded_url, AFTER_SALE)
    fill, replaced = explanation.root.causes
    assert ids_of(fill) == [FILL_OF_SALE, "bar-KO-10"]
    assert ids_of(replaced)[:2] == [AFTER_CROSS, "cross-2"] and STOP in ids_of(replaced)
    (cancel,) = [one for one in explanation.consequences if one.kind == "OrderCancel"]
    assert ids_of(cancel)[1] == "cross-4", "the cause of its end"
    sale = explain_record(recorded_url, FILL_OF_SALE)
    assert SALE in ids_of(sale.root)


def test_verify_accepts_reduced_and_cancelled_orders(recorded_url: str, records: list[Record]) -> None:
    checks = {one.name: one for one in check_orders(recorded_url, current_cut(recorded_url))}
    assert [one for one in checks.values() if one.findings] == []
    assert checks["orders caused"].records == sum(type(one) is Order for one in records)
    assert checks["cancels caused"].records == checks["cancels ordered"].records == 1
    assert check_strategies(recorded_url, CAPITAL, (), "USD").difference is None
    assert compare_ledger(recorded_url, Ledger(CAPITAL)).agrees


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        (
            "DELETE FROM internal_crosses WHERE cross_id = 'cross-2'",
            ("orders caused", f"orders {AFTER_CROSS}: no proposal, command, action or trade cross-2"),
        ),
        (
            "DELETE FROM executions WHERE execution_id = 'exe-7'",
            ("orders caused", f"orders {AFTER_SALE}: no proposal, command, action or trade {FILL_OF_SALE}"),
        ),
        (
            "UPDATE orders SET cause_id = 'cross-3' WHERE order_id = 'ord-act-first-3~own-3'",
            ("orders caused", f"orders {AFTER_CROSS}: no proposal, command, action or trade cross-3"),
        ),
        (
            "UPDATE orders SET cause_id = 'cross-4' WHERE order_id = 'ord-act-first-3~own-3'",
            ("orders caused", f"orders {AFTER_CROSS}: no proposal, command, action or trade cross-4"),
        ),
        (
            "UPDATE internal_crosses SET symbol = 'PEP' WHERE cross_id = 'cross-2'",
            ("orders caused", f"orders {AFTER_CROSS}: no proposal, command, action or trade cross-2"),
        ),
        (
            "DELETE FROM internal_crosses WHERE cross_id = 'cross-4'",
            ("cancels caused", "order_cancels 7: no trade cross-4"),
        ),
    ],
    ids=["cross removed", "fill removed", "unknown cross", "later cross", "other symbol", "cross of a cancel removed"],
)
def test_a_missing_or_changed_cause_is_named(url: str, statement: str, expected: tuple[str, str]) -> None:
    change(url, statement)
    assert findings(url) == [expected]


def test_explain_names_the_cross_that_is_missing(url: str) -> None:
    change(url, "DELETE FROM internal_crosses WHERE cross_id = 'cross-2'")
    explanation = explain_record(url, AFTER_CROSS)
    missing = [node for node in walk(explanation.root) if node.record is None]
    assert [(node.kind, node.record_id) for node in missing] == [("InternalCross", "cross-2")]
    assert "cross-2: not in the tables" in "\n".join(_lines(explanation))
