"""How many trials of the ledger stand behind a result, and whether its parameters are a lonely peak."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import pandas as pd

from dataflows.research.html_report.run_report import TrialNote
from dataflows.research.overfitting.parameter_plateaus import OBJECTIVE, PlateauTable, plateau_table
from dataflows.research.run_store import RunSources
from dataflows.research.sweeps.trial_search import (
    OBJECTIVES_RECORDED,
    Period,
    recorded_settings_hash,
    trial_code_hash,
    trial_data_hash,
)
from dataflows.research.trial_ledger import RecordedTrial, TrialLedger


class NotedRun(Protocol):
    """A result or a stored run: its strategies, sources and recorded settings."""

    @property
    def strategies(self) -> tuple[str, ...]: ...
    @property
    def sources(self) -> RunSources: ...
    @property
    def settings(self) -> Mapping[str, Any]: ...


def trial_notes(run: NotedRun, ledger: TrialLedger) -> list[TrialNote]:
    """Return a note for each strategy of a run that the ledger has trials of, on the data of the run.

    Raises Unavailable if the ledger cannot be read.
    """
    if not run.sources.data_sha256:
        return []
    notes = []
    data = data_hash_of(run)
    for strategy in run.strategies:
        trials = ledger.trials(strategy=strategy, data_hash=data)
        if not trials:
            continue
        has_sharpe = any("sharpe" in one.trial.objectives for one in trials)
        best = ledger.best(strategy, data) if has_sharpe else None
        deflated = None if best is None or best.deflated is None else best.deflated.probability
        notes.append(
            TrialNote(strategy=strategy, trials=len(trials), deflated_sharpe=deflated, plateaus=_plateaus(run, trials))
        )
    return notes


def data_hash_of(run: NotedRun) -> str:
    """Return the hash under which the ledger has trials on the data of a run: its files, period and symbols."""
    files = run.settings["market_data"]["files"]
    period = Period(files.get("start"), files.get("end"))
    return trial_data_hash(run.sources.data_sha256, period, files.get("symbols"))


def _plateaus(run: NotedRun, recorded: Iterable[RecordedTrial]) -> PlateauTable | None:
    """Return the trials that differ from a run in the values of its parameters only; None if the run is not one."""
    entries = run.settings["signals"]["strategies"]
    if len(entries) != 1:
        return None  # a trial has one strategy
    parameters: Mapping[str, Any] = entries[0].get("parameters") or {}
    causes = trial_code_hash(run.sources), recorded_settings_hash(run.settings)
    trials = [
        one.trial
        for one in recorded
        if (one.trial.code_hash, one.trial.settings_hash) == causes and set(one.trial.parameters) == set(parameters)
    ]
    own = next((one for one in trials if one.parameters == parameters), None)
    if own is None or OBJECTIVE in parameters:
        return None
    name = next((name for name in OBJECTIVES_RECORDED if own.objectives.get(name) is not None), None)
    if name is None or not parameters:
        return None
    rows = [{**one.parameters, OBJECTIVE: one.objectives.get(name)} for one in trials]
    return plateau_table(pd.DataFrame(rows), tuple(parameters), OBJECTIVE, parameters)._replace(label=name)
