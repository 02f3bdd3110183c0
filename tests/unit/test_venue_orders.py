"""Order types, times in force, linked orders and the venue's models: worked cases on single bars."""

from __future__ import annotations

from decimal import Decimal
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.instruments import Instrument, Instruments
from operators.venue import VenueSettings, VenueStage
from schemas.records import (
    BUY,
    CANCELED,
    CLS,
    DAY,
    EXPIRED,
    FOK,
    GTC,
    GTD,
    IOC,
    LIMIT,
    MARKET,
    NEW,
    OPG,
    POST,
    PRE,
    REGULAR,
    REPLACED,
    SELL,
    STOP,
    STOP_LIMIT,
    TRADE,
    TRAILING_STOP,
    Execution,
    Order,
    Record,
)
from tests.builders import fence, order, quote
from tests.builders.market import MINUTE_NS
from tests.builders.trading import Terms
from tests.unit.venue_bar_cases import BAR_CASES
from tests.unit.venue_order_cases import ORDER_CASES
from tests.unit.venue_runs import FREE, NO_FEE, minute_bar, report_lines, run, run_slices

CASES = [*ORDER_CASES, *BAR_CASES]


@pytest.mark.parametrize("restart", [False, True], ids=["straight", "restarted"])
@pytest.mark.parametrize(("slices", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_order_executes_according_to_its_terms(slices: list[list[Record]], expected: list[str], restart: bool) -> None:
    assert report_lines(run(FREE, *slices, restart=restart)) == expected


def test_orders_share_the_volume_of_a_bar_and_the_rest_waits() -> None:
    share = VenueSettings(**NO_FEE, max_volume_share=Decimal("0.1"))
    executions = run(
        share, [order(1, quantity=80), order(2, quantity=80), minute_bar(1)], [minute_bar(2, volume=1235.0)]
    )
    assert report_lines(executions) == ["1 TRADE 80@100", "2 TRADE 20@100", "2 TRADE 60@100"]
    assert [int(e.leaves_quantity) for e in executions if e.order_id == "ord-2"] == [80, 60, 0]
    assert [int(e.cum_quantity) for e in executions if e.order_id == "ord-2"] == [0, 20, 80]
    assert report_lines(run(share, [order(1, quantity=101, time_in_force=FOK), minute_bar(1)])) == ["1 CANCELED"]
    assert report_lines(run(share, [order(1, quantity=101, time_in_force=IOC), minute_bar(1)])) == [
        "1 TRADE 100@100",
        "1 CANCELED",
    ]
    lots = Instruments(listed=(Instrument(symbol="AAPL", lot_size=Decimal(30)),))
    executions = run(
        VenueSettings(**NO_FEE, max_volume_share=Decimal("0.1"), instruments=lots),
        [order(1, quantity=120), minute_bar(1)],
    )
    assert report_lines(executions) == ["1 TRADE 90@100"]


def test_exits_protect_what_a_partly_filled_entry_has_bought() -> None:
    """The entry fills 50 of 100 and expires. The stop sells the 50, and the take profit is reduced with it."""
    share = VenueSettings(**NO_FEE, max_volume_share=Decimal(1))
    exits: dict[str, Any] = {"parent_id": "prop-1", "group_id": "exit", "reduce_only": True, "time_in_force": GTC}
    slices: list[list[Record]] = [
        [
            order(1, quantity=100, limit_price=100),
            order(2, SELL, 100, limit_price=120, **exits),
            order(3, SELL, 100, stop_price=95, **exits),
            minute_bar(1, volume=50.0),
        ],
        [minute_bar(2, 101.0, 101.0, 101.0, day=20240103)],
        [minute_bar(3, 90.0, 80.0, 90.0, 80.0, day=20240103)],
    ]
    for restart in (False, True):
        executions = run(share, *slices, restart=restart)
        assert report_lines(executions) == ["1 TRADE 50@100", "1 EXPIRED", "3 TRADE 50@90", "2 CANCELED"]


def test_exits_of_a_working_entry_close_no_more_than_it_has_bought() -> None:
    share = VenueSettings(**NO_FEE, max_volume_share=Decimal(1))
    for reduce_only, group_id, restart in product((False, True), ("", "exit"), (False, True)):
        exits: dict[str, Any] = {"parent_id": "prop-1", "time_in_force": GTC}
        exits |= {"reduce_only": reduce_only, "group_id": group_id}
        executions = run(
            share,
            [
                order(1, quantity=100, limit_price=100, time_in_force=GTC),
                order(2, SELL, 100, limit_price=110, **exits),
                order(3, SELL, 100, stop_price=90, **exits),
                minute_bar(1, volume=40.0),
            ],
            [minute_bar(2, 110.0, 109.0, 111.0)],
            [minute_bar(3, 110.0, 109.0, 111.0)],  # all of the exit that is free has traded
            [minute_bar(4, 100.0, 99.0, 101.0)],
            [minute_bar(5, 110.0, 109.0, 111.0)],
            restart=restart,
        )
        lines = [line for line in report_lines(executions) if "TRADE" in line]
        assert lines == ["1 TRADE 40@100", "2 TRADE 40@110", "1 TRADE 60@100", "2 TRADE 60@110"]


DAY_END_NS = 3 * MINUTE_NS


def run_to_session_end(*slices: list[Record], **fields: Any) -> list[Execution]:
    """Run the slices on a venue whose regular session ends with the third minute."""
    stage = VenueStage(VenueSettings(**(NO_FEE | fields)), session_end=lambda _: DAY_END_NS)
    return run_slices(stage, *slices)


def test_an_on_close_order_trades_at_the_close_of_the_last_day_and_is_booked_then() -> None:
    executions = run_to_session_end(
        [order(1, time_in_force=CLS), order(2, limit_price=99, time_in_force=CLS), minute_bar(1)],
        [minute_bar(2)],
        [minute_bar(3, 101.0, 100.0, 103.0, 102.5)],
    )
    assert report_lines(executions) == ["1 TRADE 10@102.5", "2 EXPIRED"]
    trade = next(one for one in executions if one.exec_type == TRADE)
    assert (trade.ts_ns, trade.filled_at_ns, trade.bar_seq) == (DAY_END_NS, DAY_END_NS, 3)


def test_an_on_close_order_expires_with_a_session_that_closes_without_a_trade() -> None:
    slices: list[list[Record]] = [
        [order(1, time_in_force=CLS), minute_bar(1)],
        [minute_bar(2)],
        [minute_bar(3, 100.0, 100.0, 100.0, traded=False)],
    ]
    assert report_lines(run_to_session_end(*slices)) == ["1 EXPIRED"]


@pytest.mark.parametrize(
    ("entry", "exit_terms", "expected"),
    [
        ({"limit_price": 99}, {"time_in_force": CLS}, ["1 TRADE 10@99", "2 TRADE 10@100.5"]),
        ({"time_in_force": CLS}, {"time_in_force": CLS}, ["1 TRADE 10@100.5", "2 TRADE 10@97"]),
        ({"time_in_force": CLS}, {"time_in_force": GTC, "stop_price": 101}, ["1 TRADE 10@100.5", "2 TRADE 10@95"]),
        ({"time_in_force": CLS}, {"time_in_force": GTC, "trail_amount": 3}, ["1 TRADE 10@100.5", "2 TRADE 10@95"]),
        ({"time_in_force": CLS}, {"time_in_force": OPG}, ["1 TRADE 10@100.5", "2 TRADE 10@95"]),
    ],
    ids=["close of the same bar", "close of the next day", "stop", "trailing stop", "open of the next day"],
)
def test_exits_of_an_auction_trade_in_the_next_one_and_others_from_the_next_bar_on(
    entry: Terms, exit_terms: Terms, expected: list[str]
) -> None:
    """Two sessions of one bar. Nothing is known of a session after its close."""
    stage = VenueStage(VenueSettings(**NO_FEE), session_end=lambda open_ns: (open_ns // MINUTE_NS + 1) * MINUTE_NS)
    executions = run_slices(
        stage,
        [
            order(1, **entry),
            order(2, SELL, **(exit_terms | Terms(parent_id="prop-1", reduce_only=True))),
            minute_bar(1, 100.0, 98.0, 101.0, 100.5),
        ],
        [minute_bar(2, 95.0, 94.0, 98.0, 97.0, day=20240103)],
    )
    assert report_lines(executions) == expected


def test_on_close_orders_share_the_volume_that_the_bar_has_left() -> None:
    executions = run_to_session_end(
        [order(1, quantity=60), order(2, quantity=60, limit_price=200, time_in_force=CLS), minute_bar(3)],
        max_volume_share=Decimal("0.1"),
    )
    assert report_lines(executions) == ["1 TRADE 60@100", "2 TRADE 40@100", "2 EXPIRED"]


def test_a_day_order_expires_with_the_last_session_in_which_it_may_trade() -> None:
    slices: list[list[Record]] = [
        [order(1, limit_price=90), order(2, limit_price=90, time_in_force=GTC), minute_bar(2)],
        [minute_bar(3, 100.0, 100.0, 100.0, traded=False)],
    ]
    assert report_lines(run_to_session_end(*slices, sessions=(REGULAR,))) == ["1 EXPIRED"]
    assert report_lines(run_to_session_end(*slices)) == [], "the post-market follows"
    post_market: list[Record] = [minute_bar(3, session=POST)]
    assert report_lines(run_to_session_end(*slices, post_market)) == ["1 EXPIRED"]


def quotes_and_bars(fills_from: Any) -> list[str]:
    """A market order, a resting limit order and a sell stop meet a quote 100 to 101 and a bar from 98 to 95."""
    stage = VenueStage(VenueSettings(**NO_FEE, fills_from=fills_from))
    orders: list[Record] = [order(1), order(2, limit_price=96), order(3, SELL, stop_price=97)]
    return report_lines(
        run_slices(
            stage,
            [*orders, quote("AAPL", 1, MINUTE_NS // 2, 100, 101)],
            [minute_bar(2, 98.0, 95.0, 98.0, 96.5)],
        )
    )


@pytest.mark.parametrize(
    ("fills_from", "expected"),
    [
        ("bars", ["1 TRADE 10@98", "3 TRADE 10@97", "2 TRADE 10@96"]),
        ("quotes", ["1 TRADE 10@101"]),
        ({"MARKET": "quotes"}, ["1 TRADE 10@101", "3 TRADE 10@97", "2 TRADE 10@96"]),
        ({"MARKET": "quotes", "LIMIT": "quotes", "STOP": "bars"}, ["1 TRADE 10@101", "3 TRADE 10@97"]),
    ],
)
def test_each_order_type_fills_from_its_source(fills_from: Any, expected: list[str]) -> None:
    assert quotes_and_bars(fills_from) == expected


def test_an_exit_that_a_quote_activates_meets_only_the_end_of_that_minute() -> None:
    stage = VenueStage(VenueSettings(**NO_FEE, fills_from={"MARKET": "quotes"}))
    exits: dict[str, Any] = {"parent_id": "prop-1", "time_in_force": GTC}
    executions = run_slices(
        stage,
        [order(1), order(2, SELL, limit_price=102, **exits), quote("AAPL", 1, MINUTE_NS * 3 // 2, 100, 101)],
        [minute_bar(2, 103.0, 100.0, 103.0, 100.5)],
        [minute_bar(3, 101.0, 100.0, 103.0)],
    )
    assert report_lines(executions) == ["1 TRADE 10@101", "2 TRADE 10@102"]
    assert executions[-1].bar_seq == 3, "the open of bar 2 came before the entry"


def test_immediate_or_cancel_from_quotes_ends_with_the_first_quote() -> None:
    stage = VenueStage(VenueSettings(**NO_FEE, fills_from="quotes"))
    orders: list[Record] = [order(1, time_in_force=IOC, limit_price=99), order(2, time_in_force=IOC, limit_price=101)]
    executions = run_slices(stage, [*orders, quote("AAPL", 1, 1, 100, 101)])
    assert report_lines(executions) == ["2 TRADE 10@101", "1 CANCELED"]


def as_version_4(snapshot: Any) -> Any:
    """Return a venue snapshot of version 7 in the layout of version 4, which release 0.2.0 wrote."""
    version, seq, epoch, fence, orders, positions, session, reference, transfers, _account, _hours = snapshot
    assert version == 7
    old_orders = [(terms, progress[:11]) for terms, progress in orders]
    return (4, seq, epoch, fence, old_orders, positions, session[:2], reference, transfers)


def test_a_snapshot_of_release_0_2_0_goes_on_by_the_new_rules() -> None:
    """An entry that has filled 40 of 100, whose exits waited for all of it, and an on-open order for the next day."""
    share = VenueSettings(**NO_FEE, max_volume_share=Decimal(1))
    stage = VenueStage(share)
    exit_terms: dict[str, Any] = {"parent_id": "prop-1", "time_in_force": GTC, "reduce_only": True}
    run_slices(stage, [order(1, quantity=100, limit_price=100, time_in_force=GTC), minute_bar(1, volume=40.0)])
    run_slices(stage, [order(3, time_in_force=OPG), order(2, SELL, 100, stop_price=95, **exit_terms)])
    version, *state = as_version_4(stage.snapshot())
    orders = [
        (terms, (*progress[:10], True)) if terms[2] == "ord-2" else (terms, progress) for terms, progress in state[3]
    ]
    old = (version, *state[:3], orders, *state[4:])
    for next_bar, expected in (
        (minute_bar(2, 101.0, 94.0, 101.0), ["1 TRADE 60@100", "2 TRADE 100@95"]),
        (minute_bar(2, 94.0, 94.0, 94.0, day=20240103), ["2 TRADE 40@94", "3 TRADE 10@94", "1 TRADE 60@94"]),
    ):
        restored = VenueStage(share)
        restored.restore(old)
        assert report_lines(run_slices(restored, [next_bar])) == expected


KINDS = st.sampled_from([MARKET, LIMIT, STOP, STOP_LIMIT, TRAILING_STOP])
TIMES = st.sampled_from([DAY, GTC, GTD, IOC, FOK, OPG, CLS])
ORDER_TERMS = st.tuples(
    KINDS, TIMES, st.sampled_from([BUY, SELL]), st.integers(95, 105), st.integers(95, 105), st.integers(0, 5)
)
WALK = st.lists(
    st.tuples(*[st.integers(94, 106)] * 4, st.booleans(), st.sampled_from([PRE, REGULAR, POST])), min_size=8, max_size=8
)


@settings(max_examples=200, deadline=None)
@given(st.lists(ORDER_TERMS, min_size=1, max_size=6), WALK, st.booleans())
def test_every_order_ends_and_never_trades_through_its_limit(orders: Any, walk: Any, restart: bool) -> None:
    slices: list[list[Record]] = [[] for _ in range(len(walk))]
    orders_by_id: dict[str, Order] = {}
    for number, (kind, tif, side, limit, stop, start_index) in enumerate(sorted(orders, key=lambda o: o[5]), 1):
        new_order = order(
            number,
            side,
            order_type=kind,
            time_in_force=tif,
            limit_price=limit if kind in (LIMIT, STOP_LIMIT) else None,
            stop_price=stop if kind in (STOP, STOP_LIMIT) else None,
            trail_percent=2 if kind == TRAILING_STOP else None,
            expires_ns=5 * MINUTE_NS if tif == GTD else None,
        )
        orders_by_id[new_order.order_id] = new_order
        slices[start_index].append(new_order)
    for index, (a, b, c, d, traded, session) in enumerate(walk):
        low, _, _, high = sorted(map(float, (a, b, c, d)))
        walk_bar = minute_bar(
            index + 1, float(a), low, high, float(d), traded=traded, session=session, day=20240102 + index // 4
        )
        slices[index].append(walk_bar)
    # The kill switch ends all orders that still work.
    slices.append([fence(99, epoch=1)])
    executions = run(VenueSettings(fee_model="none", max_volume_share=Decimal("0.007")), *slices, restart=restart)
    ended_ids = [e.order_id for e in executions if e.exec_type != NEW and e.leaves_quantity == 0]
    assert sorted(ended_ids) == sorted(orders_by_id), "every order ends once"
    for e in executions:
        limit_price = orders_by_id[e.order_id].terms.limit_price
        if e.exec_type == TRADE and limit_price is not None:
            assert e.price <= limit_price if e.side == BUY else e.price >= limit_price
    assert {e.exec_type for e in executions} <= {NEW, TRADE, CANCELED, EXPIRED, REPLACED}
