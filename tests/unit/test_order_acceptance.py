"""Orders that make no sense are refused by default: lot, tick, prices on the wrong side of the market or the entry."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from configs.settings import load_settings
from dataflows.runtime import stages
from operators.instruments import NO_INSTRUMENTS, UNLISTED, Instrument, Instruments
from operators.portfolio import PortfolioSettings, PortfolioStage
from operators.risk import RiskSettings, RiskStage
from operators.risk.order_rules import first_refusal
from operators.sizing import SizingSettings
from operators.trading_loop import TradingLoop
from operators.venue import VenueSettings, VenueStage
from schemas.records import (
    AMEND_ORDER,
    BUY,
    LIMIT,
    MARKET,
    SELL,
    STOP,
    SUBMIT_ORDER,
    TRADE,
    TRAILING_STOP,
    Command,
    Execution,
    Order,
    OrderRefusal,
    OrderTerms,
    OrderType,
    Side,
)
from tests.builders import bar, command, corporate_action, execution, proposal
from tests.unit.portfolio_harness import PortfolioHarness

NOW_NS = 600_000_000_000
D = Decimal
DEFAULTS = RiskSettings.unlimited(instruments=NO_INSTRUMENTS, price_collar_bps=RiskSettings.price_collar_bps)


def submit(name: str = "1", **arguments: str) -> Command:
    terms = {"symbol": "AAPL", "side": "BUY", "quantity": "10"}
    return command(f"cmd-{name}", kind=SUBMIT_ORDER, arguments={**terms, **arguments})


def decide(
    *commands: Command, price: float = 100.0, symbol: str = "AAPL", position: int = 0, limits: RiskSettings = DEFAULTS
) -> list[Any]:
    """Return the decisions of risk on commands at a last price, with a position of this quantity."""
    stage = RiskStage(limits)
    trades = [execution(1, NOW_NS - 1, symbol, position, price)] if position else []
    stage.on_slice(NOW_NS - 1, [*trades, bar(symbol, 1, NOW_NS - 1, price)])
    return stage.on_slice(NOW_NS, list(commands))


REFUSED: list[tuple[dict[str, str], str]] = [
    ({"quantity": "0.5"}, "lot_size: AAPL quantity 0.5 is not a multiple of lot size 1"),
    ({"quantity": "0.000000001"}, "lot_size: AAPL quantity 0.000000001 is not a multiple of lot size 1"),
    (
        {"order_type": "LIMIT", "limit_price": "99.995"},
        "tick_size: AAPL limit price 99.995 is not a multiple of tick size 0.01",
    ),
    (
        {"order_type": "STOP", "stop_price": "100.001"},
        "tick_size: AAPL stop price 100.001 is not a multiple of tick size 0.01",
    ),
    (
        {"order_type": "LIMIT", "limit_price": "110.01"},
        "price_collar: AAPL limit price is 1,001 bps beyond the last price, limit 1,000",
    ),
    (
        {"order_type": "LIMIT", "limit_price": "89.99", "side": "SELL"},
        "price_collar: AAPL limit price is 1,001 bps beyond the last price, limit 1,000",
    ),
    (
        {"order_type": "STOP_LIMIT", "stop_price": "120", "limit_price": "132.01"},
        "price_collar: AAPL limit price is 1,000.833333333 bps beyond the stop price, limit 1,000",
    ),
    (
        {"order_type": "STOP", "stop_price": "99.99"},
        "price_collar: AAPL stop price 99.99 of a BUY order is on the wrong side of the last price 100 "
        "and would trigger at once. Set it above the last price",
    ),
    (
        {"order_type": "STOP", "stop_price": "100.01", "side": "SELL", "reduce_only": "true"},
        "price_collar: AAPL stop price 100.01 of a SELL order is on the wrong side of the last price 100 "
        "and would trigger at once. Set it below the last price",
    ),
    (
        {"take_profit_price": "100"},
        "exit_prices: AAPL take profit 100 of a BUY order must be above its entry price 100",
    ),
    (
        {"stop_loss_price": "101", "take_profit_price": "110"},
        "exit_prices: AAPL stop loss 101 of a BUY order must be below its entry price 100",
    ),
    (
        {"side": "SELL", "take_profit_price": "101"},
        "exit_prices: AAPL take profit 101 of a SELL order must be below its entry price 100",
    ),
    (
        {"side": "SELL", "stop_loss_price": "99"},
        "exit_prices: AAPL stop loss 99 of a SELL order must be above its entry price 100",
    ),
    (
        {"order_type": "LIMIT", "limit_price": "90", "take_profit_price": "89"},
        "exit_prices: AAPL take profit 89 of a BUY order must be above its entry price 90",
    ),
    (
        # The limit is above the market, so that the entry fills at 100.
        {"order_type": "LIMIT", "limit_price": "105", "stop_loss_price": "102"},
        "exit_prices: AAPL stop loss 102 of a BUY order must be below its entry price 100",
    ),
    (
        {"order_type": "TRAILING_STOP", "trail_amount": "2", "take_profit_price": "95", "stop_loss_price": "96"},
        "exit_prices: AAPL stop loss 96 must be below the take profit 95",
    ),
    (
        {"take_profit_price": "110.005"},
        "tick_size: AAPL limit price 110.005 is not a multiple of tick size 0.01",
    ),
]

ACCEPTED: list[dict[str, str]] = [
    {"order_type": "LIMIT", "limit_price": "110"},
    {"order_type": "LIMIT", "limit_price": "1"},
    {"order_type": "LIMIT", "limit_price": "9000", "side": "SELL"},
    {"order_type": "STOP", "stop_price": "100"},
    {"order_type": "STOP", "stop_price": "500"},
    {"order_type": "STOP_LIMIT", "stop_price": "120", "limit_price": "132"},
    {"order_type": "LIMIT", "limit_price": "0.9999"},
    {"take_profit_price": "100.01", "stop_loss_price": "99.99"},
    {"take_profit_price": "500", "stop_loss_price": "1"},
    {"order_type": "LIMIT", "limit_price": "50", "take_profit_price": "60", "stop_loss_price": "45"},
    {"order_type": "STOP", "stop_price": "120", "take_profit_price": "130", "stop_loss_price": "115"},
    {"order_type": "TRAILING_STOP", "trail_amount": "2", "take_profit_price": "110", "stop_loss_price": "90"},
]


@pytest.mark.parametrize(("arguments", "message"), REFUSED, ids=lambda value: str(value)[:60])
def test_a_senseless_order_is_refused_with_the_reason(arguments: dict[str, str], message: str) -> None:
    [refusal] = decide(submit(**arguments))
    assert isinstance(refusal, OrderRefusal), refusal
    assert (refusal.message, refusal.cause_id) == (message, "cmd-1")
    assert refusal.check == message.split(":")[0]


@pytest.mark.parametrize("arguments", ACCEPTED, ids=str)
def test_resting_prices_and_exits_on_the_right_side_pass(arguments: dict[str, str]) -> None:
    decisions = decide(submit(**arguments))
    assert [type(decision) for decision in decisions] == [Order] * (
        1 + sum("profit" in n or "loss" in n for n in arguments)
    )


def test_a_limit_of_9000_on_a_share_of_24_56_is_refused() -> None:
    [refusal] = decide(submit(order_type="LIMIT", limit_price="9000"), price=24.56)
    assert isinstance(refusal, OrderRefusal) and refusal.check == "price_collar"


def test_an_exit_may_have_any_limit_price_and_the_odd_remainder_may_be_closed() -> None:
    at_any_price = submit(side="SELL", order_type="LIMIT", limit_price="1", reduce_only="true")
    [order] = decide(at_any_price, position=10)
    assert isinstance(order, Order)
    stage = RiskStage(DEFAULTS)
    stage.on_slice(NOW_NS - 1, [execution(1, NOW_NS - 1, "AAPL", "10.5", 100.0), bar("AAPL", 1, NOW_NS - 1, 100.0)])
    odd, whole = submit("1", side="SELL", quantity="0.5"), submit("2", side="SELL", quantity="10.5")
    refusal, closing = stage.on_slice(NOW_NS, [odd, whole])
    assert isinstance(refusal, OrderRefusal) and isinstance(closing, Order)


@pytest.mark.parametrize(
    ("symbol", "quantity", "limit_price", "is_accepted"),
    [
        ("BTC/USD", "0.000000001", "99.123456789", True),
        ("BTC-USD", "0.5", "99", False),
        ("BTC/", "0.5", "99", False),
        ("BRK/B/C", "0.5", "99", False),
        ("COIN", "0.25", "99", True),
        ("COIN", "0.1", "99", False),
    ],
)
def test_pairs_and_listed_instruments_trade_in_their_own_steps(
    symbol: str, quantity: str, limit_price: str, is_accepted: bool
) -> None:
    listed = Instruments(listed=(Instrument(symbol="COIN", lot_size=D("0.25")),))
    limits = RiskSettings.unlimited(instruments=listed if symbol == "COIN" else NO_INSTRUMENTS)
    order = submit(symbol=symbol, quantity=quantity, order_type="LIMIT", limit_price=limit_price)
    [decision] = decide(order, symbol=symbol, limits=limits)
    assert isinstance(decision, Order) is is_accepted, decision


def test_an_approved_order_does_not_list_the_rules_that_apply_by_default() -> None:
    """Orders of 0.2.0, which had no such rules, replay to equal orders."""
    [with_rules] = decide(submit())
    [without_rules] = decide(submit(), limits=RiskSettings.unlimited())
    assert with_rules == without_rules
    [with_collar] = decide(submit(), limits=RiskSettings.unlimited(price_collar_bps=D(500)))
    assert [check.check for check in with_collar.checks if check.check == "price_collar"] == ["price_collar"]


class AmendmentHarness:
    """Venue, portfolio and risk with the default rules, and a bar of AAPL per step."""

    def __init__(self) -> None:
        venue = VenueStage(VenueSettings(fee_model="none", slippage_bps=D(0)))
        self.loop = TradingLoop(venue, PortfolioStage(PortfolioSettings()), RiskStage(DEFAULTS))
        self.minute = 0

    def step(self, *commands: Command, price: float = 100.0) -> list[Any]:
        self.minute += 1
        ts_ns = self.minute * 60_000_000_000
        output = self.loop.on_slice(ts_ns, [*commands, bar("AAPL", self.minute, ts_ns, price)])
        return [record for record in output if type(record) in (Order, OrderRefusal, Execution)]

    def amend(self, order_id: str, price: float = 100.0, **changes: str) -> str:
        """Return the message of the refusal of an amendment, or "" if it is approved."""
        name = f"cmd-amend-{self.minute}"
        amendment = command(name, kind=AMEND_ORDER, arguments={"order_id": order_id, **changes})
        output = self.step(amendment, price=price)
        [decision] = [r for r in output if type(r) in (Order, OrderRefusal)]
        return decision.message if isinstance(decision, OrderRefusal) else ""


def test_amendments_follow_the_same_rules() -> None:
    harness = AmendmentHarness()
    terms = {"order_type": "LIMIT", "limit_price": "90", "take_profit_price": "95", "stop_loss_price": "80"}
    entry, profit, loss = harness.step(submit(**terms))
    harness.step()
    entry_id, profit_id, loss_id = entry.order_id, profit.order_id, loss.order_id
    assert harness.amend(entry_id, quantity="10.5").startswith("lot_size: ")
    assert harness.amend(entry_id, limit_price="90.001").startswith("tick_size: ")
    assert harness.amend(entry_id, limit_price="120").startswith("exit_prices: AAPL take profit 95 ")
    assert harness.amend(profit_id, limit_price="90").startswith("exit_prices: AAPL take profit 90 ")
    assert harness.amend(loss_id, stop_price="91").startswith("exit_prices: AAPL stop loss 91 ")
    assert harness.amend(loss_id, stop_price="85") == ""
    fills = [r for r in harness.step(price=90.0) if type(r) is Execution and r.exec_type == TRADE]
    assert [fill.order_id for fill in fills] == [entry_id]
    # The entry is filled: its stop is compared with the market.
    assert harness.amend("ord-cmd-amend-7", 90.0, stop_price="91").startswith("price_collar: AAPL stop price 91 ")
    assert harness.amend("ord-cmd-amend-7", 90.0, stop_price="88") == ""
    # The amended stop works: it needs no open entry any more.
    fills = [r for _ in range(2) for r in harness.step(price=87.0) if type(r) is Execution and r.exec_type == TRADE]
    assert [(fill.order_id, fill.price) for fill in fills] == [("ord-cmd-amend-10", D(87))]


@pytest.mark.parametrize(
    ("variables", "symbol", "steps"),
    [
        ({}, "AAPL", ("1", "0.01")),
        ({}, "BTC/USD", ("1E-9", "1E-9")),
        ({"PORTFOLIO_MANAGER__SIZING__LOT_SIZE": "0.001"}, "AAPL", ("0.001", "0.01")),
        ({"PORTFOLIO_MANAGER__SIZING__LOT_SIZE": "100"}, "AAPL", ("1", "0.01")),
        ({"MARKET_DATA__FEED": "files", "MARKET_DATA__FILES__CALENDAR": "24/7"}, "BTC-USD", ("1E-9", "1E-9")),
        ({"MARKET_DATA__ALPACA__ASSET_CLASS": "crypto"}, "BTCUSD", ("1E-9", "1E-9")),
        ({"MARKET_DATA__FILES__CALENDAR": "24/7"}, "AAPL", ("1", "0.01")),
        ({"MARKET_DATA__LIVE__CALENDAR": "24/7"}, "AAPL", ("1", "0.01")),
    ],
)
def test_the_settings_define_the_steps_of_unlisted_symbols(
    variables: dict[str, str], symbol: str, steps: tuple[str, str]
) -> None:
    limits = load_settings(environment=variables).risk()
    instrument = limits.instruments[symbol]
    assert (instrument.lot_size, instrument.tick_size) == (D(steps[0]), D(steps[1]))
    assert limits.price_collar_bps == D(1000) and not limits.instruments.is_defined


def test_a_strategy_buys_a_fraction_of_a_coin_in_files_on_a_24_7_calendar() -> None:
    variables = {
        "MARKET_DATA__FEED": "files",
        "MARKET_DATA__FILES__CALENDAR": "24/7",
        "PORTFOLIO_MANAGER__INITIAL_CAPITAL": "100000",
        "SIGNALS__STRATEGIES": '[{"name": "buy_and_hold"}]',
    }
    settings = load_settings(environment=variables)
    loop = stages.decision_loop(settings)()
    analysis = stages.analysis(settings)()
    fills: list[Execution] = []
    for number in range(1, 6):
        ts_ns = number * 60_000_000_000
        records = analysis.on_slice(ts_ns, [bar("BTC-USD", number, ts_ns, 64_000.0, volume=1000)])
        output = loop.on_slice(ts_ns, [bar("BTC-USD", number, ts_ns, 64_000.0, volume=1000), *records])
        fills += [record for record in output if type(record) is Execution and record.exec_type == TRADE]
    assert [fill.quantity for fill in fills] == [D("0.03125")]


def test_a_strategy_sells_whole_shares_of_a_position_with_a_fraction() -> None:
    """A split leaves 252.5 shares. A strategy sells whole ones, and the last order closes the rest."""
    sizing = SizingSettings(method="fixed_quantity", quantity=D(101))
    desk = PortfolioHarness(PortfolioSettings(sizing=sizing, max_position_percentage=D(1)))
    desk.signal(1, strategy="s")
    desk.signal(1, strategy="t")
    desk.step()
    desk.report(TRADE)
    desk.step()
    desk.queued.append(corporate_action("split", "SPLIT", "X", ratio=D("1.25")))
    desk.step()
    desk.signal(0, strategy="t")
    [reduction] = desk.step()
    assert (reduction.terms.side, reduction.terms.quantity) == ("SELL", D(126))
    desk.report(TRADE)
    desk.step()
    desk.signal(0, strategy="s")
    [closing] = desk.step()
    assert (closing.terms.side, closing.terms.quantity) == ("SELL", D("126.5"))


@pytest.mark.parametrize(
    ("side", "order_type", "prices", "expected"),
    [
        (BUY, MARKET, {}, ""),
        (BUY, LIMIT, {"limit_price": D(9000)}, ""),
        (SELL, STOP, {"stop_price": D(9000)}, ""),
        (BUY, TRAILING_STOP, {"trail_amount": D(1)}, ""),
        (BUY, LIMIT, {"limit_price": D("1.001")}, "tick_size"),
    ],
)
def test_without_a_price_only_the_steps_are_checked(
    side: Side, order_type: OrderType, prices: dict[str, Any], expected: str
) -> None:
    terms = OrderTerms(symbol="AAPL", side=side, quantity=D(1), order_type=order_type, time_in_force="DAY", **prices)
    refusal = first_refusal(terms, [], UNLISTED, D(0), None, D(1000))
    assert ("" if refusal is None else refusal.check) == expected


def test_the_default_rules_apply_to_strategies_too() -> None:
    stage = RiskStage(DEFAULTS)
    [refusal] = stage.on_slice(NOW_NS, [bar("AAPL", 1, NOW_NS, 100.0), proposal(quantity="1.5")])
    assert isinstance(refusal, OrderRefusal) and refusal.check == "lot_size"
