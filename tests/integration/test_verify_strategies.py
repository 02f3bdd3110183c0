"""`verify` sums the sub-accounts of the strategies to the account, and names what differs."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

import psycopg2
import pytest

from deploy.verification.strategy_accounts import CHECK_NAME, check_strategies
from deploy.verification.verdict import Comparison
from schemas.records import CashFlow, InternalCross, Record, StrategyAccount, StrategyPosition
from sinks.postgres import PostgresWriter
from tests.unit.random_desk import NAMES, RandomDesk
from tests.unit.trading_desk import CAPITAL

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


def test_the_sum_of_a_symbol_is_named(url: str) -> None:
    change(url, "UPDATE strategy_positions SET quantity = quantity + 5 WHERE strategy = 'alpha' AND symbol = 'KO'")
    findings = check(url).findings
    assert any(one.startswith("quantity of KO: the sub-accounts hold ") for one in findings), findings


def test_a_platform_without_trading_strategies_has_nothing_to_check(make_database: Callable[[], str]) -> None:
    assert check(make_database()) == Comparison(CHECK_NAME, 0, None, "no trading strategy has run")
