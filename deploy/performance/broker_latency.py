"""Latency of requests to the broker, computed from the times at which they were due and arrived. Pure.

The load is an open loop: the time at which a request is due does not depend on earlier requests. A latency counts from
this time, not from the time of sending. Otherwise, if the platform stalls, the load would send fewer requests during
the stall, and the stall would hardly be visible in the figures (coordinated omission).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from hdrh.histogram import HdrHistogram

LOWEST_US, HIGHEST_US, DIGITS = 1, 600_000_000, 3


class BrokerLatency(NamedTuple):
    """One kind of request at one load. Times are in ms, None without an observation.

    `missing` is the number of requests that had not arrived at the end. Their latency is the time until the end.
    """

    name: str
    n: int
    missing: int
    p50: float | None
    p99: float | None
    max: float | None


def due_times_ns(start_ns: int, per_second: float, seconds: float) -> list[int]:
    """Return when the requests of an open loop are due.

    >>> due_times_ns(0, 2.0, 1.5)
    [0, 500000000, 1000000000]
    """
    return [start_ns + round(number * 1e9 / per_second) for number in range(int(per_second * seconds))]


def latency(name: str, due_ns: Mapping[str, int], arrived_ns: Mapping[str, int], end_ns: int) -> BrokerLatency:
    """Return the latency from the due time to the arrival of each request, by its id.

    >>> latency("order", {"a": 0, "b": 0}, {"a": 2_000_000}, end_ns=9_000_000)
    BrokerLatency(name='order', n=2, missing=1, p50=2.0, p99=9.0, max=9.0)
    """
    histogram = HdrHistogram(LOWEST_US, HIGHEST_US, DIGITS)
    missing = 0
    for request_id, due in due_ns.items():
        arrived = arrived_ns.get(request_id)
        missing += arrived is None
        waited_us = ((end_ns if arrived is None else arrived) - due) // 1000
        histogram.record_value(min(max(waited_us, LOWEST_US), HIGHEST_US))
    return BrokerLatency(name, len(due_ns), missing, *(_ms(histogram, share) for share in (50.0, 99.0, 100.0)))


def _ms(histogram: HdrHistogram, percentile: float) -> float | None:
    return round(histogram.get_value_at_percentile(percentile) / 1000, 1) if histogram.get_total_count() else None


def last_arrival(name: str, due_ns: int, arrived_ns: Sequence[int], expected: int, end_ns: int) -> BrokerLatency:
    """Return the time from a kill switch to the last of the cancels that it causes."""
    missing = expected - len(arrived_ns)
    if not expected:
        return BrokerLatency(name=name, n=0, missing=0, p50=None, p99=None, max=None)
    last_ms = ((end_ns if missing else max(arrived_ns)) - due_ns) / 1e6
    return BrokerLatency(name=name, n=1, missing=missing, p50=last_ms, p99=None, max=last_ms)
