"""Attribution rows by strategy sum to the ledger to nine decimal places, for any trades of any strategy."""

from __future__ import annotations

import random
from decimal import Decimal
from statistics import fmean, pstdev
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.feedback import FeedbackSettings, FeedbackStage
from operators.feedback.trade_allocation import TradeAllocation
from operators.ledger import Ledger
from operators.ledger.corporate_actions import Split
from operators.ledger.lots import (
    FIFO,
    METHODS,
    LotMethod,
)
from operators.strategy_shares import allocate_by_weight
from operators.valuation import Marks
from schemas.records import BUY, SELL, SPLIT, Attribution, StrategyWeights
from schemas.records.constants import Side
from tests.builders import bar, cash_flow, corporate_action, execution, proposal, signal

MINUTE_NS = 60_000_000_000
SYMBOLS = ("A", "B")
EVERY_MINUTE = FeedbackSettings(attribution_interval_s=60, weights_interval_s=0)


class Account:
    """A ledger with its marks, and a feedback stage that receives the records of the portfolio."""

    def __init__(self, method: LotMethod = FIFO, stage: FeedbackStage | None = None) -> None:
        self.ledger = Ledger(Decimal(1_000_000), method=method)
        self.marks = Marks()
        self.feedback = stage or FeedbackStage(EVERY_MINUTE, ("a", "b"))
        self.minute = self.seq = self.valuations = self.signals = 0

    def step(self, fills: list[tuple[str, Decimal, float, str, str]], closes: dict[str, float]) -> list[Any]:
        """Apply fills (symbol, signed quantity, price, cause, order id). Return the output of the feedback stage."""
        self.minute += 1
        ts_ns = self.minute * MINUTE_NS
        bars: list[Any] = [bar(symbol, self.minute, ts_ns, price) for symbol, price in closes.items()]
        executions: list[Any] = []
        ledger_records: list[Any] = []
        for symbol, price in closes.items():
            self.marks.prices[symbol] = price
        for symbol, quantity, price, cause, order_id in fills:
            self.seq += 1
            fill = execution(self.seq, ts_ns, symbol, quantity, price, "1.000000007", order_id=order_id, cause_id=cause)
            executions.append(fill)
            ledger_records += self.ledger.apply(fill)
        self.marks.revalue(self.ledger, closes)
        self.valuations += 1
        valuation = self.marks.to_valuation(self.ledger, self.valuations, ts_ns)
        output = self.feedback.on_slice(ts_ns, [*bars, *executions, *ledger_records, valuation])
        rows = [fill for fill in output if type(fill) is Attribution]
        assert_rows_sum_to_ledger(rows, valuation)
        return output

    def propose(self, symbol: str, cause: str, strategy: str, strengths: dict[str, float], side: Side) -> None:
        """Send a proposal. `strengths` are signals of strategies, or contributions to the signal of the ensemble."""
        records: list[Any] = []
        for name, strength in strengths.items() if strategy != "ensemble" else [("ensemble", 1.0)]:
            self.signals += 1
            contributions = strengths if strategy == "ensemble" else {}
            direction = (strength > 0) - (strength < 0)
            records.append(
                signal(symbol, self.signals, 1, abs(strength), direction, strategy=name, parts=contributions)
            )
        records.append(proposal(side, 1, symbol, ts_ns=1, proposal_id=cause, strategy=strategy))
        self.minute += 1
        self.feedback.on_slice(self.minute * MINUTE_NS, records)


def assert_rows_sum_to_ledger(rows: list[Any], valuation: Any) -> None:
    assert sum(row.realized_pnl + row.cash_flows for row in rows) == valuation.realized_pnl
    assert sum(row.unrealized_pnl for row in rows) == valuation.unrealized_pnl
    assert sum(row.fees for row in rows) == valuation.fees
    assert "unattributed" not in {row.strategy for row in rows}


def by_strategy(records: list[Any]) -> dict[str, Attribution]:
    return {one.strategy: one for one in records if type(one) is Attribution}


D = Decimal
prices = st.integers(5_000, 15_000).map(lambda cents: cents / 100)
orders = st.tuples(
    st.sampled_from(SYMBOLS),
    st.integers(-70, 70).filter(bool),
    prices,
    st.sampled_from(["a", "b", "a+b", "ensemble", "manual"]),
    st.dictionaries(st.sampled_from(["a", "b"]), st.floats(-1, 1, allow_nan=False), max_size=2),
)


@settings(max_examples=120, deadline=None)
@given(st.lists(st.tuples(orders, prices, prices), min_size=1, max_size=14), st.sampled_from(METHODS[:4]))
def test_the_rows_sum_to_the_ledger_after_every_event(steps: list[Any], method: LotMethod) -> None:
    account = Account(method)
    for number, ((symbol, quantity, price, strategy, strengths), a, b) in enumerate(steps):
        cause, order_id = f"prop-{number}", f"ord-{number}"
        if strategy == "manual":
            cause, order_id = f"cmd-{number}", f"ord-cmd-{number}"
        else:
            account.propose(symbol, cause, strategy, strengths, BUY if quantity > 0 else SELL)
        restored = FeedbackStage(EVERY_MINUTE, ("a", "b"))
        restored.restore(account.feedback.snapshot())
        assert restored.snapshot() == account.feedback.snapshot()
        account.feedback = restored
        account.step([(symbol, D(quantity), price, cause, order_id)], {"A": a, "B": b})


