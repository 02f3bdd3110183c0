"""The venue's models of fees, slippage, latency, rejections and halts: worked cases on single bars."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from operators.instruments import Instrument, Instruments
from operators.venue import VenueSettings
from operators.venue.settings import TradingHalt
from schemas.errors import BadInput
from schemas.records import (
    BUY,
    PRE,
    REGULAR,
    REJECTED,
    SELL,
    TRADE,
    Record,
)
from schemas.records.constants import Side
from tests.builders import order
from tests.builders.market import MINUTE_NS
from tests.unit.venue_runs import NO_FEE, minute_bar, report_lines, run


def test_the_minimum_fee_counts_once_however_many_fills_an_order_takes() -> None:
    charges = VenueSettings(max_volume_share=Decimal("0.1"), slippage_bps=Decimal(0))
    executions = run(charges, [order(1, quantity=250), minute_bar(1)], [minute_bar(2)], [minute_bar(3)])
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
def test_fee_models(model: dict[str, Any], side: Side, fee: str) -> None:
    executions = run(VenueSettings(slippage_bps=Decimal(0), **model), [order(1, side, 100), minute_bar(1)])
    assert executions[-1].fee == Decimal(fee)


def test_a_resting_order_pays_the_makers_fee() -> None:
    crypto = VenueSettings(fee_model="alpaca_crypto", slippage_bps=Decimal(0))
    executions = run(crypto, [order(1, quantity=100, limit_price=99), minute_bar(1)])
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
    executions = run(VenueSettings(fee_model="none", **model), [order(1, quantity=100), minute_bar(1)])
    assert executions[-1].price == Decimal(price)


def test_latency_lets_an_order_miss_the_bars_that_open_before_it_arrives() -> None:
    slow = VenueSettings(**NO_FEE, latency_ns=1)
    executions = run(slow, [order(1), minute_bar(1)], [minute_bar(2, 105.0, 104.0, 106.0)])
    assert report_lines(executions) == ["1 TRADE 10@105"]


def test_random_rejects_depend_on_seed_and_order_only() -> None:
    def rejected(seed: int, share: str) -> list[str]:
        rejecting_venue = VenueSettings(**NO_FEE, reject_share=Decimal(share), seed=seed)
        return [e.order_id for e in run(rejecting_venue, [order(n) for n in range(1, 201)]) if e.exec_type == REJECTED]

    assert 20 < len(rejected(1, "0.25")) < 80
    assert rejected(1, "0.25") == rejected(1, "0.25") != rejected(2, "0.25")
    assert len(rejected(1, "1")) == 200 and rejected(1, "0") == []


def test_nothing_trades_in_a_halt_nor_between_the_sessions() -> None:
    halted = VenueSettings(**NO_FEE, halts=(TradingHalt(symbol="AAPL", from_ns=0, until_ns=2 * MINUTE_NS),))
    assert report_lines(
        run(halted, [order(1), minute_bar(1)], [minute_bar(2)], [minute_bar(3, 105.0, 104.0, 106.0)])
    ) == ["1 TRADE 10@105"]
    hours = VenueSettings(**NO_FEE, market_sessions=(REGULAR,))
    pre_market: list[Record] = [order(1), order(2, limit_price=100), minute_bar(1, session=PRE)]
    assert report_lines(run(hours, pre_market, [minute_bar(2)])) == ["2 TRADE 10@100", "1 TRADE 10@100"]
    regular = VenueSettings(**NO_FEE, sessions=(REGULAR,))
    pre_market = [order(1), order(2, limit_price=100), minute_bar(1, session=PRE)]
    assert report_lines(run(regular, pre_market, [minute_bar(2)])) == ["1 TRADE 10@100", "2 TRADE 10@100"]


def test_short_sale_beyond_the_borrowable_quantity_is_rejected() -> None:
    scarce = Instruments(listed=(Instrument(symbol="AAPL", borrowable=Decimal(15)),))
    venue = VenueSettings(**NO_FEE, instruments=scarce)
    executions = run(venue, [order(1, SELL), order(2, SELL, 5), order(3, SELL, 1), minute_bar(1)])
    assert report_lines(executions) == ["3 REJECTED", "1 TRADE 10@100", "2 TRADE 5@100"]
    assert executions[2].text == "would be 16 units short, borrowable 15"


def test_settings_of_the_models_are_checked() -> None:
    for field, value in (
        ("fee_model", "free"),
        ("slippage_model", "some"),
        ("reject_share", Decimal(2)),
        ("latency_ns", -1),
        ("fills_from", "trades"),
        ("fills_from", {"MARKET": "trades"}),
    ):
        with pytest.raises(BadInput, match=f"venue setting {field} must be"):
            VenueSettings(**{field: value})  # type: ignore[arg-type]
