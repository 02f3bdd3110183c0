"""Sizing by weights from the log: valid commands change weights, invalid ones do not, and restarts change nothing."""

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
from operators.sizing import TARGET_WEIGHTS, SizingInput, SizingSettings, TargetWeights, parse_weights, size_position
from operators.sizing.target_weights import COMMAND_IDS_MAX
from schemas.errors import BadInput
from schemas.records import SYMBOL_CHANGE, Command
from tests.builders import bar, command, corporate_action
from tests.builders.market import MINUTE_NS
from tests.unit.portfolio_harness import PortfolioHarness, signed_quantities

WEIGHTS = SizingSettings(method="target_weights")
WEIGHTS_INDEX = -2
"""Where a snapshot of the portfolio holds the weights; the targets of the strategies follow them."""
BASE_INPUT = SizingInput(
    direction=1, strength=ONE, price=Decimal(50), equity=Decimal(1_000_000), current_quantity=ZERO, lot_size=ONE
)
ACCOUNT = PortfolioSettings(sizing=WEIGHTS, max_position_percentage=Decimal(1), cash_buffer=Decimal(0))


def weights_command(name: str = "cmd-1", **weights: str) -> Command:
    return command(name, 1, TARGET_WEIGHTS, weights)


def test_weights_by_hand() -> None:
    weighted_input = BASE_INPUT._replace(weight=Decimal("0.25"), weights_cause="cmd-1")
    result = size_position(WEIGHTS, weighted_input)
    assert result.quantity == 5000
    assert result.text == (
        "target_weights 0.25 (weight 0.25 of cmd-1, at most 1) x equity 1000000 x strength 1 / 50 = 5000"
    )
    assert size_position(WEIGHTS, weighted_input._replace(direction=-1, strength=Decimal("0.5"))).quantity == -2500
    assert size_position(replace(WEIGHTS, share_max=Decimal("0.1")), weighted_input).quantity == 2000
    assert size_position(WEIGHTS, weighted_input._replace(current_quantity=Decimal(4751))).quantity == 4751, (
        "within the band of 5 %"
    )
    assert size_position(WEIGHTS, weighted_input._replace(current_quantity=Decimal(4750))).quantity == 5000
    assert size_position(WEIGHTS, weighted_input._replace(price=Decimal(51))).quantity == 4901, (
        "rounded down to whole units"
    )


def test_without_weights_positions_are_unchanged_and_unweighted_symbols_closed() -> None:
    open_position_input = BASE_INPUT._replace(current_quantity=Decimal(70))
    assert size_position(WEIGHTS, BASE_INPUT) == (ZERO, "target_weights: no target weights recorded yet, target 0")
    assert size_position(WEIGHTS, open_position_input).quantity == 70, "until there are weights what is held is kept"
    unweighted = size_position(WEIGHTS, open_position_input._replace(weights_cause="cmd-1"))
    assert unweighted.quantity == 0
    assert "not in the target weights of cmd-1" in unweighted.text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "for 1 to 5000 symbols, found 0"),
        ({"X": "-0.1"}, "target weight of X must be a number from 0 to 10 .*, found '-0.1'"),
        ({"X": "NaN"}, "found 'NaN'"),
        ({"X": "1e-3"}, "found '1e-3'"),
        ({"X": "10.000000001"}, "found '10.000000001'"),
        ({"X": "0.0000000001"}, "at most 9 decimals"),
        ({"X": ""}, "found ''"),
        ({"A B": "0.1"}, "a symbol must be 1 to 64 printable ASCII characters"),
        ({"X\0": "0.1"}, "a symbol must be 1 to 64 printable ASCII characters"),
        ({"": "0.1"}, "a symbol must be 1 to 64 printable ASCII characters"),
    ],
)
def test_invalid_weights_are_rejected_when_written_and_ignored_by_the_stage(
    arguments: dict[str, str], message: str
) -> None:
    with pytest.raises(BadInput, match=message):
        parse_weights(arguments)
    weights = TargetWeights()
    assert weights.apply_command(weights_command(X="0.5"))
    assert not weights.apply_command(
        weights_command("cmd-2")._replace(arguments={"Y": "0.1", **arguments} if arguments else {})
    )
    assert (weights.weight_of("X"), weights.weight_of("Y"), weights.command_id) == (Decimal("0.5"), None, "cmd-1")


