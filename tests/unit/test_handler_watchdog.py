"""The clock of a handler's time limit: what exceeds it, what does not, and how a handler ends."""

from __future__ import annotations

import inspect
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from dataflows.runtime.handler_watchdog import HandlerWatchdog, TimeLimits
from deploy.home import REPOSITORY
from operators.handler_limit import HandlerCall, HandlerTimedOut
from schemas.records import PROCESSOR_TIME, WAITING_TIME, HandlerTimeout

SPINNING = TimeLimits(processor_s=0.1, waiting_s=3600)
"""A handler that spins exceeds them after 0.1 s; one that returns at once does not on any machine."""
WAITING = TimeLimits(processor_s=3600, waiting_s=0.5)
GENEROUS = TimeLimits(processor_s=3600, waiting_s=3600)
"""Limits that no test exceeds on any machine; `check` then measures with the time that the test passes."""


def call_of(handler: Callable[..., Any], strategy: str = "own") -> HandlerCall:
    return HandlerCall(60, strategy, "", 1, handler.__name__, __file__)


def spin() -> None:
    while True:
        pass


def spin_through_exceptions() -> None:
    while not _released.is_set():
        try:
            while not _released.is_set():
                pass
        except BaseException:  # noqa: BLE001, S110  (what the test is about)
            pass


def wait() -> None:
    _released.wait()


_released = threading.Event()


@pytest.fixture(autouse=True)
def release() -> Any:
    """Let the handlers of a test return at its end."""
    _released.clear()
    yield
    _released.set()


def test_a_handler_within_its_limit_returns_its_value() -> None:
    assert HandlerWatchdog(GENEROUS).run(call_of(wait), lambda one: one + 1, 1) == 2


@pytest.mark.parametrize("error", [ValueError("bad"), KeyboardInterrupt()])
def test_what_a_handler_raises_passes_through(error: BaseException) -> None:
    def handler() -> None:
        raise error

    with pytest.raises(type(error)):
        HandlerWatchdog(GENEROUS).run(call_of(handler), handler)


def test_an_endless_loop_is_interrupted_and_its_line_is_named() -> None:
    with pytest.raises(HandlerTimedOut) as raised:
        HandlerWatchdog(SPINNING).run(call_of(spin), spin)
    timeout, first = raised.value.timeout, inspect.getsourcelines(spin)[1]
    assert timeout._replace(line=0) == HandlerTimeout(
        ts_ns=60,
        strategy="own",
        symbol="",
        call=1,
        handler="spin",
        measure=PROCESSOR_TIME,
        limit_s=0.1,
        file=__file__,
        line=0,
    )
    assert first < timeout.line <= first + 2


def test_a_handler_that_returns_after_its_limit_has_timed_out() -> None:
    """It catches the interrupt and returns a value, which does not count."""

    def late() -> str:
        with suppress(BaseException):
            spin()
        return "too late"

    with pytest.raises(HandlerTimedOut):
        HandlerWatchdog(SPINNING).run(call_of(late), late)


def test_the_next_call_after_an_interrupt_runs_undisturbed() -> None:
    watchdog = HandlerWatchdog(SPINNING)
    for _ in range(3):
        with pytest.raises(HandlerTimedOut):
            watchdog.run(call_of(spin), spin)
        assert watchdog.run(call_of(wait), lambda: "calm") == "calm"


PROFILE_AFTER_AN_INTERRUPT = """
import cProfile
from tests.unit.test_handler_watchdog import SPINNING, HandlerTimedOut, HandlerWatchdog, call_of, spin, wait
try:
    HandlerWatchdog(SPINNING).run(call_of(spin), spin)
except HandlerTimedOut:
    cProfile.run("call_of(wait)")
"""


def test_functions_can_be_profiled_after_an_interrupt() -> None:
    """In a process of its own, because a profile that never returns cannot be ended from within."""
    command = [sys.executable, "-c", PROFILE_AFTER_AN_INTERRUPT]
    completed = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=240, check=False)
    assert completed.returncode == 0, completed.stderr
    assert "function calls" in completed.stdout


def test_a_strategy_may_have_its_own_limit() -> None:
    watchdog = HandlerWatchdog(TimeLimits(processor_s=3600, waiting_s=3600, by_strategy={"own": 0.1}))
    with pytest.raises(HandlerTimedOut) as raised:
        watchdog.run(call_of(spin), spin)
    assert raised.value.timeout.limit_s == 0.1


@pytest.mark.parametrize("handler", [wait, spin_through_exceptions])
def test_a_handler_that_cannot_be_interrupted_is_reported(handler: Callable[..., Any]) -> None:
    reported: list[HandlerTimeout] = []

    def on_stuck(timeout: HandlerTimeout) -> None:
        reported.append(timeout)
        _released.set()

    limits = WAITING if handler is wait else SPINNING
    with pytest.raises(HandlerTimedOut):
        HandlerWatchdog(limits, on_stuck=on_stuck).run(call_of(handler), handler)
    assert {(one.handler, one.file) for one in reported} == {(handler.__name__, __file__)}
    assert reported[0].measure == (WAITING_TIME if handler is wait else PROCESSOR_TIME)


class LiveRun:
    """A handler in a thread of its own, with a watchdog that ends the process: here, it only notes the timeouts."""

    def __init__(self) -> None:
        self.recorded: list[list[HandlerTimeout]] = []
        self.returned: list[Any] = []
        self.watchdog = HandlerWatchdog(GENEROUS, end_process=self.recorded.append)
        self._is_running = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()
        self._is_running.wait()

    def _run(self) -> None:
        def handler() -> str:
            self._is_running.set()
            _released.wait()
            return "done"

        self.returned.append(self.watchdog.run(call_of(handler), handler))


def test_a_live_service_records_the_timeout_once_and_does_not_act_on_the_late_return() -> None:
    live = LiveRun()
    live.watchdog.check(0.0)
    live.watchdog.check(3000.0)
    assert live.recorded == []
    live.watchdog.check(3000.0)
    live.watchdog.check(3600.0)
    [[timeout]] = live.recorded
    assert (timeout.handler, timeout.measure, timeout.limit_s) == ("handler", WAITING_TIME, 3600)
    _released.set()
    live.thread.join(timeout=0.5)
    assert live.thread.is_alive() and live.returned == [], "the process ends; the call never returns"


def test_time_before_the_call_does_not_count() -> None:
    live = LiveRun()
    live.watchdog.check(5000.0)
    live.watchdog.check(1.0)
    assert live.recorded == []
    _released.set()
    live.thread.join()
    assert live.returned == ["done"]


def test_a_waiting_handler_uses_no_processor_time() -> None:
    """A machine that is busy with other processes suspends no strategy."""
    limits = TimeLimits(processor_s=0.05, waiting_s=3600)
    started = time.process_time()

    def spin_half_a_second() -> None:
        while time.process_time() - started < 0.5:
            pass

    def waits_for_another_thread() -> str:
        spinner = threading.Thread(target=spin_half_a_second)
        spinner.start()
        spinner.join()
        return "done"

    call = call_of(waits_for_another_thread)
    assert HandlerWatchdog(limits).run(call, waits_for_another_thread) == "done"
