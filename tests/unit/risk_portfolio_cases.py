"""Cases of the risk checks on the effect of an order on the whole portfolio."""

from __future__ import annotations

from decimal import Decimal

from operators.risk.margin import MarginSettings
from schemas.records import BUY, SELL, Record
from tests.builders import bar, execution, proposal
from tests.unit.risk_check_cases import (
    AAPL_BAR,
    BUY_10,
    MSFT_BAR,
    NOW_NS,
    WITH_INSTRUMENTS,
    RiskCheckCase,
    bar_now,
    existing_position,
)


def daily_bars(symbol: str, *returns: float, volume: float = 1000.0) -> tuple[Record, ...]:
    """Build one bar per trading day, with closes from 100 on by `returns`, then the bar of today at 100."""
    price, bars = 100.0, []
    for number, daily_return in enumerate((0.0, *returns)):
        price *= 1 + daily_return
        bars.append(bar(symbol, number + 1, number + 1, price, day=20240101 + number, volume=volume))
    return (*bars, bar(symbol, 99, NOW_NS, 100.0, day=20250101))


MIXED_RETURNS = (-0.04, 0.01, -0.02, 0.02, 0.03, 0.0, 0.01, -0.01, 0.02, 0.01) * 4
MARGIN_LIMITS = {"margin": MarginSettings(), "buying_power_multiple": None, **WITH_INSTRUMENTS}