def test_boundary_weights_are_valid() -> None:
    assert parse_weights({"X": "0", "Y": "10", "Z": "0.000000001"}) == {"X": 0, "Y": 10, "Z": Decimal("1e-9")}


def test_repeated_command_does_not_restore_old_weights_and_memory_is_bounded() -> None:
    weights = TargetWeights()
    assert weights.apply_command(weights_command("cmd-1", X="0.5", Y="0.5"))
    assert weights.apply_command(weights_command("cmd-2", X="0.1"))
    assert not weights.apply_command(weights_command("cmd-1", X="0.5", Y="0.5"))
    assert (weights.weight_of("X"), weights.weight_of("Y")) == (Decimal("0.1"), None), "a command replaces all"
    assert not weights.apply_command(command("cmd-3", 1)), "the kill switch is not for sizing"
    assert not weights.apply_command(weights_command("cmd\0", X="0.9")), (
        "Postgres has no place for NUL in a proposal's text"
    )
    for number in range(3, COMMAND_IDS_MAX + 10):
        assert weights.apply_command(weights_command(f"cmd-{number}", X="0.1"))
    assert len(weights.snapshot()[3]) == COMMAND_IDS_MAX


def test_new_weights_are_traded_immediately_and_then_at_rebalances() -> None:
    desk = PortfolioHarness(replace(ACCOUNT, rebalance_interval_s=300))
    desk.signal(1, "X")
    desk.signal(1, "Y")
    prices = {"X": 100.0, "Y": 50.0}
    assert desk.step(prices) == []
    desk.queued.append(weights_command("cmd-1", X="0.3", Y="0.2"))
    entries = desk.step(prices)
    assert signed_quantities(entries) == [3000, 4000]
    assert [proposal.signal_ids for proposal in entries] == [["sig-X-1", "cmd-1"], ["sig-Y-2", "cmd-1"]]
    for symbol in prices:
        desk.report("TRADE", symbol=symbol, price=prices[symbol])
    desk.queued.append(weights_command("cmd-1", X="0.3", Y="0.2"))
    assert desk.step(prices) == [], "a repeat"
    desk.queued.append(weights_command("cmd-2", X="0.5"))
    assert signed_quantities(desk.step(prices)) == [2000, -4000], "Y has no weight any more"
    for symbol in prices:
        desk.report("TRADE", symbol=symbol, price=prices[symbol])
    (rebalanced,) = desk.step({"X": 200.0, "Y": 50.0})
    assert signed_quantities([rebalanced]) == [-1250], "minute 5: 1.5 million, half of it at 200"
    assert "(weight 0.5 of cmd-2, at most 1)" in rebalanced.sizing


def test_the_cap_and_the_turnover_hold() -> None:
    sizing = replace(WEIGHTS, turnover_max=Decimal("0.01"))
    desk = PortfolioHarness(replace(ACCOUNT, sizing=sizing, max_position_percentage=Decimal("0.05")))
    desk.queued.append(weights_command("cmd-1", X="0.3"))
    desk.signal(1)
    (entry,) = desk.step()
    assert entry.terms.quantity == 500 and "capped at 500 by 0.05" in entry.sizing
    desk.report("TRADE")
    desk.step()
    desk.queued.append(weights_command("cmd-2", X="0.02"))
    (reduction,) = desk.step()
    assert signed_quantities([reduction]) == [-100], "0.01 of a million at 100"


def test_another_method_keeps_the_weights_and_does_not_trade_on_them() -> None:
    desk = PortfolioHarness(replace(ACCOUNT, sizing=SizingSettings(method="target_percent", fraction=Decimal("0.1"))))
    desk.signal(1)
    assert signed_quantities(desk.step()) == [1000]
    desk.report("TRADE")
    desk.queued.append(weights_command(X="0.3"))
    assert desk.step() == []
    other = PortfolioStage(ACCOUNT)
    other.restore(desk.stage.snapshot())
    assert other.snapshot()[WEIGHTS_INDEX] == (1, "cmd-1", {"X": Decimal("0.3")}, ["cmd-1"])


