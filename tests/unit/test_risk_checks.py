"""One row a check, at both sides of its boundary, through the stage as it is used."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, NamedTuple

import pytest

from operators.risk import UNLIMITED, RiskSettings, RiskStage
from operators.risk.checks import CHECKS
from schemas.errors import BadInput
from schemas.records import (
    BUY,
    DAY,
    KILL_SWITCH,
    LIMIT,
    MARKET,
    RELEASE,
    SELL,
    Order,
    OrderProposal,
    OrderRefusal,
    Record,
    proposal_id,
)
from tests.unit.builders import bar, command, execution

SECOND = 1_000_000_000
MINUTE = 60 * SECOND
NOW = 10 * MINUTE


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


class Row(NamedTuple):
    """`accepted` and `refused` are orders just inside and just outside, on the same limits and history."""

    check: str
    limits: dict[str, Any]
    accepted: OrderProposal
    refused: OrderProposal
    message: str
    history: tuple[Record, ...] = (bar("AAPL", 9, NOW, 100.0),)
    capital: str = "1000000"


def held(quantity: int, price: float = 100.0) -> tuple[Record, ...]:
    """AAPL held since before, priced at 100 now."""
    return (
        execution(1, MINUTE, "AAPL", quantity, price)._replace(quantity=abs(Decimal(quantity))),
        bar("AAPL", 9, NOW),
    )


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


def decide(row: Row, order: OrderProposal) -> Order | OrderRefusal:
    stage = RiskStage(RiskSettings.unlimited(initial_capital=Decimal(row.capital), **row.limits))
    [answer] = stage.on_tick(NOW, [*row.history, order])
    assert isinstance(answer, Order | OrderRefusal)
    return answer


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.check}: {row.message[-30:]}")
def test_a_check_accepts_at_its_boundary_and_refuses_beyond_it(row: Row) -> None:
    accepted = decide(row, row.accepted)
    assert isinstance(accepted, Order), accepted
    assert row.check in [result.check for result in accepted.checks]
    refused = decide(row, row.refused)
    assert isinstance(refused, OrderRefusal), refused
    assert refused.message == row.message
    assert refused.check in refused.message
    assert refused.cause_id == "prop-1"


def test_every_check_has_a_row_here() -> None:
    names = [check.__module__.rsplit(".", 1)[1] for check in CHECKS]
    # The kill switch has tests of its own in test_risk_stage.
    assert set(names) - {row.check for row in ROWS} == {"kill_switch"}


def test_an_approved_order_says_what_every_check_found() -> None:
    answer = decide(ROWS[0], BUY_10)
    assert isinstance(answer, Order)
    assert [result.check for result in answer.checks] == [c.__module__.rsplit(".", 1)[1] for c in CHECKS]
    assert {r.check: (r.found, r.limit) for r in answer.checks}["max_position"] == ("10", UNLIMITED)


@pytest.mark.parametrize(
    "name",
    [
        "stale_price_s",
        "max_order_notional",
        "max_position",
        "max_position_size",
        "buying_power_multiple",
        "max_portfolio_leverage",
        "max_daily_loss",
    ],
)
def test_a_limit_that_is_not_set_refuses(name: str) -> None:
    stage = RiskStage(RiskSettings.unlimited(**{name: None}))
    [answer] = stage.on_tick(NOW, [bar("AAPL", 9, NOW), BUY_10])
    assert isinstance(answer, OrderRefusal)
    assert answer.limit == "not set"
    assert "the limit is not set" in answer.message


def test_what_reduces_needs_no_cash_and_no_leverage() -> None:
    """Bought on credit and under water: selling still goes through, buying more does not."""
    limits = RiskSettings.unlimited(
        initial_capital=Decimal(100), max_portfolio_leverage=Decimal(1), buying_power_multiple=Decimal(1)
    )
    stage = RiskStage(limits)
    [sell, buy] = stage.on_tick(NOW, [*held(100, 150.0), proposal(SELL, "100"), proposal(BUY, "1", seq=2)])
    assert isinstance(sell, Order)
    assert isinstance(buy, OrderRefusal) and buy.check == "cash"


def test_a_position_without_a_price_stops_what_depends_on_the_whole_book() -> None:
    stage = RiskStage(RiskSettings.unlimited(max_portfolio_leverage=Decimal(2)))
    [answer] = stage.on_tick(NOW, [execution(1, MINUTE, "IBM", 5, 100.0), bar("AAPL", 9, NOW), BUY_10])
    assert isinstance(answer, OrderRefusal)
    assert answer.message == "max_portfolio_leverage: the price of IBM, which is held, is not known"


def test_commands_halt_and_release() -> None:
    stage = RiskStage(RiskSettings.unlimited())
    [fence, refused] = stage.on_tick(NOW, [command("c-1", NOW, KILL_SWITCH), bar("AAPL", 9, NOW), BUY_10])
    assert isinstance(refused, OrderRefusal)
    assert refused.message == "kill_switch: trading is halted since risk epoch 1, AAPL is refused"
    [again, approved] = stage.on_tick(NOW + 1, [command("c-2", NOW, RELEASE), BUY_10])
    assert isinstance(approved, Order) and approved.risk_epoch == 2
    assert (fence.seq, again.seq, approved.seq) == (1, 2, 3)  # type: ignore[union-attr]


@pytest.mark.parametrize("value", [Decimal("NaN"), Decimal(-1), Decimal("Infinity"), "none", 3])
def test_a_limit_is_a_number_or_says_unlimited(value: Any) -> None:
    with pytest.raises(BadInput, match="max_position must be a Decimal of at least 0"):
        RiskSettings(max_position=value)


@pytest.mark.parametrize("value", [Decimal("NaN"), Decimal(-1)])
def test_the_initial_capital_is_a_number(value: Decimal) -> None:
    with pytest.raises(BadInput, match="initial_capital"):
        RiskSettings(initial_capital=value)
