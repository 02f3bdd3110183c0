"""One row a check (`risk_rows` and those beside it), on both sides of its boundary, through the stage as it is used."""

from __future__ import annotations

import pickle
from decimal import Decimal
from typing import Any

import pytest

from operators.risk import UNLIMITED, RiskSettings, RiskStage
from operators.risk.checks import CHECKS, checks_for
from operators.risk.commands import RECONCILED, RECONCILING
from schemas.errors import BadInput
from schemas.records import BUY, KILL_SWITCH, RELEASE, SELL, GatewayStatus, Order, OrderProposal, OrderRefusal
from tests.unit.builders import bar, command, execution
from tests.unit.risk_book_rows import BOOK_ROWS
from tests.unit.risk_order_rows import ORDER_ROWS
from tests.unit.risk_rows import BUY_10, MINUTE, NOW, ROWS, SECOND, Row, held, proposal

EVERY = [*ROWS, *ORDER_ROWS, *BOOK_ROWS]


def decide(row: Row, order: OrderProposal, *, restart: bool = False) -> Order | OrderRefusal:
    limits = RiskSettings.unlimited(**{"initial_capital": Decimal(row.capital), **row.limits})
    stage = RiskStage(limits)
    now = MINUTE
    for record in row.history:
        if isinstance(record, OrderProposal):
            now = max(now + SECOND, NOW)
            [answer] = stage.on_tick(now, [record])
            assert isinstance(answer, Order), answer
        else:
            now += 1
            assert stage.on_tick(now, [record]) == []
        if restart:
            state = pickle.dumps(stage.snapshot())
            stage = RiskStage(limits)
            stage.restore(pickle.loads(state))  # noqa: S301 - our own snapshot
    now = max(now + SECOND, order.ts_ns) if now >= NOW else NOW
    [answer] = stage.on_tick(now, [order])
    assert isinstance(answer, Order | OrderRefusal)
    return answer


@pytest.mark.parametrize("restart", [False, True], ids=["straight", "restarted"])
@pytest.mark.parametrize("row", EVERY, ids=lambda row: f"{row.check}: {row.message[-30:]}")
def test_a_check_accepts_at_its_boundary_and_refuses_beyond_it(row: Row, restart: bool) -> None:
    accepted = decide(row, row.accepted, restart=restart)
    assert isinstance(accepted, Order), accepted
    assert row.check in [result.check for result in accepted.checks]
    refused = decide(row, row.refused, restart=restart)
    assert isinstance(refused, OrderRefusal), refused
    assert refused.message == row.message
    assert refused.check in refused.message
    assert refused.cause_id == "prop-1"


def test_every_check_has_a_row_here() -> None:
    names = [entry.check.__module__.rsplit(".", 1)[1] for entry in CHECKS]
    rows = {row.check for row in EVERY}
    # States of the whole of risk and a mere note have tests of their own.
    assert set(names) - rows == {"kill_switch", "reconciling", "circuit_breaker", "amend_rate", "wash_sale"}


def test_an_approved_order_says_what_every_check_found() -> None:
    answer = decide(ROWS[0], BUY_10)
    assert isinstance(answer, Order)
    assert [result.check for result in answer.checks] == [
        c.__module__.rsplit(".", 1)[1] for c in checks_for(RiskSettings.unlimited())
    ]
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


def test_nothing_goes_out_while_the_gateway_is_not_reconciled() -> None:
    stage = RiskStage(RiskSettings.unlimited())
    began = command("c-1", NOW, RECONCILING)
    [refused] = stage.on_tick(NOW, [began, bar("AAPL", 9, NOW), BUY_10])
    assert isinstance(refused, OrderRefusal)
    assert refused.message == "reconciling: the gateway is not reconciled with its broker (because), AAPL is refused"
    [approved] = stage.on_tick(NOW + 1, [command("c-2", NOW, RECONCILED), BUY_10])
    assert isinstance(approved, Order)


def test_the_gateways_own_word_opens_and_closes_the_way() -> None:
    stage = RiskStage(RiskSettings.unlimited())
    unsure = GatewayStatus(1, NOW, "RECONCILING", "alpaca", "AAPL: 0 here, 7 at the broker", "tick-1")
    [refused] = stage.on_tick(NOW, [unsure, bar("AAPL", 9, NOW), BUY_10])
    assert isinstance(refused, OrderRefusal)
    assert refused.found == "reconciling: AAPL: 0 here, 7 at the broker"
    away = unsure._replace(seq=2, state="DOWN", reason="the socket is cut")
    [refused] = stage.on_tick(NOW + 1, [away, BUY_10])
    assert isinstance(refused, OrderRefusal) and refused.found == "down: the socket is cut"
    [approved] = stage.on_tick(NOW + 2, [unsure._replace(seq=3, state="READY"), BUY_10])
    assert isinstance(approved, Order)


def test_buying_back_within_30_days_of_a_loss_is_noted_on_the_order() -> None:
    day = 86_400 * SECOND
    stage = RiskStage(RiskSettings.unlimited(wash_sale_days=30))
    bought, sold = execution(1, NOW, "AAPL", 10, 100.0), execution(2, NOW, "AAPL", 4, 99.0)._replace(side=SELL)
    [note] = stage.on_tick(NOW, [bought, bar("AAPL", 1, NOW), BUY_10])
    assert isinstance(note, Order) and note.checks[-1] == ("wash_sale", "none", "30 days")
    [note] = stage.on_tick(NOW + 30 * day, [sold._replace(ts_ns=NOW), BUY_10])
    assert isinstance(note, Order)
    assert note.checks[-1] == ("wash_sale", "warning: sold at a loss 30 days ago", "30 days")
    [note] = stage.on_tick(NOW + 30 * day + 1, [BUY_10])
    assert isinstance(note, Order) and note.checks[-1].found == "none"
    gain = execution(3, NOW + 31 * day, "AAPL", 4, 101.0)._replace(side=SELL)
    [note] = stage.on_tick(NOW + 31 * day, [gain, BUY_10])
    assert isinstance(note, Order) and note.checks[-1].found == "none"


def test_the_drawdown_counts_from_the_highest_equity() -> None:
    stage = RiskStage(RiskSettings.unlimited(initial_capital=Decimal(10_000), max_drawdown=Decimal("0.1")))
    stage.on_tick(NOW, [*held(100, 100.0)])
    stage.on_tick(NOW + 1, [bar("AAPL", 10, NOW + 1, 200.0)])  # the equity is 20,000
    [approved] = stage.on_tick(NOW + 2, [bar("AAPL", 11, NOW + 2, 180.0), BUY_10])
    assert isinstance(approved, Order)
    [refused] = stage.on_tick(NOW + 3, [bar("AAPL", 12, NOW + 3, 179.0), BUY_10])
    assert isinstance(refused, OrderRefusal)
    assert refused.message == "max_drawdown: AAPL order would open in a drawdown of 0.105, limit 0.1"


@pytest.mark.parametrize("value", [Decimal("NaN"), Decimal(-1), Decimal("Infinity"), "none", 3])
def test_a_limit_is_a_number_or_says_unlimited(value: Any) -> None:
    with pytest.raises(BadInput, match="max_position must be a Decimal of at least 0"):
        RiskSettings(max_position=value)


@pytest.mark.parametrize("value", [Decimal("NaN"), Decimal(-1)])
def test_the_initial_capital_is_a_number(value: Decimal) -> None:
    with pytest.raises(BadInput, match="initial_capital"):
        RiskSettings(initial_capital=value)
