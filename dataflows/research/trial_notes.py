"""How many trials of the ledger stand behind a result."""

from __future__ import annotations

from dataflows.research.html_report.run_report import TrialNote
from dataflows.research.result import Result
from dataflows.research.sweeps.trial_search import Period, trial_data_hash
from dataflows.research.trial_ledger import TrialLedger


def trial_notes(result: Result, ledger: TrialLedger) -> list[TrialNote]:
    """Return a note for each strategy of a result that the ledger has trials of, on the data of the result.

    Raises Unavailable if the ledger cannot be read.
    """
    if not result.sources.data_sha256:
        return []
    notes = []
    data = data_hash_of(result)
    for strategy in result.strategies:
        trials = ledger.trials(strategy=strategy, data_hash=data)
        if not trials:
            continue
        has_sharpe = any("sharpe" in one.trial.objectives for one in trials)
        best = ledger.best(strategy, data) if has_sharpe else None
        deflated = None if best is None or best.deflated is None else best.deflated.probability
        notes.append(TrialNote(strategy=strategy, trials=len(trials), deflated_sharpe=deflated))
    return notes


def data_hash_of(result: Result) -> str:
    """Return the hash under which the ledger has trials on the data of a result: its files, period and symbols."""
    files = result.settings["market_data"]["files"]
    period = Period(files.get("start"), files.get("end"))
    return trial_data_hash(result.sources.data_sha256, period, files.get("symbols"))
