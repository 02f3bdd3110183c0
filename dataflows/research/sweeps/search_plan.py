"""Which parameter sets a search runs, and the name that stands for it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from configs.recorded_settings import canonical_json
from dataflows.research.class_code import function_sha256
from dataflows.research.sweeps.objectives import SearchObjective
from dataflows.research.sweeps.parameter_sets import Constraint, ParameterGrid, Parameters, allowed_sets, random_sets
from dataflows.research.sweeps.trial_pruning import PRUNING_PERCENT
from dataflows.research.sweeps.trial_search import TrialSearch
from schemas.errors import BadInput

_EXAMPLES = 100
"""Sets of which the strategy must accept one, before Optuna chooses."""


@dataclass(frozen=True, kw_only=True)
class SearchPlan:
    """Which parameter sets a search runs.

    Raises BadInput for a number of sets below 1, for random with optuna, and for pruning without optuna.
    """

    grid: ParameterGrid
    constraints: Sequence[Constraint]
    random: int | None
    optuna: int | None
    seed: int
    objective: SearchObjective
    stop_after: int | None = None
    prune: bool = False

    def __post_init__(self) -> None:
        if self.random is not None and self.optuna is not None:
            raise BadInput("pass random or optuna, not both")
        if self.prune and self.optuna is None:
            raise BadInput("prune needs optuna: the sets of a grid and of a random sample run to the end of the bars")
        for name, count in (("random", self.random), ("optuna", self.optuna), ("stop_after", self.stop_after)):
            if count is not None and count < 1:
                raise BadInput(f"{name} must be at least 1, found {count}")

    def sets(self) -> list[Parameters]:
        """Return the sets to run; for Optuna, some sets as examples. Raises BadInput."""
        if self.random is None and self.optuna is None:
            return allowed_sets(self.grid, self.constraints)
        return random_sets(self.grid, self.constraints, self.random or _EXAMPLES, self.seed)

    def definition(self) -> dict[str, str]:
        """Return what decides which sets run, as texts by part."""
        parts = {
            "grid": canonical_json(self.grid),
            "constraints": canonical_json([*map(constraint_text, self.constraints)]),
        }
        if self.random is not None:
            parts["sample"] = canonical_json(["random", self.random, self.seed])
        if self.optuna is not None:
            parts["sample"] = canonical_json(["optuna", self.optuna, self.stop_after, self.seed, self.objective.text])
        elif self.stop_after is not None:
            parts["early stopping"] = canonical_json([self.stop_after, self.seed, self.objective.text])
        if self.prune:
            parts["pruning"] = canonical_json(["median", PRUNING_PERCENT])
        return parts


def claim_name(search: TrialSearch, name: str | None, definition: Mapping[str, str]) -> str:
    """Store what a search computes under its name, and return the name. Raises BadInput if it names another search."""
    if name is None:
        text = json.dumps(dict(definition), sort_keys=True)
        name = f"{search.label}-{hashlib.sha256(text.encode()).hexdigest()[:10]}"
    if not name.strip() or not name.isprintable() or len(name) > 100:
        raise BadInput(f"the name of a search must have 1 to 100 printable characters, found {name!r}")
    search.store.claim(name, definition)
    return name


def constraint_text(constraint: Constraint) -> str:
    """Return a text that differs for constraints that differ."""
    return constraint if isinstance(constraint, str) else function_sha256(constraint)