def test_weight_follows_a_symbol_change() -> None:
    desk = PortfolioHarness(ACCOUNT)
    desk.queued.append(weights_command(X="0.3", Z="0.1"))
    desk.step()
    desk.queued.append(corporate_action("r", SYMBOL_CHANGE, "X", new_symbol="W"))
    desk.step()
    assert desk.stage.snapshot()[WEIGHTS_INDEX][2] == {"Z": Decimal("0.1"), "W": Decimal("0.3")}


@pytest.mark.parametrize("version", [1, 2, 3])
def test_older_snapshots_are_read(version: int) -> None:
    desk = PortfolioHarness(ACCOUNT)
    desk.signal(1)
    desk.step()
    desk.queued.append(weights_command(X="0.3"))
    desk.step()
    snapshot = desk.stage.snapshot()
    old = (version, *snapshot[1 : {1: 9, 2: 10, 3: 11}[version]])
    restored = PortfolioStage(ACCOUNT)
    restored.restore(old)
    assert restored.snapshot()[WEIGHTS_INDEX] == (1, "", {}, [])
    assert restored.snapshot()[1:9] == snapshot[1:9]


def test_risk_ignores_weights() -> None:
    risk, other = RiskStage(RiskSettings()), RiskStage(RiskSettings())
    assert risk.on_slice(MINUTE_NS, [weights_command(X="0.3"), bar("X", 1, MINUTE_NS)]) == other.on_slice(
        MINUTE_NS, [bar("X", 1, MINUTE_NS)]
    )
    assert risk.snapshot() == other.snapshot()


shares = st.one_of(st.decimals(min_value=0, max_value=1, places=3).map(str), st.sampled_from(["", "-1", "much"]))
slice_inputs = st.lists(
    st.tuples(
        st.lists(st.tuples(st.sampled_from("XYZ"), st.sampled_from([-1, 0, 1])), max_size=2),
        st.none() | st.tuples(st.integers(1, 4), st.dictionaries(st.sampled_from("XYZ"), shares)),
        st.sampled_from(["fill", "wait"]),
        st.fixed_dictionaries({symbol: st.integers(9_000, 11_000) for symbol in "XYZ"}),
    ),
    max_size=12,
)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from([None, 120]), st.sampled_from([None, Decimal("0.05")]), slice_inputs)
def test_restart_between_any_two_slices_changes_nothing(
    interval: int | None, turnover: Decimal | None, minutes: list[Any]
) -> None:
    portfolio = replace(
        ACCOUNT, rebalance_interval_s=interval, allow_short=True, sizing=replace(WEIGHTS, turnover_max=turnover)
    )
    desk = PortfolioHarness(portfolio)
    working: set[str] = set()
    for signals, new_weights, action, cents in minutes:
        if action == "fill":
            for symbol in sorted(working):
                desk.report("TRADE", symbol=symbol, price=cents[symbol] / 100)
            working.clear()
        for symbol, direction in signals:
            desk.signal(direction, symbol)
        if new_weights is not None:
            desk.queued.append(weights_command(f"cmd-{new_weights[0]}", **new_weights[1]))
        stored = pickle.dumps(desk.stage.snapshot())
        proposals = desk.step({symbol: c / 100 for symbol, c in cents.items()})
        restored = PortfolioStage(portfolio)
        restored.restore(pickle.loads(stored))  # noqa: S301 our own bytes
        assert restored.on_slice(desk.minute * MINUTE_NS, desk.last_input) == desk.output
        assert restored.snapshot() == desk.stage.snapshot()
        assert working.isdisjoint(proposal.terms.symbol for proposal in proposals), "proposed while an order is open"
        working.update(proposal.terms.symbol for proposal in proposals)
