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

PAUSE_S = 1.0
"""How long Redis is not asked again after it did not answer: a request must not wait for each time-out."""


class Rates:
    """Counts requests. `rates` by name, as the settings write them."""

    def __init__(self, client: redis.Redis, rates: dict[str, str], registry: CollectorRegistry) -> None:
        # The address is not used: the connections are the client's.
        storage = RedisStorage("redis://", client.connection_pool)
        self._limiter = SlidingWindowCounterRateLimiter(storage)
        self._items: dict[str, RateLimitItem] = {name: parse(rate) for name, rate in rates.items()}
        self._away_until = 0.0
        self._lock = threading.Lock()
        self._away = False
        self._refused = Counter("platform_api_rate_limited", "requests refused by rate", ["rate"], registry=registry)
        self._uncounted = Counter(
            "platform_api_uncounted", "requests not counted, Redis away", ["rate"], registry=registry
        )

    def count(self, rate: str, who: str) -> bool:
        """Count one request. False where it could not be counted. Raises TooManyRequests above the rate."""
        item = self._items[rate]
        if time.monotonic() < self._away_until:
            self._uncounted.labels(rate).inc()
            return False
        try:
            allowed = self._limiter.hit(item, rate, who)
            reset_at = 0.0 if allowed else self._limiter.get_window_stats(item, rate, who).reset_time
        except redis.RedisError as error:
            self._note(error)
            self._uncounted.labels(rate).inc()
            return False
        self._note(None)
        if not allowed:
            self._refused.labels(rate).inc()
            wait_s = max(1, math.ceil(reset_at - time.time()))
            raise TooManyRequests(f"More than {item} for {who}: try again in {wait_s} s.", wait_s)
        return True

    def _note(self, error: redis.RedisError | None) -> None:
        with self._lock:
            if error is not None:
                self._away_until = time.monotonic() + PAUSE_S
                if not self._away:
                    log.warning("redis away, requests are not counted", error=str(error).splitlines()[0])
            elif self._away:
                log.warning("redis back, requests are counted")
            self._away = error is not None
