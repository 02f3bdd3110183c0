"""How many requests a user may make: sliding windows in Redis, shared by all API processes.

Without Redis nobody is counted. What then still works is the caller's decision (`api/access.py`).
"""

from __future__ import annotations

import math
import threading
import time

import redis
import structlog
from limits import RateLimitItem, parse
from limits.storage import RedisStorage
from limits.strategies import SlidingWindowCounterRateLimiter
from prometheus_client import CollectorRegistry, Counter

from api.problems import TooManyRequests

log = structlog.get_logger(__name__)

REDIS_RETRY_S = 1.0
"""How long Redis is not asked again after it did not answer: a request must not wait for each time-out."""


class RateLimiter:
    """Counts requests. `rates` by name, as the settings write them."""

    def __init__(self, client: redis.Redis, rates: dict[str, str], registry: CollectorRegistry) -> None:
        # The address is not used: the connections are the client's.
        storage = RedisStorage("redis://", client.connection_pool)
        self._limiter = SlidingWindowCounterRateLimiter(storage)
        self._limits: dict[str, RateLimitItem] = {name: parse(rate) for name, rate in rates.items()}
        self._redis_retry_at = 0.0
        self._lock = threading.Lock()
        self._redis_down = False
        self._rate_limited = Counter(
            "platform_api_rate_limited", "requests refused by rate", ["rate"], registry=registry
        )
        self._uncounted = Counter(
            "platform_api_uncounted", "requests not counted, Redis away", ["rate"], registry=registry
        )

    def count(self, rate: str, subject: str) -> bool:
        """Count one request. False where it could not be counted. Raises TooManyRequests above the rate."""
        limit = self._limits[rate]
        if time.monotonic() < self._redis_retry_at:
            self._uncounted.labels(rate).inc()
            return False
        try:
            allowed = self._limiter.hit(limit, rate, subject)
            reset_at = 0.0 if allowed else self._limiter.get_window_stats(limit, rate, subject).reset_time
        except redis.RedisError as error:
            self._log_connection(error)
            self._uncounted.labels(rate).inc()
            return False
        self._log_connection(None)
        if not allowed:
            self._rate_limited.labels(rate).inc()
            wait_s = max(1, math.ceil(reset_at - time.time()))
            raise TooManyRequests(f"More than {limit} for {subject}: try again in {wait_s} s.", wait_s)
        return True

    def _log_connection(self, error: redis.RedisError | None) -> None:
        with self._lock:
            if error is not None:
                self._redis_retry_at = time.monotonic() + REDIS_RETRY_S
                if not self._redis_down:
                    log.warning("redis away, requests are not counted", error=str(error).splitlines()[0])
            elif self._redis_down:
                log.warning("redis back, requests are counted")
            self._redis_down = error is not None
