"""Rows of the risk checks that look at an order, its instrument and the orders before it."""

from __future__ import annotations

from decimal import Decimal

from schemas.records import BUY, SELL
from tests.unit.risk_rows import AAPL, BUY_10, BUY_11, DEFINED, MSFT, NOW, SECOND, Row, at, held, proposal

IN_EUR = "instrument: SAP is in EUR, must be in USD or a currency whose rate is known"

ORDER_ROWS = [
    Row(
        "instrument",
        DEFINED,
        BUY_10,
        proposal(symbol="XYZ"),
        "instrument: XYZ is unknown, must be a defined instrument",
    ),
    Row("instrument", DEFINED, BUY_10, proposal(symbol="OLD"), "instrument: OLD is not tradable, must be tradable"),
    Row("instrument", DEFINED, BUY_10, proposal(symbol="SAP"), IN_EUR),
    Row(
        "session_open",
        DEFINED,
        BUY_10,
        proposal(symbol="HTB"),
        "session_open: HTB is in session PRE, limit REGULAR",
        (at("AAPL", session="PRE"), at("HTB", session="PRE")),
    ),
    Row(
        "tick_size",
        DEFINED,
        proposal(limit="99.99"),
        proposal(limit="99.995"),
        "tick_size: AAPL limit price 99.995 is no multiple of 0.01",
    ),
    Row(
        "tick_size",
        DEFINED,
        proposal(limit="0.9999"),
        proposal(limit="1.0001"),
        "tick_size: AAPL limit price 1.0001 is no multiple of 0.01",
    ),
    Row("lot_size", DEFINED, BUY_10, proposal(quantity="1.5"), "lot_size: AAPL quantity 1.5 is no multiple of 1"),
    Row(
        # A split left half a share: it can be sold, and only it.
        "lot_size",
        DEFINED,
        proposal(SELL, "100.5"),
        proposal(SELL, "0.5"),
        "lot_size: AAPL quantity 0.5 is no multiple of 1",
        (held(100)[0]._replace(quantity=Decimal("100.5")), AAPL),  # type: ignore[call-arg]
    ),
    Row(
        "order_quantity",
        DEFINED,
        proposal(quantity="500"),
        proposal(quantity="501"),
        "order_quantity: AAPL order is 501 units, limit 500",
    ),
    Row(
        "order_quantity",
        {"max_order_quantity": Decimal(10)},
        BUY_10,
        BUY_11,
        "order_quantity: AAPL order is 11 units, limit 10",
    ),
    Row(
        "order_quantity",
        DEFINED,
        proposal(quantity="0.001", symbol="BTCUSD"),
        proposal(quantity="0.0009", symbol="BTCUSD"),
        "order_quantity: BTCUSD is 0.0009, at least 0.001",
        (at("BTCUSD", 50_000.0),),
    ),
    Row(
        "min_order_notional",
        DEFINED,
        proposal(quantity="0.002", symbol="BTCUSD"),
        proposal(quantity="0.0019", symbol="BTCUSD"),
        "min_order_notional: BTCUSD order is worth 9.50, at least 10.00",
        (at("BTCUSD", 5_000.0),),
    ),
    Row(
        "max_order_notional",
        {"max_order_notional": Decimal(500_000), **DEFINED},
        proposal(quantity="2", symbol="ES"),
        proposal(quantity="3", symbol="ES"),
        "max_order_notional: ES order is worth 750,000.00, limit 500,000.00",
        (at("ES", 5_000.0),),
    ),
    Row(
        "price_collar",
        {"price_collar_bps": Decimal(100)},
        proposal(limit="101"),
        proposal(limit="101.01"),
        "price_collar: AAPL limit is 101 bps beyond the last price, limit 100",
    ),
    Row(
        "price_collar",
        {"price_collar_bps": Decimal(100)},
        proposal(SELL, limit="99"),
        proposal(SELL, limit="98.99"),
        "price_collar: AAPL limit is 101 bps beyond the last price, limit 100",
    ),
    Row(
        "duplicate",
        {"duplicate_window_s": Decimal(5)},
        BUY_11,
        BUY_10,
        "duplicate: AAPL the same order was approved 2 s ago, limit 5",
        (AAPL, BUY_10, proposal(SELL)),
    ),
    Row(
        "duplicate",
        {"duplicate_window_s": Decimal(2)},
        BUY_10,
        proposal(SELL),
        "duplicate: AAPL the same order was approved 1 s ago, limit 2",
        (AAPL, BUY_10, proposal(SELL)),
    ),
    Row(
        "self_trade",
        {"prevent_self_trade": True},
        proposal(SELL, limit="99.01"),
        proposal(SELL, limit="99"),
        "self_trade: AAPL would meet own order ord-1 (BUY 99)",
        (AAPL, proposal(limit="99")),
    ),
    Row(
        "self_trade",
        {"prevent_self_trade": True},
        proposal(BUY),
        proposal(SELL),
        "self_trade: AAPL would meet own order ord-1 (BUY 99)",
        (AAPL, proposal(limit="99")),
    ),
    Row(
        "order_rate",
        {"max_orders_in_window": Decimal(2), "order_window_s": Decimal(2)},
        BUY_10,
        proposal(symbol="XYZ"),
        "known_price: XYZ has no price to judge by (no bar yet)",
        (AAPL, BUY_10, BUY_10),
    ),
    Row(
        "order_rate",
        {"max_orders_in_window": Decimal(2), "order_window_s": Decimal(3)},
        proposal(quantity="10", ts_ns=NOW + 10 * SECOND),
        BUY_10,
        "order_rate: AAPL order would be number 3 within 3 s, limit 2",
        (AAPL, BUY_10, BUY_10),
    ),
    Row(
        "max_open_orders",
        {"max_open_orders": Decimal(2)},
        BUY_10,
        proposal(quantity="NaN"),
        "order_terms: AAPL quantity is NaN, must be above 0",
        (AAPL, BUY_10),
    ),
    Row(
        "short_sale",
        {"allow_short": False},
        proposal(SELL, "20"),
        proposal(SELL, "21"),
        "short_sale: AAPL would be 1 short, limit no short positions",
        held(20),
    ),
    Row(
        "short_sale",
        DEFINED,
        proposal(BUY, symbol="MSFT"),
        proposal(SELL, symbol="MSFT"),
        "short_sale: MSFT would be 10 short, limit not shortable",
        (MSFT,),
    ),
    Row(
        "short_sale",
        DEFINED,
        proposal(SELL, "50", symbol="HTB"),
        proposal(SELL, "51", symbol="HTB"),
        "short_sale: HTB would be 51 short, limit 50",
        (at("HTB"),),
    ),
    Row(
        "reversal",
        {"allow_reversal": False},
        proposal(SELL, "20"),
        proposal(SELL, "21"),
        "reversal: AAPL closes 20 and opens 1, limit one or the other",
        held(20),
    ),
]
