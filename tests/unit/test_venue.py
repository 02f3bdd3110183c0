"""The simulated venue against hand-calculated fills and a naive reference."""

from __future__ import annotations

import pickle
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.money import ZERO
from operators.venue import VenueSettings, VenueStage
from operators.venue.stage import SNAPSHOT_VERSION
from schemas.errors import BadInput
from schemas.records import (
    ACTIVE,
    BUY,
    CANCELED,
    DAY,
    EXPIRED,
    GTC,
    NEW,
    REJECTED,
    SELL,
    TRADE,
    Bar,
    Execution,
    Order,
    Record,
)
from schemas.records.constants import Side
from tests.builders import fence, order, report
from tests.builders.market import MINUTE_NS
from tests.unit.venue_runs import FREE, minute_bar, restarted, run_slices


def trades(executions: list[Execution]) -> list[tuple[str, str]]:
    return [(e.order_id, f"{e.price:f}".rstrip("0").rstrip(".")) for e in executions if e.exec_type == TRADE]


def test_a_market_order_is_acknowledged_and_fills_at_the_open() -> None:
    [new, trade] = run_slices(VenueStage(FREE), [order(1), minute_bar(1)])
    assert new == report(1, order(1), NEW, ts_ns=MINUTE_NS)
    # The trade happened at the open of the bar.
    fill = report(2, order(1), TRADE, 10, 100, ts_ns=MINUTE_NS, filled_at_ns=0)
    assert trade == fill._replace(bar_seq=1)


def test_slippage_and_its_rounding_to_the_tick_are_against_the_taker() -> None:
    slipping = VenueSettings(fee_per_share=ZERO, fee_min=ZERO, slippage_bps=Decimal("1.5"))
    executions = run_slices(VenueStage(slipping), [order(1), order(2, SELL), minute_bar(1)])
    assert trades(executions) == [("ord-1", "100.015"), ("ord-2", "99.985")]
    with_tick_size = VenueSettings(slippage_bps=Decimal("1.5"), tick_size=Decimal("0.01"))
    executions = run_slices(VenueStage(with_tick_size), [order(1), order(2, SELL), minute_bar(1)])
    assert trades(executions) == [("ord-1", "100.02"), ("ord-2", "99.98")]


@pytest.mark.parametrize(("quantity", "fee"), [("100", "1"), ("200", "1"), ("201", "1.005"), ("10000", "50")])
def test_the_fee_is_per_share_with_a_minimum(quantity: str, fee: str) -> None:
    charges = VenueSettings(fee_per_share=Decimal("0.005"), fee_min=Decimal(1))
    [_, trade] = run_slices(VenueStage(charges), [order(1, quantity=quantity), minute_bar(1)])
    assert trade.fee == Decimal(fee)


@pytest.mark.parametrize(
    ("side", "limit", "first", "second", "price"),
    [
        # First bar: a marketable order fills at the open, a touched limit fills at the limit, other orders rest.
        (BUY, "100", (100.0, 99.0, 101.0), None, "100"),
        (BUY, "105", (100.0, 99.0, 101.0), None, "100"),
        (BUY, "99", (100.0, 99.0, 101.0), None, "99"),
        (BUY, "98.99", (100.0, 99.0, 101.0), (100.0, 98.99, 101.0), "98.99"),
        (BUY, "98.99", (100.0, 99.0, 101.0), (100.0, 99.0, 101.0), None),
        (SELL, "100", (100.0, 99.0, 101.0), None, "100"),
        (SELL, "95", (100.0, 99.0, 101.0), None, "100"),
        (SELL, "101", (100.0, 99.0, 101.0), None, "101"),
        (SELL, "101.01", (100.0, 99.0, 101.0), (100.0, 99.0, 101.01), "101.01"),
        (SELL, "101.01", (100.0, 99.0, 101.0), (100.0, 99.0, 101.0), None),
        # The market gaps through a resting order's limit: the order fills at the open, which is the better price.
        (BUY, "95", (100.0, 99.0, 101.0), (90.0, 80.0, 91.0), "90"),
        (SELL, "105", (100.0, 99.0, 101.0), (110.0, 109.0, 111.0), "110"),
    ],
)
def test_a_limit_order_gaps_to_the_open_touches_at_the_limit_or_rests(
    side: Side, limit: str, first: Any, second: Any, price: str | None
) -> None:
    later: list[Record] = [minute_bar(2, *second)] if second else []
    executions = run_slices(
        VenueStage(FREE), [order(1, side, limit_price=limit, time_in_force=GTC), minute_bar(1, *first)], later
    )
    assert trades(executions) == ([] if price is None else [("ord-1", price)])


