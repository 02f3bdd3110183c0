"""Every risk check on both sides of its limit, through the risk stage.

The cases are in `risk_check_cases.py` and the case files beside it.
"""

from __future__ import annotations

import pickle
from decimal import Decimal
from typing import Any

import pytest

from operators.risk import UNLIMITED, RiskSettings, RiskStage
from operators.risk.checks import CHECKS, enabled_checks, unlisted_checks
from operators.risk.commands import RECONCILED, RECONCILING
from schemas.errors import BadInput
from schemas.records import BUY, KILL_SWITCH, RELEASE, SELL, GatewayStatus, Order, OrderProposal, OrderRefusal
from tests.builders import bar, command, execution, proposal
from tests.unit.risk_check_cases import (
    BASIC_CASES,
    BUY_10,
    MINUTE_NS,
    NOW_NS,
    SECOND_NS,
    RiskCheckCase,
    existing_position,
)
from tests.unit.risk_order_cases import ORDER_CASES
from tests.unit.risk_portfolio_cases import PORTFOLIO_CASES

LIMITS = RiskSettings.unlimited()
ALL_CASES = [*BASIC_CASES, *ORDER_CASES, *PORTFOLIO_CASES]


def decide(case: RiskCheckCase, order: OrderProposal, *, restart: bool = False) -> Order | OrderRefusal:
    limits = RiskSettings.unlimited(**{"initial_capital": Decimal(case.capital), **case.limits})
    stage = RiskStage(limits)
    now = MINUTE_NS
    for record in case.history:
        if isinstance(record, OrderProposal):
            now = max(now + SECOND_NS, NOW_NS)
            [decision] = stage.on_slice(now, [record])
            assert isinstance(decision, Order), decision
        else:
            now += 1
            assert stage.on_slice(now, [record]) == []
        if restart:
            state = pickle.dumps(stage.snapshot())
            stage = RiskStage(limits)
            stage.restore(pickle.loads(state))  # noqa: S301 - our own snapshot
    now = max(now + SECOND_NS, order.ts_ns) if now >= NOW_NS else NOW_NS
    [decision] = stage.on_slice(now, [order])
    assert isinstance(decision, Order | OrderRefusal)
    return decision


@pytest.mark.parametrize("restart", [False, True], ids=["straight", "restarted"])
@pytest.mark.parametrize("case", ALL_CASES, ids=lambda case: f"{case.check}: {case.message[-30:]}")
def test_a_check_accepts_at_its_boundary_and_refuses_beyond_it(case: RiskCheckCase, restart: bool) -> None:
    accepted = decide(case, case.accepted, restart=restart)
    assert isinstance(accepted, Order), accepted
    assert case.check in [result.check for result in accepted.checks]
    rejected = decide(case, case.rejected, restart=restart)
    assert isinstance(rejected, OrderRefusal), rejected
    assert rejected.message == case.message
    assert rejected.check in rejected.message
    assert rejected.cause_id == "prop-1"


def test_every_check_has_a_case() -> None:
    names = [entry.check.__module__.rsplit(".", 1)[1] for entry in CHECKS]
    covered = {case.check for case in ALL_CASES}
    # Separate tests cover the checks on the state of the whole risk stage and the check that only adds a note.
    elsewhere = {"kill_switch", "reconciling", "circuit_breaker", "exchange_halt", "ended_symbol"}
    elsewhere |= {"amend_rate", "wash_sale"}
    assert set(names) - covered == elsewhere


def test_approved_order_lists_the_result_of_every_check() -> None:
    decision = decide(BASIC_CASES[0], BUY_10)
    assert isinstance(decision, Order)
    assert [result.check for result in decision.checks] == [
        c.__module__.rsplit(".", 1)[1] for c in enabled_checks(LIMITS) if c not in unlisted_checks(LIMITS)
    ]
    assert {c.__module__.rsplit(".", 1)[1] for c in unlisted_checks(LIMITS)} == {
        "exchange_halt",
        "ended_symbol",
        "tick_size",
        "lot_size",
    }
    assert {r.check: (r.found, r.limit) for r in decision.checks}["max_position"] == ("10", UNLIMITED)


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
def test_unset_limit_rejects(name: str) -> None:
    stage = RiskStage(RiskSettings.unlimited(**{name: None}))
    [decision] = stage.on_slice(NOW_NS, [bar("AAPL", 9, NOW_NS), BUY_10])
    assert isinstance(decision, OrderRefusal)
    assert decision.limit == "not set"
    assert "the limit is not set" in decision.message


