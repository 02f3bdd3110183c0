"""Faults of user code: a strategy that raises, and a registered model whose process is killed.

* strategy: a strategy in the settings (a view strategy in `signals`, a trading strategy in `strategies`) raises on the
  bars of one minute. A record that names the file and the exception must suspend it, while the others continue. A
  command then resumes it.
* model: a registered model serves, and one strategy follows its forecasts. The processes of `predictions` are killed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from deploy.chaos import raising_strategy
from deploy.chaos.fault import Fault, FaultRun, PlannedFault, RaisingPlan, RunEvidence
from deploy.chaos.faults.operators import ACTOR
from deploy.chaos.faults.processes import kill_child
from deploy.errors import DeployError
from schemas.records import RESUME_STRATEGY, Prediction, Record, Signal, StrategyAction, StrategySuspension
from sinks.commands import new_command

_OBSERVED_SLICES = 2
_SUSPENDED, _RESUMED = "SUSPENDED", "RESUMED"
_STATES_QUERIES = {
    "signals": "SELECT state FROM strategy_suspensions WHERE strategy = '{}'",
    "strategies": "SELECT kind FROM strategy_actions WHERE strategy = '{}' AND kind IN ('SUSPENDED', 'RESUMED')",
}


# -- a strategy that raises --------------------------------------------------------------------------------------------


def _strategy(run: FaultRun, fault: PlannedFault) -> str:
    plan = run.raising[fault]
    run.pace.advance(_OBSERVED_SLICES)
    _wait_for_states(run, plan, _SUSPENDED)
    command = new_command(RESUME_STRATEGY, actor=ACTOR, reason="test", arguments={"strategy": plan.name})
    run.stack.send(command)
    run.commands.append(command)
    run.pace.advance(_OBSERVED_SLICES)
    _wait_for_states(run, plan, _SUSPENDED, _RESUMED)
    return f"{plan.name} raised, was suspended, and resumed by a command"


def _wait_for_states(run: FaultRun, plan: RaisingPlan, *states: str) -> None:
    """Wait until the suspensions of the strategy in the database have these states."""
    query = _STATES_QUERIES[plan.service].format(plan.name)
    run.stack.wait_for_rows(query, [(state,) for state in states], f"strategy {plan.name} is {states[-1]}")


def _strategy_problem(evidence: RunEvidence) -> str | None:
    records = evidence.records
    plans = [evidence.run.raising[fault] for fault in evidence.injected_of("strategy")]
    topics = {"signals": ("strategy-suspensions", "signals"), "strategies": ("strategy-actions", "strategy-actions")}
    problems = (suspension_problem(plan, *(records[topic] for topic in topics[plan.service])) for plan in plans)
    return next((problem for problem in problems if problem is not None), None)


class _StateChange(NamedTuple):
    """A suspension of a strategy, or its end."""

    state: str
    ts_ns: int
    file: str
    error_type: str


def suspension_problem(plan: RaisingPlan, suspensions: Sequence[Record], decisions: Sequence[Record]) -> str | None:
    """Return why a strategy that raised was not suspended and resumed as promised, or None.

    `decisions` are signals, or actions of trading strategies.
    """
    own = [change for record in suspensions if (change := _state_change(record, plan.name)) is not None]
    suspended = [change for change in own if change.state == _SUSPENDED]
    resumed_ns = max((change.ts_ns for change in own if change.state == _RESUMED), default=-1)
    if not suspended or resumed_ns < 0:
        return f"strategy {plan.name} raised, but its suspensions are {own}"
    window = range(plan.raises_ns, plan.raises_ns + raising_strategy.WINDOW_NS)
    for change in suspended:
        if change.ts_ns not in window:
            return f"strategy {plan.name} was suspended at {change.ts_ns}, expected from {window.start} on"
        if (change.file, change.error_type) != (raising_strategy.__file__, "ZeroDivisionError"):
            return f"the suspension of {plan.name} names {change.file} and {change.error_type}"
    suspended_ns = max(change.ts_ns for change in suspended)
    for record in decisions:
        if type(record) is not Signal and type(record) is not StrategyAction:
            continue
        if record.strategy == plan.name and suspended_ns < record.ts_ns < resumed_ns:
            return f"strategy {plan.name} decided at {record.ts_ns}, while it was suspended"
    return None


def _state_change(record: Record, strategy: str) -> _StateChange | None:
    if type(record) is StrategySuspension and record.strategy == strategy:
        return _StateChange(record.state, record.ts_ns, record.file, record.error_type)
    if type(record) is StrategyAction and record.strategy == strategy and record.kind in (_SUSPENDED, _RESUMED):
        file, error_type = record.arguments.get("file", ""), record.arguments.get("error_type", "")
        return _StateChange(record.kind, record.ts_ns, file, error_type)
    return None


# -- a registered model ------------------------------------------------------------------------------------------------


def _model(run: FaultRun, fault: PlannedFault) -> str:
    if not run.model_hash:
        raise DeployError("no model is registered")
    children = run.stack.children(fault.target)
    for child in children:
        kill_child(run.stack, child.name)
    return f"SIGKILL to {len(children)} processes that serve model {run.model_hash[:12]}"


def _model_problem(evidence: RunEvidence) -> str | None:
    places_ns = [evidence.run.pace.place_ns(fault.share) for fault in evidence.injected_of("model")]
    return predictions_problem(evidence.run.model_hash, places_ns, evidence.records["predictions"])


def predictions_problem(model_hash: str, killed_ns: Sequence[int], predictions: Sequence[Record]) -> str | None:
    """Return why the model did not serve before and after its process was killed, or None."""
    all_predictions = [record for record in predictions if type(record) is Prediction]
    for record in all_predictions:
        if record.model_hash != model_hash:
            return f"a forecast of {record.symbol} at {record.ts_ns} has model {record.model_hash}, not {model_hash}"
    times_ns = [record.ts_ns for record in all_predictions]
    for place_ns in killed_ns:
        if not any(ts_ns < place_ns for ts_ns in times_ns) or not any(ts_ns > place_ns for ts_ns in times_ns):
            return f"the model has no forecasts before or after {place_ns}, at which its process was killed"
    return None


STRATEGY = Fault(("signals", "strategies"), _strategy, _strategy_problem, kills_per_fault=10, tape_s=4.0)
MODEL = Fault(("predictions",), _model, _model_problem, kills_per_fault=10, tape_s=4.0)
