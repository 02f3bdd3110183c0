"""The table of the risk checks: an order just inside each limit, one just outside, and what a person reads."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, NamedTuple

from operators.instruments import CRYPTO, FUTURE, Instrument, Instruments
from operators.risk.margin import MarginSettings
from schemas.records import BUY, DAY, LIMIT, MARKET, REGULAR, SELL, Bar, OrderProposal, Record, proposal_id
from tests.unit.builders import bar, execution

SECOND = 1_000_000_000
MINUTE = 60 * SECOND
NOW = 10 * MINUTE


class Row(NamedTuple):
    """`accepted` and `refused` are just inside and just outside, on the same limits and history.

    Orders in `history` are asked first, in ticks of their own one second apart, and must be approved.
    """

    check: str
    limits: dict[str, Any]
    accepted: OrderProposal
    refused: OrderProposal
    message: str
    history: tuple[Record, ...] = (bar("AAPL", 9, NOW, 100.0),)
    capital: str = "1000000"


def proposal(
    side: str = BUY, quantity: str = "10", limit: str | None = None, seq: int = 1, **other: Any
) -> OrderProposal:
    made = OrderProposal(
        seq,
        NOW,
        proposal_id(seq),
        other.pop("symbol", "AAPL"),
        side,
        Decimal(quantity),
        MARKET if limit is None else LIMIT,
        None if limit is None else Decimal(limit),
        DAY,
        "test",
        Decimal(100),
        "",
        [],
    )
    return made._replace(**other)


def held(quantity: int, price: float = 100.0, symbol: str = "AAPL") -> tuple[Record, ...]:
    """A position from before, priced at 100 now."""
    bought = execution(1, MINUTE, symbol, quantity, price)._replace(quantity=abs(Decimal(quantity)))
    return (bought, bar(symbol, 9, NOW))


BUY_10, BUY_11 = proposal(quantity="10"), proposal(quantity="11")
ROWS = [
    Row(
        "order_terms",
        {},
        proposal(quantity="0.000000001"),
        proposal(quantity="0"),
        "order_terms: AAPL quantity is 0, must be above 0",
    ),
    Row("order_terms", {}, BUY_10, proposal(side="HOLD"), "order_terms: AAPL side is 'HOLD', must be BUY or SELL"),
    Row(
        "order_terms",
        {},
        proposal(limit="0.01"),
        proposal(limit="0"),
        "order_terms: AAPL limit_price is 0, must be above 0 on a limit order",
    ),
    Row(
        "order_terms",
        {},
        BUY_10,
        proposal(limit_price=Decimal(1)),
        "order_terms: AAPL limit_price is 1, must be none on a market order",
    ),
    Row(
        "order_terms",
        {},
        BUY_10,
        proposal(quantity="NaN"),
        "order_terms: AAPL quantity is NaN, must be above 0",
    ),
    Row(
        "known_price",
        {},
        BUY_10,
        proposal(symbol="IBM"),
        "known_price: IBM has no price to judge by (no bar yet)",
    ),
    Row(
        "stale_price",
        {"stale_price_s": Decimal(90)},
        proposal(symbol="MSFT"),
        proposal(symbol="IBM"),
        "stale_price: IBM has a price 90.000000001 s old, limit 90",
        (bar("MSFT", 1, NOW - 90 * SECOND), bar("IBM", 1, NOW - 90 * SECOND - 1)),
    ),
    Row(
        "max_order_notional",
        {"max_order_notional": Decimal(1000)},
        BUY_10,
        BUY_11,
        "max_order_notional: AAPL order is worth 1,100.00, limit 1,000.00",
    ),
    Row(
        "max_order_notional",
        {"max_order_notional": Decimal(1000)},
        proposal(limit="100"),
        proposal(limit="100.001"),
        "max_order_notional: AAPL order is worth 1,000.01, limit 1,000.00",
    ),
    Row(
        "max_position",
        {"max_position": Decimal(10_000)},
        proposal(quantity="2000"),
        proposal(quantity="4400"),
        "max_position: AAPL would be 12,400 shares, limit 10,000",
        held(8000),
    ),
    Row(
        "max_position",
        {"max_position": Decimal(100)},
        proposal(SELL, "120"),
        proposal(SELL, "121"),
        "max_position: AAPL would be 101 shares, limit 100",
        held(20),
    ),
    Row(
        "max_position_size",
        {"max_position_size": Decimal(50_000)},
        proposal(quantity="400"),
        proposal(quantity="400.01"),
        "max_position_size: AAPL would be worth 50,001.00, limit 50,000.00",
        held(100),
    ),
    Row(
        "cash",
        {"buying_power_multiple": Decimal(1)},
        BUY_10,
        BUY_11,
        "cash: AAPL order needs 1,100.00, limit 1,000.00",
        capital="1000",
    ),
    Row(
        "cash",
        {"buying_power_multiple": Decimal(1), "reserve_bps": Decimal(1000)},
        proposal(quantity="10"),
        proposal(quantity="10.1"),
        "cash: AAPL order needs 1,111.00, limit 1,100.00",
        capital="1100",
    ),
    Row(
        # 2 x equity of 2,000 less the 1,000 that are held
        "cash",
        {"buying_power_multiple": Decimal(2)},
        proposal(quantity="30"),
        proposal(quantity="30.1"),
        "cash: AAPL order needs 3,010.00, limit 3,000.00",
        held(10),
        capital="2000",
    ),
    Row(
        "max_portfolio_leverage",
        {"max_portfolio_leverage": Decimal(2)},
        proposal(quantity="20"),
        proposal(quantity="20.5"),
        "max_portfolio_leverage: AAPL order would bring leverage to 2.05, limit 2",
        capital="1000",
    ),
    Row(
        "max_portfolio_leverage",
        {"max_portfolio_leverage": Decimal(2)},
        proposal(SELL, "40"),
        proposal(SELL, "40.1"),
        "max_portfolio_leverage: AAPL order would bring leverage to 2.01, limit 2",
        held(20),
        capital="1000",
    ),
    Row(
        # 100 bought at 120 are worth 100 now: the day has lost 2,000
        "max_daily_loss",
        {"max_daily_loss": Decimal(1999)},
        proposal(SELL, "100"),
        BUY_10,
        "max_daily_loss: the day has lost 2,000.00, limit 1,999.00, and the AAPL order would open",
        held(100, 120.0),
    ),
    Row(
        "max_daily_loss",
        {"max_daily_loss": Decimal(2000)},
        BUY_10,
        proposal(quantity="0"),
        "order_terms: AAPL quantity is 0, must be above 0",
        held(100, 120.0),
    ),
]


IN_EUR = "instrument: SAP is in EUR, must be in USD or a currency whose rate is known"
LISTED = Instruments(
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
AAPL, MSFT = bar("AAPL", 9, NOW), bar("MSFT", 9, NOW)
DEFINED = {"instruments": LISTED}


def at(symbol: str, price: float = 100.0, session: str = REGULAR) -> Bar:
    return bar(symbol, 9, NOW, price)._replace(session=session)


def days(symbol: str, *returns: float, volume: float = 1000.0) -> tuple[Record, ...]:
    """One bar a trading day, closes from 100 on by the returns, then the bar of today at 100."""
    price, out = 100.0, []
    for number, change in enumerate((0.0, *returns)):
        price *= 1 + change
        made = bar(symbol, number + 1, number + 1, price, day=20240101 + number)
        out.append(made._replace(volume=volume))
    return (*out, bar(symbol, 99, NOW, 100.0, day=20250101))


MIXED = (-0.04, 0.01, -0.02, 0.02, 0.03, 0.0, 0.01, -0.01, 0.02, 0.01) * 4
MARGIN = {"margin": MarginSettings(), "buying_power_multiple": None, **DEFINED}

PORTFOLIO_ROWS = [
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
    Row(
        "max_concentration",
        {"max_concentration": Decimal("0.1")},
        proposal(quantity="100"),
        proposal(quantity="101"),
        "max_concentration: AAPL would be 10.1% of equity, limit 10%",
        capital="100000",
    ),
    Row(
        "max_sector_share",
        {"max_sector_share": Decimal("0.2"), **DEFINED},
        proposal(quantity="150"),
        proposal(quantity="151"),
        "max_sector_share: AAPL order would bring sector tech to 20.1% of equity, limit 20%",
        (*held(50, symbol="MSFT"), AAPL),
        capital="100000",
    ),
    Row(
        "max_group_share",
        {"max_group_share": Decimal("0.2"), **DEFINED},
        proposal(SELL, "150"),
        proposal(SELL, "151"),
        "max_group_share: AAPL order would bring group mega to 20.1% of equity, limit 20%",
        (*held(50, symbol="MSFT"), AAPL),
        capital="100000",
    ),
    Row(
        "max_gross_exposure",
        {"max_gross_exposure": Decimal(5000)},
        proposal(SELL, "30"),
        proposal(SELL, "31"),
        "max_gross_exposure: AAPL order would bring gross exposure to 5,100.00, limit 5,000.00",
        (*held(20, symbol="MSFT"), AAPL),
    ),
    Row(
        "max_net_exposure",
        {"max_net_exposure": Decimal(5000)},
        proposal(BUY, "30"),
        proposal(BUY, "31"),
        "max_net_exposure: AAPL order would bring net exposure to 5,100.00, limit 5,000.00",
        (*held(10, symbol="MSFT"), AAPL, proposal(symbol="MSFT")),
    ),
    Row(
        "max_net_exposure",
        {"max_net_exposure": Decimal(5000)},
        proposal(SELL, "70"),
        proposal(SELL, "71"),
        "max_net_exposure: AAPL order would bring net exposure to 5,100.00, limit 5,000.00",
        (*held(20, symbol="MSFT"), AAPL),
    ),
    Row(
        # 1.2 x AAPL against 0.8 x MSFT
        "max_beta_exposure",
        {"max_beta_exposure": Decimal(4400), **DEFINED},
        proposal(BUY, "30"),
        proposal(BUY, "31"),
        "max_beta_exposure: AAPL order would bring beta exposure to 4,520.00, limit 4,400.00",
        (*held(10, symbol="MSFT"), AAPL),
    ),
    Row(
        "max_beta_exposure",
        {"max_beta_exposure": Decimal(4400), **DEFINED},
        proposal(BUY, "30"),
        proposal(BUY, "10", symbol="HTB"),
        "max_beta_exposure: the beta of HTB is not known",
        (AAPL, at("HTB")),
    ),
    Row(
        "max_volume_share",
        {"max_volume_share": Decimal("0.05"), "volume_days": 2},
        proposal(quantity="50"),
        proposal(quantity="51"),
        "max_volume_share: AAPL order is 0.051 of average daily volume, limit 0.05",
        (*days("AAPL", 0.0, 0.0),),
    ),
    Row(
        "max_volume_share",
        {"max_volume_share": Decimal("0.05")},
        proposal(quantity="50"),
        proposal(quantity="1", symbol="MSFT"),
        "max_volume_share: the average daily volume of MSFT is not known",
        (*days("AAPL", 0.0, 0.0), MSFT),
    ),
    Row(
        # 10,000 at first; 10 shares lost 100 each
        "max_drawdown",
        {"max_drawdown": Decimal("0.1")},
        BUY_10,
        proposal(quantity="NaN"),
        "order_terms: AAPL quantity is NaN, must be above 0",
        held(10, 200.0),
        capital="10000",
    ),
    Row(
        "max_drawdown",
        {"max_drawdown": Decimal("0.0999")},
        proposal(SELL, "10"),
        BUY_10,
        "max_drawdown: AAPL order would open in a drawdown of 0.1, limit 0.0999",
        held(10, 200.0),
        capital="10000",
    ),
    Row(
        # The worst 5 % of 40 days are two days of -4 % each.
        "max_expected_shortfall",
        {"max_expected_shortfall": Decimal(400), "shortfall_days": 40, "shortfall_confidence": Decimal("0.95")},
        proposal(quantity="100"),
        proposal(quantity="101"),
        "max_expected_shortfall: AAPL order would bring expected shortfall to 404.00, limit 400.00",
        days("AAPL", *MIXED),
    ),
    Row(
        "max_expected_shortfall",
        {"max_expected_shortfall": Decimal(400), "shortfall_days": 40},
        proposal(quantity="100"),
        proposal(symbol="MSFT"),
        "max_expected_shortfall: MSFT has 0 days of returns on record, at least 20",
        (*days("AAPL", *MIXED), bar("MSFT", 9, NOW, day=20250101)),
    ),
    Row(
        # Regulation T: half of 20,000
        "margin_initial",
        MARGIN,
        proposal(quantity="200"),
        proposal(quantity="201"),
        "margin_initial: AAPL order would bring initial margin to 10,050.00, limit 10,000.00",
        capital="10000",
    ),
    Row(
        # A contract needs the exchange's 12,000, crypto its full value.
        "margin_initial",
        MARGIN,
        proposal(quantity="3", symbol="ES"),
        proposal(quantity="0.8", symbol="BTCUSD"),
        "margin_initial: BTCUSD order would bring initial margin to 40,000.00, limit 39,999.00",
        (at("ES", 5_000.0), at("BTCUSD", 50_000.0)),
        capital="39999",
    ),
    Row(
        "day_trades",
        {"max_day_trades": Decimal(1), "day_trade_equity_min": Decimal(25_000)},
        proposal(BUY),
        proposal(SELL, "5"),
        "day_trades: AAPL order would be day trade number 2, limit 1",
        (
            AAPL,
            execution(1, NOW, "AAPL", 10, 100.0),
            execution(2, NOW, "AAPL", 5, 100.0)._replace(side=SELL),
        ),
        capital="24999",
    ),
]