def test_reducing_orders_need_no_cash_or_leverage() -> None:
    """An account with borrowed cash and losses can sell, but it cannot buy more."""
    limits = RiskSettings.unlimited(
        initial_capital=Decimal(100), max_portfolio_leverage=Decimal(1), buying_power_multiple=Decimal(1)
    )
    stage = RiskStage(limits)
    [sell, buy] = stage.on_slice(NOW_NS, [*existing_position(100, 150.0), proposal(SELL, 100), proposal(BUY, 1, seq=2)])
    assert isinstance(sell, Order)
    assert isinstance(buy, OrderRefusal) and buy.check == "cash"


def test_unpriced_position_rejects_orders_checked_against_the_portfolio() -> None:
    stage = RiskStage(RiskSettings.unlimited(max_portfolio_leverage=Decimal(2)))
    [decision] = stage.on_slice(NOW_NS, [execution(1, MINUTE_NS, "IBM", 5, 100.0), bar("AAPL", 9, NOW_NS), BUY_10])
    assert isinstance(decision, OrderRefusal)
    assert decision.message == "max_portfolio_leverage: the portfolio cannot be valued, no market data for IBM yet"


def test_commands_halt_and_release() -> None:
    stage = RiskStage(RiskSettings.unlimited())
    [fence, rejected] = stage.on_slice(NOW_NS, [command("c-1", NOW_NS, KILL_SWITCH), bar("AAPL", 9, NOW_NS), BUY_10])
    assert isinstance(rejected, OrderRefusal)
    assert rejected.message == (
        "kill_switch: trading is HALTED since risk epoch 1. Release the kill switch to send AAPL orders"
    )
    [release_fence, approved] = stage.on_slice(NOW_NS + 1, [command("c-2", NOW_NS, RELEASE), BUY_10])
    assert isinstance(approved, Order) and approved.risk_epoch == 2
    assert (fence.seq, release_fence.seq, approved.seq) == (1, 2, 3)  # type: ignore[union-attr]


def test_orders_are_rejected_while_the_gateway_is_not_reconciled() -> None:
    stage = RiskStage(RiskSettings.unlimited())
    reconciling = command("c-1", NOW_NS, RECONCILING)
    [rejected] = stage.on_slice(NOW_NS, [reconciling, bar("AAPL", 9, NOW_NS), BUY_10])
    assert isinstance(rejected, OrderRefusal)
    assert rejected.message == (
        "reconciling: AAPL order is rejected until the gateway is reconciled with the broker (because)"
    )
    [approved] = stage.on_slice(NOW_NS + 1, [command("c-2", NOW_NS, RECONCILED), BUY_10])
    assert isinstance(approved, Order)


def test_gateway_status_blocks_and_allows_orders() -> None:
    stage = RiskStage(RiskSettings.unlimited())
    reason = "AAPL: position is 0 here, 7 at the broker"
    reconciling = GatewayStatus(
        seq=1, ts_ns=NOW_NS, state="RECONCILING", broker="alpaca", reason=reason, cause_id="tick-1"
    )
    [rejected] = stage.on_slice(NOW_NS, [reconciling, bar("AAPL", 9, NOW_NS), BUY_10])
    assert isinstance(rejected, OrderRefusal)
    assert rejected.found == "reconciling: AAPL: position is 0 here, 7 at the broker"
    down = reconciling._replace(seq=2, state="DOWN", reason="the socket is cut")
    [rejected] = stage.on_slice(NOW_NS + 1, [down, BUY_10])
    assert isinstance(rejected, OrderRefusal) and rejected.found == "down: the socket is cut"
    [approved] = stage.on_slice(NOW_NS + 2, [reconciling._replace(seq=3, state="READY"), BUY_10])
    assert isinstance(approved, Order)


def test_buying_back_within_30_days_of_a_loss_is_noted_on_the_order() -> None:
    day = 86_400 * SECOND_NS
    stage = RiskStage(RiskSettings.unlimited(wash_sale_days=30))
    purchase, sale = execution(1, NOW_NS, "AAPL", 10, 100.0), execution(2, NOW_NS, "AAPL", -4, 99.0)
    [order] = stage.on_slice(NOW_NS, [purchase, bar("AAPL", 1, NOW_NS), BUY_10])
    assert isinstance(order, Order) and order.checks[-1] == ("wash_sale", "none", "30 days")
    [order] = stage.on_slice(NOW_NS + 30 * day, [sale, BUY_10])
    assert isinstance(order, Order)
    assert order.checks[-1] == ("wash_sale", "warning: sold at a loss 30 days ago", "30 days")
    [order] = stage.on_slice(NOW_NS + 30 * day + 1, [BUY_10])
    assert isinstance(order, Order) and order.checks[-1].found == "none"
    gain = execution(3, NOW_NS + 31 * day, "AAPL", -4, 101.0)
    [order] = stage.on_slice(NOW_NS + 31 * day, [gain, BUY_10])
    assert isinstance(order, Order) and order.checks[-1].found == "none"


