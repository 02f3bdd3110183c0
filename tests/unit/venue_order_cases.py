"""Worked cases of orders at the venue: the records of each minute, and the lines of the reports."""

from __future__ import annotations

from schemas.records import BUY, CLS, FOK, GTC, GTD, IOC, OPG, POST, PRE, REDUCING, SELL, Order, Record
from tests.builders import fence, order, order_cancel
from tests.builders.market import MINUTE_NS
from tests.builders.trading import Terms
from tests.unit.venue_runs import minute_bar

EXIT_TERMS: Terms = {"group_id": "exit", "reduce_only": True, "time_in_force": GTC}


def bracket(entry: Order, take_profit: float, stop_loss: float) -> list[Record]:
    """Build an entry and its two exits, which are reduce-only and one OCO group, as orders 2 and 3."""
    take: Terms = {**EXIT_TERMS, "parent_id": entry.cause_id, "limit_price": take_profit}
    stop: Terms = {**EXIT_TERMS, "parent_id": entry.cause_id, "stop_price": stop_loss}
    return [entry, order(2, SELL, **take), order(3, SELL, **stop)]


ORDER_CASES: list[tuple[str, list[list[Record]], list[str]]] = [
    ("a touched buy stop fills at the stop", [[order(1, stop_price=101), minute_bar(1)]], ["1 TRADE 10@101"]),
    ("a buy stop is not reached", [[order(1, stop_price=101.01), minute_bar(1)]], []),
    ("a buy stop is gapped over", [[order(1, stop_price=99.5), minute_bar(1)]], ["1 TRADE 10@100"]),
    ("a sell stop is touched", [[order(1, SELL, stop_price=99), minute_bar(1)]], ["1 TRADE 10@99"]),
    (
        "a sell stop is gapped over",
        [[order(1, SELL, stop_price=99), minute_bar(1, 90.0, 89.0, 91.0)]],
        ["1 TRADE 10@90"],
    ),
    (
        "a stop-limit whose limit allows the stop fills at the stop",
        [[order(1, stop_price=101, limit_price=101.5), minute_bar(1)]],
        ["1 TRADE 10@101"],
    ),
    (
        "a stop-limit gapped over beyond its limit comes back to the limit in the same bar",
        [[order(1, stop_price=98, limit_price=99.5), minute_bar(1)]],
        ["1 TRADE 10@99.5"],
    ),
    (
        "a stop-limit triggered inside the bar with a limit below the stop rests: the low may have come first",
        [[order(1, stop_price=101, limit_price=99.5), minute_bar(1)], [minute_bar(2, 100.0, 99.4, 100.5)]],
        ["1 TRADE 10@99.5"],
    ),
    (
        "a trailing stop follows the highs of earlier bars",
        [
            [order(1, SELL, trail_amount=2), minute_bar(1, 100.0, 99.0, 105.0, 104.0)],
            [minute_bar(2, 104.0, 103.5, 106.0, 105.0)],
            [minute_bar(3, 105.0, 104.0, 105.5)],
        ],
        ["1 TRADE 10@104"],
    ),
    (
        "a trailing stop in percent gaps to the open",
        [
            [order(1, SELL, trail_percent=10), minute_bar(1, 100.0, 99.0, 110.0)],
            [minute_bar(2, 95.0, 94.0, 96.0)],
        ],
        ["1 TRADE 10@95"],
    ),
    (
        "a trailing buy stop follows the lows",
        [
            [order(1, BUY, trail_amount=2), minute_bar(1, 100.0, 95.0, 101.0, 96.0)],
            [minute_bar(2, 96.0, 95.5, 97.5)],
        ],
        ["1 TRADE 10@97"],
    ),
    (
        "an immediate or cancel order does not wait for a touch",
        [[order(1, time_in_force=IOC, limit_price=99), minute_bar(1)]],
        ["1 CANCELED"],
    ),
    (
        "immediate or cancel trades at the open",
        [[order(1, time_in_force=IOC, limit_price=100), minute_bar(1)]],
        ["1 TRADE 10@100"],
    ),
    ("fill or kill trades in whole", [[order(1, time_in_force=FOK), minute_bar(1)]], ["1 TRADE 10@100"]),
    (
        "good till a date ends with the first bar from then on",
        [
            [order(1, time_in_force=GTD, limit_price=90, expires_ns=MINUTE_NS), minute_bar(1)],
            [minute_bar(2, 80.0, 79.0, 81.0)],
        ],
        ["1 EXPIRED"],
    ),
    (
        "at the open waits for the first regular bar",
        [[order(1, time_in_force=OPG), minute_bar(1, 90.0, 89.0, 91.0, session=PRE)], [minute_bar(2)], [minute_bar(3)]],
        ["1 TRADE 10@100"],
    ),
    (
        "at the open submitted during the session waits for the next day",
        [
            [minute_bar(1)],
            [order(1, time_in_force=OPG), minute_bar(2)],
            [minute_bar(3, 105.0, 104.0, 106.0, day=20240103)],
        ],
        ["1 TRADE 10@105"],
    ),
    (
        "a limit at the open that the open does not meet expires",
        [[order(1, time_in_force=OPG, limit_price=99), minute_bar(1)]],
        ["1 EXPIRED"],
    ),
    (
        "at the close trades at the last regular close, known with the bar after it",
        [
            [order(1, time_in_force=CLS), minute_bar(1)],
            [minute_bar(2, 100.0, 99.0, 103.0, 102.5)],
            [minute_bar(3, 99.0, 98.0, 99.5, session=POST)],
        ],
        ["1 TRADE 10@102.5"],
    ),
    (
        "at the close without a post-market is known on the next day",
        [[order(1, time_in_force=CLS), minute_bar(1, 100.0, 99.0, 101.0, 100.5)], [minute_bar(2, day=20240103)]],
        ["1 TRADE 10@100.5"],
    ),
    (
        "a limit at the close that the close does not meet expires",
        [[order(1, time_in_force=CLS, limit_price=99), minute_bar(1)], [minute_bar(2, session=POST)]],
        ["1 EXPIRED"],
    ),
    (
        "a reduce-only order without a position is cancelled",
        [[order(1, SELL, reduce_only=True), minute_bar(1)]],
        ["1 CANCELED"],
    ),
    (
        "a reduce-only order is cut to the position",
        [[order(1), minute_bar(1)], [order(2, SELL, 25, reduce_only=True), minute_bar(2)], [minute_bar(3)]],
        ["1 TRADE 10@100", "2 TRADE 10@100", "2 CANCELED"],
    ),
    (
        "a fill cancels the other order of its group",
        [
            [order(1), minute_bar(1)],
            [
                order(2, SELL, limit_price=110, group_id="exit"),
                order(3, SELL, stop_price=95, group_id="exit"),
                minute_bar(2),
            ],
            [minute_bar(3, 96.0, 94.0, 97.0)],
        ],
        ["1 TRADE 10@100", "3 TRADE 10@95", "2 CANCELED"],
    ),
    (
        "a bracket: the exits work once the entry is filled, the bar after",
        [
            [
                order(1, limit_price=99.5),
                order(2, SELL, limit_price=100.5, parent_id="prop-1", group_id="exit", reduce_only=True),
                order(3, SELL, stop_price=98, parent_id="prop-1", group_id="exit", reduce_only=True),
                minute_bar(1, 100.0, 99.6, 101.0),
            ],
            [minute_bar(2, 99.7, 99.0, 100.0)],
            [minute_bar(3, 100.0, 99.0, 100.6)],
        ],
        ["1 TRADE 10@99.5", "2 TRADE 10@100.5", "3 CANCELED"],
    ),
    (
        "the exits are cancelled with their entry",
        [
            [order(1, limit_price=90), order(2, SELL, parent_id="prop-1"), minute_bar(1)],
            [order_cancel(3, "ord-1"), minute_bar(2)],
        ],
        ["1 CANCELED", "2 CANCELED"],
    ),
    (
        "the kill switch ends entry and exits, each once",
        [
            [
                order(1, limit_price=90),
                order(2, SELL, limit_price=110, parent_id="prop-1", group_id="exit"),
                order(3, SELL, stop_price=80, parent_id="prop-1", group_id="exit"),
                minute_bar(1),
            ],
            [fence(4, epoch=1), minute_bar(2)],
        ],
        ["1 CANCELED", "2 CANCELED", "3 CANCELED"],
    ),
    (
        "orders that are both in a group and parent and child end once each",
        [
            [
                order(1, limit_price=100, group_id="g"),
                order(2, limit_price=90, group_id="g"),
                order(3, SELL, parent_id="prop-2", group_id="g"),
                minute_bar(1),
            ],
        ],
        ["1 TRADE 10@100", "2 CANCELED", "3 CANCELED"],
    ),
    (
        "the exits of an amended entry wait for the new one",
        [
            [order(1, limit_price=90), order(2, SELL, parent_id="prop-1"), minute_bar(1)],
            [order(3, limit_price=100, replaces="ord-1"), minute_bar(2)],
            [minute_bar(3)],
        ],
        ["1 REPLACED", "3 TRADE 10@100", "2 TRADE 10@100"],
    ),
    ("a child without a parent is rejected", [[order(2, SELL, parent_id="prop-1"), minute_bar(1)]], ["2 REJECTED"]),
    (
        "a cancel of a closed order changes nothing",
        [
            [order(1), minute_bar(1)],
            [order_cancel(3, "ord-1"), minute_bar(2)],
        ],
        ["1 TRADE 10@100"],
    ),
    (
        "an amended order takes the place of the old one",
        [
            [order(1, limit_price=90), minute_bar(1)],
            [order(2, quantity=15, limit_price=99, replaces="ord-1"), minute_bar(2)],
        ],
        ["1 REPLACED", "2 TRADE 15@99"],
    ),
    (
        "an amendment of a closed order is rejected",
        [[order(1), minute_bar(1)], [order(2, limit_price=99, replaces="ord-1"), minute_bar(2)]],
        ["1 TRADE 10@100", "2 REJECTED"],
    ),
    (
        "the reducing state cancels orders that open a position and keeps orders that close one",
        [
            [order(1), minute_bar(1)],
            [order(2, SELL, limit_price=110), order(3, limit_price=90), minute_bar(2)],
            [
                fence(4, epoch=1, state=REDUCING),
                minute_bar(3, 112.0, 80.0, 113.0),
            ],
        ],
        ["1 TRADE 10@100", "3 CANCELED", "2 TRADE 10@112"],
    ),
]
