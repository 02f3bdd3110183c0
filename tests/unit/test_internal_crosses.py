"""Opposite changes of two strategies trade inside the account; only their difference needs an order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.explain.lineage import explain
from operators.feedback import FeedbackSettings
from operators.feedback.stage import FeedbackStage
from operators.risk import RiskSettings
from operators.strategy_limits import StrategyLimits
from operators.strategy_shares import match_changes, share_fill
from operators.trading.accounts import REMAINDER
from operators.venue import VenueSettings
from schemas.records import (
    TOPIC_OF,
    Attribution,
    InternalCross,
    OrderProposal,
    OrderRefusal,
    Record,
    Valuation,
)
from tests.builders import command, corporate_action, execution, signal, trading_status
from tests.unit.memory_record_store import MemoryRecordStore
from tests.unit.trading_desk import CAPITAL, Price, TradingDesk, price_bar
from tests.unit.trading_harness import Recording

D = Decimal
Script = Mapping[int, float]
_FEEDBACK_INPUTS = (
    "reference-data",
    "market-bars",
    "strategy-actions",
    "executions",
    "positions",
    "valuations",
    "order-proposals",
)


class Targets(Recording):
    """Set the target of KO by minute, and note each fill and each update."""

    def __init__(self, name: str, script: Script) -> None:
        super().__init__(lambda ctx, number: ctx.target_quantity("KO", script[number]) if number in script else None)
        self.name = name


def desk_of(first: Script, second: Script, **options: Any) -> TradingDesk:
    """Return a desk with the strategies `first` and `second`."""
    return TradingDesk(Targets("first", first), Targets("second", second), **options)


def positions(desk: TradingDesk) -> dict[str, Decimal]:
    """Return the position in KO by strategy, without zeros."""
    rows = desk.strategies.accounts()
    return {row.strategy: row.quantities["KO"] for row in rows if "KO" in row.quantities}


def crosses(desk: TradingDesk) -> list[tuple[str, str, float, float]]:
    return [(one.seller, one.buyer, float(one.quantity), float(one.price)) for one in desk.of(InternalCross)]


def notes_of(desk: TradingDesk, strategy: str) -> list[str]:
    actions = [action for action in desk.strategy_actions() if action.strategy == strategy]
    return [action.arguments["text"] for action in actions if action.kind == "NOTE"]


def test_a_purchase_of_100_against_a_sale_of_60_needs_an_order_for_40() -> None:
    desk = desk_of({3: 100}, {1: 60, 3: 0})
    desk.step(3, KO=100.0)
    desk.step(2, KO=110.0)
    assert desk.trades() == [(2, "KO", 60, 100.0), (4, "KO", 40, 110.0)]
    assert crosses(desk) == [("second", "first", 60, 110.0)], "at the price of the order's fill"
    assert positions(desk) == {"first": 100}
    (cross,) = desk.of(InternalCross)
    assert cross.cause_ids == [desk.of(OrderProposal)[-1].proposal_id, "exe-4"]
    assert notes_of(desk, "first")[-2:] == [
        "fill ord-2 BUY 40 at 110, position 40",
        f"fill {cross.cross_id} BUY 60 at 110, position 100",
    ]
    assert notes_of(desk, "second")[-1] == f"fill {cross.cross_id} SELL 60 at 110, position 0"
    desk.check()


def test_changes_that_sum_to_nothing_trade_at_the_mark_without_an_order() -> None:
    desk = desk_of({3: 50}, {1: 50, 3: 0})
    desk.step(2, KO=100.0)
    desk.step(2, KO=104.0)
    assert desk.trades() == [(2, "KO", 50, 100.0)]
    assert crosses(desk) == [("second", "first", 50, 104.0)], "at the close of the time slice"
    assert positions(desk) == {"first": 50}
    assert {row.strategy: row.profit for row in desk.strategies.accounts()} == {"first": 0, "second": 200, REMAINDER: 0}
    desk.check()


def test_two_strategies_open_opposite_positions_while_the_account_stays_flat() -> None:
    desk = desk_of({1: 30}, {1: -30})
    desk.step(2, KO=100.0)
    desk.step(1, KO=103.0)
    assert desk.trades() == [] and positions(desk) == {"first": 30, "second": -30}
    profits = {row.strategy: row.profit for row in desk.strategies.accounts()}
    assert profits == {"first": 90, "second": -90, REMAINDER: 0}
    desk.check()


def test_the_crosses_trade_with_the_first_fill_of_a_net_order_that_fills_in_parts() -> None:
    """The venue fills at most a part of the volume of each bar."""
    venue = VenueSettings(fee_model="none", slippage_bps=D(0), max_volume_share=D("0.01"))
    desk = desk_of({9: 100}, {1: 60, 9: 0}, venue=venue)
    desk.step(9, KO=100.0)
    desk.step(5, KO=110.0)
    fills = [quantity for minute, _, quantity, _ in desk.trades() if minute > 9]
    assert len(fills) > 1 and sum(fills) == 40
    assert crosses(desk) == [("second", "first", 60, 110.0)]
    assert positions(desk) == {"first": 100}


def test_a_sale_is_sent_alone_when_the_net_order_is_rejected() -> None:
    """The purchase is abandoned, because the account may buy no more."""
    limits = RiskSettings.unlimited(initial_capital=CAPITAL, max_position_size=D(6_500))
    desk = desk_of({3: 100}, {1: 60, 3: 0}, risk=limits)
    desk.step(6, KO=100.0)
    assert [one.check for one in desk.of(OrderRefusal)] == ["max_position_size"]
    assert desk.trades() == [(2, "KO", 60, 100.0), (5, "KO", -60, 100.0)]
    assert crosses(desk) == [] and positions(desk) == {}
    assert "rejected target" in notes_of(desk, "first")


def test_a_strategy_with_limits_never_increases_its_position_by_a_cross() -> None:
    """Risk checks its limits on orders. What only reduces its position can cross."""
    limits = {"first": StrategyLimits(max_position_size=D(5_000))}
    desk = desk_of({3: 51, 6: 50, 9: 0}, {1: 60, 3: 0, 9: 60}, limits=limits)
    desk.step(12, KO=100.0)
    assert [one.check for one in desk.of(OrderRefusal)] == ["strategy_max_position_size"]
    assert crosses(desk) == [("first", "second", 50, 100.0)]
    assert positions(desk) == {"second": 60}
    desk_without = desk_of({3: 50}, {1: 60, 3: 0})
    desk_without.step(6, KO=100.0)
    assert crosses(desk_without) == [("second", "first", 50, 100.0)], "without limits"


def test_risk_reads_the_crosses() -> None:
    """The first strategy has bought 50 from the second. Its limit has room for 10 more."""
    desk = desk_of({3: 50}, {1: 50, 3: 0})
    desk.step(5, KO=100.0)
    limited = {"first": StrategyLimits(max_position_size=D(6_000))}
    after = desk_of({6: 61}, {}, limits=limited)
    after.restore(desk.snapshot())
    after.minute = desk.minute
    after.step(2, KO=100.0)
    assert [one.found for one in after.of(OrderRefusal)] == ["6,100.00"]


def test_a_cross_after_a_split_has_the_new_shares() -> None:
    desk = desk_of({3: 100}, {1: 50, 3: 0})
    desk.step(2, KO=100.0)
    desk.step(1, corporate_action("spl-1", "SPLIT", "KO", ratio=2), KO=50.0)
    desk.step(3, KO=50.0)
    assert crosses(desk) == [("second", "first", 100, 50.0)] and positions(desk) == {"first": 100}
    desk.check()


def test_a_manual_sale_during_a_net_order_changes_no_target() -> None:
    """A person sells the 60 that the second strategy is about to sell to the first one. The platform buys them back."""
    desk = desk_of({3: 100}, {1: 60, 3: 0}, portfolio={"order_type": "LIMIT", "limit_offset_bps": D(0)})
    desk.step(3, KO=100.0)
    desk.step(1, command("cmd-m", 1, "SUBMIT_ORDER", {"symbol": "KO", "side": "SELL", "quantity": "60"}), KO=110.0)
    desk.step(1, KO=110.0)
    assert desk.position("KO") == 0 and positions(desk) == {}, "the order for 40 waits at its limit"
    desk.step(4, KO=100.0)
    assert crosses(desk) == [("second", "first", 60, 100.0)]
    assert positions(desk) == {"first": 100} and desk.position("KO") == 100
    desk.check()


def test_a_manual_purchase_in_the_time_slice_of_a_cross_closes_the_same_positions_everywhere() -> None:
    """It buys back the 2 that the net order has sold. Of the 25 sold to the other strategy, it closes nothing."""
    desk = desk_of({1: -27, 4: 0}, {1: 25})
    desk.step(1, command("cmd-m", 1, "SUBMIT_ORDER", {"symbol": "KO", "side": "BUY", "quantity": "4"}), KO=100.0)
    desk.step(2, KO=100.0)
    assert positions(desk) == {"first": -25, "second": 25, REMAINDER: 2}
    desk.step(3, KO=100.0)
    assert positions(desk) == {"second": 25, REMAINDER: 2}, "the first strategy has bought back all that it is short"
    desk.check()


def test_an_exit_that_another_strategy_sends_again_belongs_to_its_own_strategy() -> None:
    """A person cancels the exit of the second strategy. The next target of the first one repeats it."""
    terms = {"order_type": "LIMIT", "limit_offset_bps": D(0), "exit_retry_s": 36_000}
    desk = desk_of({6: 0, 9: 0}, {1: 60, 3: 0}, portfolio=terms)
    desk.step(3, KO=100.0)
    desk.step(1, KO=99.0)
    desk.step(1, command("cmd-c", 1, "CANCEL_ORDER", {"order_id": "ord-2"}), KO=99.0)
    assert positions(desk) == {"second": 60}, "the limit of the exit was not reached"
    desk.step(7, KO=100.0)
    assert positions(desk) == {} and crosses(desk) == []
    assert desk.position("KO") == 0


def test_a_limit_on_one_strategy_sells_no_manual_position() -> None:
    """The account may hold 30, and a person holds 70. The first strategy can buy back only a part of its short."""
    desk = desk_of({3: -50, 6: -10}, {}, portfolio={"max_position_percentage": D("0.03")})
    arguments = {"symbol": "KO", "side": "BUY", "quantity": "70"}
    desk.step(1, command("cmd-b", 1, "SUBMIT_ORDER", arguments), KO=100.0)
    desk.step(4, KO=100.0)
    assert positions(desk) == {"first": -50, REMAINDER: 70}
    desk.step(1, KO=100.0)
    sale = command("cmd-s", 1, "SUBMIT_ORDER", {**arguments, "side": "SELL"})
    desk.step(1, sale, KO=100.0)
    desk.step(3, KO=100.0)
    assert crosses(desk) == []
    assert positions(desk) == {"first": -40} and desk.position("KO") == -40
    desk.check()


def test_explain_shows_a_cross_with_its_order_and_below_its_action() -> None:
    desk = desk_of({3: 100}, {1: 60, 3: 0})
    desk.step(6, KO=100.0)
    (cross,) = desk.of(InternalCross)
    store = MemoryRecordStore(desk.records)
    explanation = explain(store, cross.cross_id)
    assert explanation is not None
    assert explanation.outcome == f"{cross.cross_id}: second sold 60 KO to first at 100, inside the account"
    assert [node.kind for node in explanation.root.causes] == ["OrderProposal", "Execution"]
    proposal = explain(store, cross.cause_ids[0])
    assert proposal is not None and proposal.consequences[-1].record == cross


def test_explain_shows_a_reduced_target_below_its_action() -> None:
    desk = desk_of({1: 100}, {}, portfolio={"max_position_percentage": D("0.05")})
    desk.step(3, KO=100.0)
    explanation = explain(MemoryRecordStore(desk.records), "act-first-1")
    assert explanation is not None
    assert [node.kind for node in explanation.consequences] == ["TargetReduction"]


@pytest.mark.parametrize("restart", range(1, 6))
def test_a_restart_at_any_time_slice_makes_the_same_crosses(restart: int) -> None:
    scripts: tuple[Script, Script] = ({3: 100}, {1: 60, 3: 0})
    expected, first = desk_of(*scripts), desk_of(*scripts)
    expected.step(6, KO=100.0)
    first.step(restart, KO=100.0)
    second = desk_of(*scripts)
    second.restore(first.snapshot())
    second.minute = first.minute
    second.step(6 - restart, KO=100.0)
    assert crosses(first) + crosses(second) == crosses(expected) != []
    assert notes_of(first, "second") + notes_of(second, "second") == notes_of(expected, "second")
    assert positions(second) == positions(expected)


@given(st.dictionaries(st.sampled_from("abcd"), st.integers(-50, 50).map(D)), st.lists(st.integers(1, 9), max_size=9))
def test_all_fills_and_crosses_of_an_order_sum_to_the_changes(changes: dict[str, Decimal], cuts: list[int]) -> None:
    matches, rest = match_changes(changes)
    total, filled = sum(changes.values(), D(0)), D(0)
    traded = dict.fromkeys(changes, D(0))
    for one in matches:
        assert one.quantity > 0
        traded[one.buyer] += one.quantity
        traded[one.seller] -= one.quantity
    assert sum(rest.values()) == total and all(one * total > 0 for one in rest.values())
    for part in [*map(D, cuts), abs(total)]:
        quantity = min(part, abs(total) - filled)
        if not quantity:
            continue
        filled += quantity
        signed = quantity if total > 0 else -quantity
        fill = execution(1, 1, "KO", signed, 100)._replace(cum_quantity=filled)
        shares = share_fill(changes, fill, signed)
        assert sum(share for _, share in shares) == signed
        for name, share in shares:
            traded[name] += share
    assert traded == changes


SCRIPTS = st.lists(
    st.tuples(
        st.sampled_from(["first", "second", "third", "person"]),
        st.sampled_from(["target", "weight", "order", "limit"]),
        st.integers(-40, 40),
    ),
    max_size=4,
)


class Scripted(Recording):
    """Act as the tape of the test says, in each minute."""

    def __init__(self, name: str, tape: Sequence[Sequence[tuple[str, str, int]]]) -> None:
        super().__init__(lambda ctx, number: self._act_at(ctx, number))
        self.name, self._tape = name, tuple(tuple(one) for one in tape)

    def _act_at(self, ctx: Any, number: int) -> None:
        for name, kind, amount in self._tape[number - 1] if number <= len(self._tape) else ():
            if name != self.name:
                continue
            if kind == "target":
                ctx.target_quantity("KO", amount)
            elif kind == "weight":
                ctx.target_weight("KO", amount / 400)
            elif amount:
                side = "BUY" if amount > 0 else "SELL"
                ctx.submit("KO", side, abs(amount), limit_price=ctx.bar("KO").close if kind == "limit" else None)


def check_sums(desk: TradingDesk, valuation: Valuation, *, has_manual: bool) -> None:
    """Assert that the sub-accounts sum to the portfolio's books: quantity, cash, fees, equity and P&L."""
    rows, ledger = desk.strategies.accounts(), desk.portfolio.ledger
    assert sum((row.cash for row in rows), D(0)) == valuation.cash
    assert sum((row.fees for row in rows), D(0)) == valuation.fees
    assert sum((row.equity for row in rows), D(0)) == valuation.equity
    total = valuation.realized_pnl + valuation.unrealized_pnl - valuation.fees
    assert sum((row.profit for row in rows), D(0)) == total
    held = sum((row.quantities.get("KO", D(0)) for row in rows), D(0))
    assert held == ledger.quantity("KO")
    remainder = rows[-1]
    if not has_manual:
        assert remainder.quantities == {}, "every unit belongs to a strategy"
        assert abs(remainder.cash - CAPITAL * (1 - 3)) < D("1e-6"), "so does all cash, but for rounding"


