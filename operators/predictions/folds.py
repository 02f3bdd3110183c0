"""Walk-forward folds in which no training label reaches into the test.

A label at bar i is known h bars later. Training rows whose label ends within `embargo` of the test's begin, or later,
are purged: M. Lopez de Prado, Advances in Financial Machine Learning (2018), sections 7.4.1 and 7.4.2. Training is
always before the test, as it will be when the model is used.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from schemas.errors import BadInput


def walk_forward(
    begins: Sequence[int], ends: Sequence[int], *, folds: int, embargo: int
) -> Iterator[tuple[list[int], list[int]]]:
    """(training rows, test rows) of each fold, as places in `begins`.

    `begins` and `ends` say when each row's inputs and its label are known, in any unit that orders; `embargo` counts in
    different times of `begins`. The times are cut into `folds + 1` equal blocks: each but the first is tested once, on
    what all before it taught. Raises BadInput where a fold would have no row to train on or to test.

    >>> list(walk_forward([1, 2, 3, 4], [2, 3, 4, 5], folds=1, embargo=0))
    [([0], [2, 3])]
    """
    times = sorted(set(begins))
    size = len(times) // (folds + 1)
    for fold in range(1, folds + 1):
        start = times[fold * size] if size else None
        stop = times[(fold + 1) * size] if fold < folds and size else None
        if start is None:
            raise BadInput(f"{folds} folds need more than {folds} different times, found {len(times)}")
        last = times[max(fold * size - embargo, 0)]
        train = [index for index, ends_at in enumerate(ends) if ends_at < last and begins[index] < start]
        test = [
            index for index, begins_at in enumerate(begins) if begins_at >= start and (stop is None or begins_at < stop)
        ]
        if not train or not test:
            raise BadInput(f"fold {fold} of {folds} has {len(train)} rows to train on and {len(test)} to test")
        yield train, test
