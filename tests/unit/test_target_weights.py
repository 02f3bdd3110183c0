"""Sizing by weights from the log: what a command does, what none does, and that a restart changes nothing."""

from __future__ import annotations

import pickle
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.money import ONE, ZERO
from operators.portfolio import PortfolioSettings, PortfolioStage
from operators.risk.settings import RiskSettings
from operators.risk.stage import RiskStage
from operators.sizing import TARGET_WEIGHTS, SizingSettings, TargetWeights, View, size, weights_of
from operators.sizing.target_weights import REPEATS_KNOWN
from schemas.errors import BadInput
from schemas.records import Command, CorporateAction
from tests.unit.builders import bar, command
from tests.unit.test_portfolio import MINUTE, Desk, signed

WEIGHTS = SizingSettings(method="target_weights")
PLAIN = View(1, ONE, Decimal(50), Decimal(1_000_000), ZERO, ONE)
ACCOUNT = PortfolioSettings(sizing=WEIGHTS, max_position_percentage=Decimal(1), cash_buffer=Decimal(0))


def weigh(name: str = "cmd-1", **weights: str) -> Command:
    return command(name, 1, TARGET_WEIGHTS)._replace(arguments=weights)


def test_weights_by_hand() -> None:
    known = PLAIN._replace(weight=Decimal("0.25"), weights_cause="cmd-1")
    sized = size(WEIGHTS, known)
    assert sized.quantity == 5000
    assert sized.text == (
        "target_weights 0.25 (weight 0.25 of cmd-1, at most 1) x equity 1000000 x strength 1 / 50 = 5000"
    )
    assert size(WEIGHTS, known._replace(direction=-1, strength=Decimal("0.5"))).quantity == -2500
    assert size(replace(WEIGHTS, share_max=Decimal("0.1")), known).quantity == 2000
    assert size(WEIGHTS, known._replace(held=Decimal(4751))).quantity == 4751, "within the band of 5 %"
    assert size(WEIGHTS, known._replace(held=Decimal(4750))).quantity == 5000
    assert size(WEIGHTS, known._replace(price=Decimal(51))).quantity == 4901, "rounded down to whole units"


def test_without_weights_nothing_is_entered_and_a_symbol_that_has_none_is_left() -> None:
    held = PLAIN._replace(held=Decimal(70))
    assert size(WEIGHTS, PLAIN) == (ZERO, "target_weights: no weights recorded yet, so 0")
    assert size(WEIGHTS, held).quantity == 70, "until there are weights what is held is kept"
    left = size(WEIGHTS, held._replace(weights_cause="cmd-1"))
    assert left.quantity == 0
    assert "not among the weights of cmd-1" in left.text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "for 1 to 5000 symbols, found 0"),
        ({"X": "-0.1"}, "target weight of X must be a number from 0 to 10 .*, found '-0.1'"),
        ({"X": "NaN"}, "found 'NaN'"),
        ({"X": "1e-3"}, "found '1e-3'"),
        ({"X": "10.000000001"}, "found '10.000000001'"),
        ({"X": "0.0000000001"}, "at most 9 decimals"),
        ({"X": ""}, "found ''"),
        ({"A B": "0.1"}, "a symbol must be one word"),
        ({"X\0": "0.1"}, "a symbol must be one word"),
        ({"": "0.1"}, "a symbol must be one word"),
    ],
)
def test_what_is_no_weight_is_refused_by_the_writer_and_ignored_by_the_stage(
    arguments: dict[str, str], said: str
) -> None:
    with pytest.raises(BadInput, match=said):
        weights_of(arguments)
    weights = TargetWeights()
    assert weights.fold(weigh(X="0.5"))
    assert not weights.fold(weigh("cmd-2")._replace(arguments={"Y": "0.1", **arguments} if arguments else {}))
    assert (weights.of("X"), weights.of("Y"), weights.cause) == (Decimal("0.5"), None, "cmd-1")


def test_the_bounds_are_weights() -> None:
    assert weights_of({"X": "0", "Y": "10", "Z": "0.000000001"}) == {"X": 0, "Y": 10, "Z": Decimal("1e-9")}


def test_a_repeat_does_not_bring_old_weights_back_and_memory_is_bounded() -> None:
    weights = TargetWeights()
    assert weights.fold(weigh("cmd-1", X="0.5", Y="0.5"))
    assert weights.fold(weigh("cmd-2", X="0.1"))
    assert not weights.fold(weigh("cmd-1", X="0.5", Y="0.5"))
    assert (weights.of("X"), weights.of("Y")) == (Decimal("0.1"), None), "a command replaces all"
    assert not weights.fold(command("cmd-3", 1)), "the kill switch is not for sizing"
    assert not weights.fold(weigh("cmd\0", X="0.9")), "Postgres has no place for NUL in a proposal's text"
    for number in range(3, REPEATS_KNOWN + 10):
        assert weights.fold(weigh(f"cmd-{number}", X="0.1"))
    assert len(weights.snapshot()[3]) == REPEATS_KNOWN


