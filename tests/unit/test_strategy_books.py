"""The rebuilt books of the strategies, for corporate actions that the account has not recorded."""

from __future__ import annotations

from decimal import Decimal

import pytest

from deploy.verification.strategy_books import StrategyBooks
from schemas.records import CashFlow
from tests.builders import corporate_action
from tests.builders.trades import trade

D = Decimal


@pytest.mark.parametrize(
    ("second", "renamed"), [(-10, True), (-4, False)], ids=["flat account", "account with a position"]
)
def test_an_unrecorded_symbol_change_moves_positions_of_a_flat_account_only(second: int, renamed: bool) -> None:
    """Before symbol changes closed opposite positions, an account could have a position and record nothing."""
    books = StrategyBooks(D(0), lambda symbol: D(1), lambda currency, ts_ns: D(1))
    for seq, (name, units) in enumerate([("first", 10), ("second", second)], start=1):
        books.book_execution(trade(seq, units, "100", symbol="X")._replace(order_id=f"ord-act-{name}-1"))
    action = corporate_action("sc", "SYMBOL_CHANGE", "X", new_symbol="Y")
    flow = CashFlow(0, 3, "", "SYMBOL_CHANGE", "X", D(0), D(0), "sc", D(0))
    books.book_flow(flow, action, in_account=False)
    symbol = "Y" if renamed else "X"
    assert [books.owner(name).quantity(symbol) for name in ("first", "second")] == [10, second]