PORTFOLIO_CASES = [
    RiskCheckCase(
        "max_concentration",
        {"max_concentration": Decimal("0.1")},
        proposal(quantity=100),
        proposal(quantity=101),
        "max_concentration: AAPL position would be 10.1% of equity, limit 10%",
        capital="100000",
    ),
    RiskCheckCase(
        "max_sector_share",
        {"max_sector_share": Decimal("0.2"), **WITH_INSTRUMENTS},
        proposal(quantity=150),
        proposal(quantity=151),
        "max_sector_share: AAPL order would raise sector tech to 20.1% of equity, limit 20%",
        (*existing_position(50, symbol="MSFT"), AAPL_BAR),
        capital="100000",
    ),
    RiskCheckCase(
        "max_group_share",
        {"max_group_share": Decimal("0.2"), **WITH_INSTRUMENTS},
        proposal(SELL, 150),
        proposal(SELL, 151),
        "max_group_share: AAPL order would raise group mega to 20.1% of equity, limit 20%",
        (*existing_position(50, symbol="MSFT"), AAPL_BAR),
        capital="100000",
    ),
    RiskCheckCase(
        "max_gross_exposure",
        {"max_gross_exposure": Decimal(5000)},
        proposal(SELL, 30),
        proposal(SELL, 31),
        "max_gross_exposure: AAPL order would raise gross exposure to 5,100.00 USD, limit 5,000.00",
        (*existing_position(20, symbol="MSFT"), AAPL_BAR),
    ),
    RiskCheckCase(
        "max_net_exposure",
        {"max_net_exposure": Decimal(5000)},
        proposal(BUY, 30),
        proposal(BUY, 31),
        "max_net_exposure: AAPL order would raise net exposure to 5,100.00 USD, limit 5,000.00",
        (*existing_position(10, symbol="MSFT"), AAPL_BAR, proposal(symbol="MSFT")),
    ),
    RiskCheckCase(
        "max_net_exposure",
        {"max_net_exposure": Decimal(5000)},
        proposal(SELL, 70),
        proposal(SELL, 71),
        "max_net_exposure: AAPL order would raise net exposure to 5,100.00 USD, limit 5,000.00",
        (*existing_position(20, symbol="MSFT"), AAPL_BAR),
    ),
    RiskCheckCase(
        # beta: AAPL 1.2, MSFT 0.8
        "max_beta_exposure",
        {"max_beta_exposure": Decimal(4400), **WITH_INSTRUMENTS},
        proposal(BUY, 30),
        proposal(BUY, 31),
        "max_beta_exposure: AAPL order would raise beta exposure to 4,520.00 USD, limit 4,400.00",
        (*existing_position(10, symbol="MSFT"), AAPL_BAR),
    ),
    RiskCheckCase(
        "max_beta_exposure",
        {"max_beta_exposure": Decimal(4400), **WITH_INSTRUMENTS},
        proposal(BUY, 30),
        proposal(BUY, 10, symbol="HTB"),
        "max_beta_exposure: HTB has no beta. Set beta in its instrument definition",
        (AAPL_BAR, bar_now("HTB")),
    ),
    RiskCheckCase(
        "max_volume_share",
        {"max_volume_share": Decimal("0.05"), "volume_days": 2},
        proposal(quantity=50),
        proposal(quantity=51),
        "max_volume_share: AAPL order is 0.051 of average daily volume, limit 0.05",
        (*daily_bars("AAPL", 0.0, 0.0),),
    ),
    RiskCheckCase(
        "max_volume_share",
        {"max_volume_share": Decimal("0.05")},
        proposal(quantity=50),
        proposal(quantity=1, symbol="MSFT"),
        "max_volume_share: no average daily volume for MSFT yet",
        (*daily_bars("AAPL", 0.0, 0.0), MSFT_BAR),
    ),
    RiskCheckCase(
        # starts at 10,000; 10 shares lose 100 each
        "max_drawdown",
        {"max_drawdown": Decimal("0.1")},
        BUY_10,
        proposal(quantity="NaN"),
        "order_terms: AAPL quantity is NaN, must be above 0",
        existing_position(10, 200.0),
        capital="10000",
    ),
    RiskCheckCase(
        "max_drawdown",
        {"max_drawdown": Decimal("0.0999")},
        proposal(SELL, 10),
        BUY_10,
        "max_drawdown: drawdown is 0.1 of peak equity, limit 0.0999; AAPL order would open or increase a position",
        existing_position(10, 200.0),
        capital="10000",
    ),
    RiskCheckCase(
        # The worst 5 % of 40 days are two days at -4 %.
        "max_expected_shortfall",
        {"max_expected_shortfall": Decimal(400), "shortfall_days": 40, "shortfall_confidence": Decimal("0.95")},
        proposal(quantity=100),
        proposal(quantity=101),
        "max_expected_shortfall: AAPL order would raise expected shortfall to 404.00 USD, limit 400.00",
        daily_bars("AAPL", *MIXED_RETURNS),
    ),
    RiskCheckCase(
        "max_expected_shortfall",
        {"max_expected_shortfall": Decimal(400), "shortfall_days": 40},
        proposal(quantity=100),
        proposal(symbol="MSFT"),
        "max_expected_shortfall: MSFT has 0 days of recorded returns, minimum 20",
        (*daily_bars("AAPL", *MIXED_RETURNS), bar("MSFT", 9, NOW_NS, day=20250101)),
    ),
    RiskCheckCase(
        # Regulation T requires half of 20,000.
        "margin_initial",
        MARGIN_LIMITS,
        proposal(quantity=200),
        proposal(quantity=201),
        "margin_initial: AAPL order would raise initial margin to 10,050.00 USD, equity 10,000.00",
        capital="10000",
    ),
    RiskCheckCase(
        # A contract requires the exchange margin of 12,000, crypto its full value.
        "margin_initial",
        MARGIN_LIMITS,
        proposal(quantity=3, symbol="ES"),
        proposal(quantity=0.8, symbol="BTCUSD"),
        "margin_initial: BTCUSD order would raise initial margin to 40,000.00 USD, equity 39,999.00",
        (bar_now("ES", 5_000.0), bar_now("BTCUSD", 50_000.0)),
        capital="39999",
    ),
    RiskCheckCase(
        "day_trades",
        {"max_day_trades": Decimal(1), "day_trade_equity_min": Decimal(25_000)},
        proposal(BUY),
        proposal(SELL, 5),
        "day_trades: AAPL order would be day trade number 2 in 5 trading days, limit 1",
        (
            AAPL_BAR,
            execution(1, NOW_NS, "AAPL", 10, 100.0),
            execution(2, NOW_NS, "AAPL", -5, 100.0),
        ),
        capital="24999",
    ),
]
