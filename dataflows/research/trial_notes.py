"""How many trials of the ledger stand behind a result."""

from __future__ import annotations

from dataflows.research.html_report.run_report import TrialNote
from dataflows.research.result import Result
from dataflows.research.trial_ledger import TrialLedger


def trial_notes(result: Result, ledger: TrialLedger) -> list[TrialNote]:
    """Return a note for each strategy of a result that the ledger has trials of, on the data of the result.

    Raises Unavailable if the ledger cannot be read.
    """
    if not result.sources.data_sha256:
        return []
    notes = []
    for strategy in result.strategies:
        trials = ledger.trials(strategy=strategy, data_hash=result.sources.data_sha256)
        if not trials:
            continue
        has_sharpe = any("sharpe" in one.trial.objectives for one in trials)
        best = ledger.best(strategy, result.sources.data_sha256) if has_sharpe else None
        deflated = None if best is None or best.deflated is None else best.deflated.probability
        notes.append(TrialNote(strategy=strategy, trials=len(trials), deflated_sharpe=deflated))
    return notes
