"""`verify` accepts correct books and names the first error in wrong books."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal

import psycopg2
import pytest

from deploy.home import REPOSITORY
from deploy.verification.ledger_tables import compare_ledger
from deploy.verification.verdict import VerificationResult
from operators.decision_hash import decision_hash
from operators.ledger import Ledger, Split, account
from operators.manual_orders import MANUAL
from schemas.records import (
    CASH_DIVIDEND,
    DELISTING,
    SPIN_OFF,
    SPLIT,
    SYMBOL_CHANGE,
    CashFlow,
    CorporateAction,
    Execution,
    Record,
    Valuation,
)
from sinks.postgres import PostgresWriter
from tests.builders import approved, bar, corporate_action, execution, proposal, valuation
from tests.builders.market import MINUTE_NS
from tests.unit.trading_loop_harness import CAPITAL as DESK_CAPITAL
from tests.unit.trading_loop_harness import DAYS, TradingLoopHarness

CAPITAL = Decimal(1_000_000)


def _ledger_records() -> list[Record]:
    """A few hundred random trades in three symbols, booked and valued."""
    rng = random.Random(11)
    ledger = Ledger(CAPITAL)
    records: list[Record] = []
    for seq in range(1, 301):
        quantity = rng.choice((-7, -3, 3, 5, 10))
        trade = execution(seq, seq, rng.choice(("A", "B", "C")), quantity, 100 + rng.randint(-500, 500) / 100, "0.35")
        records += [*_proposal_and_order(trade), trade, *ledger.apply(trade, strategy=MANUAL)]  # without a cause
    cash, cost = ledger.cash, ledger.cost
    records.append(
        valuation(
            1,
            300,
            cash + cost,
            cash=cash,
            gross_exposure=abs(cost),
            net_exposure=cost,
            realized_pnl=ledger.realized_pnl,
            fees=ledger.fees,
            open_positions=3,
        )
    )
    return records


def _proposal_and_order(trade: Execution) -> list[Record]:
    """The proposal and the order of a trade."""
    proposed = proposal(trade.side, trade.quantity, trade.symbol, seq=trade.seq, ts_ns=trade.ts_ns, reference_price=1)
    return [proposed, approved(proposed, order_id=trade.order_id)]


@pytest.fixture
def ledger_url(make_database: Callable[[], str]) -> str:
    url = make_database()
    writer = PostgresWriter(url, name="test")
    writer.write(_ledger_records())
    writer.close()
    return url


def test_a_ledger_with_corporate_actions_agrees_and_a_changed_payment_is_named(
    make_database: Callable[[], str],
) -> None:
    """Records of the real stages: a split, a dividend, cash in lieu of a fraction, and a delisting."""
    desk = TradingLoopHarness()
    records: list[Record] = []
    actions: dict[int, list[CorporateAction]] = {
        2: [corporate_action("s", SPLIT, "A", ex_date=DAYS[1], ratio=1.5, amount=60)],
        3: [corporate_action("d", CASH_DIVIDEND, "A", ex_date=DAYS[1], pay_date=DAYS[2], amount=0.4)],
        9: [corporate_action("x", DELISTING, "B", ex_date=DAYS[3], amount=7)],
    }
    for number in range(16):
        targets = {"A": 1, "B": 1} if number == 0 else {"A": 0} if number == 7 else None
        due_actions = actions.get(number, [])
        records += [*due_actions, *desk.step({"A": 101.0, "B": 50.0}, *due_actions, directions=targets)]
    url = make_database()
    writer = PostgresWriter(url, name="test")
    writer.write(records)
    writer.close()
    flows = [record for record in records if type(record) is CashFlow]
    assert [flow.kind for flow in flows] == ["SPLIT", "CASH_DIVIDEND", "DIVIDEND", "DELISTING"]
    assert _differences(compare_ledger(url, Ledger(DESK_CAPITAL))) == []
    _change(url, "UPDATE cash_flows SET amount = amount + 1 WHERE kind = 'DIVIDEND'")
    assert any("valuation" in difference for difference in _differences(compare_ledger(url, Ledger(DESK_CAPITAL))))


def test_distributed_shares_under_an_old_name_are_valued_at_their_own_price(make_database: Callable[[], str]) -> None:
    """FB becomes META. Later, A distributes shares that trade as FB from the fourth minute after on."""
    desk = TradingLoopHarness()
    records: list[Record] = []
    rename = corporate_action("r", SYMBOL_CHANGE, "FB", ex_date=DAYS[1], new_symbol="META")
    spin = corporate_action("s", SPIN_OFF, "A", ex_date=DAYS[2], new_symbol="FB", ratio=1, cost_share="0.2")
    for number in range(16):
        prices = {"A": 80.0 if number >= 8 else 100.0, "FB" if number < 4 else "META": 300.0}
        if number >= 12:
            prices["FB"] = 21.0
        actions = {4: [rename], 8: [spin]}.get(number, [])
        records += [*actions, *desk.step(prices, *actions, directions={"A": 1} if number == 0 else None)]
        records += [
            bar(symbol, number, (number + 1) * MINUTE_NS, close, day=DAYS[number // 4])
            for symbol, close in prices.items()
        ]
    url = make_database()
    writer = PostgresWriter(url, name="test")
    writer.write(records)
    writer.close()
    values = [one for one in records if type(one) is Valuation and one.ts_ns == 10 * MINUTE_NS]
    assert desk.portfolio.ledger.quantity("FB") > 0 and values
    assert _differences(compare_ledger(url, Ledger(DESK_CAPITAL))) == []


def test_a_mistake_of_the_ledger_itself_is_found(
    make_database: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ledger that forgets the cash for the fraction of a share agrees with itself, but not with the second ledger."""
    monkeypatch.setattr(account, "fractional_units", lambda quantity: Decimal(0))
    ledger = Ledger(CAPITAL)
    bought = execution(1, 1, "A", 100, 30, "0")
    split = corporate_action("s", SPLIT, "A", ratio=Decimal("0.333333333"), amount=90)
    records: list[Record] = [*_proposal_and_order(bought), bought, *ledger.apply(bought), split]
    records.append(ledger.record_event(2, SPLIT, "A", "s"))
    records += ledger.apply_action(Split("s", 2, "A", Decimal("0.333333333"), Decimal(90)))
    records.append(valuation(1, 2, CAPITAL, cash=ledger.cash, net_exposure=ledger.cost, gross_exposure=ledger.cost))
    url = make_database()
    writer = PostgresWriter(url, name="test")
    writer.write(records)
    writer.close()
    (difference,) = _differences(compare_ledger(url, Ledger(CAPITAL)))
    assert "cash is 997000.000000000, expected 997029.999999970 from the executions" in difference


