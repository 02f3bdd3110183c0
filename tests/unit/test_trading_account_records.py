"""The records of the sub-accounts: published when they change, equal to the books, and the same after a restore."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from operators.strategies import TradingStrategy
from operators.trading.accounts import REMAINDER
from operators.trading.stage import TradingStrategyStage
from schemas.records import (
    BUY,
    CASH_DIVIDEND,
    NEW,
    RUNNING,
    SELL,
    SUSPENDED,
    TRADE,
    WARMING_UP,
    Record,
    StrategyAccount,
    StrategyPosition,
    has_seq,
)
from tests.builders import corporate_action, order, report
from tests.unit.trading_harness import bars, minute, stage_of


class Trading(TradingStrategy):
    """Does nothing by itself. Its fills come from the tape."""

    name, symbols = "trading", ("KO", "PEP")


class Failing(TradingStrategy):
    name, symbols = "failing", ("KO",)

    def on_slice(self, ctx: Any) -> None:
        raise ValueError("no idea")


class Patient(TradingStrategy):
    name, symbols, warm_up = "patient", ("KO", "PEP"), 2


def fills(*rows: tuple[int, str, str, int, float]) -> list[Record]:
    """Build the reports of orders of the strategy `trading`: number, side, symbol, quantity and price."""
    out: list[Record] = []
    for number, side, symbol, quantity, price in rows:
        one = order(
            number,
            BUY if side == BUY else SELL,
            quantity,
            symbol,
            order_id=f"ord-act-trading-{number}",
            cause_id=f"act-trading-{number}",
        )
        out += [report(2 * number - 1, one, NEW), report(2 * number, one, TRADE, quantity, price, fee=1)]
    return out


def accounts(records: list[Record]) -> list[StrategyAccount]:
    return [record for record in records if type(record) is StrategyAccount]


def positions(records: list[Record]) -> list[StrategyPosition]:
    return [record for record in records if type(record) is StrategyPosition]


def tape() -> list[list[Record]]:
    """Six time slices: a start, a purchase, a price change, nothing new, a sale, a purchase of another symbol."""
    return [
        bars(1, "KO", "PEP"),
        [*fills((1, BUY, "KO", 10, 100.0)), *bars(2, "KO", "PEP")],
        [*bars(3, "KO", close=110.0), *bars(3, "PEP")],
        [*bars(4, "KO", close=110.0), *bars(4, "PEP")],
        [*fills((2, SELL, "KO", 10, 120.0)), *bars(5, "KO", close=120.0)],
        [*fills((3, BUY, "PEP", 5, 100.0)), *bars(6, "PEP", close=100.0)],
    ]


def publish(stage: TradingStrategyStage, slices: list[list[Record]], first: int = 1) -> list[list[Record]]:
    return [stage.on_slice(minute(number), records) for number, records in enumerate(slices, first)]


def test_an_account_is_published_with_each_change_of_its_figures_only() -> None:
    published = [accounts(out) for out in publish(stage_of(Trading(), initial_capital=Decimal(10_000)), tape())]
    figures: list[Any] = [
        [(one.equity, one.cash, one.realized_pnl, one.unrealized_pnl, one.fees, one.open_positions) for one in out]
        for out in published
    ]
    assert figures == [
        [(10_000, 10_000, 0, 0, 0, 0)],
        [(9_999, 8_999, 0, 0, 1, 1)],
        [(10_099, 8_999, 0, 100, 1, 1)],
        [],
        [(10_198, 10_198, 200, 0, 2, 0)],
        [(10_197, 9_697, 200, 0, 3, 1)],
    ]
    for one in [one for out in published for one in out]:
        assert one.equity == one.capital + one.realized_pnl + one.unrealized_pnl - one.fees


def test_a_position_is_published_for_the_universe_and_then_with_each_change() -> None:
    published = [positions(out) for out in publish(stage_of(Trading()), tape())]
    rows: list[Any] = [
        [(one.symbol, one.quantity, one.avg_price, one.realized_pnl) for one in out] for out in published
    ]
    assert rows == [
        [("KO", 0, 0, 0), ("PEP", 0, 0, 0)],
        [("KO", 10, 100, 0)],
        [],
        [],
        [("KO", 0, 0, 200)],
        [("PEP", 5, 100, 0)],
    ]
    assert all(one.in_universe for out in published for one in out)


def test_accounts_equal_the_books_and_the_seq_counts_without_a_gap() -> None:
    stage = stage_of(Trading(), initial_capital=Decimal(10_000))
    records: list[Record] = [record for out in publish(stage, tape()) for record in out]
    last = accounts(records)[-1]
    (row,) = [row for row in stage.accounts() if row.strategy != REMAINDER]
    assert (last.equity, last.cash, last.fees) == (row.equity, row.cash, row.fees)
    assert [record.seq for record in records if has_seq(record)] == list(range(1, len(records) + 1))


def test_a_restore_in_any_time_slice_publishes_the_same_records() -> None:
    expected = publish(stage_of(Trading()), tape())
    for cut in range(len(expected)):
        before, after = stage_of(Trading()), stage_of(Trading())
        head = publish(before, tape()[:cut])
        after.restore(before.snapshot())
        assert head + publish(after, tape()[cut:], cut + 1) == expected


def test_a_dividend_is_income_of_the_account() -> None:
    dividend = corporate_action("div-1", CASH_DIVIDEND, "KO", amount="0.5")
    slices = tape()[:2]
    stage = stage_of(Trading(), initial_capital=Decimal(10_000))
    publish(stage, slices)
    (account,) = accounts(stage.on_slice(minute(3), [dividend, *bars(3, "KO", "PEP")]))
    figures: list[Any] = [account.realized_pnl, account.equity]
    assert figures == [5, 10_004]


def test_the_state_of_a_strategy_is_published() -> None:
    out = publish(stage_of(Failing(), Patient(), Trading()), tape()[:3])
    states = [{one.strategy: one.state for one in accounts(records)} for records in out]
    assert states[0] == {"failing": SUSPENDED, "patient": WARMING_UP, "trading": RUNNING}
    assert states[1] == {"patient": RUNNING, "trading": RUNNING}
