"""Exits at the simulated venue: which side of a quote they trade at, and how they end without a position."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from operators.venue import VenueSettings, VenueStage
from operators.venue.reduce_only import POSITION_CLOSED
from schemas.records import BUY, CANCELED, GTC, IOC, SELL, TRADE, Order, Record
from schemas.records.constants import Side
from tests.builders import order, order_cancel, quote
from tests.builders.market import MINUTE_NS
from tests.unit.venue_runs import FREE, NO_FEE, minute_bar, report_lines, run, run_slices


@pytest.mark.parametrize("restart", [False, True], ids=["straight", "restarted"])
@pytest.mark.parametrize(
    ("side", "exit_terms", "expected"),
    [
        # the quote is 97 to 103: the exit trades at the side of the book that is its own, not at the entry's price
        (BUY, {}, ["1 TRADE 10@103", "2 TRADE 10@97"]),
        (SELL, {}, ["1 TRADE 10@97", "2 TRADE 10@103"]),
        (BUY, {"stop_price": 98}, ["1 TRADE 10@103", "2 TRADE 10@97"]),
        (SELL, {"stop_price": 102}, ["1 TRADE 10@97", "2 TRADE 10@103"]),
        (BUY, {"limit_price": 96}, ["1 TRADE 10@103", "2 TRADE 10@97"]),
        # a limit of the entry's price rests until a later quote, 104 to 105 or 95 to 96, reaches it
        (BUY, {"limit_price": 103}, ["1 TRADE 10@103", "2 TRADE 10@103 in quote 2"]),
        (SELL, {"limit_price": 97}, ["1 TRADE 10@97", "2 TRADE 10@97 in quote 2"]),
        (BUY, {"limit_price": 103, "time_in_force": IOC}, ["1 TRADE 10@103", "2 CANCELED"]),
    ],
)
def test_an_exit_from_quotes_trades_at_its_own_side_of_the_book(
    side: Side, exit_terms: dict[str, Any], expected: list[str], restart: bool
) -> None:
    from_quotes = VenueSettings(**NO_FEE, fills_from="quotes")
    exit_side: Side = SELL if side == BUY else BUY
    terms = {"time_in_force": GTC} | exit_terms
    bid, ask = (104, 105) if side == BUY else (95, 96)
    executions = run(
        from_quotes,
        [
            order(1, side),
            order(2, exit_side, parent_id="prop-1", reduce_only=True, **terms),
            quote("AAPL", 1, 1, 97, 103),
        ],
        [quote("AAPL", 2, MINUTE_NS + 1, bid, ask)],
        restart=restart,
    )
    lines = [
        line + (" in quote 2" if e.ts_ns > MINUTE_NS and e.exec_type == TRADE else "")
        for e in executions
        for line in report_lines([e])
    ]
    assert lines == expected


def test_exits_from_quotes_share_the_size_of_their_side() -> None:
    """A sell takes 6 of the bid's 10 units. The exit that the entry activates gets the other 4, then the next bid."""
    stage = VenueStage(VenueSettings(**NO_FEE, fills_from="quotes"))
    orders: list[Record] = [
        order(1),
        order(2, SELL, parent_id="prop-1", time_in_force=GTC),
        order(3, SELL, 6),
        order(4, BUY, 5, parent_id="prop-3", time_in_force=GTC),
    ]
    first = quote("AAPL", 1, 1, 97, 103)._replace(bid_size=10.0, ask_size=12.0)
    executions = run_slices(stage, [*orders, first], [quote("AAPL", 2, MINUTE_NS + 1, 99, 101)])
    assert report_lines(executions) == [
        "1 TRADE 10@103",
        "3 TRADE 6@97",
        "4 TRADE 2@103",
        "2 TRADE 4@97",
        "4 TRADE 3@101",
        "2 TRADE 6@99",
    ]


