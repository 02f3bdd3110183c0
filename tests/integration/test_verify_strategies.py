"""`verify` sums the sub-accounts of the strategies to the account, and names what differs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from decimal import Decimal
from typing import Any

import psycopg2
import pytest

from deploy.verification import strategy_accounts
from deploy.verification.ledger_tables import compare_ledger
from deploy.verification.strategy_accounts import CHECK_NAME, check_strategies
from deploy.verification.verdict import Comparison
from operators.ledger import Ledger
from schemas.records import CashFlow, InternalCross, Record, StrategyAccount, StrategyPosition
from sinks.postgres import PostgresWriter
from tests.builders import corporate_action
from tests.unit.random_desk import NAMES, RandomDesk
from tests.unit.recorded_desk import RecordedDesk
from tests.unit.test_attribution_between_strategies import target_at_once
from tests.unit.trading_desk import CAPITAL
from tests.unit.trading_harness import minute

SEED = 206
"""Of a run with crosses, a split, dividends, orders of a person and of a view strategy, and fills in parts."""


@pytest.fixture(scope="module")
def records() -> list[Record]:
    desk = RandomDesk(SEED, 60, actions=("SPLIT", "CASH_DIVIDEND"), errors=False)
    desk.run()
    return [*desk.inputs, *desk.desk.records]


@pytest.fixture
def url(records: list[Record], make_database: Callable[[], str]) -> str:
    url = make_database()
    with closing(PostgresWriter(url, name="test")) as writer:
        writer.write(records)
    return url


def check(url: str) -> Comparison:
    return check_strategies(url, CAPITAL, (), "USD")


def change(url: str, statement: str) -> None:
    with closing(psycopg2.connect(url)) as db, db, db.cursor() as cursor:
        cursor.execute(statement)
        assert cursor.rowcount >= 1


def test_the_sub_accounts_and_the_remainder_sum_to_the_account(url: str, records: list[Record]) -> None:
    kinds = {type(one) for one in records}
    assert {InternalCross, StrategyAccount, StrategyPosition} <= kinds
    assert {one.kind for one in records if type(one) is CashFlow} >= {"SPLIT", "DIVIDEND"}
    found = check(url)
    assert found == Comparison(CHECK_NAME, len(NAMES) * 3, None), "an account and two positions of each strategy"


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        (
            "UPDATE strategy_accounts SET cash = cash + 0.01 WHERE seq = (SELECT max(seq) FROM strategy_accounts)",
            "cash is",
        ),
        ("UPDATE strategy_accounts SET fees = fees + 1 WHERE strategy = 'mid'", "sub-account of mid: fees is"),
        ("UPDATE strategy_accounts SET equity = equity - 1 WHERE strategy = 'mid'", "sub-account of mid: equity is"),
        (
            "UPDATE strategy_accounts SET unrealized_pnl = unrealized_pnl - 1 WHERE strategy = 'zeta'",
            "sub-account of zeta: realized_pnl + unrealized_pnl - fees is",
        ),
        (
            "UPDATE strategy_positions SET quantity = quantity + 1 WHERE strategy = 'alpha' AND symbol = 'KO'",
            "sub-account of alpha: quantity of KO is",
        ),
        (
            "UPDATE strategy_positions SET cost_basis = cost_basis + 1 WHERE strategy = 'alpha' AND symbol = 'PEP'",
            "sub-account of alpha: cost_basis of PEP is",
        ),
        (
            "UPDATE strategy_positions SET fees = fees + 1 WHERE strategy = 'alpha' AND symbol = 'PEP'",
            "sub-account of alpha: fees of its positions sum to",
        ),
        (
            "UPDATE internal_crosses SET price = price + 1 WHERE seq = (SELECT min(seq) FROM internal_crosses)",
            "cash is",
        ),
        ("DELETE FROM internal_crosses WHERE seq = (SELECT min(seq) FROM internal_crosses)", "quantity of"),
        (
            "UPDATE order_proposals SET strategy = 'unknown', changes = '{}' "
            "WHERE seq = (SELECT min(seq) FROM order_proposals)",
            "quantity of",
        ),
    ],
)
def test_a_changed_row_is_named(url: str, statement: str, expected: str) -> None:
    change(url, statement)
    found = check(url)
    assert found.records == 0 and found.difference is not None
    assert any(expected in finding for finding in found.findings), found.findings
    assert all("PostgreSQL" in finding or "of the account" in finding for finding in found.findings)


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        (
            "UPDATE strategy_positions SET quantity = quantity + 5 WHERE strategy = 'alpha' AND symbol = 'KO'",
            "quantity of KO: the sub-accounts hold ",
        ),
        ("UPDATE strategy_accounts SET cash = cash + 1 WHERE strategy = 'mid'", "cash: the sub-accounts sum to "),
        ("UPDATE strategy_accounts SET fees = fees + 1 WHERE strategy = 'mid'", "fees: the sub-accounts sum to "),
        (
            "UPDATE strategy_accounts SET equity = equity - 1 WHERE strategy = 'zeta'",
            "equity: the sub-accounts sum to ",
        ),
        (
            "UPDATE strategy_accounts SET realized_pnl = realized_pnl + 1 WHERE strategy = 'zeta'",
            "total P&L: the sub-accounts sum to ",
        ),
        (
            "UPDATE strategy_accounts SET unrealized_pnl = unrealized_pnl - 1 WHERE strategy = 'alpha'",
            "total P&L: the sub-accounts sum to ",
        ),
    ],
)
def test_a_sum_that_is_not_that_of_the_account_is_named(url: str, statement: str, expected: str) -> None:
    change(url, statement)
    findings = check(url).findings
    assert any(one.startswith(expected) and one.endswith(" of the account") for one in findings), findings


def test_a_platform_without_trading_strategies_has_nothing_to_check(make_database: Callable[[], str]) -> None:
    assert check(make_database()) == Comparison(CHECK_NAME, 0, None, "no trading strategy has run")


# -- a merger of a symbol in which the account is flat -----------------------------------------------------------------


@pytest.fixture(scope="module")
def merger_url(make_database: Callable[..., str]) -> str:
    """The tables of a merger for stock and cash, in which one strategy is long 60 of the old share and one short 60.

    Each share pays 20 and becomes 0.3 of a share at 260: 98 for 100. The account has no position, so that the ledger
    records the exchange alone, not the cash before it and not the new symbol after it.
    """
    desk = RecordedDesk(target_at_once("first", "KO", 60), target_at_once("second", "KO", -60))
    desk.step(3, KO=100.0)
    terms: dict[str, Any] = {"ratio": Decimal("0.3"), "amount": 260, "new_symbol": "PEP", "cash_per_share": 20}
    desk.step(2, corporate_action("mrg-1", "STOCK_MERGER", "KO", ts_ns=minute(4), **terms), PEP=260.0)
    rows = {row.strategy: row for row in desk.strategies.accounts()}
    assert [rows[name].quantities for name in ("first", "second")] == [{"PEP": 18}, {"PEP": -18}]
    assert [rows[name].profit for name in ("first", "second")] == [-120, 120]
    assert [(one.kind, one.cause_id) for one in desk.of(CashFlow)] == [("SPLIT", "mrg-1/1")]
    url = make_database()
    with closing(PostgresWriter(url, name="test")) as writer:
        writer.write(desk.records)
    return url


def test_the_parts_of_a_merger_of_a_flat_account_are_booked_in_their_order(merger_url: str) -> None:
    found = check(merger_url)
    assert found == Comparison(CHECK_NAME, found.records, None) and found.records >= 4


@pytest.mark.parametrize(
    ("seqs", "expected"),
    [
        ({"/2": -1}, "sub-account of first: quantity of PEP is 18"),
        ({"/0": 10**9}, "sub-account of first: cash is"),
    ],
    ids=["the new symbol before the exchange", "the cash after the exchange"],
)
def test_another_order_of_the_parts_gives_other_books(
    merger_url: str, monkeypatch: pytest.MonkeyPatch, seqs: dict[str, int], expected: str
) -> None:
    """The parts without a record are moved before or after the recorded exchange."""
    unrecorded = strategy_accounts._StrategiesRebuild._unrecorded_flows

    def moved(rebuild: Any, symbols: set[str]) -> Iterator[Any]:
        for ts_ns, rank, seq, flow in unrecorded(rebuild, symbols):
            yield ts_ns, rank, seqs.get(flow.cause_id[-2:], seq), flow

    monkeypatch.setattr(strategy_accounts._StrategiesRebuild, "_unrecorded_flows", moved)
    findings = check(merger_url).findings
    assert any(one.startswith(expected) for one in findings), findings


@pytest.mark.parametrize("short", [-10, -30, -50], ids=["long account", "flat account", "short account"])
def test_the_books_agree_after_a_merger_of_opposite_positions(make_database: Callable[..., str], short: int) -> None:
    """60 shares become 30 of PEP, of which another strategy is short."""
    desk = RecordedDesk(target_at_once("first", "KO", 60), target_at_once("second", "PEP", short))
    desk.step(3, KO=100.0, PEP=150.0)
    merger = corporate_action("mrg-1", "STOCK_MERGER", "KO", ts_ns=minute(4), ratio=Decimal("0.5"), new_symbol="PEP")
    desk.step(2, merger, PEP=210.0)
    url = make_database()
    with closing(PostgresWriter(url, name="test")) as writer:
        writer.write(desk.records)
    assert check(url).findings == ()
    verdict = compare_ledger(url, Ledger(CAPITAL))
    assert verdict.agrees, [one for one in verdict.checks if one.difference is not None]


def test_a_merger_with_another_ratio_is_named(merger_url: str, make_database: Callable[..., str]) -> None:
    url = make_database(merger_url)
    change(url, "UPDATE corporate_actions SET ratio = 0.4 WHERE action_id = 'mrg-1'")
    findings = check(url).findings
    assert any("sub-account of second: quantity of PEP is -18" in one for one in findings), findings
