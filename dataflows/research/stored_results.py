"""Save results in the store of runs, and load them."""

from __future__ import annotations

import time
from dataclasses import replace

from dataflows.research.result import Result
from dataflows.research.run_store import RunStore, StoredRun, runs_folder


def save_result(result: Result, name: str | None = None, store: RunStore | None = None) -> Result:
    """Save a result, and return it with its name. The default name is the strategy and the time.

    Raises BadInput if the name is taken or malformed, and Unavailable if the store cannot be used.
    """
    store, created_ns = store or RunStore(runs_folder()), time.time_ns()
    run = StoredRun(
        name=name or store.default_name(result.strategies, created_ns),
        folder="",
        created_ns=created_ns,
        strategies=result.strategies,
        decision_hash=result.decision_hash,
        summary=dict(result.summary),
        settings=dict(result.settings),
        warnings=list(result.warnings),
        sources=result.sources,
    )
    store.save(run, result.tables)
    return replace(result, name=run.name)


def load_run(name: str, store: RunStore | None = None) -> Result:
    """Return the result of a stored run. Raises BadInput with the nearest name for an unknown one."""
    store = store or RunStore(runs_folder())
    run = store.run(name)
    return Result(
        name=run.name,
        summary=run.summary,
        settings=run.settings,
        strategies=run.strategies,
        warnings=run.warnings,
        sources=run.sources,
        tables=store.tables(run),
    )
