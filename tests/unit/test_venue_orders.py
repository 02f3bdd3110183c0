"""Order types, times in force, linked orders and the venue's models: worked cases on single bars."""

from __future__ import annotations

import pickle
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.instruments import Instrument, Instruments
from operators.venue import VenueSettings, VenueStage
from operators.venue.settings import TradingHalt
from schemas.errors import BadInput
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
    REJECTED,
    REPLACED,
    SELL,
    STOP,
    STOP_LIMIT,
    TRADE,
    TRAILING_STOP,
    Bar,
    Execution,
    Order,
    OrderCancel,
    Record,
    RiskFence,
    order_id,
    proposal_id,
)

NO_FEE: dict[str, Any] = {"fee_model": "none", "slippage_bps": Decimal(0)}
FREE = VenueSettings(**NO_FEE)
MINUTE = 60


def order(seq: int, side: str = BUY, quantity: str = "10", kind: str = MARKET, tif: str = GTC, **terms: Any) -> Order:
    fields: dict[str, Any] = dict(terms)
    for name, value in terms.items():
        if name.endswith(("price", "amount", "percent")):
            fields[name] = Decimal(value)
    limit = fields.pop("limit_price", None)
    symbol = fields.pop("symbol", "AAPL")
    ids = (order_id(seq), proposal_id(seq))
    return Order(seq, 0, *ids, symbol, side, Decimal(quantity), kind, limit, tif, 0, [], **fields)


def bar(
    seq: int,
    open_price: float = 100.0,
    low: float = 99.0,
    high: float = 101.0,
    close: float | None = None,
    **fields: Any,
) -> Bar:
    base = Bar(
        "AAPL",
        seq,
        seq * MINUTE,
        (seq - 1) * MINUTE,
        open_price,
        high,
        low,
        close or open_price,
        1000.0,
        REGULAR,
        20240102,
        True,
    )
    return base._replace(**fields)


def run(settings_: VenueSettings, *slices: list[Record], restart: bool = False) -> list[Execution]:
    stage, executions = VenueStage(settings_), []
    for number, records in enumerate(slices, 1):
        if restart:
            state = pickle.dumps(stage.snapshot())
            stage = VenueStage(settings_)
            stage.restore(pickle.loads(state))  # noqa: S301 - our own snapshot
        executions += [e for e in stage.on_slice(number * MINUTE, records) if isinstance(e, Execution)]
    return executions


def report_lines(executions: list[Execution]) -> list[str]:
    """Return a line such as `1 TRADE 10@100` for each report except NEW, in order."""
    lines = []
    for e in executions:
        if e.exec_type == TRADE:
            lines.append(f"{e.order_id[4:]} TRADE {e.quantity.normalize():f}@{e.price.normalize():f}")
        elif e.exec_type != NEW:
            lines.append(f"{e.order_id[4:]} {e.exec_type}")
    return lines


