"""Run groups of trials in processes of this machine, each of which reads the bars once for its group."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, nullcontext
from itertools import pairwise
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import cloudpickle

from configs.settings import Settings
from configs.strategy_objects import named_strategy
from dataflows.research.sweeps.parameter_sets import Parameters
from dataflows.research.sweeps.trial_pass import TrialOutcome, run_trials
from dataflows.research.sweeps.trial_pruning import PruningRule, TrialPruner
from operators.handler_limit import describe_timeout
from schemas.errors import BadInput, Unavailable
from schemas.records import HandlerTimeout

PASS_TRIALS_MAX = 16
"""Most trials of one pass. A process that is killed loses at most the trials of its pass."""


class TrialGroup(NamedTuple):
    """Trials over the same bars under the same settings, except for the parameters of the strategy.

    `pruning` ends some of them early; None: none of them.
    """

    settings: Settings
    strategy: object
    bars: tuple[Path, ...]
    parameters: tuple[Parameters, ...]
    pruning: PruningRule | None = None


def run_group(group: TrialGroup) -> list[TrialOutcome]:
    """Run the trials of a group in this process. Raises BadInput."""
    named = nullcontext(group.strategy) if isinstance(group.strategy, str) else named_strategy(group.strategy)
    with named as name:
        settings = [group.settings.with_strategies([str(name)], parameters) for parameters in group.parameters]
        pruner = None if group.pruning is None else TrialPruner(group.pruning)
        try:
            return run_trials(settings, group.bars, _end_stuck_process, pruner)
        except BadInput as error:
            files = group.settings.market_data.files
            period = f"bars from {files.start} to {files.end}: " if files.start and files.end else ""
            raise BadInput(f"{period}{error}") from error


def split_trials(count: int, processes: int) -> list[range]:
    """Split trials into groups of nearly equal size, one or more for each process.

    >>> split_trials(5, 2)
    [range(0, 3), range(3, 5)]
    """
    rounds = -(-count // (PASS_TRIALS_MAX * processes))
    groups = min(count, max(1, rounds * processes))
    edges = [-(-count * number // groups) for number in range(groups + 1)]
    return [range(first, last) for first, last in pairwise(edges)]


def processes_of(processes: int | None) -> int:
    """Return the number of processes: by default one for each core that this process may use. Raises BadInput."""
    if processes is None:
        affinity: Callable[[int], set[int]] | None = getattr(os, "sched_getaffinity", None)
        return len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    if processes < 1:
        raise BadInput(f"processes must be at least 1, found {processes}")
    return processes


def run_groups(groups: Sequence[TrialGroup], processes: int) -> Iterator[tuple[int, list[TrialOutcome]]]:
    """Yield the index of each group with its outcomes, as the groups end.

    With one process, the trials run in this one. When the caller stops, or its process ends in any way, so do the other
    processes. Raises BadInput, and Unavailable if a process ends early.
    """
    if processes == 1 or len(groups) <= 1:
        yield from ((index, run_group(group)) for index, group in enumerate(groups))
        return
    with _workers(min(processes, len(groups))) as executor:
        futures: dict[Future[list[TrialOutcome]], int] = {
            executor.submit(_run_pickled, cloudpickle.dumps(group)): index for index, group in enumerate(groups)
        }
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BrokenProcessPool as error:
            raise Unavailable(
                "a process of the search ended early: it had too little memory, or this is a script that calls the"
                ' search outside `if __name__ == "__main__":`; the trials that ended are recorded'
            ) from error


@contextmanager
def _workers(count: int) -> Iterator[ProcessPoolExecutor]:
    """Yield processes that end when the block ends, or with this process."""
    context = multiprocessing.get_context("spawn")
    inner, outer = context.Pipe(duplex=False)
    executor = ProcessPoolExecutor(count, context, _start_worker, (inner,))
    try:
        yield executor
    except BaseException:
        outer.close()  # ends the processes
        executor.shutdown(wait=True, cancel_futures=True)
        raise
    finally:
        executor.shutdown(wait=True)
        outer.close()
        inner.close()


def _start_worker(parent: Connection) -> None:
    """End this process when the other end of the pipe is closed. Ctrl-C reaches the first process only."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(parent,), name="end-with-parent", daemon=True).start()


def _end_with(parent: Connection) -> None:
    parent.poll(None)
    os._exit(1)


def _run_pickled(pickled: bytes) -> list[TrialOutcome]:
    group: TrialGroup = cloudpickle.loads(pickled)
    return run_group(group)


def _end_stuck_process(timeout: HandlerTimeout) -> None:
    """End this process, because a call of the user's code does not return and cannot be interrupted."""
    message = f"strategy {timeout.strategy}: {describe_timeout(timeout)} ({timeout.file}:{timeout.line})"
    print(f"error: {message}. It cannot be interrupted, so this process ends.", file=sys.stderr, flush=True)
    os._exit(1)
