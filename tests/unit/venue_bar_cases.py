"""Worked cases of what the prices of one bar prove: stops, exits, auctions and amendments inside a bar."""

from __future__ import annotations

from schemas.records import CLS, CONTINUOUS, GTD, IOC, OPG, PRE, SELL, Record
from tests.builders import order
from tests.builders.market import MINUTE_NS
from tests.unit.venue_order_cases import bracket
from tests.unit.venue_runs import minute_bar

BAR_CASES: list[tuple[str, list[list[Record]], list[str]]] = [
    (
        "a trailing stop follows the open before it is checked",
        [
            [order(1, SELL, trail_amount=5), minute_bar(1, 100.0, 100.0, 100.0)],
            [minute_bar(2, 110.0, 100.0, 111.0, 101.0)],
        ],
        ["1 TRADE 10@105"],
    ),
    (
        "a trailing buy stop follows the open before it is checked",
        [
            [order(1, trail_amount=5), minute_bar(1, 100.0, 100.0, 100.0)],
            [minute_bar(2, 90.0, 89.0, 100.0, 99.0)],
        ],
        ["1 TRADE 10@95"],
    ),
    (
        "a close beyond the trail of the high proves the hit: the worst path goes no lower than the bar",
        [[order(1, SELL, trail_amount=5), minute_bar(1, 100.0, 97.0, 110.0, 104.0)]],
        ["1 TRADE 10@97"],
    ),
    (
        "a limit entry inside the bar: the high and the open came before it",
        [
            [*bracket(order(1, limit_price=100), 104, 96), minute_bar(1, 106.0, 99.5, 107.0, 100.5)],
            [minute_bar(2, 100.5, 100.0, 101.0)],
        ],
        ["1 TRADE 10@100"],
    ),
    (
        "a stop entry inside the bar: the low may have come before it, the high came after it",
        [
            [*bracket(order(1, stop_price=105), 120, 96), minute_bar(1, 100.0, 95.0, 106.0, 105.5)],
            [*bracket(order(4, stop_price=105), 110, 90)[:1], minute_bar(2, 105.5, 105.0, 106.0)],
        ],
        ["1 TRADE 10@105", "4 TRADE 10@105.5"],
    ),
    (
        "an extreme beyond the entry's level comes after it: the take profit of a stop entry",
        [[*bracket(order(1, stop_price=105), 110, 90), minute_bar(1, 100.0, 99.0, 112.0, 106.0)]],
        ["1 TRADE 10@105", "2 TRADE 10@110", "3 CANCELED"],
    ),
    (
        "an extreme beyond the entry's level comes after it: the stop loss of a limit entry",
        [[*bracket(order(1, limit_price=95), 104, 94.8), minute_bar(1, 100.0, 94.5, 101.0, 96.0)]],
        ["1 TRADE 10@95", "3 TRADE 10@94.8", "2 CANCELED"],
    ),
    (
        "the close comes after the entry: the take profit trades",
        [[*bracket(order(1, limit_price=100), 104, 96), minute_bar(1, 106.0, 99.5, 107.0, 104.5)]],
        ["1 TRADE 10@100", "2 TRADE 10@104", "3 CANCELED"],
    ),
    (
        "the take profit is certain unless the stop came first, which it may have: the worse counts",
        [[*bracket(order(1, stop_price=105), 110, 96), minute_bar(1, 100.0, 95.0, 112.0, 106.0)]],
        ["1 TRADE 10@105", "3 TRADE 10@96", "2 CANCELED"],
    ),
    (
        "an exit that is marketable when its entry trades inside the bar trades there, not at the open",
        [
            [
                order(1, stop_price=105),
                order(2, SELL, limit_price=99.5, parent_id="prop-1", reduce_only=True),
                minute_bar(1, 100.0, 99.0, 106.0, 105.5),
            ]
        ],
        ["1 TRADE 10@105", "2 TRADE 10@105"],
    ),
    (
        "the exits of an entry at the open meet the whole bar",
        [[*bracket(order(1), 104, 96), minute_bar(1, 100.0, 99.0, 104.5, 101.0)]],
        ["1 TRADE 10@100", "2 TRADE 10@104", "3 CANCELED"],
    ),
    (
        "both exits inside one bar: the stop counts",
        [
            [order(1), minute_bar(1)],
            [
                order(2, SELL, limit_price=105, group_id="exit", reduce_only=True),
                order(3, SELL, stop_price=95, group_id="exit", reduce_only=True),
                minute_bar(2),
            ],
            [minute_bar(3, 94.0, 93.0, 106.0)],
        ],
        ["1 TRADE 10@100", "3 TRADE 10@94", "2 CANCELED"],
    ),
    (
        "a stop-limit whose limit the open has jumped rests as a limit, after the stops",
        [
            [
                order(1, SELL, stop_price=101, limit_price=100.5, group_id="exit"),
                order(2, SELL, stop_price=99, group_id="exit"),
                minute_bar(1, 100.0, 99.0, 101.0),
            ]
        ],
        ["2 TRADE 10@99", "1 CANCELED"],
    ),
    (
        "a stop-limit triggered inside the bar: its limit trades if the close has reached it",
        [[order(1, stop_price=101, limit_price=99.5), minute_bar(1, 100.0, 99.0, 101.0, 99.5)]],
        ["1 TRADE 10@99.5"],
    ),
    (
        "immediate or cancel ends with the first bar of the open session, traded or not",
        [[order(1, time_in_force=IOC), minute_bar(1, 100.0, 100.0, 100.0, traded=False)], [minute_bar(2)]],
        ["1 CANCELED"],
    ),
    (
        "at the open ends with its session if the first regular bar has no trade",
        [
            [order(1, time_in_force=OPG), minute_bar(1, session=PRE)],
            [minute_bar(2, 100.0, 100.0, 100.0, traded=False)],
            [minute_bar(3)],
            [minute_bar(4, 105.0, 104.0, 106.0, day=20240103)],
        ],
        ["1 EXPIRED"],
    ),
    (
        "at the close ends with its session if the last regular bar has no trade",
        [
            [order(1, time_in_force=CLS), minute_bar(1)],
            [minute_bar(2, 100.0, 100.0, 100.0, traded=False)],
            [minute_bar(3, 105.0, 104.0, 106.0, day=20240103)],
        ],
        ["1 EXPIRED"],
    ),
    (
        "a continuous market has no auction",
        [
            [order(1, time_in_force=OPG), order(2, time_in_force=CLS), minute_bar(1, session=CONTINUOUS)],
            [minute_bar(2, session=CONTINUOUS)],
        ],
        ["1 EXPIRED", "2 EXPIRED"],
    ),
    (
        "of a bar in which an order expires, only the open counts",
        [
            [
                order(1, time_in_force=GTD, limit_price=99, expires_ns=MINUTE_NS // 2),
                order(2, time_in_force=GTD, limit_price=100, expires_ns=MINUTE_NS // 2),
                minute_bar(1),
            ]
        ],
        ["2 TRADE 10@100", "1 EXPIRED"],
    ),
    (
        "good till a date ends without a trade too",
        [
            [
                order(1, time_in_force=GTD, limit_price=99, expires_ns=MINUTE_NS // 2),
                minute_bar(1, 100.0, 100.0, 100.0, traded=False),
            ]
        ],
        ["1 EXPIRED"],
    ),
    (
        "an order approved inside a bar trades at its close at the earliest",
        [[order(1, ts_ns=MINUTE_NS // 2), order(2, limit_price=99, ts_ns=MINUTE_NS // 2), minute_bar(1, close=100.5)]],
        ["1 TRADE 10@100.5"],
    ),
    (
        "an amended quantity keeps the place of a trailing stop",
        [
            [order(1, SELL, trail_amount=5), minute_bar(1, 115.0, 115.0, 120.0, 118.0)],
            [order(2, SELL, 8, trail_amount=5, replaces="ord-1"), minute_bar(2, 117.0, 114.0, 117.0)],
        ],
        ["1 REPLACED", "2 TRADE 8@115"],
    ),
    (
        "an amended distance counts from the best price so far",
        [
            [order(1, SELL, trail_amount=5), minute_bar(1, 115.0, 115.0, 120.0, 118.0)],
            [order(2, SELL, trail_amount=4, replaces="ord-1"), minute_bar(2, 117.0, 115.5, 117.0)],
        ],
        ["1 REPLACED", "2 TRADE 10@116"],
    ),
    (
        "an amended stop-limit that was triggered stays a limit order",
        [
            [order(1, stop_price=101, limit_price=98), minute_bar(1)],
            [order(2, stop_price=101, limit_price=99, replaces="ord-1"), minute_bar(2)],
        ],
        ["1 REPLACED", "2 TRADE 10@99"],
    ),
    (
        "a new stop price of a triggered stop-limit is rejected, and the order goes on",
        [
            [order(1, stop_price=101, limit_price=98), minute_bar(1)],
            [order(2, stop_price=103, limit_price=99, replaces="ord-1"), minute_bar(2)],
            [minute_bar(3, 98.0, 98.0, 98.0)],
        ],
        ["2 REJECTED", "1 TRADE 10@98"],
    ),
]
