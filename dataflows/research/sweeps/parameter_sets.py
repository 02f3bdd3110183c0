"""The parameter sets of a search: a grid or a random sample of it, without the sets that break a constraint."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice, product
from typing import Any

from dataflows.research.overfitting.parameter_plateaus import NEIGHBOURHOOD_COLUMNS, OBJECTIVE
from dataflows.research.sweeps.formulas import Formula
from schemas.errors import BadInput

Parameters = dict[str, Any]
ParameterGrid = Mapping[str, tuple[Any, ...]]
Constraint = str | Callable[[Parameters], bool]
"""A formula such as "fast < slow", or a function of the parameters that returns whether the set is allowed."""
GRID_SETS_MAX = 100_000
"""Most sets of a grid that are run in full."""
SAMPLED_SETS_MAX = 1_000_000
"""Most sets from which a sample is drawn exactly; from a larger grid, sets are drawn until enough are allowed."""
RESERVED_NAMES = (OBJECTIVE, *NEIGHBOURHOOD_COLUMNS, "decision_hash", "error")
"""Columns of the frame of trials."""
_RANGE_PARTS = (2, 3)


def checked_grid(grid: Mapping[str, Iterable[Any]] | None) -> ParameterGrid:
    """Return the values of each parameter. Raises BadInput for an empty grid and for values that are no JSON values."""
    if not grid:
        raise BadInput("the grid is empty; name at least one parameter with its values, such as fast=5,10,20")
    if reserved := [name for name in grid if name in RESERVED_NAMES]:
        raise BadInput(f"a parameter of a search cannot be named {reserved[0]}, which is a column of its trials")
    checked: dict[str, tuple[Any, ...]] = {}
    for name, values in grid.items():
        if isinstance(values, str | bytes) or not isinstance(values, Iterable):
            raise BadInput(f"the grid of {name} must be a list of values, found {values!r}")
        plain = tuple(dict.fromkeys(_plain(name, value) for value in values))
        if not plain:
            raise BadInput(f"the grid of {name} has no values")
        checked[name] = plain
    return checked


def parse_grid(texts: Sequence[str]) -> dict[str, list[Any]]:
    """Return the grid of texts `NAME=VALUE,VALUE` or `NAME=FIRST:LAST[:STEP]`. Raises BadInput.

    >>> parse_grid(["fast=5,10", "slow=30:50:10", "level=0.5"])
    {'fast': [5, 10], 'slow': [30, 40, 50], 'level': [0.5]}
    """
    grid: dict[str, list[Any]] = {}
    for text in texts:
        name, separator, values = text.partition("=")
        if not separator or not name.strip() or not values.strip():
            raise BadInput(f"--grid {text!r} must be NAME=VALUE,VALUE or NAME=FIRST:LAST:STEP, such as fast=5,10,20")
        if name.strip() in grid:
            raise BadInput(f"--grid names {name.strip()} twice; pass all its values in one list")
        grid[name.strip()] = [value for part in values.split(",") for value in _parse_values(text, part.strip())]
    return grid


def allowed_sets(grid: ParameterGrid, constraints: Iterable[Constraint] = ()) -> list[Parameters]:
    """Return all sets of a grid that the constraints allow, the last parameter varying fastest. Raises BadInput."""
    count = count_sets(grid)
    if count > GRID_SETS_MAX:
        raise BadInput(
            f"the grid has {count:,} parameter sets, at most {GRID_SETS_MAX:,} are run; use fewer values or a random "
            "sample"
        )
    return _allowed(grid, constraints)


def random_sets(grid: ParameterGrid, constraints: Iterable[Constraint], count: int, seed: int) -> list[Parameters]:
    """Return `count` different sets of a grid, drawn with a seed; all that are allowed if there are fewer."""
    if count < 1:
        raise BadInput(f"the number of random sets must be at least 1, found {count}")
    generator = random.Random(seed)  # noqa: S311 - a sample, no secret
    if count_sets(grid) <= SAMPLED_SETS_MAX:
        allowed = _allowed(grid, constraints)
        return allowed if len(allowed) <= count else generator.sample(allowed, count)
    rules = checked_constraints(constraints, grid)
    drawn = ({name: generator.choice(values) for name, values in grid.items()} for _ in range(1000 * count))
    unique = {tuple(one.values()): one for one in drawn if allows(rules, one)}
    return _require_some(grid, list(islice(unique.values(), count)))


def count_sets(grid: ParameterGrid) -> int:
    return math.prod(map(len, grid.values()))


def checked_constraints(
    constraints: Iterable[Constraint], names: Iterable[str]
) -> list[Callable[[Parameters], bool] | Formula]:
    """Return the constraints, with texts as formulas. Raises BadInput for an unknown name."""
    known = list(names)
    return [one if callable(one) else Formula("constraint", one, known) for one in constraint_list(constraints)]


def constraint_list(constraints: Constraint | Iterable[Constraint]) -> list[Constraint]:
    """Return the constraints as a list, also a single one."""
    return [constraints] if isinstance(constraints, str) or callable(constraints) else list(constraints)


def allows(constraints: Iterable[Callable[[Parameters], bool] | Formula], parameters: Parameters) -> bool:
    """Whether all constraints allow the parameters."""
    return all(
        bool(one.value(parameters) if isinstance(one, Formula) else one(dict(parameters))) for one in constraints
    )


def describe_set(parameters: Mapping[str, Any]) -> str:
    """
    >>> describe_set({"fast": 5, "slow": 30})
    'fast=5, slow=30'
    """
    return ", ".join(f"{name}={value}" for name, value in parameters.items())


def _allowed(grid: ParameterGrid, constraints: Iterable[Constraint]) -> list[Parameters]:
    rules = checked_constraints(constraints, grid)
    return _require_some(grid, [one for one in _all_sets(grid) if allows(rules, one)])


def _require_some(grid: ParameterGrid, sets: list[Parameters]) -> list[Parameters]:
    if not sets:
        raise BadInput(f"the constraints exclude all {count_sets(grid):,} parameter sets of the grid")
    return sets


def _all_sets(grid: ParameterGrid) -> Iterator[Parameters]:
    for values in product(*grid.values()):
        yield dict(zip(grid, values, strict=True))


def _plain(name: str, value: Any) -> Any:
    """Return a value as Python's own type, such as an int for a NumPy integer. Raises BadInput for no JSON value."""
    plain = value.item() if hasattr(value, "item") and not isinstance(value, int | float) else value
    if isinstance(plain, float) and not math.isfinite(plain):
        raise BadInput(f"the grid of {name} must have finite numbers, found {plain}")
    if not isinstance(plain, bool | int | float | str):
        raise BadInput(f"the grid of {name} must have numbers, texts, True or False, found {plain!r}")
    return plain


def _parse_values(text: str, part: str) -> list[Any]:
    ends = part.split(":")
    if len(ends) not in _RANGE_PARTS:
        return [_parse_value(part)]
    numbers = [_parse_value(one) for one in ends]
    first, last, step = (*numbers, 1)[:3] if len(numbers) < max(_RANGE_PARTS) else numbers
    if not all(type(one) in (int, float) for one in (first, last, step)) or step <= 0 or last < first:
        raise BadInput(f"--grid {text!r}: a range must be FIRST:LAST:STEP with FIRST <= LAST and STEP > 0")
    steps = math.floor((last - first) / step + 1e-9)
    return [
        first + step * number if isinstance(step, int) else round(first + step * number, 12)
        for number in range(steps + 1)
    ]


def _parse_value(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return {"true": True, "false": False}.get(text.lower(), text)
