"""Exits at the simulated venue: which side of a quote they trade at, and how they end without a position."""

from __future__ import annotations

from typing import Any

import pytest

from operators.venue import VenueSettings, VenueStage
from schemas.records import BUY, CANCELED, GTC, IOC, SELL, TRADE, Record
from schemas.records.constants import Side
from tests.builders import order, quote
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


def test_an_exit_that_meets_no_position_ends_with_the_other_exit() -> None:
    exits: dict[str, Any] = {"parent_id": "prop-1", "group_id": "exit", "reduce_only": True, "time_in_force": GTC}
    executions = run(
        FREE,
        [order(1), order(3, SELL, limit_price=110, **exits), order(4, SELL, stop_price=95, **exits), minute_bar(1)],
        [order(2, SELL), minute_bar(2)],
        [minute_bar(3, 94.0, 94.0, 94.0)],
        [order(5), minute_bar(4)],
        [minute_bar(5, 100.0, 90.0, 120.0)],
    )
    lines = ["1 TRADE 10@100", "2 TRADE 10@100", "4 CANCELED", "3 CANCELED", "5 TRADE 10@100"]
    assert report_lines(executions) == lines