@settings(max_examples=25, deadline=None)
@given(
    tape=st.lists(st.tuples(SCRIPTS, st.integers(9_000, 11_000)), min_size=3, max_size=14),
    participation=st.sampled_from(["0.007", "1"]),
)
def test_the_sub_accounts_sum_to_the_account_after_every_time_slice(
    tape: list[tuple[list[tuple[str, str, int]], int]], participation: str
) -> None:
    """For any targets, orders and manual trades, with fees, slippage and fills in parts."""
    actions = [one for one, _ in tape]
    names = ("first", "second", "third")
    venue = VenueSettings(max_volume_share=D(participation))
    desk = TradingDesk(*(Scripted(name, actions) for name in names), venue=venue)
    feedback = FeedbackStage(
        FeedbackSettings(attribution_interval_s=60, weights_interval_s=0), slippage_bps=0.0, trading=names
    )
    has_manual = False
    for number, (script, cents) in enumerate([*tape, *[([], 10_000)] * 4], start=1):
        manual: list[Record] = []
        for index, (name, _, amount) in enumerate(script):
            if name == "person" and amount:
                has_manual = True
                side = "BUY" if amount > 0 else "SELL"
                arguments = {"symbol": "KO", "side": side, "quantity": str(abs(amount))}
                manual.append(command(f"cmd-{number}-{index}", 1, "SUBMIT_ORDER", arguments))
        price: Price = cents / 100
        seen = len(desk.records)
        desk.step(1, *manual, KO=price)
        published = desk.records[seen:]
        (valuation,) = (one for one in published if type(one) is Valuation)
        inputs = sorted([price_bar("KO", number, valuation.ts_ns, price), *published], key=_rank)
        rows = feedback.on_slice(valuation.ts_ns, [one for one in inputs if _rank(one) < len(_FEEDBACK_INPUTS)])
        attributed = [one for one in rows if type(one) is Attribution]
        check_sums(desk, valuation, has_manual=has_manual)
        assert sum((one.realized_pnl + one.cash_flows for one in attributed), D(0)) == valuation.realized_pnl
        assert sum((one.unrealized_pnl for one in attributed), D(0)) == valuation.unrealized_pnl
        assert "unattributed" not in {one.strategy for one in attributed}


def _rank(record: Record) -> int:
    topic = TOPIC_OF[type(record)]
    return _FEEDBACK_INPUTS.index(topic) if topic in _FEEDBACK_INPUTS else len(_FEEDBACK_INPUTS)


def test_a_retried_exit_does_not_open_what_another_strategy_of_its_order_has_abandoned() -> None:
    def view(seq: int, strategy: str, direction: int) -> Record:
        return signal("KO", seq, 1, direction=direction, strategy=strategy)

    desk = TradingDesk(portfolio={"exit_retry_s": 60})
    desk.step(2, view(1, "leaving", 1), KO=100.0)
    halt = trading_status("KO", "HALTED", 1)
    desk.step(1, halt, view(2, "entering", -1), view(3, "leaving", 0), KO=100.0)
    (refusal,) = desk.of(OrderRefusal)
    assert (refusal.check, refusal.quantity) == ("exchange_halt", 200)
    desk.step(4, trading_status("KO", "TRADING", 2), KO=100.0)
    retried = [(one.strategy, one.terms.side, one.terms.quantity) for one in desk.of(OrderProposal)][2:]
    assert retried == [("leaving", "SELL", 100)] and desk.position("KO") == 0