DAY_2 = {"trading_day": 20240103}
CASES: list[tuple[str, list[list[Record]], list[str]]] = [
    ("a buy stop waits below, is touched", [[order(1, kind=STOP, stop_price="101"), bar(1)]], ["1 TRADE 10@101"]),
    ("a buy stop is not reached", [[order(1, kind=STOP, stop_price="101.01"), bar(1)]], []),
    ("a buy stop is gapped over", [[order(1, kind=STOP, stop_price="99.5"), bar(1)]], ["1 TRADE 10@100"]),
    ("a sell stop is touched", [[order(1, SELL, kind=STOP, stop_price="99"), bar(1)]], ["1 TRADE 10@99"]),
    (
        "a sell stop is gapped over",
        [[order(1, SELL, kind=STOP, stop_price="99"), bar(1, 90.0, 89.0, 91.0)]],
        ["1 TRADE 10@90"],
    ),
    (
        "a stop-limit whose limit allows the stop fills at the stop",
        [[order(1, kind=STOP_LIMIT, stop_price="101", limit_price="101.5"), bar(1)]],
        ["1 TRADE 10@101"],
    ),
    (
        "a stop-limit gapped over beyond its limit comes back to the limit in the same bar",
        [[order(1, kind=STOP_LIMIT, stop_price="98", limit_price="99.5"), bar(1)]],
        ["1 TRADE 10@99.5"],
    ),
    (
        "a stop-limit triggered inside the bar with a limit below the stop rests: the low may have come first",
        [[order(1, kind=STOP_LIMIT, stop_price="101", limit_price="99.5"), bar(1)], [bar(2, 100.0, 99.4, 100.5)]],
        ["1 TRADE 10@99.5"],
    ),
    (
        "a trailing stop follows the highs of the bars before",
        [
            [order(1, SELL, kind=TRAILING_STOP, trail_amount="2"), bar(1, 100.0, 99.0, 105.0)],
            [bar(2, 104.0, 103.5, 106.0)],
            [bar(3, 105.0, 104.0, 105.5)],
        ],
        ["1 TRADE 10@104"],
    ),
    (
        "a trailing stop in percent gaps to the open",
        [
            [order(1, SELL, kind=TRAILING_STOP, trail_percent="10"), bar(1, 100.0, 99.0, 110.0)],
            [bar(2, 95.0, 94.0, 96.0)],
        ],
        ["1 TRADE 10@95"],
    ),
    (
        "a trailing buy stop follows the lows",
        [
            [order(1, BUY, kind=TRAILING_STOP, trail_amount="2"), bar(1, 100.0, 95.0, 101.0)],
            [bar(2, 96.0, 95.5, 97.5)],
        ],
        ["1 TRADE 10@97"],
    ),
    (
        "immediate or cancel does not wait for a touch",
        [[order(1, kind=LIMIT, tif=IOC, limit_price="99"), bar(1)]],
        ["1 CANCELED"],
    ),
    (
        "immediate or cancel trades at the open",
        [[order(1, kind=LIMIT, tif=IOC, limit_price="100"), bar(1)]],
        ["1 TRADE 10@100"],
    ),
    ("fill or kill trades in whole", [[order(1, tif=FOK), bar(1)]], ["1 TRADE 10@100"]),
    (
        "good till a date ends with the first bar from then on",
        [[order(1, kind=LIMIT, tif=GTD, limit_price="90", expires_ns=MINUTE), bar(1)], [bar(2, 80.0, 79.0, 81.0)]],
        ["1 EXPIRED"],
    ),
    (
        "at the open waits for the first regular bar",
        [[order(1, tif=OPG), bar(1, 90.0, 89.0, 91.0, session=PRE)], [bar(2)], [bar(3)]],
        ["1 TRADE 10@100"],
    ),
    (
        "at the open given within the session waits for the next day",
        [[bar(1)], [order(1, tif=OPG), bar(2)], [bar(3, 105.0, 104.0, 106.0, **DAY_2)]],
        ["1 TRADE 10@105"],
    ),
    (
        "a limit at the open that the open does not meet expires",
        [[order(1, kind=LIMIT, tif=OPG, limit_price="99"), bar(1)]],
        ["1 EXPIRED"],
    ),
    (
        "at the close trades at the last regular close, known with the bar after it",
        [[order(1, tif=CLS), bar(1)], [bar(2, 100.0, 99.0, 103.0, 102.5)], [bar(3, 99.0, 98.0, 99.5, session=POST)]],
        ["1 TRADE 10@102.5"],
    ),
    (
        "at the close without a post-market is known on the next day",
        [[order(1, tif=CLS), bar(1, 100.0, 99.0, 101.0, 100.5)], [bar(2, **DAY_2)]],
        ["1 TRADE 10@100.5"],
    ),
    (
        "a limit at the close that the close does not meet expires",
        [[order(1, kind=LIMIT, tif=CLS, limit_price="99"), bar(1)], [bar(2, session=POST)]],
        ["1 EXPIRED"],
    ),
    ("reduce only has nothing to reduce", [[order(1, SELL, reduce_only=True), bar(1)]], ["1 CANCELED"]),
    (
        "reduce only is cut to the position",
        [[order(1), bar(1)], [order(2, SELL, "25", reduce_only=True), bar(2)], [bar(3)]],
        ["1 TRADE 10@100", "2 TRADE 10@100", "2 CANCELED"],
    ),
    (
        "one cancels the other",
        [
            [order(1), bar(1)],
            [
                order(2, SELL, kind=LIMIT, limit_price="110", group_id="exit"),
                order(3, SELL, kind=STOP, stop_price="95", group_id="exit"),
                bar(2),
            ],
            [bar(3, 96.0, 94.0, 97.0)],
        ],
        ["1 TRADE 10@100", "3 TRADE 10@95", "2 CANCELED"],
    ),
    (
        "a bracket: the exits work once the entry is filled, the bar after",
        [
            [
                order(1, kind=LIMIT, limit_price="99.5"),
                order(2, SELL, kind=LIMIT, limit_price="100.5", parent_id="prop-1", group_id="exit", reduce_only=True),
                order(3, SELL, kind=STOP, stop_price="98", parent_id="prop-1", group_id="exit", reduce_only=True),
                bar(1, 100.0, 99.6, 101.0),
            ],
            [bar(2, 99.7, 99.0, 100.0)],
            [bar(3, 100.0, 99.0, 100.6)],
        ],
        ["1 TRADE 10@99.5", "2 TRADE 10@100.5", "3 CANCELED"],
    ),
    (
        "the exits end with an entry that is cancelled",
        [
            [order(1, kind=LIMIT, limit_price="90"), order(2, SELL, parent_id="prop-1"), bar(1)],
            [OrderCancel(3, 0, "ord-1", "AAPL", "given up", "c-1"), bar(2)],
        ],
        ["1 CANCELED", "2 CANCELED"],
    ),
    (
        "the kill switch ends entry and exits, each once",
        [
            [
                order(1, kind=LIMIT, limit_price="90"),
                order(2, SELL, kind=LIMIT, limit_price="110", parent_id="prop-1", group_id="exit"),
                order(3, SELL, kind=STOP, stop_price="80", parent_id="prop-1", group_id="exit"),
                bar(1),
            ],
            [RiskFence(4, 0, 1, "HALTED", "drill", "c-1"), bar(2)],
        ],
        ["1 CANCELED", "2 CANCELED", "3 CANCELED"],
    ),
    (
        "of a group that is each other's child too, each ends once",
        [
            [
                order(1, kind=LIMIT, limit_price="100", group_id="g"),
                order(2, kind=LIMIT, limit_price="90", group_id="g"),
                order(3, SELL, parent_id="prop-2", group_id="g"),
                bar(1),
            ],
        ],
        ["1 TRADE 10@100", "2 CANCELED", "3 CANCELED"],
    ),
    (
        "the exits of an amended entry wait for the new one",
        [
            [order(1, kind=LIMIT, limit_price="90"), order(2, SELL, parent_id="prop-1"), bar(1)],
            [order(3, kind=LIMIT, limit_price="100", replaces="ord-1"), bar(2)],
            [bar(3)],
        ],
        ["1 REPLACED", "3 TRADE 10@100", "2 TRADE 10@100"],
    ),
    ("a child without a parent is rejected", [[order(2, SELL, parent_id="prop-1"), bar(1)]], ["2 REJECTED"]),
    (
        "cancelling what has ended changes nothing",
        [[order(1), bar(1)], [OrderCancel(3, 0, "ord-1", "AAPL", "late", "c-1"), bar(2)]],
        ["1 TRADE 10@100"],
    ),
    (
        "an amended order takes the place of the old one",
        [
            [order(1, kind=LIMIT, limit_price="90"), bar(1)],
            [order(2, quantity="15", kind=LIMIT, limit_price="99", replaces="ord-1"), bar(2)],
        ],
        ["1 REPLACED", "2 TRADE 15@99"],
    ),
    (
        "amending what has ended is rejected",
        [[order(1), bar(1)], [order(2, kind=LIMIT, limit_price="99", replaces="ord-1"), bar(2)]],
        ["1 TRADE 10@100", "2 REJECTED"],
    ),
    (
        "the reducing state cancels what opens and keeps what closes",
        [
            [order(1), bar(1)],
            [order(2, SELL, kind=LIMIT, limit_price="110"), order(3, kind=LIMIT, limit_price="90"), bar(2)],
            [RiskFence(4, 0, 1, "REDUCING", "daily loss", "t"), bar(3, 112.0, 80.0, 113.0)],
        ],
        ["1 TRADE 10@100", "3 CANCELED", "2 TRADE 10@112"],
    ),
]


