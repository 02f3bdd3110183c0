"""Limit password guesses: a delay that doubles with each failed log-in, never a lock-out.

Each log-in counts against three subjects: the account at this address, the account at all unknown addresses, and the
address. After `free` attempts without success, the next attempt of a subject has to wait 1 s, then 2 s, 4 s and so on
up to `delay_max_s`. An attempt within the delay is rejected without a check of the password and does not extend it. The
counts are forgotten `FORGET_S` after the last attempt.

An address from which the account logged in during the last `USUAL_S` is *known*. There, only the first count applies.
Guesses from elsewhere therefore never delay a user at the usual address, and a user at a new address waits at most
`delay_max_s`.

Redis holds the counts, so that all API processes share them. Without Redis, each process counts by itself.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import redis
import structlog

from api.client_address import network_of
from api.problems import TooManyRequests

log = structlog.get_logger(__name__)

FORGET_S = 3600
USUAL_S = 30 * 86_400
SUBJECTS_IN_MEMORY_MAX = 10_000
_PERIODS_S = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400}

# KEYS: the subjects. ARGV: now, free attempts, longest delay, seconds after which a count is forgotten.
_REGISTER = """
local now, free, longest = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local wait = 0
for _, key in ipairs(KEYS) do
  wait = math.max(wait, tonumber(redis.call('HGET', key, 'until') or '0') - now)
end
if wait > 0 then return tostring(wait) end
for _, key in ipairs(KEYS) do
  local failures = redis.call('HINCRBY', key, 'failures', 1)
  if failures >= free then
    redis.call('HSET', key, 'until', tostring(now + math.min(2 ^ math.min(failures - free, 30), longest)))
  end
  redis.call('EXPIRE', key, ARGV[4])
end
return '0'
"""


@dataclass(frozen=True)
class LoginAttempt:
    """One registered attempt. `subjects` are the keys that it counts against, the account at its address first."""

    subjects: tuple[str, ...]
    usual_key: str


@dataclass
class _Count:
    failures: int = 0
    delayed_until: float = 0.0
    forgotten_at: float = 0.0


class LoginLimiter:
    """Registers log-ins before their password is checked. `rate` is "10/minute": 10 free failures, delay of at most
    one minute.
    """

    def __init__(self, client: redis.Redis, rate: str) -> None:
        free, _, period = rate.partition("/")
        self._free, self._delay_max_s = int(free), float(_PERIODS_S[period])
        self._redis = client
        self._register = client.register_script(_REGISTER)
        self._memory: OrderedDict[str, _Count] = OrderedDict()
        self._usual_in_memory: OrderedDict[str, None] = OrderedDict()
        self._lock = threading.Lock()

    def begin(self, account: str, address: str) -> LoginAttempt:
        """Register an attempt, which counts as failed until `succeed`. Raises TooManyRequests within a delay."""
        account_id = hashlib.sha256(account.encode()).hexdigest()[:32]
        network = network_of(address)
        pair = f"login:pair:{account_id}:{network}"
        usual_key = f"login:known:{account_id}:{network}"
        try:
            is_usual = bool(self._redis.exists(usual_key))
            subjects = self._subjects(account_id, network, pair, is_usual=is_usual)
            arguments: list[Any] = [time.time(), self._free, self._delay_max_s, FORGET_S]
            wait_s = float(self._register(keys=list(subjects), args=arguments))
        except redis.RedisError as error:
            log.warning("redis unavailable, log-ins are counted per process", error=str(error).splitlines()[0])
            with self._lock:
                is_usual = usual_key in self._usual_in_memory
                subjects = self._subjects(account_id, network, pair, is_usual=is_usual)
                wait_s = self._register_in_memory(subjects, time.time())
        if wait_s > 0:
            seconds = max(1, math.ceil(wait_s))
            raise TooManyRequests(f"Too many failed log-ins. Try again in {seconds} s.", seconds)
        return LoginAttempt(subjects, usual_key)

    def succeed(self, attempt: LoginAttempt) -> None:
        """The password was right: forgets the failures of the account at this address and remembers the address."""
        with self._lock:
            _remember(self._usual_in_memory, attempt.usual_key, None)
            self._memory.pop(attempt.subjects[0], None)
            for subject in attempt.subjects[1:]:
                if subject in self._memory:
                    self._memory[subject].failures -= 1
        with contextlib.suppress(redis.RedisError):  # the next attempt logs the failure
            pipeline = self._redis.pipeline()
            pipeline.set(attempt.usual_key, "1", ex=USUAL_S)
            pipeline.delete(attempt.subjects[0])
            for subject in attempt.subjects[1:]:
                pipeline.hincrby(subject, "failures", -1)
                pipeline.expire(subject, FORGET_S)
            pipeline.execute()

    def withdraw(self, attempt: LoginAttempt) -> None:
        """The password was not checked, for example without the database: the attempt does not count as failed."""
        with self._lock:
            for subject in attempt.subjects:
                if subject in self._memory:
                    self._memory[subject].failures -= 1
        with contextlib.suppress(redis.RedisError):
            pipeline = self._redis.pipeline()
            for subject in attempt.subjects:
                pipeline.hincrby(subject, "failures", -1)
                pipeline.expire(subject, FORGET_S)
            pipeline.execute()

    @staticmethod
    def _subjects(account_id: str, network: str, pair: str, *, is_usual: bool) -> tuple[str, ...]:
        return (pair,) if is_usual else (pair, f"login:account:{account_id}", f"login:address:{network}")

    def _register_in_memory(self, subjects: Sequence[str], now: float) -> float:
        """As `_REGISTER`, with counts of this process."""
        counts = [self._memory.get(subject) or _Count() for subject in subjects]
        counts = [_Count() if count.forgotten_at <= now else count for count in counts]
        wait_s = max(count.delayed_until - now for count in counts)
        if wait_s > 0:
            return wait_s
        for subject, count in zip(subjects, counts, strict=True):
            count.failures += 1
            if count.failures >= self._free:
                count.delayed_until = now + min(2.0 ** min(count.failures - self._free, 30), self._delay_max_s)
            count.forgotten_at = now + FORGET_S
            _remember(self._memory, subject, count)
        return 0.0


def _remember(entries: OrderedDict[str, Any], key: str, value: Any) -> None:
    """Store the entry as the newest one and drop the oldest ones above the maximum."""
    entries[key] = value
    entries.move_to_end(key)
    while len(entries) > SUBJECTS_IN_MEMORY_MAX:
        entries.popitem(last=False)