def test_ensemble_position_is_split_by_contribution_among_strategies_in_favor() -> None:
    account = Account()
    account.propose("A", "prop-1", "ensemble", {"a": 0.6, "b": 0.3, "c": -0.2}, BUY)
    account.step([("A", D(90), 100.0, "prop-1", "ord-1")], {"A": 100.0})
    account.propose("A", "prop-2", "ensemble", {"a": 0.0}, SELL)
    rows = by_strategy(account.step([("A", D(-90), 110.0, "prop-2", "ord-2")], {"A": 110.0}))
    assert {name: row.realized_pnl for name, row in rows.items()} == {"a": 600, "b": 300}
    assert rows["a"].fees + rows["b"].fees == D("2.000000014") and rows["a"].trades == 2


def test_a_strategys_total_does_not_depend_on_which_lots_the_ledger_closes() -> None:
    account = Account()
    account.propose("A", "prop-1", "b", {"b": 1.0}, BUY)
    account.step([("A", D(50), 100.0, "prop-1", "ord-1")], {"A": 100.0})
    account.propose("A", "prop-2", "a", {"a": 1.0}, BUY)
    account.step([("A", D(100), 120.0, "prop-2", "ord-2")], {"A": 120.0})
    account.propose("A", "prop-3", "a", {"a": 0.0}, SELL)
    rows = by_strategy(account.step([("A", D(-100), 130.0, "prop-3", "ord-3")], {"A": 130.0}))
    assert rows["a"].realized_pnl + rows["a"].unrealized_pnl == 100 * (130 - 120)
    assert rows["b"].realized_pnl + rows["b"].unrealized_pnl == 50 * (130 - 100)


def test_manual_sale_reduces_strategy_positions_as_in_the_portfolio() -> None:
    account = Account()
    account.propose("A", "prop-1", "a", {"a": 1.0}, BUY)
    account.step([("A", D(10), 100.0, "prop-1", "ord-1")], {"A": 100.0})
    rows = by_strategy(account.step([("A", D(-25), 104.0, "cmd-1", "ord-cmd-1")], {"A": 101.0}))
    assert rows["a"].realized_pnl == 40 and rows["a"].unrealized_pnl == 0
    assert rows["manual"].unrealized_pnl == 15 * 3 and rows["manual"].realized_pnl == 0


def test_a_manual_sale_closes_the_position_of_the_ensemble_under_its_name() -> None:
    """In the portfolio, 80 units of `ensemble` come before 30 of `pairs`, whatever the names of its strategies are."""
    allocation = TradeAllocation(("pairs",))
    buy = signal("A", 1, 1, 1.0, 1, strategy="ensemble", parts={"alpha": 0.25, "zeta": 0.75})
    allocation.record_signal(buy)
    allocation.record_proposal(proposal(BUY, 80, "A", ts_ns=1, proposal_id="prop-1", strategy="ensemble"))
    bought = execution(1, 1, "A", 80, 100, cause_id="prop-1")
    assert allocation.allocate(bought, D(80), {}) == [("alpha", D(20)), ("zeta", D(60))]
    held = {"alpha": D(20), "pairs": D(30), "zeta": D(60)}
    sale = execution(2, 2, "A", -90, 100, order_id="ord-cmd-1")
    assert allocation.allocate(sale, D(-50), held) == [("alpha", D("-12.5")), ("zeta", D("-37.5"))]
    assert allocation.allocate(sale, D(-90), held) == [("alpha", D(-20)), ("zeta", D(-60)), ("pairs", D(-10))]


def test_a_cash_flow_goes_to_the_holders_and_interest_to_the_account() -> None:
    account = Account()
    account.propose("A", "prop-1", "ensemble", {"a": 0.5, "b": 0.25}, BUY)
    account.step([("A", D(30), 100.0, "prop-1", "ord-1")], {"A": 100.0})
    flows: list[Any] = [
        cash_flow(1, "DIVIDEND", "A", 10, quantity=30),
        cash_flow(2, "MARGIN_INTEREST", "", -3),
    ]
    for flow in flows:
        account.ledger.credit(flow.amount)
    account.minute += 1
    account.feedback.on_slice(account.minute * MINUTE_NS, flows)
    rows = by_strategy(account.step([], {"A": 100.0}))
    assert {n: r.cash_flows for n, r in rows.items()} == {"a": D("6.666666667"), "b": D("3.333333333"), "account": -3}