def test_a_taking_limit_order_slips_up_to_its_limit_and_a_resting_one_does_not() -> None:
    slips = VenueSettings(slippage_bps=Decimal(10), fee_min=ZERO)
    orders = [order(number, limit_price=limit) for number, limit in ((1, 100.05), (2, 101), (3, 95))]
    executions = run_slices(VenueStage(slips), [*orders, minute_bar(1)], [minute_bar(2, 90.0, 80.0, 91.0)])
    assert trades(executions) == [("ord-1", "100.05"), ("ord-2", "100.1"), ("ord-3", "90")]


def test_nothing_fills_on_a_bar_without_a_trade() -> None:
    no_trade_bar = minute_bar(1, 100.0, 100.0, 100.0, traded=False)
    executions = run_slices(VenueStage(FREE), [order(1), no_trade_bar], [minute_bar(2, 98.0, 97.0, 99.0)])
    assert [(e.exec_type, e.bar_seq) for e in executions] == [(NEW, 0), (TRADE, 2)]


def test_a_day_order_expires_before_it_can_fill_on_a_later_day_and_a_gtc_order_rests() -> None:
    day_order, gtc_order = order(1, limit_price=90), order(2, limit_price=90, time_in_force=GTC)
    executions = run_slices(
        VenueStage(FREE), [day_order, gtc_order, minute_bar(1)], [minute_bar(2, 85.0, 80.0, 99.0, day=20240103)]
    )
    assert [(e.order_id, e.exec_type) for e in executions[2:]] == [("ord-1", EXPIRED), ("ord-2", TRADE)]
    assert executions[2].text == "day order expired after trading day 20240102"
    assert (executions[2].leaves_quantity, executions[2].quantity) == (ZERO, ZERO)


def test_a_day_order_after_the_last_bar_of_a_day_is_good_for_the_next_day() -> None:
    executions = run_slices(VenueStage(FREE), [minute_bar(1)], [order(1), minute_bar(2, day=20240103)])
    assert [e.exec_type for e in executions] == [NEW, TRADE]


def test_a_day_order_expires_on_a_later_days_bar_even_without_a_trade() -> None:
    executions = run_slices(
        VenueStage(FREE), [order(1, limit_price=90), minute_bar(1)], [minute_bar(2, day=20240103, traded=False)]
    )
    assert [e.exec_type for e in executions] == [NEW, EXPIRED]


def test_fence_cancels_working_orders_and_rejects_older_epochs() -> None:
    stage = VenueStage(FREE)
    buys = [order(number, limit_price=90, symbol="ZZZ") for number in (2, 4)]
    working = [buys[0], order(3, SELL, limit_price=110), buys[1]]
    halt: list[Record] = [fence(5, epoch=1, reason="drill"), order(6, risk_epoch=0), order(7, risk_epoch=1)]
    executions = run_slices(stage, [*working, minute_bar(1)], [*halt, minute_bar(2, 85.0, 80.0, 120.0)])
    assert [(e.order_id, e.exec_type) for e in executions[3:]] == [
        ("ord-2", CANCELED),
        ("ord-3", CANCELED),
        ("ord-4", CANCELED),
        ("ord-6", REJECTED),
        ("ord-7", REJECTED),
    ]
    assert executions[3].text == "halted by risk epoch 1: drill"
    assert executions[6].text == "risk epoch 0 is older than the current risk epoch 1"
    assert executions[7].text == "trading has been halted since risk epoch 1"


def test_after_the_release_orders_of_the_new_epoch_trade_again() -> None:
    fences = [fence(1, epoch=1), fence(2, epoch=2, state=ACTIVE)]
    executions = run_slices(VenueStage(FREE), [*fences, order(3, risk_epoch=1), order(4, risk_epoch=2), minute_bar(1)])
    assert [(e.order_id, e.exec_type) for e in executions] == [("ord-3", REJECTED), ("ord-4", NEW), ("ord-4", TRADE)]


