"""Measure the handlers of strategies, and end those that exceed their time limit.

A thread checks the running calls a few times a second. It compares the *processor time* of the calling thread with
the limit, so that a slow, busy or suspended machine suspends no strategy. A handler that sleeps uses no processor time;
the longer limit of *waiting time* ends it. Time in which the thread was ready to run, or in which this process did not
run, does not count.

What happens at the limit depends on where the handler runs:

* A live service records the timeout and ends its process (`end_process`). No result of the call is used. After the
  restart, the stage reads the record and does not call the handler.
* A backtest and the check of a strategy have no restart. They raise an exception in the thread of the handler, once.
  If the handler catches it, or waits in C code, `on_stuck` receives the timeout.
"""

from __future__ import annotations

import ctypes
import sys
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from configs.settings import Settings
from configs.strategies import configured_strategies
from dataflows.runtime.handler_backstop import HandlerBackstop
from operators.handler_limit import HandlerCall, HandlerTimedOut, timeouts_of
from schemas.records import PROCESSOR_TIME, WAITING_TIME, HandlerTimeout, TimeMeasure

_POLL_MAX_S = 0.25
GRACE_S = 2.0
"""Time in which an interrupted handler must return."""

EndProcess = Callable[[list[HandlerTimeout]], None]
"""Receives the timeouts of a call and does not return."""
OnStuck = Callable[[HandlerTimeout], None]
"""Receives the timeout of a handler that could not be interrupted."""


@dataclass(frozen=True, kw_only=True)
class TimeLimits:
    """Limits of one call of a handler in seconds; `by_strategy` are limits of processor time by strategy."""

    processor_s: float = 5.0
    waiting_s: float = 60.0
    by_strategy: Mapping[str, float] = field(default_factory=dict)

    def processor_s_of(self, strategy: str) -> float:
        return self.by_strategy.get(strategy, self.processor_s)

    @property
    def poll_s(self) -> float:
        return min(
            _POLL_MAX_S, *(limit / 10 for limit in (self.processor_s, self.waiting_s, *self.by_strategy.values()))
        )


def time_limits(settings: Settings) -> TimeLimits:
    """Return the time limits of the settings."""
    section = settings.signals
    return TimeLimits(
        processor_s=section.handler_time_limit_s,
        waiting_s=section.handler_waiting_limit_s,
        by_strategy=configured_strategies(settings).time_limits,
    )


class _Interrupt(BaseException):
    """Ends a handler. Not an Exception, so that `except Exception` in a handler does not catch it."""


class _Worker:
    """The calls of one thread. `begin` and `end` run in this thread, `check` in that of the watchdog."""

    def __init__(self) -> None:
        self.thread_id = threading.get_ident()
        self._scheduler_file = f"/proc/self/task/{threading.get_native_id()}/schedstat"
        self._clock = _processor_clock(self.thread_id)
        self._lock = threading.Lock()
        self._call: HandlerCall | None = None
        self._timeout: HandlerTimeout | None = None
        self._is_interrupted = False
        # Used by the watchdog's thread only: the call that it measures.
        self._measured: HandlerCall | None = None
        self._start_s = self._ready_s = self._waiting_s = self._interrupted_s = 0.0

    def begin(self, call: HandlerCall) -> None:
        self._timeout, self._is_interrupted = None, False
        self._call = call

    def end(self) -> HandlerTimeout | None:
        """End the call. Return its timeout, if it has exceeded its limit. No interrupt arrives afterwards."""
        with self._lock:
            self._call = None
        if self._is_interrupted:
            _receive_pending_exception(self.thread_id)
        return self._timeout

    def check(self, limits: TimeLimits, elapsed_s: float, *, interrupt: bool) -> HandlerCall | None:
        """Measure the running call. Return it if it exceeds its limit now. `elapsed_s` is the time since the last."""
        call = self._call
        if call is not self._measured:
            self._measured, self._waiting_s, self._interrupted_s = call, 0.0, 0.0
            self._start_s, self._ready_s = self._processor_s(), self._time_ready_s()
            return None
        if call is None or self._timeout is not None:
            self._interrupted_s += elapsed_s
            return None
        ready_before_s, self._ready_s = self._ready_s, self._time_ready_s()
        self._waiting_s += max(0.0, elapsed_s - (self._ready_s - ready_before_s))
        limit_s = limits.processor_s_of(call.strategy)
        if self._processor_s() - self._start_s >= limit_s:
            timeout = _timeout_of(call, PROCESSOR_TIME, limit_s, self.thread_id)
        elif self._waiting_s >= limits.waiting_s:
            timeout = _timeout_of(call, WAITING_TIME, limits.waiting_s, self.thread_id)
        else:
            return None
        with self._lock:
            if self._call is not call:
                return None
            self._timeout = timeout
            if interrupt:
                self._is_interrupted = True
                set_pending_exception(self.thread_id, _Interrupt)
        return call

    def stuck(self) -> HandlerTimeout | None:
        """Return the timeout of an interrupted call that has not ended in time."""
        is_stuck = self._call is not None and self._call is self._measured and self._interrupted_s >= GRACE_S
        return self._timeout if is_stuck else None

    def timeouts(self, call: HandlerCall) -> list[HandlerTimeout]:
        assert self._timeout is not None, "the call has exceeded its limit"
        return timeouts_of(call, self._timeout)

    def _processor_s(self) -> float:
        if self._clock is None:
            return 0.0
        try:
            return time.clock_gettime(self._clock)
        except OSError:  # the thread has ended
            return 0.0

    def _time_ready_s(self) -> float:
        """Return the time in which the thread has run or was ready to run; where Linux does not report it, has run."""
        try:
            ran_ns, queued_ns, _ = Path(self._scheduler_file).read_text().split()
        except (OSError, ValueError):
            return self._processor_s()
        return (int(ran_ns) + int(queued_ns)) / 1e9