@pytest.mark.parametrize("restart", [False, True], ids=["straight", "restarted"])
@pytest.mark.parametrize(("slices", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_order_executes_according_to_its_terms(slices: list[list[Record]], expected: list[str], restart: bool) -> None:
    assert report_lines(run(FREE, *slices, restart=restart)) == expected


def test_orders_share_the_volume_of_a_bar_and_the_rest_waits() -> None:
    share = VenueSettings(**NO_FEE, max_volume_share=Decimal("0.1"))
    executions = run(share, [order(1, quantity="80"), order(2, quantity="80"), bar(1)], [bar(2, volume=1235.0)])
    assert report_lines(executions) == ["1 TRADE 80@100", "2 TRADE 20@100", "2 TRADE 60@100"]
    assert [int(e.leaves_quantity) for e in executions if e.order_id == "ord-2"] == [80, 60, 0]
    assert [int(e.cum_quantity) for e in executions if e.order_id == "ord-2"] == [0, 20, 80]
    assert report_lines(run(share, [order(1, quantity="101", tif=FOK), bar(1)])) == ["1 CANCELED"]
    assert report_lines(run(share, [order(1, quantity="101", tif=IOC), bar(1)])) == ["1 TRADE 100@100", "1 CANCELED"]
    lots = Instruments(listed=(Instrument(symbol="AAPL", lot_size=Decimal(30)),))
    executions = run(
        VenueSettings(**NO_FEE, max_volume_share=Decimal("0.1"), instruments=lots), [order(1, quantity="120"), bar(1)]
    )
    assert report_lines(executions) == ["1 TRADE 90@100"]


def test_the_minimum_fee_counts_once_however_many_fills_an_order_takes() -> None:
    charges = VenueSettings(max_volume_share=Decimal("0.1"), slippage_bps=Decimal(0))
    executions = run(charges, [order(1, quantity="250"), bar(1)], [bar(2)], [bar(3)])
    assert [e.fee for e in executions if e.exec_type == TRADE] == [Decimal("1"), Decimal("0"), Decimal("0.25")]


@pytest.mark.parametrize(
    ("model", "side", "fee"),
    [
        ({"fee_model": "none"}, BUY, "0"),
        ({"fee_model": "per_notional", "fee_bps": Decimal(10), "fee_min": Decimal(0)}, BUY, "10"),
        ({"fee_model": "per_notional", "fee_bps": Decimal(1), "fee_min": Decimal(5)}, BUY, "5"),
        ({"fee_model": "alpaca_equity"}, BUY, "0"),
        # 10,000 x 0.0000278 = 0.278 and 100 x 0.000166 = 0.0166, each rounded up to the cent
        ({"fee_model": "alpaca_equity"}, SELL, "0.30"),
        ({"fee_model": "alpaca_crypto"}, BUY, "25"),
    ],
)
def test_fee_models(model: dict[str, Any], side: str, fee: str) -> None:
    executions = run(VenueSettings(slippage_bps=Decimal(0), **model), [order(1, side, "100"), bar(1)])
    assert executions[-1].fee == Decimal(fee)


def test_a_resting_order_pays_the_makers_fee() -> None:
    crypto = VenueSettings(fee_model="alpaca_crypto", slippage_bps=Decimal(0))
    executions = run(crypto, [order(1, quantity="100", kind=LIMIT, limit_price="99"), bar(1)])
    assert executions[-1].fee == Decimal("14.85")


@pytest.mark.parametrize(
    ("model", "price"),
    [
        ({"slippage_model": "volume_share"}, "100.1"),  # 0.1 x 0.1^2
        ({"slippage_model": "square_root", "impact_bps": Decimal(100)}, "100.316227800"),  # 1 % x sqrt(0.1)
        ({"slippage_model": "fixed", "slippage_bps": Decimal(5)}, "100.05"),
    ],
)
def test_slippage_models(model: dict[str, Any], price: str) -> None:
    executions = run(VenueSettings(fee_model="none", **model), [order(1, quantity="100"), bar(1)])
    assert executions[-1].price == Decimal(price)


def test_latency_lets_an_order_miss_the_bars_that_open_before_it_arrives() -> None:
    slow = VenueSettings(**NO_FEE, latency_ns=1)
    executions = run(slow, [order(1), bar(1)], [bar(2, 105.0, 104.0, 106.0)])
    assert report_lines(executions) == ["1 TRADE 10@105"]


def test_random_rejects_depend_on_seed_and_order_only() -> None:
    def rejected(seed: int, share: str) -> list[str]:
        rejecting_venue = VenueSettings(**NO_FEE, reject_share=Decimal(share), seed=seed)
        return [e.order_id for e in run(rejecting_venue, [order(n) for n in range(1, 201)]) if e.exec_type == REJECTED]

    assert 20 < len(rejected(1, "0.25")) < 80
    assert rejected(1, "0.25") == rejected(1, "0.25") != rejected(2, "0.25")
    assert len(rejected(1, "1")) == 200 and rejected(1, "0") == []


def test_nothing_trades_in_a_halt_nor_outside_the_sessions() -> None:
    halted = VenueSettings(**NO_FEE, halts=(TradingHalt(symbol="AAPL", from_ns=0, until_ns=2 * MINUTE),))
    assert report_lines(run(halted, [order(1), bar(1)], [bar(2)], [bar(3, 105.0, 104.0, 106.0)])) == ["1 TRADE 10@105"]
    hours = VenueSettings(**NO_FEE, market_sessions=(REGULAR,))
    pre_market: list[Record] = [order(1), order(2, kind=LIMIT, limit_price="100"), bar(1, session=PRE)]
    assert report_lines(run(hours, pre_market, [bar(2)])) == ["2 TRADE 10@100", "1 TRADE 10@100"]
    regular = VenueSettings(**NO_FEE, sessions=(REGULAR,))
    pre_market = [order(1), order(2, kind=LIMIT, limit_price="100"), bar(1, session=PRE)]
    assert report_lines(run(regular, pre_market, [bar(2)])) == ["1 TRADE 10@100", "2 TRADE 10@100"]


def test_short_sale_beyond_the_borrowable_quantity_is_rejected() -> None:
    scarce = Instruments(listed=(Instrument(symbol="AAPL", borrowable=Decimal(15)),))
    venue = VenueSettings(**NO_FEE, instruments=scarce)
    executions = run(venue, [order(1, SELL), order(2, SELL, "5"), order(3, SELL, "1"), bar(1)])
    assert report_lines(executions) == ["3 REJECTED", "1 TRADE 10@100", "2 TRADE 5@100"]
    assert executions[2].text == "would be 16 units short, borrowable 15"


def test_settings_of_the_models_are_checked() -> None:
    for field, value in (
        ("fee_model", "free"),
        ("slippage_model", "some"),
        ("reject_share", Decimal(2)),
        ("latency_ns", -1),
    ):
        with pytest.raises(BadInput, match=f"venue setting {field} must be"):
            VenueSettings(**{field: value})  # type: ignore[arg-type]


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
        terms: dict[str, Any] = {"limit_price": str(limit)} if kind in (LIMIT, STOP_LIMIT) else {}
        terms |= {"stop_price": str(stop)} if kind in (STOP, STOP_LIMIT) else {}
        terms |= {"trail_percent": "2"} if kind == TRAILING_STOP else {}
        terms |= {"expires_ns": 5 * MINUTE} if tif == GTD else {}
        new_order = order(number, side, kind=kind, tif=tif, **terms)
        orders_by_id[new_order.order_id] = new_order
        slices[start_index].append(new_order)
    for index, (a, b, c, d, traded, session) in enumerate(walk):
        low, _, _, high = sorted(map(float, (a, b, c, d)))
        walk_bar = bar(
            index + 1, float(a), low, high, float(d), traded=traded, session=session, trading_day=20240102 + index // 4
        )
        slices[index].append(walk_bar)
    # The kill switch ends all orders that still work.
    slices.append([RiskFence(99, 0, 1, "HALTED", "end", "t")])
    executions = run(VenueSettings(fee_model="none", max_volume_share=Decimal("0.007")), *slices, restart=restart)
    ended_ids = [e.order_id for e in executions if e.exec_type != NEW and e.leaves_quantity == 0]
    assert sorted(ended_ids) == sorted(orders_by_id), "every order ends once"
    for e in executions:
        limit_price = orders_by_id[e.order_id].limit_price
        if e.exec_type == TRADE and limit_price is not None:
            assert e.price <= limit_price if e.side == BUY else e.price >= limit_price
    assert {e.exec_type for e in executions} <= {NEW, TRADE, CANCELED, EXPIRED, REPLACED}
