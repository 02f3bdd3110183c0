"""Find a view strategy or user-defined indicator that does not return in a backtest, without a cost for each call.

A thread inspects the stacks of all threads a few times a second and finds the outermost frame of a user's file. As long
as this frame is the same object, the same call is running. If the call exceeds its time limit, the watch interrupts it
by an exception. The exception can arrive anywhere, so the run is given up. The backtest then starts again with
`HandlerWatchdog` around each of these calls, which costs a tenth of its speed, and suspends exactly the call that
exceeds its limit. If the call does not end, because it waits or catches every exception, `on_stuck` receives the
timeout.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Collection, Iterable, Mapping
from types import FrameType, TracebackType
from typing import Any

from bytewax.operators import StatefulBatchLogic

from configs.settings import Settings
from configs.strategies import configured_strategies
from dataflows.runtime.handler_watchdog import GRACE_S, OnStuck, TimeLimits, set_pending_exception, time_limits
from operators.raised_error import source_file
from schemas.records import PROCESSOR_TIME, WAITING_TIME, HandlerTimeout, TimeMeasure


class CallInterrupted(BaseException):
    """Ends a call of the user's code. Not an Exception, so that `except Exception` in the call does not catch it."""


class _RunningCall:
    """A call of a function in a watched file, as the checks have seen it."""

    def __init__(self, frame: FrameType, used_s: float) -> None:
        self.frame, self.used_s = frame, used_s  # processor time of the thread when the call was first seen
        self.elapsed_s = self.interrupted_s = 0.0
        self.is_interrupted = False


class StuckCallWatch:
    """Watches calls of functions in some files, inside a `with` block. `names` are the names to report, by file.

    A function that was running before the block is not watched, such as that of a script which starts the backtest.

    On a system without a clock of a thread's processor time (macOS), it watches nothing.
    """

    def __init__(self, names: Mapping[str, str], limits: TimeLimits, on_stuck: OnStuck) -> None:
        self._names, self._limits, self._on_stuck = names, limits, on_stuck
        self._calls: dict[int, _RunningCall] = {}  # by thread
        self._outer_frames: set[FrameType] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="stuck-call-watch", daemon=True)
        self.interrupted: HandlerTimeout | None = None
        """The timeout of the first call that was interrupted. The results of the run do not count then."""

    def __enter__(self) -> StuckCallWatch:
        frame: FrameType | None = sys._getframe()
        while frame is not None:
            self._outer_frames.add(frame)
            frame = frame.f_back
        if self._names and has_thread_clock():
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop.set()
        self._outer_frames.clear()
        if self._thread.ident is not None:
            self._thread.join()

    @property
    def is_interrupted(self) -> bool:
        return self.interrupted is not None

    def _watch(self) -> None:
        last = time.monotonic()
        while not self._stop.wait(self._limits.poll_s):
            now = time.monotonic()
            # A process that was stopped for an hour has not waited for an hour.
            stuck = self.check(min(now - last, 2 * self._limits.poll_s))
            last = now
            if stuck is not None:
                self._on_stuck(stuck)
                return

    def check(self, elapsed_s: float) -> HandlerTimeout | None:
        """Compare the running calls with those of the last check, `elapsed_s` ago. Interrupt those over their limit.

        Return the timeout of a call that has not ended after its interrupt.
        """
        calls: dict[int, _RunningCall] = {}
        found: HandlerTimeout | None = None
        for thread_id, innermost in sys._current_frames().items():
            frame = _outermost(innermost, self._names, self._outer_frames)
            if frame is None:
                continue
            # The thread runs Python code, so its clock exists.
            used_s = time.clock_gettime(time.pthread_getcpuclockid(thread_id))
            call = self._calls.get(thread_id)
            if call is None or call.frame is not frame:
                calls[thread_id] = _RunningCall(frame, used_s)
                continue
            calls[thread_id] = call
            found = self._check_call(thread_id, call, innermost, used_s, elapsed_s) or found
        self._calls = calls
        return found

    def _check_call(
        self, thread_id: int, call: _RunningCall, innermost: FrameType, used_s: float, elapsed_s: float
    ) -> HandlerTimeout | None:
        call.elapsed_s += elapsed_s
        name = self._names[call.frame.f_code.co_filename]
        limit_s = self._limits.processor_s_of(name)
        if used_s - call.used_s >= limit_s:
            timeout = _timeout_of(name, call.frame, innermost, PROCESSOR_TIME, limit_s)
        elif call.elapsed_s >= self._limits.waiting_s:
            timeout = _timeout_of(name, call.frame, innermost, WAITING_TIME, self._limits.waiting_s)
        else:
            return None
        if not call.is_interrupted:
            call.is_interrupted = True
            self.interrupted = self.interrupted or timeout
            set_pending_exception(thread_id, CallInterrupted)
            return None
        call.interrupted_s += elapsed_s
        return timeout if call.interrupted_s >= GRACE_S else None

    def guard(self, logic: StatefulBatchLogic[Any, Any, Any]) -> StatefulBatchLogic[Any, Any, Any]:
        """Return the logic of a step that ends quietly when one of its calls is interrupted."""
        return _InterruptibleLogic(self, logic)