def test_the_drawdown_counts_from_the_highest_equity() -> None:
    stage = RiskStage(RiskSettings.unlimited(initial_capital=Decimal(10_000), max_drawdown=Decimal("0.1")))
    stage.on_slice(NOW_NS, [*existing_position(100, 100.0)])
    stage.on_slice(NOW_NS + 1, [bar("AAPL", 10, NOW_NS + 1, 200.0)])  # the equity is 20,000
    [approved] = stage.on_slice(NOW_NS + 2, [bar("AAPL", 11, NOW_NS + 2, 180.0), BUY_10])
    assert isinstance(approved, Order)
    [rejected] = stage.on_slice(NOW_NS + 3, [bar("AAPL", 12, NOW_NS + 3, 179.0), BUY_10])
    assert isinstance(rejected, OrderRefusal)
    assert rejected.message == (
        "max_drawdown: drawdown is 0.105 of peak equity, limit 0.1; AAPL order would open or increase a position"
    )


@pytest.mark.parametrize("value", [Decimal("NaN"), Decimal(-1), Decimal("Infinity"), "none", 3])
def test_a_limit_is_a_number_or_unlimited(value: Any) -> None:
    with pytest.raises(BadInput, match="max_position must be a Decimal of at least 0"):
        RiskSettings(max_position=value)


@pytest.mark.parametrize("value", [Decimal("NaN"), Decimal(-1)])
def test_the_initial_capital_is_a_number(value: Decimal) -> None:
    with pytest.raises(BadInput, match="initial_capital"):
        RiskSettings(initial_capital=value)


OPEN_NS, CLOSE_NS = 1000 * MINUTE_NS, 1390 * MINUTE_NS
NEXT_OPEN_NS = OPEN_NS + 1440 * MINUTE_NS


def open_time(from_ns: int, to_ns: int) -> int:
    """Two sessions of 390 minutes that start 1440 minutes apart."""
    day_ns = 1440 * MINUTE_NS
    sessions = [(OPEN_NS + day * day_ns, CLOSE_NS + day * day_ns) for day in (0, 1)]
    return sum(max(0, min(to_ns, close) - max(from_ns, start)) for start, close in sessions)


@pytest.mark.parametrize(
    ("bar_ns", "order_ns", "session", "message"),
    [
        (CLOSE_NS, CLOSE_NS + 600 * MINUTE_NS, "REGULAR", None),
        (CLOSE_NS, NEXT_OPEN_NS, "REGULAR", None),
        (CLOSE_NS, NEXT_OPEN_NS + 5 * MINUTE_NS, "REGULAR", None),
        # the feed is silent after the open: within a session, the check fails closed
        (CLOSE_NS, NEXT_OPEN_NS + 5 * MINUTE_NS + 1, "REGULAR", "price is 300.000000001 s of trading time old"),
        # the feed was silent before the close
        (CLOSE_NS - 10 * MINUTE_NS, NEXT_OPEN_NS, "REGULAR", "price is 600 s of trading time old"),
        (CLOSE_NS - 10 * MINUTE_NS, CLOSE_NS, "REGULAR", "price is 600 s old"),
        # a continuous market has no night
        (CLOSE_NS, CLOSE_NS + 10 * MINUTE_NS, "CONTINUOUS", "price is 600 s old"),
    ],
)
def test_a_price_ages_only_while_the_market_is_open(
    bar_ns: int, order_ns: int, session: Any, message: str | None
) -> None:
    stage = RiskStage(RiskSettings.unlimited(stale_price_s=Decimal(300)), open_time)
    assert stage.on_slice(bar_ns, [bar("AAPL", 1, bar_ns, session=session)]) == []
    [decision] = stage.on_slice(order_ns, [proposal()])
    if message is None:
        assert isinstance(decision, Order)
    else:
        assert isinstance(decision, OrderRefusal)
        assert decision.message == f"stale_price: AAPL {message}, limit 300"