@pytest.mark.parametrize("restart", [False, True], ids=["straight", "restarted"])
@pytest.mark.parametrize(
    ("later", "expected"),
    [
        ([minute_bar(3, 94.0, 94.0, 94.0)], ["4 TRADE 6@94", "4 CANCELED", "3 CANCELED"]),
        ([minute_bar(3, 111.0, 111.0, 111.0)], ["3 TRADE 6@111", "3 CANCELED", "4 CANCELED"]),
    ],
    ids=["stop_loss", "take_profit"],
)
def test_both_exits_end_when_one_has_sold_what_the_position_had_left(
    later: list[Record], expected: list[str], restart: bool
) -> None:
    """Of 10 units, 4 are sold by hand. The exit that trades sells 6, and none is left to sell the next position."""
    exits: dict[str, Any] = {"parent_id": "prop-1", "group_id": "exit", "reduce_only": True, "time_in_force": GTC}
    executions = run(
        FREE,
        [order(1), order(3, SELL, limit_price=110, **exits), order(4, SELL, stop_price=95, **exits), minute_bar(1)],
        [order(2, SELL, 4), minute_bar(2)],
        later,
        [order(5), minute_bar(4)],
        [minute_bar(5, 100.0, 90.0, 120.0)],
        restart=restart,
    )
    assert report_lines(executions) == ["1 TRADE 10@100", "2 TRADE 4@100", *expected, "5 TRADE 10@100"]
    reasons = [e.text for e in executions if e.exec_type == CANCELED]
    assert reasons == ["reduce-only: no position to close"] * 2


EXITS: dict[str, Any] = {"parent_id": "prop-1", "group_id": "exit", "reduce_only": True, "time_in_force": GTC}


def bracket() -> list[Record]:
    """A market entry of 10 units, order 1, with a take profit at 110 and a stop loss at 95, orders 3 and 4."""
    return [order(1), order(3, SELL, limit_price=110, **EXITS), order(4, SELL, stop_price=95, **EXITS)]


@pytest.mark.parametrize("restart", [False, True], ids=["straight", "restarted"])
@pytest.mark.parametrize(
    ("closing", "trade"),
    [
        (order(2, SELL), "2 TRADE 10@100"),
        (order(2, SELL, 25), "2 TRADE 25@100"),  # reverses: long 10 becomes short 15
        (order(2, SELL, limit_price=101), "2 TRADE 10@101"),
        (order(2, SELL, stop_price=99), "2 TRADE 10@99"),
        (order(2, SELL, reduce_only=True), "2 TRADE 10@100"),
    ],
    ids=["market", "reversal", "limit", "stop", "reduce-only"],
)
def test_exits_end_when_another_order_closes_their_position(closing: Order, trade: str, restart: bool) -> None:
    """The position that is opened later keeps its own exits, and the exits of the closed one cannot reduce it."""
    later = {**EXITS, "parent_id": "prop-5", "group_id": "later"}
    executions = run(
        FREE,
        [*bracket(), minute_bar(1)],
        [closing, minute_bar(2)],
        [order(5, quantity=30), order(6, SELL, 30, stop_price=80, **later), minute_bar(3)],
        [minute_bar(4, 100.0, 90.0, 120.0)],
        [minute_bar(5, 79.0, 79.0, 79.0)],
        restart=restart,
    )
    held = 30 if closing.terms.quantity == 10 else 15
    assert report_lines(executions) == [
        *("1 TRADE 10@100", trade, "3 CANCELED", "4 CANCELED", "5 TRADE 30@100", f"6 TRADE {held}@79"),
        *(["6 CANCELED"] if held == 15 else []),
    ]
    assert {e.text for e in executions if e.order_id in ("ord-3", "ord-4")} == {"", POSITION_CLOSED}


def test_a_part_of_the_position_that_is_left_keeps_its_exits() -> None:
    executions = run(
        FREE, [*bracket(), minute_bar(1)], [order(2, SELL, 9), minute_bar(2)], [minute_bar(3, 94.0, 94.0, 94.0)]
    )
    lines = ["1 TRADE 10@100", "2 TRADE 9@100", "4 TRADE 1@94", "4 CANCELED", "3 CANCELED"]
    assert report_lines(executions) == lines