class _InterruptibleLogic(StatefulBatchLogic[Any, Any, Any]):
    """Another logic. After an interrupt it does nothing, because the run is given up."""

    def __init__(self, watch: StuckCallWatch, logic: StatefulBatchLogic[Any, Any, Any]) -> None:
        self._watch, self._logic = watch, logic

    def on_batch(self, values: list[Any]) -> tuple[Iterable[Any], bool]:
        if not self._watch.is_interrupted:
            try:
                return self._logic.on_batch(values)
            except CallInterrupted:
                pass
        return [], StatefulBatchLogic.RETAIN

    def on_eof(self) -> tuple[list[Any], bool]:
        return [], StatefulBatchLogic.RETAIN

    def snapshot(self) -> Any:
        return None if self._watch.is_interrupted else self._logic.snapshot()


def watched_files(settings: Settings) -> dict[str, str]:
    """Return the names of the view strategies and indicator files to watch, by source file.

    Files that contain a trading strategy are left out: its handlers have a watchdog of their own.
    """
    trading = _trading_files(settings)
    return {file: name for file, name in _analysis_files(settings).items() if file not in trading}


def needs_guards(settings: Settings) -> bool:
    """Whether each call must be measured, because the stacks do not tell which calls are stuck.

    So it is if a file contains both forms of strategies, or without a clock of a thread's processor time.
    """
    files = _analysis_files(settings)
    return bool(files) and (not has_thread_clock() or not _trading_files(settings).isdisjoint(files))


def has_thread_clock() -> bool:
    return hasattr(time, "pthread_getcpuclockid")


def _trading_files(settings: Settings) -> set[str]:
    return {source_file(type(one)) for one in configured_strategies(settings).trading}


def _analysis_files(settings: Settings) -> dict[str, str]:
    """Return the names of the view strategies and indicator files of the user, by source file."""
    indicators = {str(path.expanduser().resolve()): path.name for path in settings.features.indicator_files}
    views = {source_file(type(one)): one.name for one in configured_strategies(settings).views}
    return {file: name for file, name in {**indicators, **views}.items() if file}


def watch_of(settings: Settings, on_stuck: OnStuck) -> StuckCallWatch:
    """Return the watch of a backtest with these settings."""
    return StuckCallWatch(watched_files(settings), time_limits(settings), on_stuck)


def _outermost(
    frame: FrameType | None, files: Mapping[str, str], outer_frames: Collection[FrameType]
) -> FrameType | None:
    """Return the outermost frame of the `files` that is inside the `outer_frames`."""
    found: FrameType | None = None
    while frame is not None and frame not in outer_frames:
        if frame.f_code.co_filename in files:
            found = frame
        frame = frame.f_back
    return found


def _timeout_of(
    name: str, call: FrameType, innermost: FrameType, measure: TimeMeasure, limit_s: float
) -> HandlerTimeout:
    own_file = call.f_code.co_filename
    position: FrameType | None = innermost
    while position is not None and position.f_code.co_filename != own_file:
        position = position.f_back
    line = call.f_lineno if position is None else position.f_lineno
    return HandlerTimeout(
        ts_ns=0,
        strategy=name,
        symbol="",
        call=0,
        handler=call.f_code.co_name,
        measure=measure,
        limit_s=limit_s,
        file=own_file,
        line=line,
    )
