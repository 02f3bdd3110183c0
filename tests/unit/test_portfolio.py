"""The portfolio: which orders it proposes and when, with at most one open order per symbol."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from operators.instruments import CRYPTO, FUTURE, Instrument, Instruments
from operators.portfolio import PortfolioSettings
from operators.sizing import SizingSettings
from schemas.errors import BadInput
from schemas.records import CANCELED, EXPIRED, NEW, REJECTED, TRADE, Valuation
from schemas.records.constants import ExecType
from tests.builders import execution
from tests.builders.market import MINUTE_NS
from tests.unit.portfolio_harness import SHARES, PortfolioHarness, signed_quantities

# A script has one word per time slice. Signals: + long, - short, 0 flat. Reports: N accepted, F filled, Pn partly
# filled, C canceled, E expired, J rejected; R refused by risk. The second column lists the proposals ("." for none).
SCRIPTS = """
+ F 0 F . | 100 . -100 . .              in and out
+ 0 . F . | 100 . . -100 .              an exit waits for the open entry
+ F + + . | 100 . . . .                 a repeated view trades nothing
+ R . . . | 100 . . . .                 a refused entry is not tried again
+ R+ F 0 F| 100 100 . -100 .            a new view after the refusal is tried
+ E . 0 . | 100 . . . .                 an expired entry is not retried, its exit has nothing to sell
+ J . + F | 100 . . 100 .               a rejected entry is not retried
+ P30 C 0 F| 100 . . -30 .              an exit sells only the units filled before the cancel
+ P30 P70 0 F| 100 . . -100 .           partial fills add up
+ F 0 R . | 100 . -100 . -100           a refused exit is proposed again
+ F 0 P40 C . F| 100 . -100 . . -60 .   the rest of a partly filled exit is proposed again
+ N F 0 F | 100 . . -100 .              accepted first, filled later
+ F 0 + F | 100 . -100 . 100            an entry waits for the open exit
- . . . . | . . . . .                   short sales need the setting
"""


def scripts() -> list[Any]:
    rows = []
    for line in SCRIPTS.strip().splitlines():
        events, expectation = line.split("|")
        steps = events.split()
        words = expectation.split()
        rows.append(pytest.param(steps, words[: len(steps)], id=" ".join(words[len(steps) :])))
    return rows


@pytest.mark.parametrize(("steps", "expected"), scripts())
def test_one_order_at_a_time(steps: list[str], expected: list[str]) -> None:
    desk = PortfolioHarness(replace(SHARES, exit_retry_s=60))
    actual = []
    for step in steps:
        apply_step(desk, step)
        actual.append(" ".join(map(str, signed_quantities(desk.step()))) or ".")
    assert actual == expected


def apply_step(desk: PortfolioHarness, step: str) -> None:
    reports: dict[str, ExecType] = {"N": NEW, "F": TRADE, "C": CANCELED, "E": EXPIRED, "J": REJECTED}
    for i, letter in enumerate(step):
        if letter in "+-0" and not step.startswith("P"):
            desk.signal({"+": 1, "-": -1, "0": 0}[letter])
        elif letter == "R":
            desk.refuse()
        elif letter == "P":
            desk.report(TRADE, int(step[i + 1 :]))
        elif letter in reports:
            desk.report(reports[letter])


def test_a_reversal_is_one_order_through_zero() -> None:
    desk = PortfolioHarness(replace(SHARES, allow_short=True))
    desk.signal(1)
    desk.step()
    desk.report(TRADE)
    desk.signal(-1)
    assert signed_quantities(desk.step()) == [-200]


def test_strategies_on_one_symbol_are_netted() -> None:
    desk = PortfolioHarness(replace(SHARES, allow_short=True))
    desk.signal(1, strategy="a")
    desk.signal(1, strategy="b")
    (netted,) = desk.step()
    assert (signed_quantities([netted]), netted.strategy, netted.signal_ids) == ([200], "a+b", ["sig-X-1", "sig-X-2"])
    desk.report(TRADE)
    desk.signal(-1, strategy="b")
    assert signed_quantities(desk.step()) == [-200]
    desk.report(TRADE)
    desk.signal(0, strategy="a")
    assert signed_quantities(desk.step()) == [-100]


def test_reports_of_other_orders_release_nothing() -> None:
    desk = PortfolioHarness()
    desk.signal(1)
    (proposal,) = desk.step()
    manual_fill = execution(1, 1, "X", 7, 100, order_id="ord-hand")
    desk.execution_seq = 1
    desk.queued.append(manual_fill)
    desk.signal(0)
    assert desk.step() == []
    desk.report(TRADE)
    assert signed_quantities(desk.step()) == [-107]
    assert proposal.proposal_id == "prop-1"


def test_proposals_of_one_slice_share_the_cash_in_symbol_order() -> None:
    desk = PortfolioHarness(replace(SHARES, initial_capital=Decimal(25_000), cash_buffer=Decimal(0)))
    for symbol in ("C", "A", "B"):
        desk.signal(1, symbol)
    proposals = desk.step({"A": 100.0, "B": 100.0, "C": 100.0})
    assert [(p.terms.symbol, int(p.terms.quantity)) for p in proposals] == [("A", 100), ("B", 100), ("C", 50)]
    assert proposals[2].sizing == "fixed_quantity 100; increase limited to 50 by free cash 5000"


def test_a_cash_account_buys_only_with_settled_cash() -> None:
    desk = PortfolioHarness(
        replace(SHARES, initial_capital=Decimal(10_000), cash_buffer=Decimal(0), settled_cash_only=True)
    )
    desk.signal(1)
    assert signed_quantities(desk.step()) == [100]
    desk.report(TRADE)
    desk.signal(0)
    assert signed_quantities(desk.step()) == [-100]
    desk.report(TRADE)
    desk.signal(1)
    assert desk.step() == [], "the 10,000 of the sale settle on the next trading day"
    desk.day += 1
    desk.signal(1)
    assert signed_quantities(desk.step()) == [100]


def test_a_symbol_is_never_proposed_beyond_its_share_of_equity() -> None:
    desk = PortfolioHarness(replace(SHARES, max_position_percentage=Decimal("0.005")))
    desk.signal(1)
    (proposal,) = desk.step({"X": 60.0})
    assert int(proposal.terms.quantity) == 83
    assert proposal.sizing == "fixed_quantity 100; capped at 83 by 0.005 of equity 1000000"
    desk.report(TRADE, price=60.0)
    desk.signal(1)
    assert desk.step({"X": 80.0}) == [], "a position that grew beyond the cap by its price is not cut by a signal"


def test_a_rebalance_trades_back_to_target_beyond_the_band() -> None:
    sizing = SizingSettings(method="target_percent", fraction=Decimal("0.1"), no_trade_band=Decimal("0.05"))
    desk = PortfolioHarness(
        PortfolioSettings(sizing=sizing, max_position_percentage=Decimal(1), rebalance_interval_s=300)
    )
    desk.signal(1)
    assert signed_quantities(desk.step({"X": 100.0})) == [1000]
    desk.report(TRADE)
    traded = [signed_quantities(desk.step({"X": price})) for price in (100.0, 120.0, 120.0, 120.0, 120.0)]
    assert traded == [[], [], [], [-150], []], "at minute 5: 0.1 of 1,020,000 at 120 is 850"


@pytest.mark.parametrize(("direction", "limit"), [(1, "100.1"), (0, "99.9")])
def test_a_limit_order_is_priced_beyond_the_reference(direction: int, limit: str) -> None:
    desk = PortfolioHarness(replace(SHARES, order_type="LIMIT"))
    desk.signal(1)
    (proposal,) = desk.step()
    if direction == 0:
        desk.report(TRADE)
        desk.signal(0)
        (proposal,) = desk.step()
    assert (proposal.terms.order_type, proposal.terms.limit_price) == ("LIMIT", Decimal(limit))


def test_multiplier_lot_and_tick_of_a_listed_instrument_apply() -> None:
    future = Instrument(symbol="ES", asset_class=FUTURE, multiplier=Decimal(50), tick_size=Decimal("0.25"))
    coin = Instrument(symbol="BTC", asset_class=CRYPTO, lot_size=Decimal("0.0001"))
    desk = PortfolioHarness(
        PortfolioSettings(
            sizing=SizingSettings(fraction=Decimal("0.5")), max_position_percentage=Decimal(1), order_type="LIMIT"
        ),
        Instruments(listed=(future, coin)),
    )
    prices = {"ES": 4000.0, "BTC": 30_000.0}
    desk.signal(1, "ES")
    desk.signal(1, "BTC", strength=0.5)
    coins, contracts = desk.step(prices)
    assert (contracts.terms.quantity, contracts.terms.limit_price) == (Decimal(2), Decimal(4004)), (
        "500,000 / (4000 x 50)"
    )
    assert (coins.terms.quantity, coins.terms.limit_price) == (Decimal("8.3333"), Decimal(30_030))
    desk.report(TRADE, price=4000.0, symbol="ES")
    desk.step(prices | {"ES": 4010.0})
    (valuation,) = [r for r in desk.output if type(r) is Valuation]
    assert (valuation.net_exposure, valuation.unrealized_pnl) == (Decimal(401_000), Decimal(1_000))


def test_the_ledger_comes_first_then_the_valuation_then_the_proposals() -> None:
    desk = PortfolioHarness()
    desk.signal(1, "X")
    desk.step()
    desk.report(TRADE)
    desk.signal(1, "Y")
    desk.step({"X": 101.0, "Y": 50.0})
    assert [type(r).__name__ for r in desk.output] == ["Lot", "Position", "Valuation", "OrderProposal"]
    valuation = desk.output[2]
    assert isinstance(valuation, Valuation)
    assert (valuation.equity, valuation.unrealized_pnl) == (Decimal(1_000_100), Decimal(100))
    assert desk.stage.on_slice(10 * MINUTE_NS, []) == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("initial_capital", Decimal(0)),
        ("max_position_percentage", Decimal(0)),
        ("order_type", "STOP"),
        ("time_in_force", "IOC"),
        ("tick_size", Decimal(0)),
        ("cash_buffer", Decimal(-1)),
        ("rebalance_interval_s", 0),
        ("exit_retry_s", -1),
        ("settlement_days", -1),
    ],
)
def test_invalid_setting_is_reported(field: str, value: Any) -> None:
    with pytest.raises(BadInput, match=field):
        PortfolioSettings(**{field: value})