@pytest.mark.parametrize("entry_first", [False, True])
def test_a_close_and_a_new_entry_at_one_price_leave_the_position_and_its_exits(entry_first: bool) -> None:
    """Which of two orders at the open was entered first has no effect: the account is long before and after."""
    numbers = (5, 2) if entry_first else (2, 5)
    together = [order(numbers[0], SELL), order(numbers[1], BUY)]
    executions = run(FREE, [*bracket(), minute_bar(1)], [*together, minute_bar(2)], [minute_bar(3, 94.0, 94.0, 94.0)])
    assert report_lines(executions)[-2:] == ["4 TRADE 10@94", "3 CANCELED"]


def test_the_exits_of_a_second_bracket_protect_what_the_first_has_left() -> None:
    """Two brackets of 10 units: the stop of the first leaves 10, so the exits of the second go on."""
    second = {**EXITS, "parent_id": "prop-5", "group_id": "second"}
    executions = run(
        FREE,
        [*bracket(), order(5), order(6, SELL, stop_price=80, **second), minute_bar(1)],
        [minute_bar(2, 94.0, 94.0, 94.0)],
        [minute_bar(3, 79.0, 79.0, 79.0)],
    )
    lines = ["1 TRADE 10@100", "5 TRADE 10@100", "4 TRADE 10@94", "3 CANCELED", "6 TRADE 10@79"]
    assert report_lines(executions) == lines


def test_exits_whose_entry_still_works_wait_for_the_rest_of_it() -> None:
    """Of 100 units, 40 are bought and sold by hand. The exits close the 60 that follow."""
    share = VenueSettings(**NO_FEE, max_volume_share=Decimal(1))
    orders: list[Record] = [
        order(1, quantity=100, limit_price=100, time_in_force=GTC),
        order(3, SELL, 100, stop_price=95, **EXITS),
    ]
    slices: list[list[Record]] = [
        [*orders, minute_bar(1, volume=40.0)],
        [order(2, SELL, 40), minute_bar(2, 101.0, 101.0, 101.0)],
        [minute_bar(3)],
        [minute_bar(4, 94.0, 94.0, 94.0)],
    ]
    lines = ["1 TRADE 40@100", "2 TRADE 40@101", "1 TRADE 60@100", "3 TRADE 60@94", "3 CANCELED"]
    assert report_lines(run(share, *slices)) == lines
    slices[2] = [order_cancel(9, "ord-1"), minute_bar(3)]
    executions = run(share, *slices)
    assert report_lines(executions) == [*lines[:2], "1 CANCELED", "3 CANCELED"], "nothing is left to protect"
    assert executions[-1].text == POSITION_CLOSED


def test_exits_of_an_entry_that_opens_no_position_end_with_its_fill() -> None:
    """A buy of 10 closes a short position of 10, so a stop that sells has nothing to protect."""
    executions = run(FREE, [order(7, SELL), minute_bar(1)], [*bracket(), minute_bar(2)])
    assert report_lines(executions) == ["7 TRADE 10@100", "1 TRADE 10@100", "3 CANCELED", "4 CANCELED"]


def test_a_free_reduce_only_order_rests_without_a_position_and_ends_with_the_one_it_protects() -> None:
    stop = order(2, SELL, stop_price=95, reduce_only=True, time_in_force=GTC)
    executions = run(
        FREE,
        [stop, minute_bar(1)],
        [order(1), minute_bar(2)],
        [order(3, SELL), minute_bar(3)],
    )
    assert report_lines(executions) == ["1 TRADE 10@100", "3 TRADE 10@100", "2 CANCELED"]
    executions = run(FREE, [stop, minute_bar(1)], [minute_bar(2, 94.0, 94.0, 94.0)])
    assert [(e.exec_type, e.text) for e in executions[1:]] == [(CANCELED, "reduce-only: no position to close")]