def test_split_keeps_every_total_and_adjusts_the_outcome_of_an_open_signal() -> None:
    account = Account(stage=FeedbackStage(FeedbackSettings(horizon_bars=3, attribution_interval_s=60)))
    account.propose("A", "prop-1", "a", {"a": 1.0}, BUY)
    account.step([("A", D(10), 100.0, "prop-1", "ord-1")], {"A": 100.0})
    action = corporate_action("act-1", SPLIT, "A", ts_ns=1, ratio=4)
    changes = account.ledger.apply_action(Split("act-1", 1, "A", D(4)))
    account.minute += 1
    account.feedback.on_slice(account.minute * MINUTE_NS, [action, *changes])
    account.feedback.on_slice(account.minute * MINUTE_NS + 1, [action])
    output = account.step([], {"A": 27.0})
    assert by_strategy(output)["a"].unrealized_pnl == 40 * 27 - 1000
    (outcome,) = [one for one in output if type(one).__name__ == "SignalOutcome"]
    assert (outcome.entry_price, outcome.exit_price, outcome.gained) == (25.0, 27.0, 0.08)


@given(st.decimals(-1000, 1000, places=9), st.lists(st.decimals(0, 50, places=9), min_size=1, max_size=6))
def test_shares_sum_to_the_whole(total: Decimal, weights: list[Decimal]) -> None:
    assert sum(share for _, share in allocate_by_weight(total, [(str(i), w) for i, w in enumerate(weights)])) == total


# -- weights -----------------------------------------------------------------------------------------------------------


def learned_weights(returns: dict[str, list[float]], **settings_fields: Any) -> list[StrategyWeights]:
    """Return the weights learned from signals whose outcomes are `returns`, one minute each, in a still market."""
    still: dict[str, Any] = {
        "benchmark": "STILL",
        "horizon_bars": 1,
        "attribution_interval_s": 0,
        "weights_interval_s": 60,
    }
    settings = FeedbackSettings(**still | settings_fields)
    stage = FeedbackStage(settings, tuple(returns))
    output: list[Any] = []
    for minute in range(1, 2 * len(next(iter(returns.values()))) + 1):
        records: list[Any] = []
        for name, series in returns.items():
            step, has_outcome = divmod(minute - 1, 2)
            price = 100.0 * (1 + series[step]) if has_outcome else 100.0
            records.append(bar(name.upper(), minute, minute * MINUTE_NS, price))
            if not has_outcome:
                records.append(signal(name.upper(), step + 1, minute * MINUTE_NS, strategy=name))
        output += stage.on_slice(minute * MINUTE_NS, records)
    return [one for one in output if type(one) is StrategyWeights]


GOOD, BAD = [0.01, 0.02] * 20, [-0.01, 0.005] * 20


def test_weights_sum_to_one_after_rounding() -> None:
    for seed in range(20):
        rng = random.Random(seed)
        returns = {name: [rng.gauss(0.0, 0.01) for _ in range(40)] for name in ("a", "b", "c")}
        for update in learned_weights(returns, weight_change_min=0):
            assert sum(update.weights.values()) == pytest.approx(1.0, abs=1e-12)


def test_weights_favor_the_best_strategy_respect_the_floor_and_sum_to_one() -> None:
    weights_history = learned_weights({"a": GOOD, "b": BAD, "c": [0.001, -0.001] * 20})
    last = weights_history[-1]
    assert last.weights["a"] > last.weights["c"] > last.weights["b"] >= 0.2 / 3
    assert sum(last.weights.values()) == pytest.approx(1.0, abs=1e-5)
    assert last.scores["a"] > 0 > last.scores["b"] and [one.seq for one in weights_history] == list(
        range(1, len(weights_history) + 1)
    )


def test_weights_move_when_the_evidence_does() -> None:
    """Of two strategies with the t-values 7.8 and 0.3 the first gets most of the weight, but not after 20 outcomes."""
    rng = random.Random(3)
    deviates = [rng.gauss(0, 1) for _ in range(900)]

    def outcomes(t_value: float) -> list[float]:
        mean, spread = fmean(deviates), pstdev(deviates)
        return [0.001 * ((one - mean) / spread + t_value / len(deviates) ** 0.5) for one in deviates]

    returns = {"good": outcomes(7.8), "idle": outcomes(0.3)}
    last = learned_weights(returns, half_life_s=10**9, weight_change_min=0)[-1]
    assert last.scores == pytest.approx({"good": 7.8 * 900 / 920, "idle": 0.3 * 900 / 920}, rel=0.01)
    assert last.weights["good"] > 0.85 and last.weights["idle"] >= 0.1
    early = learned_weights({name: series[:20] for name, series in returns.items()}, half_life_s=10**9)
    assert all(0.25 < one.weights["idle"] < 0.75 for one in early), "20 outcomes prove little"


def test_old_outcomes_lose_their_weight() -> None:
    swapped_returns = {"a": GOOD + BAD, "b": BAD + GOOD}
    assert (
        learned_weights(swapped_returns, half_life_s=600)[-1].weights["b"]
        > 0.5
        > learned_weights(swapped_returns)[0].weights["b"]
    )


def test_equal_or_single_strategies_give_no_weights() -> None:
    assert learned_weights({"a": GOOD, "b": GOOD}) == [] and learned_weights({"a": GOOD}) == []
