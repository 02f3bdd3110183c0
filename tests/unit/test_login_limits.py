"""Delays of failed log-ins, with counts in this process: Redis is unreachable here. The integration tests use Redis."""

from __future__ import annotations

import pytest
import redis

from api import login_limits
from api.login_limits import FORGET_S, LoginLimiter
from api.problems import TooManyRequests

HOME, ELSEWHERE = "203.0.113.9", "198.51.100.7"


class Clock:
    def __init__(self) -> None:
        self.now = 1e9

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(login_limits, "time", clock)
    return clock


@pytest.fixture
def limiter(clock: Clock) -> LoginLimiter:
    return LoginLimiter(redis.Redis.from_url("redis://127.0.0.1:1/0"), "3/minute")


def _wait_s(limiter: LoginLimiter, account: str = "ann", address: str = ELSEWHERE) -> int:
    """Register an attempt that fails; return the seconds that it would have had to wait, 0 if it was registered."""
    try:
        limiter.begin(account, address)
    except TooManyRequests as error:
        return error.retry_after_s
    return 0


def _fail(limiter: LoginLimiter, clock: Clock, times: int, account: str = "ann", address: str = ELSEWHERE) -> None:
    """Fail so many attempts, each as early as the delay permits."""
    for _ in range(times):
        clock.now += _wait_s(limiter, account, address)
        _wait_s(limiter, account, address)


def test_the_delay_doubles_up_to_the_period(limiter: LoginLimiter, clock: Clock) -> None:
    assert [_wait_s(limiter) for _ in range(3)] == [0, 0, 0]
    delays = []
    for _ in range(9):
        delays.append(_wait_s(limiter))
        assert _wait_s(limiter) == delays[-1], "a rejected attempt does not extend the delay"
        clock.now += delays[-1]
        assert _wait_s(limiter) == 0
    assert delays == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_guesses_from_elsewhere_do_not_delay_a_user_at_the_usual_address(limiter: LoginLimiter, clock: Clock) -> None:
    limiter.succeed(limiter.begin("ann", HOME))
    for number in range(50):
        _fail(limiter, clock, 1, address=f"198.51.100.{number}")
    assert _wait_s(limiter, address="198.51.100.99") > 0, "the account is under attack from unknown addresses"
    limiter.succeed(limiter.begin("ann", HOME))


def test_a_user_at_a_new_address_waits_at_most_the_period(limiter: LoginLimiter, clock: Clock) -> None:
    for number in range(50):
        _fail(limiter, clock, 1, address=f"198.51.100.{number}")
    clock.now += 60
    limiter.succeed(limiter.begin("ann", HOME))
    limiter.succeed(limiter.begin("ann", HOME))


def test_an_address_that_guesses_many_accounts_is_delayed(limiter: LoginLimiter, clock: Clock) -> None:
    limiter.succeed(limiter.begin("bob", ELSEWHERE))
    assert [_wait_s(limiter, f"user-{number}") for number in range(5)] == [0, 0, 0, 1, 1]
    assert _wait_s(limiter, "bob") == 0, "bob logged in from this address before"
    assert _wait_s(limiter, "user-1", HOME) == 0


def test_a_success_forgets_the_failures_at_this_address(limiter: LoginLimiter, clock: Clock) -> None:
    limiter.succeed(limiter.begin("ann", HOME))
    for _ in range(5):
        assert [_wait_s(limiter, address=HOME) for _ in range(2)] == [0, 0]
        limiter.succeed(limiter.begin("ann", HOME))


def test_failures_are_forgotten_and_an_unchecked_attempt_does_not_count(limiter: LoginLimiter, clock: Clock) -> None:
    _fail(limiter, clock, 10)
    assert _wait_s(limiter) > 0
    clock.now += FORGET_S
    assert [_wait_s(limiter) for _ in range(4)] == [0, 0, 0, 1]
    clock.now += FORGET_S
    for _ in range(20):
        limiter.withdraw(limiter.begin("ann", ELSEWHERE))
        clock.now += 1


def test_memory_is_bounded(limiter: LoginLimiter, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login_limits, "SUBJECTS_IN_MEMORY_MAX", 100)
    for number in range(200):
        limiter.begin(f"user-{number}", f"10.0.{number % 250}.1")
    assert len(limiter._memory) == 100
