"""End a backtest whose view strategy or user-defined indicator does not return, without a cost for each call.

A thread inspects the stacks of all threads a few times a second and finds the outermost frame of a user's file. As long
as this frame is the same object, the same call is running. If the call has used more processor time than the limit,
`on_stuck` receives the timeout. `HandlerWatchdog` measures handlers of trading strategies and interrupts them.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Mapping
from types import FrameType, TracebackType

from configs.settings import Settings
from configs.strategies import configured_strategies
from dataflows.runtime.handler_watchdog import OnStuck, TimeLimits, time_limits
from operators.raised_error import source_file
from schemas.records import PROCESSOR_TIME, HandlerTimeout


class StuckCallWatch:
    """Watches calls of functions in some files, inside a `with` block. `names` are the names to report, by file.

    On a system without a clock of a thread's processor time (macOS), it watches nothing.
    """

    def __init__(self, names: Mapping[str, str], limits: TimeLimits, on_stuck: OnStuck) -> None:
        self._names, self._limits, self._on_stuck = names, limits, on_stuck
        self._calls: dict[int, tuple[FrameType, float]] = {}  # thread -> frame, processor time when first seen
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="stuck-call-watch", daemon=True)

    def __enter__(self) -> StuckCallWatch:
        if self._names and hasattr(time, "pthread_getcpuclockid"):
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(self._limits.poll_s):
            timeout = self.check()
            if timeout is not None:
                self._on_stuck(timeout)
                return

    def check(self) -> HandlerTimeout | None:
        """Compare the running calls with those of the last check. Return the timeout of one that exceeds its limit."""
        calls: dict[int, tuple[FrameType, float]] = {}
        found: HandlerTimeout | None = None
        for thread_id, innermost in sys._current_frames().items():
            frame = _outermost(innermost, self._names)
            if frame is None:
                continue
            # The thread runs Python code, so its clock exists.
            used_s = time.clock_gettime(time.pthread_getcpuclockid(thread_id))
            before = self._calls.get(thread_id)
            calls[thread_id] = before if before is not None and before[0] is frame else (frame, used_s)
            name = self._names[frame.f_code.co_filename]
            limit_s = self._limits.processor_s_of(name)
            if used_s - calls[thread_id][1] >= limit_s:
                found = _timeout_of(name, frame, innermost, limit_s)
        self._calls = calls
        return found


def watched_files(settings: Settings) -> dict[str, str]:
    """Return the names of the view strategies and indicator files to watch, by source file.

    Files that contain a trading strategy are left out: its handlers have a watchdog of their own.
    """
    configured = configured_strategies(settings)
    trading = {source_file(type(one)) for one in configured.trading}
    indicators = {str(path.expanduser().resolve()): path.name for path in settings.features.indicator_files}
    views = {source_file(type(one)): one.name for one in configured.views}
    return {file: name for file, name in {**indicators, **views}.items() if file and file not in trading}


def watch_of(settings: Settings, on_stuck: OnStuck) -> StuckCallWatch:
    """Return the watch of a backtest with these settings."""
    return StuckCallWatch(watched_files(settings), time_limits(settings), on_stuck)


def _outermost(frame: FrameType | None, files: Mapping[str, str]) -> FrameType | None:
    found: FrameType | None = None
    while frame is not None:
        if frame.f_code.co_filename in files:
            found = frame
        frame = frame.f_back
    return found


def _timeout_of(name: str, call: FrameType, innermost: FrameType, limit_s: float) -> HandlerTimeout:
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
        measure=PROCESSOR_TIME,
        limit_s=limit_s,
        file=own_file,
        line=line,
    )
