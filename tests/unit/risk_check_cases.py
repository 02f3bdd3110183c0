"""Cases of the risk checks: an order just inside each limit, an order just outside it, and the message.

This module defines the case type and the cases of the most common limits. `risk_order_cases` and
`risk_portfolio_cases` hold the others.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, NamedTuple, cast

from operators.instruments import CRYPTO, FUTURE, Instrument, Instruments
from schemas.records import MARKET, REGULAR, SELL, Bar, OrderProposal, Record, SessionPhase
from schemas.records.constants import Side
from tests.builders import bar, execution, proposal
from tests.builders.amounts import Amount

SECOND_NS = 1_000_000_000
MINUTE_NS = 60 * SECOND_NS
NOW_NS = 10 * MINUTE_NS


class RiskCheckCase(NamedTuple):
    """`accepted` is just inside the limit and `rejected` just outside, with the same limits and history.

    Orders in `history` run first, in separate time slices one second apart. Each of them must be approved.
    """

    check: str
    limits: dict[str, Any]
    accepted: OrderProposal
    rejected: OrderProposal
    message: str
    history: tuple[Record, ...] = (bar("AAPL", 9, NOW_NS, 100.0),)
    capital: str = "1000000"


def existing_position(quantity: Amount, price: float = 100.0, symbol: str = "AAPL") -> tuple[Record, ...]:
    """Return the records of an earlier position whose current price is 100."""
    return (execution(1, MINUTE_NS, symbol, quantity, price), bar(symbol, 9, NOW_NS))


BUY_10, BUY_11 = proposal(quantity=10), proposal(quantity=11)
INSTRUMENTS = Instruments(
    listed=(
        Instrument(symbol="AAPL", sector="tech", group="mega", beta=Decimal("1.2"), max_quantity=Decimal(500)),
        Instrument(symbol="MSFT", sector="tech", group="mega", beta=Decimal("0.8"), shortable=False),
        Instrument(symbol="OLD", tradable=False),
        Instrument(symbol="SAP", currency="EUR"),
        Instrument(symbol="HTB", borrowable=Decimal(50), sessions=(REGULAR,)),
        Instrument(
            symbol="BTCUSD",
            asset_class=CRYPTO,
            lot_size=Decimal("0.0001"),
            min_quantity=Decimal("0.001"),
            min_notional=Decimal(10),
            margin_class="crypto",
        ),
        Instrument(
            symbol="ES",
            asset_class=FUTURE,
            tick_size=Decimal("0.25"),
            multiplier=Decimal(50),
            margin_initial=Decimal(12_000),
        ),
    ),
    unlisted=None,
)
AAPL_BAR, MSFT_BAR = bar("AAPL", 9, NOW_NS), bar("MSFT", 9, NOW_NS)
WITH_INSTRUMENTS = {"instruments": INSTRUMENTS}


def bar_now(symbol: str, price: float = 100.0, session: SessionPhase = REGULAR) -> Bar:
    return bar(symbol, 9, NOW_NS, price, session=session)


BASIC_CASES = [
    RiskCheckCase(
        "order_terms",
        {},
        proposal(quantity="0.000000001"),
        proposal(quantity=0),
        "order_terms: AAPL quantity is 0, must be above 0",
    ),
    RiskCheckCase(
        "order_terms", {}, BUY_10, proposal(cast(Side, "HOLD")), "order_terms: AAPL side is 'HOLD', must be BUY or SELL"
    ),
    RiskCheckCase(
        "order_terms",
        {},
        proposal(limit_price=0.01),
        proposal(limit_price=0),
        "order_terms: AAPL limit_price is 0, must be above 0 on a limit order",
    ),
    RiskCheckCase(
        "order_terms",
        {},
        BUY_10,
        proposal(order_type=MARKET, limit_price=1),
        "order_terms: AAPL limit_price is 1, must be unset on a market order",
    ),
    RiskCheckCase(
        "order_terms",
        {},
        BUY_10,
        proposal(quantity="NaN"),
        "order_terms: AAPL quantity is NaN, must be above 0",
    ),
    RiskCheckCase(
        "known_price",
        {},
        BUY_10,
        proposal(symbol="IBM"),
        "known_price: No market data for IBM. Check the symbol",
    ),
    RiskCheckCase(
        "stale_price",
        {"stale_price_s": Decimal(90)},
        proposal(symbol="MSFT"),
        proposal(symbol="IBM"),
        "stale_price: IBM price is 90.000000001 s old, limit 90",
        (bar("MSFT", 1, NOW_NS - 90 * SECOND_NS), bar("IBM", 1, NOW_NS - 90 * SECOND_NS - 1)),
    ),
    RiskCheckCase(
        "max_order_notional",
        {"max_order_notional": Decimal(1000)},
        BUY_10,
        BUY_11,
        "max_order_notional: AAPL order is worth 1,100.00 USD, limit 1,000.00",
    ),
    RiskCheckCase(
        "max_order_notional",
        {"max_order_notional": Decimal(1000)},
        proposal(limit_price=100),
        proposal(limit_price=100.001),
        "max_order_notional: AAPL order is worth 1,000.01 USD, limit 1,000.00",
    ),
    RiskCheckCase(
        "max_position",
        {"max_position": Decimal(10_000)},
        proposal(quantity=2000),
        proposal(quantity=4400),
        "max_position: AAPL position would be 12,400 units, limit 10,000",
        existing_position(8000),
    ),
    RiskCheckCase(
        "max_position",
        {"max_position": Decimal(100)},
        proposal(SELL, 120),
        proposal(SELL, 121),
        "max_position: AAPL position would be 101 units, limit 100",
        existing_position(20),
    ),
    RiskCheckCase(
        "max_position_size",
        {"max_position_size": Decimal(50_000)},
        proposal(quantity=400),
        proposal(quantity=400.01),
        "max_position_size: AAPL position would be worth 50,001.00 USD, limit 50,000.00",
        existing_position(100),
    ),
    RiskCheckCase(
        "cash",
        {"buying_power_multiple": Decimal(1)},
        BUY_10,
        BUY_11,
        "cash: AAPL order needs 1,100.00 USD, available 1,000.00",
        capital="1000",
    ),
    RiskCheckCase(
        "cash",
        {"buying_power_multiple": Decimal(1), "reserve_bps": Decimal(1000)},
        proposal(quantity=10),
        proposal(quantity=10.1),
        "cash: AAPL order needs 1,111.00 USD, available 1,100.00",
        capital="1100",
    ),
    RiskCheckCase(
        # 2 x equity of 2,000, less the existing position of 1,000
        "cash",
        {"buying_power_multiple": Decimal(2)},
        proposal(quantity=30),
        proposal(quantity=30.1),
        "cash: AAPL order needs 3,010.00 USD, available 3,000.00",
        existing_position(10),
        capital="2000",
    ),
    RiskCheckCase(
        "max_portfolio_leverage",
        {"max_portfolio_leverage": Decimal(2)},
        proposal(quantity=20),
        proposal(quantity=20.5),
        "max_portfolio_leverage: AAPL order would raise leverage to 2.05 times equity, limit 2",
        capital="1000",
    ),
    RiskCheckCase(
        "max_portfolio_leverage",
        {"max_portfolio_leverage": Decimal(2)},
        proposal(SELL, 40),
        proposal(SELL, 40.1),
        "max_portfolio_leverage: AAPL order would raise leverage to 2.01 times equity, limit 2",
        existing_position(20),
        capital="1000",
    ),
    RiskCheckCase(
        # 100 shares bought at 120 are now at 100: the daily loss is 2,000
        "max_daily_loss",
        {"max_daily_loss": Decimal(1999)},
        proposal(SELL, 100),
        BUY_10,
        "max_daily_loss: daily loss is 2,000.00 USD, limit 1,999.00; AAPL order would open or increase a position",
        existing_position(100, 120.0),
    ),
    RiskCheckCase(
        "max_daily_loss",
        {"max_daily_loss": Decimal(2000)},
        BUY_10,
        proposal(quantity=0),
        "order_terms: AAPL quantity is 0, must be above 0",
        existing_position(100, 120.0),
    ),
]
