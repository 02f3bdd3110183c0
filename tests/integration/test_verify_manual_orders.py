"""`verify` and `explain` know the causes of every manual order: brackets, amendments, cancels and forced reductions."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from decimal import Decimal
from typing import Any, NamedTuple

import psycopg2
import pytest
from sqlalchemy import create_engine

from deploy.commands.explain import _lines
from deploy.commands.verify import _as_text
from deploy.verification.ledger_tables import compare_ledger
from deploy.verification.orders import check_orders, current_cut
from deploy.verification.verdict import Comparison, VerificationResult
from operators.explain.cause_tree import Explanation, walk
from operators.explain.lineage import explain
from operators.ledger import Ledger
from operators.portfolio import PortfolioSettings, PortfolioStage
from operators.risk import RiskSettings, RiskStage
from operators.risk.margin import MarginSettings
from operators.trading_loop import TradingLoop
from operators.venue import VenueSettings, VenueStage
from schemas.records import (
    AMEND_ORDER,
    BUY,
    CANCEL_ORDER,
    SUBMIT_ORDER,
    Command,
    CommandKind,
    Execution,
    Order,
    OrderCancel,
    OrderRefusal,
    Record,
    RiskEvent,
)
from sinks.lineage import DatabaseRecordLookup
from sinks.postgres import PostgresWriter
from tests.builders import bar, command

MINUTE_NS = 60_000_000_000
CAPITAL = Decimal(10_000)
BRACKET = {"symbol": "X", "side": "BUY", "quantity": "10", "take_profit_price": "110", "stop_loss_price": "95"}


class Desk:
    """Venue, portfolio and risk of a margin account. One bar of X per minute, and all records of the session."""

    def __init__(self) -> None:
        limits = RiskSettings.unlimited(initial_capital=CAPITAL, margin=MarginSettings())
        portfolio = PortfolioStage(PortfolioSettings(initial_capital=CAPITAL))
        venue = VenueStage(VenueSettings(fee_model="none", slippage_bps=Decimal(0)))
        self.loop = TradingLoop(venue, portfolio, RiskStage(limits))
        self.minute = 0
        self.records: list[Record] = []

    def step(self, price: float, *commands: Command) -> list[Any]:
        self.minute += 1
        ts_ns = self.minute * MINUTE_NS
        inputs: list[Record] = [*commands, bar("X", self.minute, ts_ns, price)]
        output = self.loop.on_slice(ts_ns, inputs)
        self.records += [*inputs, *output]
        return output

    def send(self, name: str, kind: CommandKind, price: float, **arguments: str) -> None:
        ts_ns = (self.minute + 1) * MINUTE_NS
        self.step(price, command(name, ts_ns, kind, actor="ann", reason="by hand", arguments=arguments))


class ManualSession(NamedTuple):
    """The records of a session, and the URL of the database that contains them."""

    records: list[Record]
    url: str


@pytest.fixture(scope="module")
def session(make_database: Callable[[], str]) -> ManualSession:
    """A bracket that is amended, another that is cancelled, one that is refused, a margin call, and a flat position."""
    desk = Desk()
    desk.send("cmd-a", SUBMIT_ORDER, 100.0, **BRACKET)
    for _ in range(2):
        desk.step(100.0)
    desk.send("cmd-b", AMEND_ORDER, 100.0, order_id="ord-cmd-a-sl", stop_price="96")
    desk.step(100.0)
    desk.step(95.0)  # the amended stop fills and cancels the take profit
    resting = BRACKET | {"order_type": "LIMIT", "limit_price": "80", "time_in_force": "GTC", "stop_loss_price": "75"}
    desk.send("cmd-c", SUBMIT_ORDER, 95.0, **resting)
    desk.step(95.0)
    desk.send("cmd-d", CANCEL_ORDER, 95.0, order_id="ord-cmd-c")
    desk.step(95.0)
    desk.send("cmd-e", SUBMIT_ORDER, 95.0, **BRACKET | {"stop_loss_price": "97"})
    desk.send("cmd-f", SUBMIT_ORDER, 95.0, symbol="X", side="BUY", quantity="200")
    desk.step(95.0)
    desk.step(60.0)  # equity is below the maintenance margin
    desk.step(60.0)
    fills = [record for record in desk.records if type(record) is Execution]
    left = sum((fill.quantity if fill.side == BUY else -fill.quantity for fill in fills), Decimal(0))
    desk.send("cmd-g", SUBMIT_ORDER, 60.0, symbol="X", side="SELL", quantity=f"{left:f}", reduce_only="true")
    for _ in range(5):
        desk.step(60.0)
    url = make_database()
    with closing(PostgresWriter(url, name="test")) as writer:
        writer.write(desk.records)
    return ManualSession(desk.records, url)


def explain_record(session: ManualSession, record_id: str) -> Explanation:
    engine = create_engine(session.url)
    with engine.connect() as db:
        explanation = explain(DatabaseRecordLookup(db), record_id)
    engine.dispose()
    assert explanation is not None, record_id
    return explanation


def of_type(session: ManualSession, kind: type) -> list[Any]:
    return [record for record in session.records if type(record) is kind]


def test_the_session_contains_each_kind_of_manual_order(session: ManualSession) -> None:
    causes = [order.cause_id for order in of_type(session, Order)]
    manual = [cause for cause in causes if not cause.startswith("margin-")]
    assert manual == ["cmd-a", "cmd-a-tp", "cmd-a-sl", "cmd-b", "cmd-c", "cmd-c-tp", "cmd-c-sl", "cmd-f", "cmd-g"]
    assert any(cause.startswith("margin-") for cause in causes)
    assert [(refusal.cause_id, refusal.check) for refusal in of_type(session, OrderRefusal)] == [
        ("cmd-e", "exit_prices")
    ]
    assert [cancel.cause_id for cancel in of_type(session, OrderCancel)] == ["cmd-d"]


def test_verify_accepts_brackets_amendments_cancels_and_forced_reductions(session: ManualSession) -> None:
    checks = check_orders(session.url, current_cut(session.url))
    assert [check for check in checks if check.findings] == []
    counts = {check.name: check.records for check in checks}
    assert counts["orders caused"] == len(of_type(session, Order)) > 9 and counts["refusals caused"] == 1
    assert compare_ledger(session.url, Ledger(CAPITAL)).agrees


def test_every_manual_order_is_explained_by_its_command(session: ManualSession) -> None:
    for order in of_type(session, Order):
        explanation = explain_record(session, order.order_id)
        nodes = list(walk(explanation.root))
        assert all(node.record is not None for node in nodes), (order.order_id, nodes)
        expected_kind = "RiskEvent" if order.cause_id.startswith("margin-") else "Command"
        assert nodes[-1].kind == expected_kind, order.order_id
        assert "not in the tables" not in "\n".join(_lines(explanation))


def test_an_amended_exit_is_explained_by_both_commands(session: ManualSession) -> None:
    nodes = [(node.kind, node.record_id) for node in walk(explain_record(session, "ord-cmd-b").root)]
    assert nodes == [
        ("Order", "ord-cmd-b"),
        ("Command", "cmd-b"),
        ("Order", "ord-cmd-a-sl"),
        ("Command", "cmd-a"),
    ]


def test_a_command_names_all_its_results(session: ManualSession) -> None:
    def results(command_id: str) -> list[str]:
        return [node.record_id for node in explain_record(session, command_id).consequences]

    assert results("cmd-a") == ["ord-cmd-a", "ord-cmd-a-tp", "ord-cmd-a-sl"]
    [cancel] = of_type(session, OrderCancel)
    assert results("cmd-d") == [f"cancel-{cancel.seq}"]
    assert results("cmd-e") == ["refusal-1"]
    cancelled = explain_record(session, "ord-cmd-c").consequences
    assert [(node.kind, node.causes[0].record_id) for node in cancelled if node.kind == "OrderCancel"] == [
        ("OrderCancel", "cmd-d")
    ]
    assert any(type(record) is RiskEvent and record.breaker == "margin_call" for record in session.records)


def test_all_findings_are_listed_last_with_a_closing_line(
    session: ManualSession, make_database: Callable[[], str]
) -> None:
    url = make_database()
    with closing(PostgresWriter(url, name="test")) as writer:
        writer.write(session.records)
    with closing(psycopg2.connect(url)) as db, db, db.cursor() as cursor:
        cursor.execute("DELETE FROM commands WHERE command_id IN ('cmd-a', 'cmd-d')")
    checks = [Comparison("executions", 3, None), *check_orders(url, current_cut(url))]
    lines = _as_text(VerificationResult(checks, "ab12")).splitlines()
    findings = lines.index("findings")
    assert lines[findings:] == [
        "findings",
        "  orders caused: orders ord-cmd-a: no proposal, command, action or trade cmd-a",
        "  orders caused: orders ord-cmd-a-tp: no proposal, command, action or trade cmd-a-tp",
        "  orders caused: orders ord-cmd-a-sl: no proposal, command, action or trade cmd-a-sl",
        "1 of 10 checks failed: orders caused",
    ]
    assert _as_text(VerificationResult(checks[:1], "ab12")).splitlines()[-1] == "all 1 checks agree"
