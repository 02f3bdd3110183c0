"""Run the sets of a search in batches, until there are enough or no better one is found.

A batch has a fixed size, so that the same seed gives the same sets whatever the number of processes. An interrupted
search therefore repeats its choices, and finds the outcomes of its first trials in the store.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from random import Random
from typing import Protocol

from configs.recorded_settings import canonical_json
from dataflows.research.sweeps.optuna_sampler import OptunaSampler
from dataflows.research.sweeps.parameter_sets import Parameters, allows, checked_constraints
from dataflows.research.sweeps.search_plan import SearchPlan
from dataflows.research.sweeps.trial_pass import TrialOutcome
from dataflows.research.sweeps.trial_pruning import PruningRule, pruning_times
from dataflows.research.sweeps.trial_search import TrialRequest, TrialSearch

BATCH_SETS = 8


class SetChooser(Protocol):
    """Chooses the next sets of a search."""

    def choose(self, count: int) -> list[Parameters]: ...
    def learn(self, outcomes: Sequence[TrialOutcome], values: Sequence[float | None]) -> None: ...


class ListedSets:
    """Chooses the sets of a list in an order that the seed decides: neighbours of a grid resemble each other."""

    def __init__(self, sets: Sequence[Parameters], seed: int) -> None:
        self._sets = Random(seed).sample(sets, len(sets))  # noqa: S311 - an order, no secret

    def choose(self, count: int) -> list[Parameters]:
        chosen, self._sets = self._sets[:count], self._sets[count:]
        return chosen

    def learn(self, outcomes: Sequence[TrialOutcome], values: Sequence[float | None]) -> None:
        """Do nothing: the order does not depend on outcomes."""


def run_batches(
    search: TrialSearch, plan: SearchPlan, sets: Sequence[Parameters]
) -> tuple[list[Parameters], list[TrialOutcome]]:
    """Run the sets of a plan in batches, and return each set once with its outcome. `sets` are those without Optuna."""
    if plan.optuna is None:
        return _run(search, plan, ListedSets(sets, plan.seed), len(sets))
    rules = checked_constraints(plan.constraints, plan.grid)
    sampler = OptunaSampler(plan.grid, lambda one: allows(rules, one) and not search.rejection(one), plan.seed)
    return _run(search, plan, sampler, plan.optuna)


def _run(
    search: TrialSearch, plan: SearchPlan, chooser: SetChooser, count: int
) -> tuple[list[Parameters], list[TrialOutcome]]:
    rule = PruningRule(plan.objective.text, pruning_times(*search.first_and_last_ns())) if plan.prune else None
    found: dict[str, tuple[Parameters, TrialOutcome]] = {}
    best, since_best, chosen = -math.inf, 0, 0
    while chosen < count and (plan.stop_after is None or since_best < plan.stop_after):
        batch = chooser.choose(min(BATCH_SETS, count - chosen))
        chosen += len(batch)
        keys = [canonical_json(parameters) for parameters in batch]
        new = {key: one for key, one in zip(keys, batch, strict=True) if key not in found}
        ended = search.outcomes([TrialRequest(one) for one in new.values()], rule)
        found |= {key: (new[key], outcome) for key, outcome in zip(new, ended, strict=True)}
        if rule is not None:
            complete = tuple(outcome.interim for outcome in ended if outcome.pruned_percent is None)
            rule = rule._replace(ended=rule.ended + complete)
        outcomes = [found[key][1] for key in keys]
        values = [plan.objective.value(outcome) for outcome in outcomes]
        chooser.learn(outcomes, values)
        for value in values:
            is_better = value is not None and value > best
            best, since_best = (value, 0) if is_better and value is not None else (best, since_best + 1)
    return [parameters for parameters, _ in found.values()], [outcome for _, outcome in found.values()]
