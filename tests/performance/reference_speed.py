"""The speed of this machine now: limits of performance tests are multiples of it, because absolute times differ."""

from __future__ import annotations

import time
from decimal import Decimal


def decimal_us() -> float:
    """Return the processor time of one Decimal multiplication in a loop, in microseconds: the best of five rounds."""
    price, best_s = Decimal("101.25"), float("inf")
    for _ in range(5):
        started = time.process_time()
        for _ in range(100_000):
            price * price
        best_s = min(best_s, time.process_time() - started)
    return best_s * 10
