"""With `approvals: [releases]`, risk ignores every release that does not name two persons."""

from __future__ import annotations

from decimal import Decimal

import pytest

from configs.settings import load_settings
from operators.approvals import REQUESTED_BY
from operators.risk import RiskSettings, RiskStage
from operators.risk.breakers import Breaker
from operators.risk.commands import SET_BREAKER
from schemas.errors import BadInput
from schemas.records import HALTED, KILL_SWITCH, RELEASE, Command, Record, RiskEvent, RiskFence
from tests.builders import command
from tests.unit.risk_check_cases import NOW_NS

BREAKER = Breaker(measure="daily_loss", threshold=Decimal(100))
ARGUMENTS = {"measure": "daily_loss", "scope": "PORTFOLIO", "key": ""}


def _stage(*, approvals: bool) -> RiskStage:
    limits = {"approvals": ("releases",)} if approvals else {}
    return RiskStage(RiskSettings.unlimited(initial_capital=Decimal(10_000), breakers=(BREAKER,), **limits))


def _states(records: list[Record]) -> list[str]:
    return [record.state for record in records if isinstance(record, RiskFence | RiskEvent)]


def _release(actor: str, requested_by: str | None) -> Command:
    arguments = {} if requested_by is None else {REQUESTED_BY: requested_by}
    return command("c-2", NOW_NS, RELEASE, arguments, actor=actor)


@pytest.mark.parametrize("requested_by", [None, "", "ann"])
def test_one_person_cannot_release_the_kill_switch(requested_by: str | None) -> None:
    stage = _stage(approvals=True)
    halt = command("c-1", NOW_NS, KILL_SWITCH, {}, actor="ann")
    assert _states(stage.on_slice(NOW_NS, [halt])) == [HALTED], "a halt needs one person"
    assert stage.on_slice(NOW_NS + 1, [_release("ann", requested_by)]) == []
    assert _states(stage.on_slice(NOW_NS + 2, [_release("bob", "ann")])) == ["ACTIVE"]


@pytest.mark.parametrize("state", ["ACTIVE", "REDUCING"])
def test_one_person_cannot_loosen_a_breaker(state: str) -> None:
    stage = _stage(approvals=True)
    halt = command("c-1", NOW_NS, SET_BREAKER, {**ARGUMENTS, "state": HALTED}, actor="ann")
    assert HALTED in _states(stage.on_slice(NOW_NS, [halt]))
    alone = command("c-2", NOW_NS, SET_BREAKER, {**ARGUMENTS, "state": state}, actor="ann")
    assert stage.on_slice(NOW_NS + 1, [alone]) == []
    approved = {**ARGUMENTS, "state": state, REQUESTED_BY: "ann"}
    both = command("c-3", NOW_NS, SET_BREAKER, approved, actor="bob")
    assert state in _states(stage.on_slice(NOW_NS + 2, [both]))


def test_without_the_setting_one_person_releases() -> None:
    stage = _stage(approvals=False)
    stage.on_slice(NOW_NS, [command("c-1", NOW_NS, KILL_SWITCH, {}, actor="ann")])
    assert _states(stage.on_slice(NOW_NS + 1, [_release("ann", None)])) == ["ACTIVE"]


def test_the_setting_has_a_closed_set_of_values() -> None:
    assert load_settings(environment={}).risk().approvals == ()
    settings = load_settings(environment={"RISK_MANAGER__APPROVALS": "[releases]"})
    assert settings.risk().approvals == ("releases",)
    with pytest.raises(BadInput, match="approvals"):
        load_settings(environment={"RISK_MANAGER__APPROVALS": "[everything]"})