def test_reports_come_in_order_of_orders_then_bars() -> None:
    orders: list[Record] = [order(1, symbol="B"), order(2, symbol="A"), order(3, SELL, symbol="B")]
    executions = run_slices(VenueStage(FREE), [*orders, minute_bar(1, symbol="A"), minute_bar(1, symbol="B")])
    assert [(e.order_id, e.exec_type) for e in executions] == [
        ("ord-1", NEW),
        ("ord-2", NEW),
        ("ord-3", NEW),
        ("ord-2", TRADE),
        ("ord-1", TRADE),
        ("ord-3", TRADE),
    ]
    assert [e.seq for e in executions] == [1, 2, 3, 4, 5, 6]


PRICES = st.integers(90, 110)
BARS = st.lists(st.tuples(PRICES, PRICES, PRICES, PRICES, st.booleans(), st.integers(0, 1)), min_size=1, max_size=12)
ORDERS = st.lists(
    st.tuples(
        st.integers(0, 11), st.sampled_from([BUY, SELL]), st.one_of(st.none(), PRICES), st.sampled_from([DAY, GTC])
    ),
    max_size=6,
)


def naive(bars: list[Bar], first_bar: int, tested_order: Order) -> tuple[str, str, int]:
    """Slow reference: walk the bars from the order's first bar. Return (result, price, bar seq)."""
    day = bars[first_bar].trading_day if first_bar < len(bars) else 0
    for b in bars[first_bar:]:
        if tested_order.terms.time_in_force == DAY and b.trading_day > day:
            return EXPIRED, "", 0
        if not b.traded:
            continue
        if tested_order.terms.limit_price is None:
            return TRADE, str(int(b.open)), b.seq
        limit = int(tested_order.terms.limit_price)
        best = min(int(b.open), limit) if tested_order.terms.side == BUY else max(int(b.open), limit)
        if (b.low <= limit) if tested_order.terms.side == BUY else (b.high >= limit):
            return TRADE, str(best), b.seq
    return "works", "", 0


@settings(max_examples=300, deadline=None)
@given(BARS, ORDERS, st.booleans())
def test_each_order_matches_the_naive_walk_across_restarts(bars: Any, orders: Any, restart: bool) -> None:
    day, tape = 20240102, []
    for seq, (a, b, c, d, traded, later) in enumerate(bars, 1):
        day += later
        prices = sorted(map(float, (a, b, c, d)))
        tape.append(minute_bar(seq, float(a), prices[0], prices[-1], day=day, traded=traded))
    timed_orders = [
        (bar_index, order(n, side, limit_price=limit, time_in_force=tif))
        for n, (bar_index, side, limit, tif) in enumerate(sorted(orders, key=lambda o: o[0]), 1)
    ]
    stage, executions = VenueStage(FREE), []
    for index, tape_bar in enumerate(tape):
        if restart:
            stage = restarted(stage, FREE)
        executions += stage.on_slice(
            (index + 1) * MINUTE_NS, [*(o for bar_index, o in timed_orders if bar_index == index), tape_bar]
        )
    final_reports = {
        e.order_id: (e.exec_type, str(int(e.price)) if e.exec_type == TRADE else "", e.bar_seq)
        for e in executions
        if isinstance(e, Execution) and e.exec_type != NEW
    }
    for bar_index, one_order in timed_orders:
        if bar_index < len(tape):
            assert final_reports.get(one_order.order_id, ("works", "", 0)) == naive(tape, bar_index, one_order)
    version, seq, _, _, working, *_ = stage.snapshot()
    assert (version, seq) == (SNAPSHOT_VERSION, len(executions))
    working_ids = {o.order_id for bar_index, o in timed_orders if bar_index < len(tape)} - set(final_reports)
    assert {terms[2] for terms, _ in working} == working_ids, "closed orders have left the state"


def test_a_snapshot_does_not_change_afterwards() -> None:
    stage = VenueStage(FREE)
    run_slices(stage, [order(1, limit_price=90, time_in_force=GTC), minute_bar(1)])
    state = stage.snapshot()
    pickled = pickle.dumps(state)
    run_slices(stage, [minute_bar(2, 85.0, 80.0, 99.0)], [order(2), fence(3, epoch=4)])
    assert pickle.dumps(state) == pickled
    with pytest.raises(AssertionError, match="version 99"):
        stage.restore((99, *state[1:]))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("fee_per_share", Decimal(-1)),
        ("fee_min", Decimal("NaN")),
        ("slippage_bps", Decimal(10_000)),
        ("slippage_bps", 1.5),
        ("tick_size", Decimal(0)),
    ],
)
def test_invalid_settings_are_rejected(name: str, value: Any) -> None:
    with pytest.raises(BadInput, match=f"venue setting {name} must be"):
        VenueSettings(**{name: value})
