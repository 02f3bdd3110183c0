"""`/health` does not take a report from the future for a sign of life."""

from __future__ import annotations

import pytest

from api.routers.health import STALE_AFTER_S, _freshness

NOW = 1_700_000_000.0


@pytest.mark.parametrize(
    ("age_s", "finished", "status"),
    [
        (0.0, False, "ok"),
        (-STALE_AFTER_S, False, "ok"),  # clocks that differ a little
        (STALE_AFTER_S + 1, False, "stale: last report 16 s ago, expected at most 15 s"),
        (STALE_AFTER_S + 1, True, "ok"),
        (-3600.0, False, "wrong clock: last report 3600 s in the future, by the clock of the API"),
        (-3600.0, True, "wrong clock: last report 3600 s in the future, by the clock of the API"),
    ],
)
def test_a_report_counts_only_if_its_age_is_known(age_s: float, finished: bool, status: str) -> None:
    health = _freshness({"service": "risk", "updated_at": NOW - age_s, "feed_finished": finished}, NOW)
    assert health.status == status
    assert health.age_s is not None and health.age_s >= 0