def _change(url: str, statement: str) -> None:
    with psycopg2.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute(statement)
        assert cursor.rowcount == 1
    connection.close()


def _differences(verdict: VerificationResult) -> list[str]:
    return [check.difference for check in verdict.checks if check.difference is not None]


def test_a_correct_ledger_agrees_and_has_the_hash_of_its_records(ledger_url: str) -> None:
    verdict = compare_ledger(ledger_url, Ledger(CAPITAL))
    assert verdict.agrees, verdict
    assert {check.name: check.records for check in verdict.checks}["executions"] == 300
    # These books contain no cash flows without a trade (the test of corporate actions does) and no attribution.
    assert [check.name for check in verdict.checks if not check.records] == ["cash_flows", "attribution"]
    assert verdict.decision_hash == decision_hash(_ledger_records())


@pytest.mark.parametrize(
    ("statement", "expected_text"),
    [
        (
            "UPDATE positions SET realized_pnl = realized_pnl + 0.000000001 WHERE symbol = 'B'",
            "positions B: realized_pnl",
        ),
        ("DELETE FROM positions WHERE symbol = 'C'", "positions C: missing in PostgreSQL"),
        ("UPDATE lots SET quantity = 1 WHERE lot_id = (SELECT min(lot_id) FROM lots)", ": quantity is 1 in PostgreSQL"),
        ("DELETE FROM lot_matches WHERE seq = (SELECT min(seq) FROM lot_matches)", "lot_matches match-"),
        (
            "UPDATE lot_matches SET strategy = 'other' WHERE seq = (SELECT min(seq) FROM lot_matches)",
            "strategy is other in PostgreSQL, expected manual from the opening order",
        ),
        ("UPDATE valuations SET cash = cash - 1, equity = equity - 1", "valuation 1: cash is"),
        ("UPDATE valuations SET equity = equity + 1", "valuation 1: equity is"),
        ("DELETE FROM executions WHERE seq = 150", "executions: seq 150 is missing, the next is 151"),
        ("DELETE FROM executions WHERE seq = 300", "but not in the rebuilt books"),
        ("DELETE FROM valuations", "no valuation after 300 executions"),
    ],
)
def test_any_wrong_number_is_named(ledger_url: str, statement: str, expected_text: str) -> None:
    _change(ledger_url, statement)
    verdict = compare_ledger(ledger_url, Ledger(CAPITAL))
    assert not verdict.agrees
    assert any(expected_text in difference for difference in _differences(verdict)), _differences(verdict)


def test_a_wrong_initial_capital_shows_in_cash_only(ledger_url: str) -> None:
    verdict = compare_ledger(ledger_url, Ledger(CAPITAL + 1))
    (difference,) = _differences(verdict)
    assert difference.startswith("valuation 1: cash is")


def test_an_empty_database_agrees(make_database: Callable[[], str]) -> None:
    assert compare_ledger(make_database(), Ledger(CAPITAL)).agrees


def _run(url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "DATABASE_URL": url, "INITIAL_CAPITAL": str(CAPITAL)}
    command = [sys.executable, "-m", "deploy.cli", "verify", "--wait", "0", *arguments]
    return subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=300, check=False
    )


def test_the_exit_code_reports_the_verdict(ledger_url: str) -> None:
    completed = _run(ledger_url, "--json")
    assert completed.returncode == 0, completed.stderr
    report = json.loads(completed.stdout)
    assert report["agrees"] is True and len(report["decision_hash"]) == 64
    _change(ledger_url, "DELETE FROM positions WHERE symbol = 'A'")
    completed = _run(ledger_url)
    assert completed.returncode == 1
    assert "positions A: missing in PostgreSQL" in completed.stdout
    assert report["decision_hash"] not in completed.stdout


def test_an_unreachable_database_is_one_error_line() -> None:
    completed = _run("postgresql://u:secret@127.0.0.1:1/none")
    assert completed.returncode == 1
    assert (
        completed.stderr.startswith("error: cannot read the books from PostgreSQL")
        and len(completed.stderr.splitlines()) == 1
    )
    assert "secret" not in completed.stderr
