"""`performance benchmark --broker` computes latencies from due times and arrivals, without coordinated omission."""

from __future__ import annotations

import random

import numpy as np
import pytest

from deploy.performance.broker_latency import due_times_ns, last_arrival, latency
from deploy.performance.broker_load import _ns

MILLI_NS, SECOND_NS = 10**6, 10**9


def test_percentiles_are_those_of_the_waits() -> None:
    rng = random.Random(7)
    due = {str(number): number * SECOND_NS for number in range(2000)}
    waits_ms = {name: rng.lognormvariate(3, 0.8) for name in due}
    arrived = {name: due[name] + round(waits_ms[name] * MILLI_NS) for name in due}
    figure = latency("order", due, arrived, end_ns=10**13)
    values = list(waits_ms.values())
    assert (figure.n, figure.missing) == (2000, 0)
    assert figure.p50 == pytest.approx(np.quantile(values, 0.5), rel=0.01, abs=0.1)
    assert figure.p99 == pytest.approx(np.quantile(values, 0.99), rel=0.02)
    assert figure.max == pytest.approx(max(values), rel=0.01)


def test_a_stall_counts_for_every_request_that_was_due_in_it() -> None:
    """The platform stops for a second. A sender that waits for each arrival would record one slow request in 100."""
    due_ns = due_times_ns(0, per_second=100.0, seconds=4.0)
    stall_ns = (SECOND_NS, 2 * SECOND_NS)
    due = {str(number): at_ns for number, at_ns in enumerate(due_ns)}
    arrived = {
        name: (stall_ns[1] if stall_ns[0] <= at_ns < stall_ns[1] else at_ns) + MILLI_NS for name, at_ns in due.items()
    }
    figure = latency("order", due, arrived, end_ns=5 * SECOND_NS)
    assert figure.n == 400 and figure.p50 == 1.0
    assert figure.p99 is not None and figure.p99 > 950
    assert figure.max == pytest.approx(1001, rel=0.001)


def test_requests_that_never_arrive_count_with_the_time_they_waited() -> None:
    figure = latency("cancel", {"a": 0, "b": SECOND_NS}, {"a": MILLI_NS}, end_ns=9 * SECOND_NS)
    assert (figure.n, figure.missing, figure.p50) == (2, 1, 1.0)
    assert figure.max == pytest.approx(8000, rel=0.001)
    assert latency("cancel", {}, {}, end_ns=1)[1:] == (0, 0, None, None, None)


def test_the_kill_switch_counts_until_the_last_cancel() -> None:
    ended = [30 * MILLI_NS, 20 * MILLI_NS]
    assert last_arrival("kill switch", 10 * MILLI_NS, ended, 2, SECOND_NS)[1:] == (1, 0, 20.0, None, 20.0)
    assert last_arrival("kill switch", 0, ended, 3, SECOND_NS)[1:] == (1, 1, 1000.0, None, 1000.0), "one still works"
    assert last_arrival("kill switch", 0, [], 0, SECOND_NS).p50 is None


def test_times_of_the_local_broker_have_nanoseconds() -> None:
    assert _ns("2026-11-30T19:40:56.123456789Z") == 1_796_067_656_123_456_789
