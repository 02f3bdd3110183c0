"""The trading strategies of a chaos run act in every way, and the one of a fault is suspended at its place."""

from __future__ import annotations

from typing import get_args

import pytest

from deploy.chaos.expected import run_stages
from deploy.chaos.fault import PlannedFault
from deploy.chaos.tape_run import prepare
from schemas.records import TRADE, Execution, OrderRefusal, StrategyAction, StrategyActionKind

MINUTES = 150
FAULT = PlannedFault(0.4, "strategy", "strategies", 0.5)


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> list[object]:
    setup = prepare(tmp_path_factory.mktemp("chaos"), 1, MINUTES, [FAULT], "http://127.0.0.1:9/v1")
    return [record for time_slice in run_stages(setup.settings, setup.tape) for record in time_slice.records]


def test_the_strategy_of_all_runs_acts_in_every_way_and_trades(records: list[object]) -> None:
    actions = [record for record in records if type(record) is StrategyAction and record.strategy == "order_strategy"]
    by_platform = {"SUSPENDED", "RESUMED", "UNIVERSE_ADDED", "UNIVERSE_REMOVED"}
    assert {action.kind for action in actions} == {*get_args(StrategyActionKind)} - by_platform
    # Timers, events of orders and fills, and corporate actions have tags and notes of their own.
    tags = {action.reason for action in actions} | {action.arguments.get("text", "") for action in actions}
    assert tags >= {"bracket", "dip", "start", "weight", "stop after a fill", "CASH_DIVIDEND of MSFT"}
    assert any(tag.startswith("too large: ") for tag in tags)
    causes = {action.action_id for action in actions}
    fills = [record for record in records if type(record) is Execution and record.exec_type == TRADE]
    assert sum(fill.cause_id in causes for fill in fills) >= 5
    assert any(type(record) is OrderRefusal and record.cause_id in causes for record in records)


def test_the_strategy_of_a_fault_trades_until_it_is_suspended(records: list[object]) -> None:
    kinds = [record.kind for record in records if type(record) is StrategyAction and record.strategy == "fragile_1"]
    assert "TARGET_QUANTITY" in kinds
    assert kinds.count("SUSPENDED") == 1
    assert kinds[-1] == "SUSPENDED"
