"""Corporate actions on a symbol in which one strategy is long and another short: each bears its own profit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import pytest

from operators.feedback import FeedbackSettings
from operators.feedback.stage import FeedbackStage
from operators.strategy_limits import StrategyLimits
from operators.trading.accounts import REMAINDER
from schemas.records import TOPIC_OF, Attribution, Execution, InternalCross, Order, OrderRefusal, Record, Valuation
from tests.builders import command, corporate_action
from tests.unit.test_internal_crosses import desk_of
from tests.unit.trading_desk import TradingDesk, price_bar
from tests.unit.trading_harness import Recording

D = Decimal
_INPUTS = (
    "reference-data",
    "market-bars",
    "strategy-actions",
    "executions",
    "positions",
    "valuations",
    "order-proposals",
)
SPIN_OFF = corporate_action("spo-1", "SPIN_OFF", "KO", new_symbol="PEP", ratio=D("0.5"), cost_share=D("0.2"))


def recording(name: str, script: Callable[[Any, int], None]) -> Recording:
    strategy = Recording(script)
    strategy.name = name
    return strategy


def target_at_once(name: str, symbol: str, quantity: int) -> Recording:
    """Build a strategy that requests a target quantity in its first time slice."""

    def trade(ctx: Any, number: int) -> None:
        if number == 1:
            ctx.target_quantity(symbol, quantity)

    return recording(name, trade)


def _rank(record: Record) -> int:
    topic = TOPIC_OF[type(record)]
    return _INPUTS.index(topic) if topic in _INPUTS else len(_INPUTS)


def step(
    desk: TradingDesk, feedback: FeedbackStage, price: float, records: Sequence[Record] = (), symbol: str = "KO"
) -> dict[str, D]:
    """Trade a minute. Return the attributed profit of each strategy."""
    return step_symbols(desk, feedback, records, **{symbol: price})


def step_symbols(
    desk: TradingDesk, feedback: FeedbackStage, records: Sequence[Record] = (), **prices: float
) -> dict[str, D]:
    """Trade a minute of several symbols. Return the attributed profit of each strategy."""
    seen = len(desk.records)
    desk.step(1, *records, **prices)
    published = desk.records[seen:]
    (valuation,) = (one for one in published if type(one) is Valuation)
    bars = [price_bar(one, desk.minute, valuation.ts_ns, price) for one, price in sorted(prices.items())]
    inputs = sorted([*records, *bars, *published], key=_rank)
    rows = feedback.on_slice(valuation.ts_ns, [one for one in inputs if _rank(one) < len(_INPUTS)])
    return {
        one.strategy: one.realized_pnl + one.unrealized_pnl + one.cash_flows - one.fees
        for one in rows
        if type(one) is Attribution
    }


@pytest.mark.parametrize("short", [-60, -100, -20], ids=["flat account", "short account", "long account"])
@pytest.mark.parametrize(
    ("action", "price", "profit"),
    [
        (corporate_action("act-1", "SPLIT", "KO", ratio=2), 50.0, 0),
        (corporate_action("act-1", "SPLIT", "KO", ratio=D("0.3")), 320.0, -4),
        (corporate_action("act-1", "CASH_DIVIDEND", "KO", amount=2), 98.0, 0),
        (corporate_action("act-1", "DELISTING", "KO", amount=90), 90.0, -10),
    ],
    ids=["split", "reverse split", "dividend", "delisting"],
)
def test_the_attributed_profit_of_opposite_positions_is_that_of_the_sub_accounts(
    short: int, action: Record, price: float, profit: float
) -> None:
    desk = desk_of({1: 60}, {1: short})
    settings = FeedbackSettings(attribution_interval_s=60, weights_interval_s=0)
    feedback = FeedbackStage(settings, slippage_bps=0.0, trading=("first", "second"))
    for _ in range(3):
        step(desk, feedback, 100.0)
    step(desk, feedback, price, [action])
    attributed = step(desk, feedback, price)
    profits = {row.strategy: row.profit for row in desk.strategies.accounts()[:-1]}
    assert {name: attributed[name] for name in profits} == pytest.approx(profits, abs=D("1e-6"))
    assert profits["first"] == pytest.approx(D(profit * 60), abs=D("1e-6"))
    assert "unattributed" not in attributed


@pytest.mark.parametrize("short", [-60, -100, -20], ids=["flat account", "short account", "long account"])
@pytest.mark.parametrize("cash", [None, 20], ids=["stock", "stock and cash"])
def test_a_stock_merger_exchanges_the_shares_of_each_strategy(short: int, cash: int | None) -> None:
    """Each share becomes 0.3 of a share at 260 with 20 in cash, or at 300 without: 98 or 90 for 100."""
    value = 260 if cash else 300
    merger = corporate_action(
        "mrg-1", "STOCK_MERGER", "KO", ratio=D("0.3"), amount=value, new_symbol="PEP", cash_per_share=cash
    )
    desk = desk_of({1: 60}, {1: short})
    settings = FeedbackSettings(attribution_interval_s=60, weights_interval_s=0)
    feedback = FeedbackStage(settings, slippage_bps=0.0, trading=("first", "second"))
    for _ in range(3):
        step(desk, feedback, 100.0)
    step(desk, feedback, value, [merger], symbol="PEP")
    attributed = step(desk, feedback, value, symbol="PEP")
    rows = {row.strategy: row for row in desk.strategies.accounts()[:-1]}
    profits = {name: row.profit for name, row in rows.items()}
    assert {name: attributed[name] for name in profits} == pytest.approx(profits, abs=D("1e-6"))
    assert profits["first"] == pytest.approx(D(-2 * 60 if cash else -10 * 60), abs=D("1e-6"))
    assert {name: row.quantities for name, row in rows.items()} == {
        "first": {"PEP": 18},
        "second": {"PEP": D(short) * D("0.3")},
    }
    assert "unattributed" not in attributed


def test_a_strategy_that_is_long_of_one_and_short_of_the_other_company_has_the_difference() -> None:
    """Its 60 shares become 30 of PEP, of which it is short 10. The account is long of both companies."""

    def trade(ctx: Any, number: int) -> None:
        if number == 1:
            ctx.target_quantity("KO", 60)
            ctx.target_quantity("PEP", -10)

    desk = TradingDesk(recording("first", trade), target_at_once("second", "PEP", 50))
    desk.step(3, KO=100.0, PEP=200.0)
    merger = corporate_action("mrg-1", "STOCK_MERGER", "KO", ratio=D("0.5"), new_symbol="PEP")
    desk.step(2, merger, PEP=200.0)
    rows = {row.strategy: row for row in desk.strategies.accounts()}
    assert {name: row.quantities for name, row in rows.items()} == {
        "first": {"PEP": 20},
        "second": {"PEP": 50},
        REMAINDER: {},
    }
    assert not any(row.profit for row in rows.values())
    desk.check()


@pytest.mark.parametrize(
    ("short", "account"), [(-10, 20), (-30, 0), (-50, -20)], ids=["long account", "flat account", "short account"]
)
@pytest.mark.parametrize("cash", [None, 20], ids=["stock", "stock and cash"])
def test_a_merger_of_an_account_that_is_long_of_one_and_short_of_the_other_company(
    short: int, account: int, cash: int | None
) -> None:
    """60 shares become 30 of PEP, which another strategy has sold short at 150. Each strategy keeps its position.

    The account closes the opposite units against each other at their carried basis: no money moves, no profit changes.
    """
    terms: dict[str, Any] = {
        "ratio": D("0.5"),
        "amount": 160 if cash else 200,
        "new_symbol": "PEP",
        "cash_per_share": cash,
    }
    merger = corporate_action("mrg-1", "STOCK_MERGER", "KO", **terms)
    desk = TradingDesk(target_at_once("first", "KO", 60), target_at_once("second", "PEP", short))
    settings = FeedbackSettings(attribution_interval_s=60, weights_interval_s=0)
    feedback = FeedbackStage(settings, slippage_bps=0.0, trading=("first", "second"))
    for _ in range(3):
        step_symbols(desk, feedback, KO=100.0, PEP=150.0)
    cash_before = desk.portfolio.ledger.cash
    step_symbols(desk, feedback, [merger], PEP=170.0)
    assert desk.portfolio.ledger.cash - cash_before == 60 * (cash or 0)
    for price in (170.0, 180.0):
        attributed = step_symbols(desk, feedback, PEP=price)
        rows = {row.strategy: row for row in desk.strategies.accounts()}
        assert {name: row.quantities for name, row in rows.items()} == {
            "first": {"PEP": 30},
            "second": {"PEP": short},
            REMAINDER: {},
        }
        expected = {"first": 30 * D(price) - 6000 + 60 * (cash or 0), "second": short * (D(price) - 150)}
        assert {name: rows[name].profit for name in expected} == attributed == expected
        assert sum(row.profit for row in rows.values()) == sum(expected.values())
    risk = desk._loop._risk._book  # type: ignore[attr-defined]
    books = [desk.portfolio.ledger.quantity, risk.quantity, desk.strategies._accounts.account.ledger.quantity]
    assert [[book(symbol) for symbol in ("KO", "PEP")] for book in books] == [[0, account]] * 3
    venue = desk._loop._execution._fills.positions  # type: ignore[attr-defined]
    assert venue == ({"PEP": account} if account else {})
    desk.check()


def test_the_exits_of_the_acquirer_end_when_a_merger_closes_its_position() -> None:
    """The account is long 10 of PEP with a stop, and short 20 of KO, which become 10 of PEP."""

    def trade(ctx: Any, number: int) -> None:
        if number == 1:
            ctx.target_quantity("PEP", 10)
        elif number == 3:
            ctx.submit("PEP", "SELL", 10, stop_price=90.0, time_in_force="GTC", reduce_only=True)

    desk = TradingDesk(recording("first", trade), target_at_once("second", "KO", -20))
    desk.step(5, KO=50.0, PEP=100.0)
    desk.step(1, corporate_action("mrg-1", "STOCK_MERGER", "KO", ratio=D("0.5"), new_symbol="PEP"), PEP=100.0)
    assert desk.position("PEP") == 0
    (stop,) = [one for one in desk.of(Order) if one.terms.reduce_only]
    last = [one for one in desk.of(Execution) if one.order_id == stop.order_id][-1]
    assert last.exec_type == "CANCELED" and last.leaves_quantity == 0
    desk.step(2, PEP=80.0)
    rows = [row.quantities for row in desk.strategies.accounts()]
    assert rows == [{"PEP": 10}, {"PEP": -10}, {}]
    desk.check()


def test_strategies_with_half_a_share_after_a_split_sell_it_and_keep_no_remainder() -> None:
    """33 and 34 shares become 33.5 in the account, whose half share is sold at 200: that of the larger position."""
    desk = desk_of({1: 33, 6: 0}, {1: 34, 6: 0})
    desk.step(3, KO=100.0)
    desk.step(1, corporate_action("spl-1", "SPLIT", "KO", ratio=D("0.5"), amount=200), KO=200.0)
    accounts = {row.strategy: row for row in desk.strategies.accounts()}
    quantities = {name: account.quantities.get("KO", 0) for name, account in accounts.items()}
    assert quantities == {"first": D("16.5"), "second": D("16.5"), REMAINDER: 0}
    assert not any(account.profit for account in accounts.values())
    desk.step(5, KO=200.0)
    assert [row.quantities for row in desk.strategies.accounts()] == [{}, {}, {}]
    assert desk.position("KO") == 0
    desk.check()


def test_a_strategy_sells_the_shares_that_a_spin_off_distributed_to_it() -> None:
    """It receives 30, the other strategy is short of 20, and a person holds 10 of the distributed shares."""

    def trade(ctx: Any, number: int) -> None:
        if number == 1:
            ctx.target_quantity("KO", 60)
        elif number == 5:
            ctx.close("PEP")

    desk = TradingDesk(recording("first", trade), target_at_once("second", "KO", -40))
    desk.step(1, command("cmd-b", 1, "SUBMIT_ORDER", {"symbol": "KO", "side": "BUY", "quantity": "20"}), KO=100.0)
    desk.step(2, KO=100.0)
    desk.step(1, SPIN_OFF, KO=80.0, PEP=40.0)
    quantities = {row.strategy: row.quantities.get("PEP", 0) for row in desk.strategies.accounts()}
    assert quantities == {"first": 30, "second": -20, REMAINDER: 10} and desk.position("PEP") == 20
    desk.step(4, KO=80.0, PEP=40.0)
    quantities = {row.strategy: row.quantities.get("PEP", 0) for row in desk.strategies.accounts()}
    assert quantities == {"first": 0, "second": -20, REMAINDER: 10} and desk.position("PEP") == -10
    desk.check()


def test_a_strategy_with_limits_does_not_buy_from_an_exit_that_waits_for_its_retry() -> None:
    """A person cancels the exit. The purchase of 60 exceeds the limit of 50, so risk has to check it."""
    terms = {"order_type": "LIMIT", "limit_offset_bps": D(0), "exit_retry_s": 300}
    limits = {"first": StrategyLimits(max_position_size=D(5_000))}
    desk = desk_of({6: 60}, {1: 60, 3: 0}, portfolio=terms, limits=limits)
    desk.step(3, KO=100.0)
    desk.step(1, KO=99.0)
    desk.step(1, command("cmd-c", 1, "CANCEL_ORDER", {"order_id": "ord-2"}), KO=99.0)
    desk.step(3, KO=100.0)
    assert desk.of(InternalCross) == [] and desk.position("KO") == 60
    desk.step(10, KO=100.0)
    assert [one.check for one in desk.of(OrderRefusal)] == ["strategy_max_position_size"]
    assert desk.of(InternalCross) == [] and desk.position("KO") == 0


def test_a_spin_off_of_a_flat_account_distributes_by_its_ratio() -> None:
    desk = TradingDesk(target_at_once("first", "KO", 100), target_at_once("second", "KO", -100))
    feedback = FeedbackStage(
        FeedbackSettings(attribution_interval_s=60, weights_interval_s=0), slippage_bps=0.0, trading=("first", "second")
    )
    for _ in range(3):
        step(desk, feedback, 100.0)
    profits = step(desk, feedback, 80.0, [SPIN_OFF])
    rows = {row.strategy: row for row in desk.strategies.accounts()}
    assert [rows[name].quantities["PEP"] for name in ("first", "second")] == [50, -50]
    attributed = feedback._book._attributions["PEP"].positions
    assert {name: one.quantity for name, one in attributed.items()} == {"first": D(50), "second": D(-50)}
    assert profits["first"] == rows["first"].profit == -profits["second"] == 0


@pytest.mark.parametrize("short", [-10, -30, -50], ids=["long after it", "flat after it", "short after it"])
@pytest.mark.parametrize("name", ["first", "second"], ids=["one strategy", "two strategies"])
def test_distributed_shares_close_those_that_were_sold_short(name: str, short: int) -> None:
    """60 shares at 100 become 60 at 80 and 30 at 40. The distributed share was sold short at 50."""

    def trade(ctx: Any, number: int) -> None:
        if number == 1:
            ctx.target_quantity("KO", 60)
            if name == "first":
                ctx.target_quantity("PEP", short)

    second = (
        target_at_once("second", "PEP", short) if name == "second" else recording("second", lambda ctx, number: None)
    )
    desk = TradingDesk(recording("first", trade), second)
    settings = FeedbackSettings(attribution_interval_s=60, weights_interval_s=0)
    feedback = FeedbackStage(settings, slippage_bps=0.0, trading=("first", "second"))
    for _ in range(3):
        step_symbols(desk, feedback, KO=100.0, PEP=50.0)
    step_symbols(desk, feedback, [SPIN_OFF], KO=80.0, PEP=40.0)
    attributed = step_symbols(desk, feedback, KO=80.0, PEP=40.0)
    rows = {row.strategy: row for row in desk.strategies.accounts()}
    expected = {"first": D(0), "second": D(0)} | {name: D(-10 * short)}
    assert {one: rows[one].profit for one in expected} == expected
    assert {one: attributed.get(one, D(0)) for one in expected} == expected
    held = {one: rows[one].quantities.get("PEP", D(0)) for one in expected}
    assert held == ({"first": 30 + short, "second": 0} if name == "first" else {"first": 30, "second": short})
    risk = desk._loop._risk._book  # type: ignore[attr-defined]
    venue = desk._loop._execution._fills.positions  # type: ignore[attr-defined]
    books = [desk.position("PEP"), risk.quantity("PEP"), venue.get("PEP", D(0))]
    assert books == [30 + short] * 3
    desk.check()


def test_a_strategy_that_sells_twice_is_short_and_leaves_a_manual_position_alone() -> None:
    """It sells 60 for its target of 0, and 60 by an order of its own in the same minute."""

    def sell_twice(ctx: Any, number: int) -> None:
        if number == 1:
            ctx.target_quantity("KO", 60)
        elif number == 4:
            ctx.submit("KO", "SELL", 60)
            ctx.target_quantity("KO", 0)
        elif number == 7:
            ctx.target_quantity("KO", 0)

    strategy = Recording(sell_twice)
    strategy.name = "first"
    desk = TradingDesk(strategy, portfolio={"order_type": "LIMIT", "limit_offset_bps": D(0)})
    arguments = {"symbol": "KO", "side": "BUY", "quantity": "100"}
    desk.step(4, command("cmd-b", 1, "SUBMIT_ORDER", arguments), KO=100.0)
    desk.step(1, KO=99.0)
    desk.step(1, KO=100.0)
    desk.step(1, KO=100.0)
    quantities = {row.strategy: row.quantities for row in desk.strategies.accounts()}
    assert quantities == {"first": {"KO": -60}, REMAINDER: {"KO": 100}}
    desk.step(3, KO=100.0)
    quantities = {row.strategy: row.quantities for row in desk.strategies.accounts()}
    assert quantities == {"first": {}, REMAINDER: {"KO": 100}}