def test_new_weights_are_traded_to_at_once_and_then_at_rebalances() -> None:
    desk = Desk(replace(ACCOUNT, rebalance_interval_s=300))
    desk.signal(1, "X")
    desk.signal(1, "Y")
    prices = {"X": 100.0, "Y": 50.0}
    assert desk.tick(prices) == []
    desk.next.append(weigh("cmd-1", X="0.3", Y="0.2"))
    entered = desk.tick(prices)
    assert signed(entered) == [3000, 4000]
    assert [proposal.signal_ids for proposal in entered] == [["sig-X-1", "cmd-1"], ["sig-Y-2", "cmd-1"]]
    for symbol in prices:
        desk.report("TRADE", symbol=symbol, price=prices[symbol])
    desk.next.append(weigh("cmd-1", X="0.3", Y="0.2"))
    assert desk.tick(prices) == [], "a repeat"
    desk.next.append(weigh("cmd-2", X="0.5"))
    assert signed(desk.tick(prices)) == [2000, -4000], "Y has no weight any more"
    for symbol in prices:
        desk.report("TRADE", symbol=symbol, price=prices[symbol])
    (rebalanced,) = desk.tick({"X": 200.0, "Y": 50.0})
    assert signed([rebalanced]) == [-1250], "minute 5: 1.5 million, half of it at 200"
    assert "(weight 0.5 of cmd-2, at most 1)" in rebalanced.sizing


def test_the_cap_and_the_turnover_hold() -> None:
    sizing = replace(WEIGHTS, turnover_max=Decimal("0.01"))
    desk = Desk(replace(ACCOUNT, sizing=sizing, max_position_percentage=Decimal("0.05")))
    desk.next.append(weigh("cmd-1", X="0.3"))
    desk.signal(1)
    (entry,) = desk.tick()
    assert entry.quantity == 500 and "capped at 500 by 0.05" in entry.sizing
    desk.report("TRADE")
    desk.tick()
    desk.next.append(weigh("cmd-2", X="0.02"))
    (less,) = desk.tick()
    assert signed([less]) == [-100], "0.01 of a million at 100"


def test_another_method_keeps_the_weights_and_does_not_trade_on_them() -> None:
    desk = Desk(replace(ACCOUNT, sizing=SizingSettings(method="target_percent", fraction=Decimal("0.1"))))
    desk.signal(1)
    assert signed(desk.tick()) == [1000]
    desk.report("TRADE")
    desk.next.append(weigh(X="0.3"))
    assert desk.tick() == []
    other = PortfolioStage(ACCOUNT)
    other.restore(desk.stage.snapshot())
    assert other.snapshot()[-1] == (1, "cmd-1", {"X": Decimal("0.3")}, ["cmd-1"])


def test_a_weight_goes_on_under_a_new_name() -> None:
    desk = Desk(ACCOUNT)
    desk.next.append(weigh(X="0.3", Z="0.1"))
    desk.tick()
    desk.next.append(CorporateAction("r", 0, "SYMBOL_CHANGE", "X", 0, 0, None, None, "USD", "W", "test"))
    desk.tick()
    assert desk.stage.snapshot()[-1][2] == {"Z": Decimal("0.1"), "W": Decimal("0.3")}


@pytest.mark.parametrize("version", [1, 2, 3])
def test_older_snapshots_are_read(version: int) -> None:
    desk = Desk(ACCOUNT)
    desk.signal(1)
    desk.tick()
    desk.next.append(weigh(X="0.3"))
    desk.tick()
    known = desk.stage.snapshot()
    old = (version, *known[1 : {1: 9, 2: 10, 3: 11}[version]])
    again = PortfolioStage(ACCOUNT)
    again.restore(old)
    assert again.snapshot()[-1] == (1, "", {}, [])
    assert again.snapshot()[1:9] == known[1:9]


def test_risk_does_nothing_about_weights() -> None:
    risk, other = RiskStage(RiskSettings()), RiskStage(RiskSettings())
    assert risk.on_tick(MINUTE, [weigh(X="0.3"), bar("X", 1, MINUTE)]) == other.on_tick(MINUTE, [bar("X", 1, MINUTE)])
    assert risk.snapshot() == other.snapshot()


shares = st.one_of(st.decimals(min_value=0, max_value=1, places=3).map(str), st.sampled_from(["", "-1", "much"]))
ticks = st.lists(
    st.tuples(
        st.lists(st.tuples(st.sampled_from("XYZ"), st.sampled_from([-1, 0, 1])), max_size=2),
        st.none() | st.tuples(st.integers(1, 4), st.dictionaries(st.sampled_from("XYZ"), shares)),
        st.sampled_from(["fill", "wait"]),
        st.fixed_dictionaries({symbol: st.integers(9_000, 11_000) for symbol in "XYZ"}),
    ),
    max_size=12,
)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from([None, 120]), st.sampled_from([None, Decimal("0.05")]), ticks)
def test_a_restart_between_any_two_ticks_changes_nothing(
    interval: int | None, turnover: Decimal | None, drawn: list[Any]
) -> None:
    portfolio = replace(
        ACCOUNT, rebalance_interval_s=interval, allow_short=True, sizing=replace(WEIGHTS, turnover_max=turnover)
    )
    desk = Desk(portfolio)
    working: set[str] = set()
    for signals, asked, act, cents in drawn:
        if act == "fill":
            for symbol in sorted(working):
                desk.report("TRADE", symbol=symbol, price=cents[symbol] / 100)
            working.clear()
        for symbol, direction in signals:
            desk.signal(direction, symbol)
        if asked is not None:
            desk.next.append(weigh(f"cmd-{asked[0]}", **asked[1]))
        stored = pickle.dumps(desk.stage.snapshot())
        found = desk.tick({symbol: c / 100 for symbol, c in cents.items()})
        again = PortfolioStage(portfolio)
        again.restore(pickle.loads(stored))  # noqa: S301 our own bytes
        assert again.on_tick(desk.minute * MINUTE, desk.last) == desk.out
        assert again.snapshot() == desk.stage.snapshot()
        assert working.isdisjoint(proposal.symbol for proposal in found), "ordered twice"
        working.update(proposal.symbol for proposal in found)
