"""Risk over time: open orders count toward the limits in any interleaving of events; the fence; the snapshot."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.risk import RiskSettings, RiskStage
from operators.risk.position import OpenOrder, RiskPosition
from schemas.records import (
    BUY,
    CANCELED,
    EXPIRED,
    KILL_SWITCH,
    NEW,
    REJECTED,
    RELEASE,
    SELL,
    TRADE,
    Execution,
    Order,
    OrderRefusal,
    Record,
    RiskFence,
)
from tests.builders import bar, command, proposal, report

MINUTE_NS = 60_000_000_000
PRICES = {"AAPL": 100.0, "BAC": 14.07}
ZERO = Decimal(0)


class NaiveVenue:
    """Naive reference that fills, partly fills and ends open orders in any order, and keeps its own totals."""

    def __init__(self, cash: Decimal) -> None:
        self.open_orders: list[tuple[Order, Decimal]] = []
        self.position: dict[str, Decimal] = {}
        self.cash = cash
        self.seq = 0

    def apply(self, index: int, action: Any) -> Execution | None:
        if not self.open_orders:
            return None
        self.seq += 1
        order, remaining = self.open_orders.pop(index % len(self.open_orders))
        if action not in ("fill", "part"):
            if action == NEW:
                self.open_orders.append((order, remaining))
            return report(self.seq, order, action, remaining=remaining if action == NEW else 0)
        quantity = remaining if action == "fill" else remaining / 2
        if remaining - quantity:
            self.open_orders.append((order, remaining - quantity))
        signed = quantity if order.terms.side == BUY else -quantity
        self.position[order.terms.symbol] = self.position.get(order.terms.symbol, ZERO) + signed
        self.cash -= signed * Decimal(repr(PRICES[order.terms.symbol]))
        return report(self.seq, order, TRADE, quantity, PRICES[order.terms.symbol], remaining=remaining - quantity)

    def bounds(self, symbol: str) -> tuple[Decimal, Decimal]:
        """Return the lowest and highest positions that the open orders can lead to."""
        current = self.position.get(symbol, ZERO)
        low = current - sum(
            remaining
            for order, remaining in self.open_orders
            if order.terms.symbol == symbol and order.terms.side == SELL
        )
        high = current + sum(
            remaining
            for order, remaining in self.open_orders
            if order.terms.symbol == symbol and order.terms.side == BUY
        )
        return low, high


STEP = st.one_of(
    st.tuples(
        st.just("propose"),
        st.sampled_from([BUY, SELL]),
        st.sampled_from(["AAPL", "BAC"]),
        st.integers(1, 160),
        st.sampled_from([None, "0.97", "1.02"]),
    ),
    st.tuples(st.sampled_from(["fill", "part", NEW, CANCELED, EXPIRED, REJECTED]), st.integers(0, 9)),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(STEP, max_size=40), st.booleans())
def test_no_interleaving_of_approvals_and_fills_exceeds_a_limit(steps: list[Any], restart: bool) -> None:
    """Prices are constant, so only approvals and fills change the limited quantities."""
    limits = RiskSettings(
        initial_capital=Decimal(10_000),
        max_order_notional=Decimal(8_000),
        max_position=Decimal(200),
        max_position_size=Decimal(9_000),
        max_portfolio_leverage=Decimal(1),
        max_daily_loss=Decimal(5_000),
        stale_price_s=Decimal(600),
        buying_power_multiple=Decimal(1),
    )
    stage, venue = RiskStage(limits), NaiveVenue(limits.initial_capital)
    stage.on_slice(MINUTE_NS, [bar(symbol, 1, MINUTE_NS, price) for symbol, price in PRICES.items()])
    for number, step in enumerate(steps, 1):
        if restart:
            state = stage.snapshot()
            stage = RiskStage(limits)
            stage.restore(pickle.loads(pickle.dumps(state)))  # noqa: S301 - our own snapshot
        now = MINUTE_NS + number
        if step[0] != "propose":
            execution = venue.apply(step[1], step[0])
            stage.on_slice(now, [] if execution is None else [execution])
            continue
        _, side, symbol, quantity, factor = step
        limit = None if factor is None else Decimal(factor) * Decimal(repr(PRICES[symbol]))
        before = venue.bounds(symbol)
        [decision] = stage.on_slice(now, [proposal(side, quantity, symbol, limit_price=limit, seq=number)])
        if isinstance(decision, Order):
            venue.open_orders.append((decision, decision.terms.quantity))
            _assert_within_limits(venue, limits, symbol, before)


def _assert_within_limits(
    venue: NaiveVenue, limits: RiskSettings, symbol: str, before: tuple[Decimal, Decimal]
) -> None:
    low, high = venue.bounds(symbol)
    price = Decimal(repr(PRICES[symbol]))
    assert isinstance(limits.max_position, Decimal) and isinstance(limits.max_position_size, Decimal)
    assert max(-low, high) <= limits.max_position
    assert max(-low, high) * price <= limits.max_position_size
    gross = sum(max(abs(n) for n in venue.bounds(s)) * Decimal(repr(p)) for s, p in PRICES.items())
    equity = venue.cash + sum(venue.position.get(s, ZERO) * Decimal(repr(p)) for s, p in PRICES.items())
    assert gross <= equity or max(map(abs, (low, high))) <= max(map(abs, before))


POSITION = st.integers(-50, 50).map(Decimal)
ORDERS = st.lists(st.tuples(st.sampled_from([BUY, SELL]), st.integers(1, 40), st.integers(1, 9)), max_size=5)


@given(POSITION, ORDERS, st.randoms(use_true_random=False))
def test_reserved_cash_covers_any_order_of_fills(position: Decimal, orders: Any, random: Any) -> None:
    risk_position = RiskPosition(position)
    for n, (s, q, p) in enumerate([*orders, (BUY, 9, 9), (SELL, 9, 9)]):
        risk_position.add_order(str(n), OpenOrder(s, Decimal(q), Decimal(p)))
    for n in (len(orders), len(orders) + 1):
        risk_position.remove_order(str(n))
    risk_position.update_derived()
    assert risk_position.buys.price_max == max((p for s, _, p in orders if s == BUY), default=0)
    assert risk_position.buys.quantity == sum(q for s, q, _ in orders if s == BUY)
    for side in (BUY, SELL):
        one_side = [order for order in orders if order[0] == side]
        random.shuffle(one_side)
        current, spent = position, ZERO
        for _, quantity, price in one_side:
            after = current + (quantity if side == BUY else -quantity)
            opened = max(ZERO, abs(after) - (abs(current) if current * after > 0 else 0)) if after else ZERO
            spent += min(opened, Decimal(quantity)) * price
            current = after
        reserve = (risk_position.buys if side == BUY else risk_position.sells).reserved_cash(
            risk_position.closable(side)
        )
        assert spent <= reserve


def test_open_orders_count_until_they_end() -> None:
    stage = RiskStage(RiskSettings.unlimited(max_position=Decimal(100)))
    [first] = stage.on_slice(MINUTE_NS, [bar("AAPL", 1, MINUTE_NS), proposal(BUY, 60)])
    assert isinstance(first, Order)
    for first_report in (report(1, first, NEW), report(1, first, TRADE, 20, 100)):
        [decision] = stage.on_slice(MINUTE_NS + 1, [first_report, proposal(BUY, 41, seq=2)])
        assert isinstance(decision, OrderRefusal), "a position of 20 and 40 open leave room for 40"
    [decision] = stage.on_slice(MINUTE_NS + 2, [report(2, first, CANCELED), proposal(BUY, 80, seq=3)])
    assert isinstance(decision, Order), "a position of 20 and no open order leave room for 80"


def test_the_kill_switch_raises_the_epoch_once_and_the_release_raises_it_again() -> None:
    stage = RiskStage(RiskSettings.unlimited())
    [order] = stage.on_slice(MINUTE_NS, [bar("AAPL", 1, MINUTE_NS), proposal(BUY, 1)])
    [fence] = stage.on_slice(MINUTE_NS + 1, [command("c-1", 5, KILL_SWITCH), command("c-2", 6, KILL_SWITCH)])
    assert fence == RiskFence(seq=2, ts_ns=MINUTE_NS + 1, epoch=1, state="HALTED", reason="because", cause_id="c-1")
    assert isinstance(order, Order) and order.risk_epoch == 0
    assert stage.on_slice(MINUTE_NS + 2, [command("c-3", 7, "SOMETHING_ELSE")]) == []
    [released] = stage.on_slice(MINUTE_NS + 3, [command("c-4", 8, RELEASE), command("c-5", 9, RELEASE)])
    assert released == RiskFence(seq=3, ts_ns=MINUTE_NS + 3, epoch=2, state="ACTIVE", reason="because", cause_id="c-4")


def test_daily_loss_resets_on_the_next_trading_day() -> None:
    stage = RiskStage(RiskSettings.unlimited(max_daily_loss=Decimal(500)))
    [purchase] = stage.on_slice(MINUTE_NS, [bar("AAPL", 1, MINUTE_NS), proposal(BUY, 100)])
    assert isinstance(purchase, Order)
    lower_bar = bar("AAPL", 2, 2 * MINUTE_NS, 94.0)
    fill = report(1, purchase, TRADE, purchase.terms.quantity, 100)
    [rejected] = stage.on_slice(2 * MINUTE_NS, [fill, lower_bar, proposal(BUY, 1, seq=2)])
    assert isinstance(rejected, OrderRefusal)
    assert rejected.message == (
        "max_daily_loss: daily loss is 600.00 USD, limit 500.00; AAPL order would open or increase a position"
    )
    next_day_bar = bar("AAPL", 3, 3 * MINUTE_NS, 90.0, day=20240103)
    [approved] = stage.on_slice(3 * MINUTE_NS, [next_day_bar, proposal(BUY, 1, seq=3)])
    assert isinstance(approved, Order), "400 lost since the close of the day before"


def input_slices() -> list[tuple[int, list[Record]]]:
    """Return time slices with every record type. The executions are fixed and match those of the venue."""
    time_slices: list[tuple[int, list[Record]]] = []
    for minute in range(1, 13):
        now = minute * MINUTE_NS
        records: list[Record] = []
        if minute == 7:
            records.append(command("c-1", now, KILL_SWITCH))
        if minute == 9:
            records.append(command("c-2", now, RELEASE))
        day = 20240102 if minute < 6 else 20240103
        records += [bar(s, minute, now, p * (1 - minute / 100), day=day) for s, p in PRICES.items()]
        records += [proposal(BUY, 30, seq=2 * minute), proposal(SELL, 20, "BAC", limit_price=14, seq=2 * minute + 1)]
        time_slices.append((now, records))
    return time_slices


def run(stage: RiskStage, *, restart_after: int | None = None) -> list[Record]:
    output: list[Record] = []
    unfilled: list[Order] = []
    for index, (now, records) in enumerate(input_slices()):
        fills = [report(one.seq, one, TRADE, one.terms.quantity, PRICES[one.terms.symbol]) for one in unfilled]
        decisions = stage.on_slice(now, [*fills, *records])
        unfilled = [record for record in decisions if isinstance(record, Order)]
        output += decisions
        if index == restart_after:
            state = stage.snapshot()
            pickled = pickle.dumps(state)
            stage.on_slice(now + 1, [*records, *fills])
            assert pickle.dumps(state) == pickled, "the snapshot changed after it was taken"
            stage = RiskStage(stage.settings)
            stage.restore(pickle.loads(pickled))  # noqa: S301 - our own snapshot
    return output


LIMITS = RiskSettings.unlimited(
    initial_capital=Decimal(20_000),
    max_position=Decimal(100),
    max_daily_loss=Decimal(150),
    buying_power_multiple=Decimal(1),
)


@pytest.mark.parametrize("crash", range(12))
def test_restart_after_any_slice_does_not_change_a_decision(crash: int) -> None:
    assert run(RiskStage(LIMITS), restart_after=crash) == run(RiskStage(LIMITS))


def test_input_slices_produce_every_kind_of_output() -> None:
    output = run(RiskStage(LIMITS))
    assert {type(record) for record in output} == {Order, OrderRefusal, RiskFence}
    assert {r.check for r in output if isinstance(r, OrderRefusal)} == {"kill_switch", "max_position", "max_daily_loss"}
    for kinds in ((Order, RiskFence), (OrderRefusal,)):
        assert [r.seq for r in output if isinstance(r, kinds)] == list(
            range(1, 1 + sum(isinstance(r, kinds) for r in output))
        )


def test_unknown_snapshot_version_is_rejected() -> None:
    stage = RiskStage(LIMITS)
    with pytest.raises(AssertionError, match="version 99"):
        stage.restore((99, *stage.snapshot()[1:]))


def _plain(value: Any) -> bool:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return type(value) in (tuple, list) and all(map(_plain, value))
    if isinstance(value, dict):
        return all(map(_plain, value)) and all(map(_plain, value.values()))
    return type(value) in (int, float, str, bool, Decimal, type(None))


def test_a_snapshot_holds_plain_values_only() -> None:
    stage = RiskStage(LIMITS)
    for now, records in input_slices():
        stage.on_slice(now, records)
        assert _plain(stage.snapshot())
