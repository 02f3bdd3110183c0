"""Rate limits per user: sliding windows in Redis, shared by all API processes.

Without Redis, requests are not counted. `api/access.py` decides which requests are still allowed.
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
"""Back-off after a failed request to Redis, so that not every request waits for a time-out."""


class RateLimiter:
    """Counts requests against rate limits. `rates` maps names to rates in the format of the settings, e.g.
    "10/minute".
    """

    def __init__(self, client: redis.Redis, rates: dict[str, str], registry: CollectorRegistry) -> None:
        # The URL is not used: the storage uses the connections of the client.
        storage = RedisStorage("redis://", client.connection_pool)
        self._limiter = SlidingWindowCounterRateLimiter(storage)
        self._limits: dict[str, RateLimitItem] = {name: parse(rate) for name, rate in rates.items()}
        self._redis_retry_at = 0.0
        self._lock = threading.Lock()
        self._redis_down = False
        self._rate_limited = Counter(
            "platform_api_rate_limited", "requests rejected by a rate limit", ["rate"], registry=registry
        )
        self._uncounted = Counter(
            "platform_api_uncounted", "requests not counted because Redis was unavailable", ["rate"], registry=registry
        )

    def count(self, rate: str, subject: str) -> bool:
        """Count one request of `subject`. Return False if Redis is unavailable. Raises TooManyRequests above the
        rate.
        """
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
            raise TooManyRequests(f"Rate limit of {limit} exceeded for {subject}. Try again in {wait_s} s.", wait_s)
        return True

    def _log_connection(self, error: redis.RedisError | None) -> None:
        with self._lock:
            if error is not None:
                self._redis_retry_at = time.monotonic() + REDIS_RETRY_S
                if not self._redis_down:
                    log.warning("redis unavailable, requests are not counted", error=str(error).splitlines()[0])
            elif self._redis_down:
                log.warning("redis available again, requests are counted")
            self._redis_down = error is not None