class HandlerWatchdog:
    """A `HandlerLimit` with a clock. Pass `end_process` and `backstop` in a live service only.

    The thread ends when nothing refers to the watchdog any more.
    Without a clock of a thread's processor time (macOS), all time counts as waiting time.
    """

    def __init__(
        self,
        limits: TimeLimits,
        *,
        end_process: EndProcess | None = None,
        on_stuck: OnStuck = lambda _: None,
        backstop: HandlerBackstop | None = None,
    ) -> None:
        self._limits, self._end_process, self._on_stuck, self._backstop = limits, end_process, on_stuck, backstop
        self._workers: list[_Worker] = []
        self._of_thread = threading.local()
        self._start_lock = threading.Lock()

    def run(self, call: HandlerCall, handler: Callable[..., Any], *arguments: Any) -> Any:
        worker: _Worker = getattr(self._of_thread, "worker", None) or self._add_worker()
        returned: Any = None
        error: BaseException | None = None
        try:
            worker.begin(call)
            if self._backstop is not None and len(self._workers) == 1:  # its timer is one for the process
                self._backstop.begin(call, self._limits.processor_s_of(call.strategy))
            try:
                returned = handler(*arguments)
            except BaseException as raised:  # noqa: BLE001  (raised again below)
                error = raised
            timeout = worker.end()
        except _Interrupt:  # it arrived after the handler had ended; it arrives only once
            timeout = worker.end()
        if self._backstop is not None:
            self._backstop.end()
        if timeout is not None:
            while self._end_process is not None:  # nothing may act on a call that is recorded as a timeout
                time.sleep(1)
            raise HandlerTimedOut(timeout)
        if error is not None:
            raise error
        return returned

    def _add_worker(self) -> _Worker:
        worker = self._of_thread.worker = _Worker()
        with self._start_lock:
            self._workers.append(worker)
            if len(self._workers) == 1:
                watchdog = weakref.ref(self)
                arguments = (watchdog, self._limits.poll_s)
                threading.Thread(target=_watch, args=arguments, name="handler-watchdog", daemon=True).start()
        return worker

    def check(self, elapsed_s: float) -> None:
        """Compare all running calls with their limits. `elapsed_s` is the time since the last check."""
        for worker in list(self._workers):
            call = worker.check(self._limits, elapsed_s, interrupt=self._end_process is None)
            if call is not None and self._end_process is not None:
                self._end_process(worker.timeouts(call))
            if (timeout := worker.stuck()) is not None:
                self._on_stuck(timeout)


def _watch(reference: weakref.ref[HandlerWatchdog], poll_s: float) -> None:
    last = time.monotonic()
    while True:
        time.sleep(poll_s)
        watchdog = reference()
        if watchdog is None:
            return
        now = time.monotonic()
        # A process that was stopped for an hour has not waited for an hour.
        watchdog.check(min(now - last, 2 * poll_s))
        last = now
        del watchdog


def _timeout_of(call: HandlerCall, measure: TimeMeasure, limit_s: float, thread_id: int) -> HandlerTimeout:
    file, line = _position(thread_id, call.file)
    return HandlerTimeout(
        ts_ns=call.ts_ns,
        strategy=call.strategy,
        symbol=call.symbol,
        call=call.number,
        handler=call.handler,
        measure=measure,
        limit_s=limit_s,
        file=file,
        line=line,
    )


def _position(thread_id: int, own_file: str) -> tuple[str, int]:
    """Return where a thread is: its innermost position in the user's file, or its innermost position."""
    innermost = frame = sys._current_frames().get(thread_id)
    while frame is not None:
        if frame.f_code.co_filename == own_file:
            return own_file, frame.f_lineno
        frame = frame.f_back
    return ("", 0) if innermost is None else (innermost.f_code.co_filename, innermost.f_lineno)


def _processor_clock(thread_id: int) -> int | None:
    """Return the clock of a running thread's processor time; None on a system without one."""
    read = getattr(time, "pthread_getcpuclockid", None)
    return None if read is None else int(read(thread_id))


def _receive_pending_exception(thread_id: int) -> None:
    """Let an interrupt that this thread has not received yet arrive here, and no later.

    It is set again, which replaces one that is pending. To withdraw it instead would leave CPython 3.11 with a flag
    that asks every thread to check for it for ever: `cProfile` and tracing would then never return from a call.
    """
    try:
        set_pending_exception(thread_id, _Interrupt)
        while True:
            pass
    except _Interrupt:
        return


def set_pending_exception(thread_id: int, kind: type[BaseException]) -> None:
    """Raise an exception in a thread at its next bytecode."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread_id), ctypes.py_object(kind))
