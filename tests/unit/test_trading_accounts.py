"""The sub-accounts of trading strategies sum to the account exactly."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from operators.instruments import NO_INSTRUMENTS
from operators.ledger import Ledger
from operators.strategies import TradingStrategy
from operators.trading.accounts import AccountRow, StrategyAccounts
from operators.trading.settings import TradingSettings
from operators.trading.stage import TradingStrategyStage
from schemas.records import BUY, SELL, Execution, Record, Side
from tests.builders import cash_transfer, corporate_action, execution, proposal
from tests.unit.trading_harness import Recording, Scripted, bars, feed, minute, notes, run, stage_of

CAPITAL = Decimal(100_000)


def sums(rows: list[AccountRow]) -> tuple[Decimal, Decimal, Decimal, dict[str, Decimal]]:
    """Return the sums of cash, fees and equity, and of the quantities by symbol."""
    quantities: dict[str, Decimal] = {}
    for row in rows:
        for symbol, quantity in row.quantities.items():
            quantities[symbol] = quantities.get(symbol, Decimal(0)) + quantity
    cash, fees, equity = (sum((getattr(row, name) for row in rows), Decimal(0)) for name in ("cash", "fees", "equity"))
    return cash, fees, equity, {symbol: quantity for symbol, quantity in quantities.items() if quantity}


def column(stage: TradingStrategyStage, name: str) -> list[Any]:
    """Return one figure of each sub-account and of the remainder, in order."""
    return [getattr(row, name) for row in stage.accounts()]


class Long(Scripted):
    name = "long"


class Short(Scripted):
    name = "short"


def two(**settings_: Any) -> TradingStrategyStage:
    """Return a stage with two strategies that have half of the capital each, and do nothing."""
    shares = {"long": Decimal("0.5"), "short": Decimal("0.5")}
    strategies = (Long(lambda ctx, number: None), Short(lambda ctx, number: None))
    return stage_of(*strategies, initial_capital=CAPITAL, capital=shares, **settings_)


def test_opposite_positions_sum_to_the_account() -> None:
    """One strategy buys 10 at 100, the other sells 10 at 101: the account is flat and has earned 10, less fees of 3."""
    stage = two()
    fills: list[Record] = [
        execution(1, minute(1), "KO", 10, 100, 1, order_id="ord-act-long-1"),
        execution(2, minute(1), "KO", -10, 101, 2, order_id="ord-act-short-1"),
    ]
    feed(stage, [[*fills, *bars(1, "KO", close=105.0)]])
    assert column(stage, "quantities") == [{"KO": 10}, {"KO": -10}, {}]
    assert column(stage, "cash") == [50_000 - 1000 - 1, 50_000 + 1010 - 2, 0]
    assert column(stage, "profit") == [50 - 1, -40 - 2, 0]
    assert sums(stage.accounts()) == (CAPITAL + 10 - 3, Decimal(3), CAPITAL + 10 - 3, {})


def test_fills_of_other_orders_belong_to_the_remainder() -> None:
    stage = two()
    feed(stage, [[execution(1, minute(1), "KO", 7, 100, 1), *bars(1, "KO")]])
    assert column(stage, "quantities") == [{}, {}, {"KO": 7}]
    assert column(stage, "fees") == [0, 0, 1]


def test_a_fill_of_a_proposal_belongs_to_its_strategy() -> None:
    """The order of the portfolio for a target of one strategy."""
    strategy = Recording(lambda ctx, number: ctx.target_quantity("KO", 5) if number == 1 else None)
    fill = execution(1, minute(2), "KO", 5, 100, cause_id="prop-1")
    slices = [bars(1, "KO"), [proposal(BUY, 5, "KO", strategy="recording"), fill, *bars(2, "KO")]]
    assert notes(run(strategy, slices)) == ["fill ord-1 BUY 5 at 100, position 5"]


def test_a_manual_sale_closes_the_position_of_a_strategy() -> None:
    """As in attribution: a manual order closes manual positions first, then those of the strategies."""
    strategy = Recording(lambda ctx, number: None)
    fills: list[Record] = [
        execution(1, minute(1), "KO", 5, 100, order_id="ord-act-recording-1"),
        execution(2, minute(1), "KO", -8, 101, order_id="ord-cmd-7f"),
    ]
    stage = stage_of(strategy, initial_capital=CAPITAL)
    assert notes(feed(stage, [[*fills, *bars(1, "KO")]])) == [
        "fill ord-act-recording-1 BUY 5 at 100, position 5",
        "fill ord-cmd-7f SELL 5 at 101, position 0",
    ]
    assert column(stage, "quantities") == [{}, {"KO": -3}]


def test_a_deposit_adds_to_each_strategy_by_its_capital_share() -> None:
    stage = two()
    feed(stage, [[cash_transfer(1, "DEPOSIT", 1000), cash_transfer(2, "FEE", -10), *bars(1, "KO")]])
    assert column(stage, "cash") == [50_500, 50_500, -10]
    assert column(stage, "profit") == [0, 0, -10], "a deposit is no profit; a fee of the broker is a loss"


def test_corporate_actions_change_the_sub_accounts_as_the_account() -> None:
    stage = two()
    fills: list[Record] = [
        execution(1, minute(1), "KO", 1, 100),
        execution(2, minute(1), "KO", 10, 100, order_id="ord-act-long-1"),
        execution(3, minute(1), "KO", -4, 100, order_id="ord-act-short-1"),
    ]
    actions: list[Record] = [
        corporate_action("spl-1", "SPLIT", "KO", ratio=2),
        corporate_action("div-1", "CASH_DIVIDEND", "KO", amount="0.5"),
        corporate_action("sym-1", "SYMBOL_CHANGE", "KO", new_symbol="COKE"),
    ]
    feed(stage, [[*fills, *bars(1, "KO")], [*actions, *bars(2, "COKE", close=50.0)]])
    assert column(stage, "quantities") == [{"COKE": 20}, {"COKE": -8}, {"COKE": 2}]
    assert column(stage, "cash") == [50_000 - 1000 + 10, 50_000 + 400 - 4, -100 + 1]
    assert sums(stage.accounts())[2] == CAPITAL + 7, "14 shares received 0.50 each; the price is unchanged by it"


def test_a_dividend_is_a_part_of_the_equity_from_its_ex_date() -> None:
    found: list[float] = []
    strategy = Recording(lambda ctx, number: found.append(ctx.equity))
    fill = execution(1, minute(1), "KO", 10, 100, order_id="ord-act-recording-1")
    dividend = corporate_action("div-1", "CASH_DIVIDEND", "KO", amount=1, pay_date=20240201)
    slices = [[fill, *bars(1, "KO")], [dividend, *bars(2, "KO", close=99.0)]]
    run(strategy, slices, initial_capital=CAPITAL)
    assert found == [100_000.0, 100_000.0]


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["ord-act-a-1", "ord-act-b-2-tp", "ord-7", "ord-cmd-1", "net"]),
        st.sampled_from(["KO", "PEP"]),
        st.decimals("-50", "50", places=4).filter(bool),
        st.decimals("1", "500", places=4),
        st.decimals("0", "3", places=4),
    ),
    max_size=25,
)


@settings(max_examples=80, deadline=None)
@given(events=EVENTS)
def test_sub_accounts_sum_to_the_ledger_of_the_account(events: list[tuple[Any, ...]]) -> None:
    """After any fills of own, manual and net orders, also with fractions whose values are rounded."""
    names = ("a", "b")
    accounts = StrategyAccounts(names, TradingSettings(initial_capital=CAPITAL), NO_INSTRUMENTS)
    ledger, prices = Ledger(CAPITAL), dict[str, float]()
    for seq, (order_id, symbol, quantity, price, fee) in enumerate(events, 1):
        if order_id == "net":
            side: Side = BUY if quantity > 0 else SELL
            accounts.record_proposal(proposal(side, abs(quantity), symbol, seq=seq, strategy="a+b+view"))
        one: Execution = execution(seq, seq, symbol, quantity, price, fee, order_id=order_id, cause_id=f"prop-{seq}")
        accounts.book_execution(one)
        ledger.apply(one)
        prices[symbol] = float(price)
    cash, fees, equity, quantities = sums(accounts.rows(prices))
    assert (cash, fees) == (ledger.cash, ledger.fees)
    assert quantities == {one.symbol: one.quantity for one in ledger.positions() if one.quantity}
    assert equity == ledger.cash + sum(
        (one.quantity * Decimal(repr(prices[one.symbol])) for one in ledger.positions()), Decimal(0)
    ).quantize(Decimal("1e-9"))


def test_the_same_execution_twice_is_booked_once() -> None:
    strategy: TradingStrategy = Recording(lambda ctx, number: None)
    fill = execution(1, minute(1), "KO", 5, 100, order_id="ord-act-recording-1")
    assert notes(run(strategy, [[fill, *bars(1, "KO")], [fill, *bars(2, "KO")]])) == [
        "fill ord-act-recording-1 BUY 5 at 100, position 5"
    ]
