"""Walk-forward folds in which no training label overlaps the test period.

A label at bar i is known h bars later. Training rows whose label ends within `embargo` times before the start of the
test, or later, are removed: M. Lopez de Prado, Advances in Financial Machine Learning (2018), sections 7.4.1 and 7.4.2.
The training period is always before the test period, as in production.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from schemas.errors import BadInput


def walk_forward(
    begins: Sequence[int], ends: Sequence[int], *, folds: int, embargo: int
) -> Iterator[tuple[list[int], list[int]]]:
    """Yield (training rows, test rows) of each fold, as indexes into `begins`.

    `begins` and `ends` are the times at which each row's inputs and label are known, in any ordered unit. `embargo` is
    a number of distinct times of `begins`. The times are divided into `folds + 1` equal blocks. Each block except the
    first is tested once, after training on all blocks before it. Raises BadInput if a fold has no training or test row.

    >>> list(walk_forward([1, 2, 3, 4], [2, 3, 4, 5], folds=1, embargo=0))
    [([0], [2, 3])]
    """
    times = sorted(set(begins))
    size = len(times) // (folds + 1)
    for fold in range(1, folds + 1):
        start = times[fold * size] if size else None
        stop = times[(fold + 1) * size] if fold < folds and size else None
        if start is None:
            raise BadInput(f"{folds} folds require more than {folds} distinct times, found {len(times)}")
        last = times[max(fold * size - embargo, 0)]
        train = [index for index, ends_at in enumerate(ends) if ends_at < last and begins[index] < start]
        test = [
            index for index, begins_at in enumerate(begins) if begins_at >= start and (stop is None or begins_at < stop)
        ]
        if not train or not test:
            found = f"found {len(train)} training rows and {len(test)} test rows"
            raise BadInput(f"fold {fold} of {folds} requires training and test rows, {found}")
        yield train, test
