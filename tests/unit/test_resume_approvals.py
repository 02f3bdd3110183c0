"""With `risk_manager.approvals: [releases]`, a suspended strategy needs a second person to be resumed."""

from __future__ import annotations

from typing import Any

import pytest

from api.release_approvals import or_request
from operators.approvals import RELEASE_REQUESTED, RELEASES, lacks_approval
from operators.signals import SignalStage
from schemas.records import FLATTEN_STRATEGY, RESUME_STRATEGY, Command, FeatureRow, StrategySuspension
from tests.builders import command, feature_row
from tests.unit.trading_harness import Recording, bars, feed, minute, stage_of


def resume(number: int, requested_by: str = "", actor: str = "bob") -> Command:
    arguments = {"strategy": "failing"} | ({"requested_by": requested_by} if requested_by else {})
    return command(f"cmd-{number}", 1, RESUME_STRATEGY, arguments, actor=actor)


class Failing:
    """A view strategy that raises with its first row."""

    name = "failing"
    features: tuple[str, ...] = ()

    def decide(self, record: FeatureRow, state: Any) -> Any:
        raise ValueError("no price")


def test_a_trading_strategy_needs_two_persons() -> None:
    def fail(ctx: Any, number: int) -> None:
        raise ValueError("no price")

    stage = stage_of(Recording(fail, name="failing"), approvals=(RELEASES,))
    feed(stage, [bars(1, "KO")])
    for number, one in enumerate([resume(1), resume(2, "bob"), resume(3, "host:bob")], start=2):
        feed(stage, [[one]], first=number)
        assert stage.suspended == ["failing"], "one person"
    feed(stage, [[resume(4, "ann")]], first=5)
    assert stage.suspended == []


def test_closing_the_positions_of_a_strategy_needs_two_persons() -> None:
    flatten = resume(1)._replace(kind=FLATTEN_STRATEGY)
    assert lacks_approval(flatten, (RELEASES,)) and not lacks_approval(flatten, ())
    assert not lacks_approval(resume(2, "ann")._replace(kind=FLATTEN_STRATEGY), (RELEASES,))


@pytest.mark.parametrize("approvals", [(), (RELEASES,)])
def test_a_view_strategy_needs_two_persons(approvals: tuple[str, ...]) -> None:
    stage = SignalStage([Failing()], approvals=approvals)
    first = stage.on_slice(minute(1), [feature_row("KO", 1, minute(1), 100.0)])
    suspensions = [one for one in first if type(one) is StrategySuspension]
    assert [one.state for one in suspensions] == ["SUSPENDED"]
    stage.on_slice(minute(2), suspensions)
    states = [
        [one.state for one in stage.on_slice(minute(3 + index), [one]) if type(one) is StrategySuspension]
        for index, one in enumerate([resume(1), resume(2, "ann")])
    ]
    assert states == ([[], ["RESUMED"]] if approvals else [["RESUMED"], []])


def test_a_resume_without_a_second_person_becomes_a_request() -> None:
    one = resume(1)
    assert lacks_approval(one, [RELEASES])
    assert not lacks_approval(one, []) and not lacks_approval(one, ["reconciliation"])
    request = or_request(one, [RELEASES])
    assert (request.kind, request.arguments) == (RELEASE_REQUESTED, {"kind": RESUME_STRATEGY, "strategy": "failing"})
